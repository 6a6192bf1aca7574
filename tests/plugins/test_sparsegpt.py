"""Compensation column by column: small layers worked out by hand, and what must hold for all."""

import pytest
import torch

from prunebench import Structure

TINY = 1e-12
"""A damping that changes no digit."""
PAIR = [[2.0, 1.0], [1.0, 2.0]]
"""Moments of two inputs; the inverse is [[2, -1], [-1, 2]] / 3, and its factor has U_00² = 2/3 and U_11² = 1/2."""


@pytest.fixture
def pruned(method):
    def run(layer, **parameters):
        mask, weight = method("sparsegpt", **{"damping": TINY, **parameters}).prune_layer(layer)
        assert torch.allclose(weight[~mask], torch.zeros(1, dtype=torch.float64), atol=1e-12)
        return mask.tolist(), (weight * mask).tolist()

    return run


def test_the_second_weight_makes_up_for_the_first(pruned, layer_of):
    """Scores are 1 / (2/3) and 9 / (1/2): the first goes; the second becomes 3 + 1 * 1/2, as least squares has it."""
    mask, weight = pruned(layer_of([[1.0, 3.0]], PAIR, keep=1))
    assert mask == [[False, True]]
    assert weight == [[0.0, pytest.approx(3.5)]]


def test_scores_are_those_of_what_is_left_of_the_inverse(pruned, layer_of):
    """1.21 / (2/3) is less than 1 / (1/2); with the diagonal of the whole inverse, 2/3 twice, the second would go."""
    mask, weight = pruned(layer_of([[1.1, 1.0]], PAIR, keep=1))
    assert mask == [[False, True]]
    assert weight == [[0.0, pytest.approx(1.55)]]


def test_a_removed_weight_on_the_right_is_not_made_up_for_on_the_left(pruned, layer_of):
    assert pruned(layer_of([[3.0, 1.0]], PAIR, keep=1)) == ([[True, False]], [[3.0, 0.0]])


def test_later_columns_are_chosen_from_weights_that_earlier_ones_changed(pruned, layer_of):
    """The first column loses 1, which makes 1 to 1.5 in the second: more than 1.2, which therefore goes."""
    mask, weight = pruned(layer_of([[1.0, 1.0], [3.0, 1.2]], PAIR, keep=2), columns=1)
    assert mask == [[False, True], [True, False]]
    assert weight == [[0.0, pytest.approx(1.5)], [3.0, 0.0]]


def test_a_structure_is_chosen_group_by_group_from_changed_weights_too(pruned, layer_of):
    """Groups of two. The first group loses 1, which makes 1 to 1.5 in the second: more than 1.2, in the same output."""
    moments = torch.eye(4)
    moments[0, 2] = moments[2, 0] = 0.5  # twice of PAIR's inputs are 0 and 2; the others are independent
    layer = layer_of([[1.0, 2.0, 1.0, 1.2]], moments, structure=Structure(1, 2))
    mask, weight = pruned(layer)
    assert mask == [[False, True, True, False]]
    assert weight == [[0.0, 2.0, pytest.approx(1.5), 0.0]]


def test_with_independent_inputs_it_is_magnitude_pruning(pruned, method, random_layer, layer_of):
    layer = layer_of(random_layer(0).weight, keep=37)
    mask, weight = pruned(layer, columns=16)
    expected, _ = method("magnitude-layerwise").prune_layer(layer)
    assert mask == expected.tolist()
    assert torch.allclose(torch.tensor(weight, dtype=torch.float64), layer.weight * expected)


@pytest.mark.parametrize("columns", [1, 3, 5, 128])
@pytest.mark.parametrize("keep", [0, 1, 31, 50, 95, 96])
def test_blocks_of_columns_add_up_to_the_exact_number(method, random_layer, columns, keep):
    layer = random_layer(1, keep=keep)
    mask, weight = method("sparsegpt", columns=columns).prune_layer(layer)
    assert int(mask.sum()) == keep
    assert keep < 96 or torch.allclose(weight, layer.weight)


@pytest.mark.parametrize("columns", [1, 3, 6])
def test_blocks_of_columns_never_cut_the_groups_of_a_structure(method, random_layer, columns):
    """Groups of four do not fit into such blocks."""
    layer = random_layer(2, structure=Structure(2, 4))
    mask, weight = method("sparsegpt", columns=columns).prune_layer(layer)
    assert mask.view(-1, 4).sum(1).eq(2).all()
    expected, changed = method("sparsegpt").prune_layer(layer)
    assert torch.equal(mask, expected)
    assert torch.equal(weight, changed)


def test_unused_inputs_lose_their_weights_first_and_kept_ones_stay_as_they_are(method, layer_of):
    moments = torch.diag(torch.tensor([1.0, 0.0, 1.0, 0.0]))
    weight = [[0.1, 9.0, 0.2, 9.0], [0.3, 8.0, 0.4, 7.0]]
    mask, _ = method("sparsegpt").prune_layer(layer_of(weight, moments, keep=4))
    assert mask.tolist() == [[True, False, True, False]] * 2
    mask, changed = method("sparsegpt").prune_layer(layer_of(weight, moments, keep=6))
    assert mask.tolist() == [[True, True, True, True], [True, False, True, False]]
    assert changed[0].tolist() == pytest.approx(weight[0])


def test_fewer_tokens_than_inputs_are_enough(method, random_layer):
    """The moments are then of lower rank, and have no inverse without the damping."""
    layer = random_layer(0, tokens=3)
    assert torch.linalg.matrix_rank(layer.moments) == 3
    mask, weight = method("sparsegpt").prune_layer(layer)
    assert weight.isfinite().all()
    assert int(mask.sum()) == layer.keep


def test_a_layer_whose_inputs_are_all_zero_keeps_the_values_of_what_it_keeps(method, layer_of):
    mask, weight = method("sparsegpt").prune_layer(layer_of([[1.0, 2.0], [3.0, 4.0]], torch.zeros(2, 2), keep=2))
    assert int(mask.sum()) == 2
    assert torch.equal(weight * mask, torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double() * mask)


def test_its_outputs_are_nearer_than_those_of_wanda_and_wanda_nearer_than_magnitude(method, output_error):
    """In small blocks of columns: in one block it removes mostly what lies on the left, as that can be made up for."""
    rules = (method("sparsegpt", columns=4), method("wanda"), method("magnitude-layerwise"))
    errors = [output_error(rule, keep=48) for rule in rules]
    assert errors == sorted(errors)
    assert errors[1] < 0.7 * errors[2]


def test_blocks_are_a_detail_of_the_selection_and_not_of_the_compensation(method, random_layer):
    """With a structure the mask is the same for equal weights; what later columns get must not depend on blocks."""
    layer = random_layer(5, keep=48)
    mask, weight = method("sparsegpt", columns=16).prune_layer(layer)
    factor_free = layer.weight.clone()
    inverse = torch.linalg.inv(layer.moments + 0.01 * layer.moments.diagonal().mean() * torch.eye(16))
    for column in range(16):  # the plain elimination, one column at a time
        removed = factor_free[:, column] * ~mask[:, column]
        factor_free -= removed[:, None] * inverse[column] / inverse[column, column]
        inverse = inverse - torch.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    assert torch.allclose(weight * mask, factor_free * mask)
