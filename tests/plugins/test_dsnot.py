"""Swaps that bring the mean error of an output towards 0, and RIA's scores, worked out by hand."""

import pytest
import torch

from prunebench import Structure


def pruned(method, name, layer, **parameters):
    mask, weight = method(name, **parameters).prune_layer(layer)
    assert torch.equal(weight, layer.weight)
    return mask


def with_means(layer_of, weight, means, variances=None, **given):
    means = torch.tensor(means)
    variances = torch.ones(len(means)) if variances is None else torch.tensor(variances)
    return layer_of(weight, torch.diag(variances + means.square()), means=means, **given)


def test_a_swap_brings_back_what_lowers_the_error_most_and_removes_what_lowers_it_too(method, layer_of):
    """All inputs have norm √2 and mean 1. Wanda keeps 5, -4 and 3, so that the error is 2 + 1 = 3.

    The first cycle brings 2 back and removes -4: the error is 3 - 2 - 4 = -3, which is not smaller. So nothing happens;
    with -1.5 instead of -4, that becomes -0.5, its sign has changed, and the output is done.
    """
    refused = with_means(layer_of, [[5.0, -4.0, 3.0, 2.0, 1.0]], [1.0] * 5, keep=3)
    assert pruned(method, "dsnot", refused).tolist() == [[True, True, True, False, False]]
    made = with_means(layer_of, [[5.0, -1.5, 3.0, 1.4, 1.3]], [1.0] * 5, keep=3)
    assert pruned(method, "dsnot", made).tolist() == [[True, False, True, True, False]]


def test_the_weight_that_comes_back_is_chosen_for_the_variance_of_its_input(method, layer_of):
    """1.3 / 0.1 is more than 1.4 / 1; norms still decide what is removed at first."""
    layer = with_means(layer_of, [[9.0, -1.5, 9.0, 1.4, 1.3]], [1.0] * 5, [1.0, 1.0, 1.0, 1.0, 0.1], keep=3)
    assert pruned(method, "dsnot", layer).tolist() == [[True, False, True, False, True]]


def test_a_negative_error_is_repaired_by_negative_contributions(method, layer_of):
    layer = with_means(layer_of, [[5.0, 1.5, 3.0, -1.4, -1.3]], [1.0] * 5, keep=3)
    assert pruned(method, "dsnot", layer).tolist() == [[True, False, True, True, False]]


def test_an_output_whose_error_is_below_the_threshold_is_left_alone(method, layer_of):
    layer = with_means(layer_of, [[5.0, -1.5, 3.0, 1.4, 1.3]], [1.0] * 5, keep=3)
    for parameters in ({"threshold": 2.7}, {"cycles": 0}):
        assert pruned(method, "dsnot", layer, **parameters).tolist() == [[True, True, True, False, False]]


@pytest.mark.parametrize("structure", [None, Structure(2, 4)])
@pytest.mark.parametrize("seed", range(5))
def test_errors_never_grow_and_counts_stay(method, random_layer, layer_of, structure, seed):
    layer = random_layer(seed, outputs=8, inputs=32, structure=structure, keep=100)
    means = torch.randn(32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    layer = layer_of(layer.weight, layer.moments + torch.outer(means, means), layer.keep, structure, means)
    before, after = pruned(method, "wanda", layer), pruned(method, "dsnot", layer)
    assert torch.equal(before.sum(1), after.sum(1))
    assert structure is None or after.view(-1, 4).sum(1).eq(2).all()
    errors = [(layer.weight * means * ~mask).sum(1).abs() for mask in (before, after)]
    assert (errors[1] <= errors[0]).all()
    assert errors[1].sum() < errors[0].sum()


def test_without_means_it_is_wanda(method, random_layer, layer_of):
    layer = random_layer(0)
    layer = layer_of(layer.weight, layer.moments, keep=50)
    assert torch.equal(pruned(method, "dsnot", layer), pruned(method, "wanda", layer))


def test_ria_compares_a_weight_with_those_of_its_output_and_of_its_input(method, layer_of):
    """1/4 + 1/2, 3/4 + 3/7; 1/5 + 1/2, 4/5 + 4/7: the lowest is the third, whose magnitude is that of the first."""
    layer = layer_of([[1.0, 3.0], [1.0, -4.0]], keep=3)
    assert pruned(method, "ria", layer).tolist() == [[True, True], [False, True]]


def test_ria_takes_norms_to_a_power(method, layer_of):
    """Norms of 1 and 16: at the power 1/2 scores are (8/9 + 1) * 1 and (1/9 + 1) * 4."""
    moments = torch.diag(torch.tensor([1.0, 256.0]))
    weight = [[8.0, 1.0]]
    assert pruned(method, "ria", layer_of(weight, moments, keep=1)).tolist() == [[False, True]]
    assert pruned(method, "ria", layer_of(weight, moments, keep=1), power=0.0).tolist() == [[True, False]]
    weak = torch.diag(torch.tensor([1.0, 4.0]))  # 17/9 against √2 * 10/9, and 2 * 10/9 at the power 1
    assert pruned(method, "ria", layer_of(weight, weak, keep=1)).tolist() == [[True, False]]
    assert pruned(method, "ria", layer_of(weight, weak, keep=1), power=1.0).tolist() == [[False, True]]


def test_ria_keeps_n_of_m_and_stands_outputs_without_weights(method, layer_of):
    layer = layer_of([[0.0] * 4, [4.0, 1.0, 2.0, 3.0]], structure=Structure(2, 4))
    assert pruned(method, "ria", layer).sum(1).tolist() == [2, 2]
