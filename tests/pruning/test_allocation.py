"""How many weights each layer keeps: worked out by hand, and against the equation that ERK is the solution of."""

from math import inf, log, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.layers import Layer
from prunebench.pruning.allocation import kept_counts, total_kept

SHAPES = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 16), st.integers(1, 16), st.sampled_from([1, 3, 5]), st.sampled_from([1, 3])),
)
NETWORKS = st.lists(SHAPES, min_size=1, max_size=6).map(
    lambda shapes: [Layer(f"{number}.weight", shape, 0.0) for number, shape in enumerate(shapes)]
)
DENSITIES = st.floats(0.0, 1.0)

RESNET_20 = [
    (16, 3, 3, 3),
    *[(16, 16, 3, 3)] * 6,
    (32, 16, 3, 3),
    *[(32, 32, 3, 3)] * 5,
    (32, 16, 1, 1),
    (64, 32, 3, 3),
    *[(64, 64, 3, 3)] * 5,
    (64, 32, 1, 1),
    (10, 64),
]


def layers_of(*shapes):
    return [Layer(f"{number}.weight", shape, 0.0) for number, shape in enumerate(shapes)]


def counts(shapes, density, allocation):
    return list(kept_counts(layers_of(*shapes), density, allocation).values())


def ratio(layer, allocation):
    if allocation == "erk":
        return sum(layer.shape) / prod(layer.shape)
    return (layer.shape[0] + layer.shape[1]) / (layer.shape[0] * layer.shape[1])


def solved(layers, total, allocation):
    """The real numbers min(1, e * ratio) * size that add up to the total, by bisection on e."""
    low, high = 0.0, 1e6

    def at(scale):
        return [min(1.0, scale * ratio(layer, allocation)) * layer.size for layer in layers]

    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(at(middle)) < total else (low, middle)
    return at(high)


@pytest.mark.parametrize(
    ("density", "kept"), [(0.2, 200), (0.0, 0), (1.0, 1000), (0.0004, 0), (0.0006, 1), (0.9996, 1000), (0.1234, 123)]
)
def test_a_density_stands_for_a_rounded_number_of_weights(density, kept):
    assert total_kept(1000, density) == kept


def test_uniform_keeps_the_same_share_of_every_layer():
    assert counts([(10, 10), (4, 5), (30, 10)], 0.2, "uniform") == [20, 4, 60]


def test_uniform_rounds_the_largest_remainders_up():
    # 1.05 + 2.45 + 3.5 = 7
    assert counts([(3, 1), (7, 1), (10, 1)], 0.35, "uniform") == [1, 2, 4]


def test_equal_remainders_are_rounded_up_in_layer_order():
    # 2.5 each, 8 in all
    assert counts([(5, 1), (5, 1), (5, 1)], 0.5, "uniform") == [3, 3, 2]


def test_er_ignores_the_kernel_and_erk_counts_it():
    # ER: ratios 6/8 and 18/72, e = 36 / (54 + 18). ERK: ratios 12/72 and 18/72, e = 36 / (12 + 18).
    shapes = [(4, 2, 3, 3), (6, 12)]
    assert counts(shapes, 0.25, "er") == [27, 9]
    assert counts(shapes, 0.25, "erk") == [14, 22]


def test_a_layer_that_would_be_more_than_dense_is_dense_and_the_rest_is_solved_again():
    # 152 of 304; e = 152 / 54 makes the first 2.8 times dense; then e = 148 / 50: 59.2 and 88.8.
    # Clamped and not solved again: 4 + 56 + 84 = 144.
    assert counts([(2, 2), (10, 10), (10, 20)], 0.5, "erk") == [4, 59, 89]


def test_erk_is_solved_again_as_often_as_it_takes():
    # 274 of 304: the first layer is dense, then the second too (e = 270 / 50), and the third takes what is left.
    assert counts([(2, 2), (10, 10), (10, 20)], 0.9, "erk") == [4, 100, 170]


@pytest.mark.parametrize("density", [0.9, 0.8, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01])
@pytest.mark.parametrize("allocation", ["er", "erk", "uniform"])
def test_resnet_20_gets_exactly_the_density_that_was_asked_for(density, allocation):
    kept = counts(RESNET_20, density, allocation)
    assert sum(kept) == round(density * 270_896)
    assert all(count <= prod(shape) for count, shape in zip(kept, RESNET_20, strict=True))


