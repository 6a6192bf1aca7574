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
    """1.3 / 0.9 is more than 1.4 / 1; by the mean squares of 1.9 and 2 it would be less.

    Norms still decide what is removed at first.
    """
    layer = with_means(layer_of, [[9.0, -1.5, 9.0, 1.4, 1.3]], [1.0] * 5, [1.0, 1.0, 1.0, 1.0, 0.9], keep=3)
    assert pruned(method, "dsnot", layer).tolist() == [[True, False, True, False, True]]


def test_a_negative_error_is_repaired_by_negative_contributions(method, layer_of):
    layer = with_means(layer_of, [[5.0, 1.5, 3.0, -1.4, -1.3]], [1.0] * 5, keep=3)
    assert pruned(method, "dsnot", layer).tolist() == [[True, False, True, True, False]]


def test_an_output_is_done_when_the_sign_of_its_error_changes(method, layer_of):
    """The error is 0.3 + 3 * 0.25 - 0.05 = 1; with 0.3 back and -1.5 removed it is -0.8.

    It could be repaired further from there: with -0.05 back, whose input varies least, and 0.3 removed it is -0.45.
    """
    weight, variances = [[5.0, -1.5, 3.0, 0.3, 0.25, 0.25, 0.25, -0.05]], [1.0] * 7 + [0.01]
    layer = with_means(layer_of, weight, [1.0] * 8, variances, keep=3)
    assert pruned(method, "dsnot", layer)[0].nonzero().flatten().tolist() == [0, 2, 3]


def test_an_output_that_is_done_stays_so_where_a_swap_by_the_first_sign_would_help(method, layer_of):
    """The error is 1.4 - 0.3 = 1.1; with 1.4 back and -1.5 removed it is 1.1 - 1.4 - 1.5 * 0.2 = -0.6.

    With -0.3 back and -1.6 removed it would be -0.6 + 0.3 - 1.6 * 0.05 = -0.38.
    """
    weight, means, variances = [[5.0, -1.5, -1.6, 1.4, -0.3]], [1.0, 0.2, 0.05, 1.0, 1.0], [1.0, 1.0, 1.0, 0.01, 2.0]
    layer = with_means(layer_of, weight, means, variances, keep=3)
    assert pruned(method, "dsnot", layer).tolist() == [[True, False, True, True, False]]


def test_what_is_removed_lowers_the_error_too_whatever_has_a_lower_score(method, layer_of):
    """The error is 2.7: with 1.4 back and 2 removed it would be 3.3, and it is -1.2 with -2.5 removed."""
    layer = with_means(layer_of, [[5.0, -2.5, 2.0, 1.4, 1.3]], [1.0] * 5, keep=3)
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


def test_ria_compares_the_weights_of_all_outputs(method, layer_of):
    """1/2 + 1/4, 1/2 + 1/10; 1/4 + 3/4, 3/4 + 9/10: both of the second output. By outputs each would keep one."""
    layer = layer_of([[1.0, 1.0], [3.0, 9.0]], keep=2)
    assert pruned(method, "ria", layer).tolist() == [[False, False], [True, True]]


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
