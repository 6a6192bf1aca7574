"""Weights times activation norms, within each output; worked out by hand."""

import pytest
import torch

from prunebench import Structure


def pruned(method, layer):
    mask, weight = method.prune_layer(layer)
    assert torch.equal(weight, layer.weight)
    return mask.tolist()


def test_a_weight_counts_with_the_norm_of_its_input_and_not_with_its_square(method, layer_of):
    """|w| = (3, 1) and norms of (1, 2): 3 against 2. With squared norms it would be 3 against 4."""
    assert pruned(method("wanda"), layer_of([[3.0, -1.0]], [[1.0, 0.0], [0.0, 4.0]], keep=1)) == [[True, False]]


def test_weights_are_compared_within_their_output(method, layer_of):
    """Within the whole layer, the second output would keep both of its weights."""
    assert pruned(method("wanda"), layer_of([[1.0, 2.0], [3.0, 4.0]], keep=2)) == [[False, True], [False, True]]


def test_a_structure_keeps_the_highest_scores_of_each_group(method, layer_of):
    norms = torch.diag(torch.tensor([1.0, 1.0, 100.0, 1.0, 1.0, 1.0, 1.0, 1.0]))
    layer = layer_of([[4.0, 3.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0]], norms, structure=Structure(1, 4))
    assert pruned(method("wanda"), layer) == [[False, False, True, False, False, False, False, True]]


def test_an_input_that_is_never_used_loses_its_weight_first(method, layer_of):
    assert pruned(method("wanda"), layer_of([[9.0, 1.0, 2.0]], torch.diag(torch.tensor([0.0, 1.0, 1.0])), keep=2)) == [
        [False, True, True]
    ]


def test_the_variant_removes_a_common_share_of_each_outputs_scores(method, layer_of):
    """Shares are (1/4, 2/4, 1) and (1/10, 3/10, 1): the three lowest go, so that outputs keep different counts."""
    layer = layer_of([[1.0, 1.0, 2.0], [1.0, 2.0, 7.0]], keep=3)
    assert pruned(method("wanda", cumulative=True), layer) == [[False, True, True], [False, False, True]]
    assert pruned(method("wanda"), layer) == [[False, False, True], [False, True, True]]


def test_the_variant_is_the_bisection_of_the_reference(method, random_layer):
    """alpha of 0 to 0.8, halved until the sparsity is right; then the weights of each output below its share go."""
    layer = random_layer(0, outputs=8, inputs=32, keep=128)
    scores = layer.weight.abs() * layer.norms
    ascending, order = scores.sort(dim=1)
    low, high = 0.0, 0.8
    for _ in range(60):
        alpha = (low + high) / 2
        removed = ascending.cumsum(1) <= alpha * ascending.sum(1, keepdim=True)
        low, high = (alpha, high) if int(removed.sum()) < 128 else (low, alpha)
    mask = ~torch.zeros_like(removed).scatter(1, order, ascending.cumsum(1) <= high * ascending.sum(1, keepdim=True))
    assert int(mask.sum()) == 128
    assert pruned(method("wanda", cumulative=True), layer) == mask.tolist()


def test_a_layer_whose_inputs_are_all_zero_is_pruned_too(method, layer_of):
    layer = layer_of([[1.0, 2.0], [3.0, 4.0]], torch.zeros(2, 2), keep=3)
    for cumulative in (True, False):
        mask, _ = method("wanda", cumulative=cumulative).prune_layer(layer)
        assert int(mask.sum()) == 3


@pytest.mark.parametrize("name", ["magnitude-layerwise", "wanda", "ria"])
def test_of_equal_scores_no_more_are_removed_than_are_to_be(method, layer_of, name):
    """Two weights have the lowest score: a threshold would remove both, or neither."""
    assert pruned(method(name), layer_of([[1.0, -1.0], [1.0, 2.0]], keep=3)) == [[True, True], [False, True]]


def test_magnitude_layerwise_keeps_the_largest_of_the_layer(method, layer_of):
    """Whatever the inputs are."""
    layer = layer_of([[1.0, -2.0], [3.0, -4.0]], [[100.0, 0.0], [0.0, 1.0]], keep=2)
    assert pruned(method("magnitude-layerwise"), layer) == [[False, False], [True, True]]
    layer = layer_of([[1.0, -2.0, 3.0, 4.0]], structure=Structure(1, 2))
    assert pruned(method("magnitude-layerwise"), layer) == [[False, True, False, True]]