def test_half_of_resnet_20_by_erk_keeps_small_layers_dense_and_thins_out_large_ones():
    kept = [count / prod(shape) for count, shape in zip(counts(RESNET_20, 0.5, "erk"), RESNET_20, strict=True)]
    assert kept[0] == kept[-1] == 1.0
    assert sum(share == 1.0 for share in kept) > 5
    assert max(kept[15:20]) < 0.45 < min(kept[:15])


@given(NETWORKS, DENSITIES, st.sampled_from(["uniform", "er", "erk"]))
def test_the_counts_add_up_to_exactly_the_rounded_total_and_fit_their_layers(layers, density, allocation):
    kept = kept_counts(layers, density, allocation)
    assert list(kept) == [layer.name for layer in layers]
    assert sum(kept.values()) == round(density * sum(layer.size for layer in layers))
    assert all(0 <= kept[layer.name] <= layer.size for layer in layers)


@given(NETWORKS, DENSITIES, st.sampled_from(["er", "erk"]))
def test_every_count_is_within_one_of_the_solution_of_the_equation(layers, density, allocation):
    kept = kept_counts(layers, density, allocation)
    expected = solved(layers, total_kept(sum(layer.size for layer in layers), density), allocation)
    for layer, exact in zip(layers, expected, strict=True):
        assert abs(kept[layer.name] - exact) < 1 + 1e-6


@given(NETWORKS, DENSITIES)
def test_uniform_counts_are_within_one_of_their_share(layers, density):
    kept = kept_counts(layers, density, "uniform")
    assert all(abs(kept[layer.name] - density * layer.size) <= 1 + 1e-6 for layer in layers)


# --- shares by hand


def by_shares(sizes, shares, density):
    layers = layers_of(*((size, 1) for size in sizes))
    named = tuple((f"{number}.weight", share) for number, share in enumerate(shares) if share is not None)
    return list(kept_counts(layers, density, named).values())


def test_shares_that_add_up_to_the_density_are_kept_as_they_are():
    assert by_shares([100, 50, 10], [0.2, 0.5, 1.0], 55 / 160) == [20, 25, 10]


@pytest.mark.parametrize(
    ("level", "kept"),
    [(1, [800, 90, 50]), (2, [640, 81, 50]), (3, [512, 73, 50])],  # 72.9 is rounded
)
def test_shares_that_a_round_leaves_make_the_ladder_of_the_rounds(level, kept):
    density = (1000 * 0.8**level + 100 * 0.9**level + 50) / 1150
    assert by_shares([1000, 100, 50], [0.8, 0.9, None], density) == kept


def test_between_two_rounds_every_layer_is_at_the_same_fraction_of_one():
    # Half a round: 0.25 ** 0.5 and 0.64 ** 0.5 are a half and four fifths.
    assert by_shares([1000, 100], [0.25, 0.64], 580 / 1100) == [500, 80]


def test_layers_that_drop_a_weight_at_the_same_moment_do_so_from_the_last_on():
    assert [by_shares([4, 4, 4], [0.5] * 3, total / 12) for total in (9, 8, 7, 6)] == [
        [3, 3, 3],
        [3, 3, 2],
        [3, 2, 2],
        [2, 2, 2],
    ]


def test_the_whole_network_and_a_single_weight_can_be_kept():
    assert by_shares([100, 10], [0.8, 0.9], 1.0) == [100, 10]
    assert by_shares([100, 10], [0.8, 0.9], 1 / 110) == [0, 1]


def test_below_the_layers_that_stay_dense_nothing_can_be_reached():
    assert by_shares([90, 10], [0.5, None], 0.1) == [0, 10]
    with pytest.raises(Unreachable, match=r"^density 0.09 is below 0.1, which the layers that stay dense make up$"):
        by_shares([90, 10], [0.5, None], 0.09)
    with pytest.raises(Unreachable, match=r"^density 0.09 is below 0.1,"):
        by_shares([90, 10], [0.5, 1.0], 0.09)


