"""Exact top-k, shuffling, packing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.data.seeds import generator
from prunebench.pruning.masks import highest, keep_highest, pack, shuffled, top, top_unread, unpack

INF = float("inf")


def kept(scores, k, dtype=torch.float32):
    return top(torch.tensor(scores, dtype=dtype), k).nonzero().flatten().tolist()


def dense(*layers):
    return {layer.name: torch.ones(layer.shape, dtype=torch.bool) for layer in layers}


@pytest.fixture
def pair(layer):
    """A layer of four weights and one of eight."""
    return [layer("a", 2, 2), layer("b", 2, 4)]


def test_the_highest_are_kept():
    assert kept([0.3, -5.0, 0.9, 0.5], 2) == [2, 3]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.data())
def test_on_an_accelerator_the_same_are_kept_without_a_look_at_any_value(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    assert torch.equal(top_unread(torch.tensor(scores).float(), k), top(torch.tensor(scores).float(), k))
    assert top(torch.empty(len(scores), device="meta"), k).shape == (len(scores),)  # where nothing can be read


@pytest.mark.parametrize("ties", [40_000, 2**24 + 5])
def test_on_an_accelerator_any_number_of_equals_is_counted(ties):
    mask = top_unread(torch.ones(ties + 3), ties)
    assert int(mask.sum()) == ties
    assert bool(mask[:ties].all())


def test_on_an_accelerator_the_network_is_ranked_as_one_too(layer, monkeypatch):
    layers = [layer("a", 5, 2), layer("b", 3, 4), layer("c", 7, 1)]
    scores = {part.name: torch.arange(part.size).view(part.shape) % 3 * 1.0 for part in layers}
    here = {density: highest(scores, layers, density, "global") for density in (0.1, 0.5, 0.9, 1.0)}
    monkeypatch.setattr("prunebench.pruning.masks.AT_HAND", ())
    for density, masks in here.items():
        there = highest(scores, layers, density, "global")
        assert all(torch.equal(there[name], mask) for name, mask in masks.items())


@pytest.mark.parametrize("density", [0.0, 1.0])
@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_on_an_accelerator_none_and_all_can_be_kept(pair, density, allocation):
    scores = {layer.name: torch.empty(layer.shape, device="meta") for layer in pair}
    masks = highest(scores, pair, density, allocation)
    assert {name: mask.shape for name, mask in masks.items()} == {layer.name: layer.shape for layer in pair}


def test_whole_numbers_are_told_apart_beyond_what_float32_can(layer):
    one = [layer("a", 1, 4)]
    scores = {"a": torch.tensor([[2**24, 2**24 + 1, 0, 0]])}
    expected = torch.tensor([[False, True, False, False]])
    assert torch.equal(keep_highest(scores, dense(*one), one, 0.25, "global")["a"], expected)
    assert torch.equal(highest(scores, one, 0.25, "global")["a"], expected)


@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_masks_may_be_scores(pair, allocation):
    scores = {layer.name: torch.arange(layer.size).view(layer.shape) % 2 == 1 for layer in pair}
    for masks in (keep_highest(scores, dense(*pair), pair, 0.5, allocation), highest(scores, pair, 0.5, allocation)):
        assert all(torch.equal(masks[name], score) for name, score in scores.items())


def test_the_sign_of_a_score_counts():
    assert kept([-3.0, -1.0, -2.0], 1) == [1]


def test_among_equals_the_first_are_kept():
    assert kept([1.0, 2.0, 1.0, 2.0, 1.0], 3) == [0, 1, 3]


@pytest.mark.parametrize("k", range(6))
def test_of_all_equal_scores_exactly_the_first_k_are_kept(k):
    assert kept([0.0] * 5, k) == list(range(k))


def test_none_and_all_can_be_kept():
    assert kept([1.0, 2.0, 3.0], 0) == []
    assert kept([1.0, 2.0, 3.0], 3) == [0, 1, 2]


def test_scores_that_differ_in_double_precision_only_are_told_apart():
    assert kept([1.0, 1.0 + 1e-12, 1.0 - 1e-12], 1, torch.float64) == [1]


def test_minus_infinity_is_below_everything_and_comes_last_in_order():
    assert kept([-INF, -1e30, -INF, 0.0], 3) == [0, 1, 3]


def test_exactly_so_many_are_kept_as_were_asked_for_of_a_thousand():
    scores = torch.arange(1000.0).div(7).floor()
    assert [int(top(scores, k).sum()) for k in (1, 199, 200, 201, 999)] == [1, 199, 200, 201, 999]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.data())
def test_what_is_kept_are_the_first_of_a_stable_sort(scores, data):
    k = data.draw(st.integers(0, len(scores)))
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    assert kept([float(score) for score in scores], k) == sorted(order[:k])


def test_global_ranks_the_weights_of_all_layers_together(pair):
    scores = {"a": torch.tensor([[1.0, 9.0], [2.0, 3.0]]), "b": torch.arange(4.0, 12.0).view(2, 4)}
    masks = keep_highest(scores, dense(*pair), pair, 0.5, "global")
    assert masks["a"].tolist() == [[False, True], [False, False]]
    assert masks["b"].tolist() == [[False, False, False, True], [True, True, True, True]]


def test_uniform_ranks_the_weights_of_each_layer_by_themselves(pair):
    scores = {"a": torch.tensor([[1.0, 9.0], [2.0, 3.0]]), "b": torch.arange(4.0, 12.0).view(2, 4)}
    masks = keep_highest(scores, dense(*pair), pair, 0.5, "uniform")
    assert masks["a"].tolist() == [[False, True], [False, True]]
    assert masks["b"].tolist() == [[False] * 4, [True] * 4]


def test_erk_keeps_its_own_number_in_each_layer(pair):
    # 6 of 12; ratios 4/4 and 6/8, e = 6 / (4 + 6): 0.6 * 4 = 2.4 and 0.45 * 8 = 3.6
    scores = {"a": torch.arange(4.0).view(2, 2), "b": torch.arange(8.0).view(2, 4)}
    masks = keep_highest(scores, dense(*pair), pair, 0.5, "erk")
    assert masks["a"].tolist() == [[False, False], [True, True]]
    assert masks["b"].tolist() == [[False] * 4, [True] * 4]


@pytest.mark.parametrize("allocation", ["global", "uniform", "er", "erk"])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.13, 0.5, 0.977, 1.0])
def test_every_allocation_keeps_exactly_the_density(layer, allocation, density):
    layers = [layer("a", 7, 11), layer("b", 5, 7, 3, 3), layer("c", 10, 5)]
    scores = {one.name: torch.rand(one.shape, generator=generator(one.name)) for one in layers}
    masks = keep_highest(scores, dense(*layers), layers, density, allocation)
    assert sum(int(mask.sum()) for mask in masks.values()) == round(density * (77 + 315 + 50))
    assert {name: (mask.shape, mask.dtype) for name, mask in masks.items()} == {
        one.name: (torch.Size(one.shape), torch.bool) for one in layers
    }


def test_the_masks_of_a_global_draw_do_not_share_memory(pair):
    scores = {one.name: torch.rand(one.shape) for one in pair}
    masks = keep_highest(scores, dense(*pair), pair, 0.5, "global")
    storages = {mask.untyped_storage().data_ptr() for mask in masks.values()}
    assert len(storages) == 2


@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_a_pruned_weight_stays_pruned_however_high_its_score(pair, allocation):
    masks = dense(*pair)
    masks["a"][0, 0] = masks["b"][0, 0] = False
    scores = {one.name: torch.zeros(one.shape) for one in pair}
    scores["a"][0, 0] = scores["b"][0, 0] = 1e9
    found = keep_highest(scores, masks, pair, 0.5, allocation)
    assert not found["a"][0, 0]
    assert not found["b"][0, 0]
    assert sum(int(mask.sum()) for mask in found.values()) == 6


def test_a_pruned_weights_score_may_be_anything(pair):
    masks = dense(*pair)
    masks["a"][0, 0] = False
    scores = {one.name: -torch.ones(one.shape) for one in pair}
    scores["a"][0, 0] = float("nan")
    assert not keep_highest(scores, masks, pair, 0.5, "global")["a"][0, 0]


def test_all_that_is_left_can_be_kept(pair):
    masks = {"a": torch.tensor([[True, False], [False, True]]), "b": torch.zeros(2, 4, dtype=torch.bool)}
    masks["b"][1] = True
    scores = {one.name: -torch.ones(one.shape) for one in pair}
    found = keep_highest(scores, masks, pair, 0.5, "global")
    assert all(torch.equal(found[name], masks[name]) for name in masks)


def test_more_than_is_left_in_the_network_is_unreachable(pair):
    masks = dense(*pair)
    masks["b"][:] = False
    scores = {one.name: torch.zeros(one.shape) for one in pair}
    with pytest.raises(Unreachable, match=r"^6 weights .* in the network, but earlier pruning left only 4$"):
        keep_highest(scores, masks, pair, 0.5, "global")


def test_more_than_is_left_in_a_layer_is_unreachable_and_names_the_layer(pair):
    masks = dense(*pair)
    masks["b"][0] = masks["b"][1, 0] = False
    scores = {one.name: torch.zeros(one.shape) for one in pair}
    with pytest.raises(Unreachable, match=r"^4 weights .* in b, but earlier pruning left only 3$"):
        keep_highest(scores, masks, pair, 0.5, "uniform")


@pytest.mark.parametrize("bad", [float("nan"), INF, -INF])
def test_a_score_that_is_not_finite_is_an_error_that_names_the_layer(pair, bad):
    scores = {one.name: torch.zeros(one.shape) for one in pair}
    scores["b"][1, 2] = bad
    with pytest.raises(PrunebenchError, match="scores of 'b' are not all finite"):
        keep_highest(scores, dense(*pair), pair, 0.5, "global")


@pytest.mark.parametrize("allocation", ["global", "uniform", "erk"])
def test_among_all_weights_the_same_are_kept_unread(pair, allocation):
    scores = {
        "a": torch.tensor([[3.0, 1.0], [2.0, 2.0]]),
        "b": torch.tensor([[2.0, 0.0, 2.0, 5.0], [2.0, 4.0, 1.0, 2.0]]),
    }
    expected = keep_highest(scores, dense(*pair), pair, 0.5, allocation)
    found = highest(scores, pair, 0.5, allocation)
    assert {name: mask.tolist() for name, mask in found.items()} == {n: mask.tolist() for n, mask in expected.items()}
    unread = highest({name: score.to("meta") for name, score in scores.items()}, pair, 0.5, allocation)
    assert {name: tuple(mask.shape) for name, mask in unread.items()} == {"a": (2, 2), "b": (2, 4)}


def test_more_than_there_are_is_unreachable_unread_too(pair):
    scores = {one.name: torch.zeros(one.shape, device="meta") for one in pair}
    with pytest.raises(Unreachable, match=r"^18 weights are to be kept in the network, but .* only 12$"):
        highest(scores, pair, 1.5, "global")


def test_a_missing_score_is_an_error_that_names_the_layer(pair):
    with pytest.raises(PrunebenchError, match=r"scores lack 'b'; they cover \['a'\]"):
        keep_highest({"a": torch.zeros(2, 2)}, dense(*pair), pair, 0.5, "global")


def test_a_misshaped_score_is_an_error_that_names_the_layer(pair):
    scores = {"a": torch.zeros(2, 2), "b": torch.zeros(4, 2)}
    with pytest.raises(PrunebenchError, match=r"scores of 'b' have shape \(4, 2\), not \(2, 4\)"):
        keep_highest(scores, dense(*pair), pair, 0.5, "global")


def test_scores_that_know_their_gradients_are_accepted(pair):
    scores = {one.name: torch.zeros(one.shape, requires_grad=True) for one in pair}
    for masks in (keep_highest(scores, dense(*pair), pair, 0.5, "global"), highest(scores, pair, 0.5, "global")):
        assert not any(mask.requires_grad for mask in masks.values())


def test_shuffling_keeps_the_count_and_moves_the_weights():
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[:5] = True
    moved = shuffled(mask, generator("test"))
    assert moved.shape == mask.shape
    assert int(moved.sum()) == 150
    assert 150 * 0.1 < int((moved & mask).sum()) < 150 * 0.4  # a quarter by chance
    assert torch.equal(moved, shuffled(mask, generator("test")))
    assert not torch.equal(moved, shuffled(mask, generator("other")))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 2**32))
def test_packing_and_unpacking_gives_the_same_mask(shape, seed):
    mask = torch.rand(shape, generator=generator(seed)) < 0.5
    bits = pack(mask)
    assert bits.dtype == torch.uint8
    assert len(bits) == -(-mask.numel() // 8)
    assert torch.equal(unpack(bits, shape), mask)


def test_the_first_weight_is_in_the_highest_bit():
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[0, 0] = mask[0, 2] = mask[2, 2] = True
    assert pack(mask).tolist() == [0b10100000, 0b10000000]


def test_layers_of_different_precision_are_ranked_together_exactly(layer):
    fine = 1.0 + 2.0**-40  # above 1, and 1 in single precision
    scores = {"a": torch.tensor([[1.0, 0.5]]), "b": torch.tensor([[fine, 1.0]], dtype=torch.float64)}
    layers = [layer("a", 1, 2), layer("b", 1, 2)]
    dense = {name: torch.ones(1, 2, dtype=torch.bool) for name in scores}
    kept = keep_highest(scores, dense, layers, 0.25, "global")
    assert [mask.flatten().tolist() for mask in kept.values()] == [[False, False], [True, False]]
    kept = keep_highest(scores, dense, layers, 0.5, "global")
    assert [mask.flatten().tolist() for mask in kept.values()] == [[True, False], [True, False]]


def test_ranking_leaves_the_scores_as_they_were(layer):
    scores = {"a": torch.tensor([[3.0, 1.0, 2.0]])}
    keep_highest(scores, {"a": torch.ones(1, 3, dtype=torch.bool)}, [layer("a", 1, 3)], 2 / 3, "global")
    assert scores["a"].tolist() == [[3.0, 1.0, 2.0]]