def test_a_share_of_no_layer_is_an_error_that_names_the_layers():
    with pytest.raises(PrunebenchError, match=r"^no prunable layer is called 'x'; there are 0.weight, 1.weight$"):
        kept_counts(layers_of((2, 2), (3, 3)), 0.5, (("x", 0.5),))
    with pytest.raises(PrunebenchError, match="a layer has two shares"):
        kept_counts(layers_of((2, 2)), 0.5, (("0.weight", 0.5), ("0.weight", 0.4)))


SHARES = st.lists(st.tuples(st.integers(1, 400), st.sampled_from([0.5, 0.8, 0.9, 0.999])), min_size=1, max_size=6)


@given(SHARES, DENSITIES)
def test_the_counts_of_shares_are_exact_and_near_one_common_power(parts, density):
    sizes, shares = zip(*parts, strict=True)
    kept = by_shares(sizes, shares, density)
    assert sum(kept) == round(density * sum(sizes))
    # The range of x at which a layer keeps its count, rounded; all ranges have a point in common.
    ranges = [
        (log((count + 0.5) / size, share), log((count - 0.5) / size, share) if count else inf)
        for size, share, count in zip(sizes, shares, kept, strict=True)
    ]
    assert max(low for low, _ in ranges) <= min(high for _, high in ranges) + 1e-6


@given(SHARES, DENSITIES, DENSITIES)
def test_at_a_lower_density_no_layer_keeps_more(parts, one, other):
    sizes, shares = zip(*parts, strict=True)
    fewer, more = (by_shares(sizes, shares, density) for density in sorted((one, other)))
    assert all(less <= rest for less, rest in zip(fewer, more, strict=True))


# --- Transposed and grouped convolutions

# Eight weights an input each: a linear layer of 4 inputs and 8 outputs, and convolutions of 4 x 8 x (1, 2) weights.
LINEAR = Layer("linear", (8, 4), 0.0)  # r = (4 + 8) / 32
CONV = Layer("conv", (8, 4, 1, 2), 0.0)  # ER: r = 12 / 32; ERK: r = (8 + 4 + 1 + 2) / 64
TRANSPOSED = Layer("transposed", (4, 8, 1, 2), 0.0, input_dim=0)
GROUPED = Layer("grouped", (8, 2, 1, 2), 0.0, groups=2)  # 2 of 4 inputs; ER: r = 10 / 16; ERK: r = 13 / 32
TRANSPOSED_GROUPED = Layer("transposed-grouped", (4, 4, 1, 2), 0.0, input_dim=0, groups=2)


@pytest.mark.parametrize("allocation", ["er", "erk"])
@pytest.mark.parametrize(("one", "other"), [(CONV, TRANSPOSED), (GROUPED, TRANSPOSED_GROUPED)])
def test_a_transposed_convolution_keeps_as_many_as_one_with_the_same_connections(one, other, allocation):
    assert one.size == other.size
    first = list(kept_counts([LINEAR, one], 0.3, allocation).values())
    assert list(kept_counts([LINEAR, other], 0.3, allocation).values()) == first


@pytest.mark.parametrize(
    ("layers", "density", "allocation", "expected"),
    [
        # ER, e * 12 weights of 32 and e * 24 of 64: 24 of 96 are e = 2/3.
        ([LINEAR, TRANSPOSED], 0.25, "er", [8, 16]),
        # ERK, e * 12 and e * 15: 27 are e = 1.
        ([LINEAR, TRANSPOSED], 27 / 96, "erk", [12, 15]),
        # ER, e * 12 of 32 and e * 32 * 10 / 16 of 32: 16 of 64 are e = 1/2.
        ([LINEAR, TRANSPOSED_GROUPED], 0.25, "er", [6, 10]),
        # ERK, e * 12 and e * 13: 25 of 64 are e = 1.
        ([LINEAR, TRANSPOSED_GROUPED], 25 / 64, "erk", [12, 13]),
        ([LINEAR, GROUPED], 25 / 64, "erk", [12, 13]),
    ],
)
def test_what_transposed_and_grouped_convolutions_keep_by_hand(layers, density, allocation, expected):
    assert list(kept_counts(layers, density, allocation).values()) == expected
