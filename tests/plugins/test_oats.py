"""OATS: a sparse part and a part of low rank, found in turn."""

import pytest
import torch
from prunebench_plugins.oats import leading

from prunebench import PruneLayerwise, Structure
from prunebench.api.errors import Unreachable


@pytest.fixture
def parts(method):
    """The mask, the sparse part and the part of low rank that are made of a layer."""

    def make(layer, **parameters):
        mask, weight, left, right = method("oats", **parameters).prune_layer(layer)
        return mask, weight * mask, left @ right

    return make


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6)])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_the_factors_are_those_of_the_leading_singular_values(shape, rank):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, right = leading(matrix, rank)
    assert (left.shape, right.shape) == ((shape[0], rank), (rank, shape[1]))
    vectors, values, others = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(left @ right, vectors[:, :rank] * values[:rank] @ others[:rank])


def test_a_weight_that_is_sparse_and_low_rank_is_found_again(parts, layer_of):
    """Ones everywhere, and one large weight in each output: 8 of them, and a rank of 1 with 8 + 8 numbers."""
    spikes = 10 * torch.roll(torch.eye(8, dtype=torch.float64), 3, 1)
    mask, sparse, low = parts(layer_of(torch.ones(8, 8) + spikes, keep=24), rank_share=0.67, iterations=60)
    assert torch.equal(mask, spikes > 0)
    torch.testing.assert_close(sparse, spikes, atol=1e-6, rtol=0)
    torch.testing.assert_close(low, torch.ones(8, 8, dtype=torch.float64), atol=1e-6, rtol=0)


def test_one_turn_by_hand(parts, layer_of):
    """The largest singular value of diag(3, 2) is 3; of the rest, the larger number of each output stays."""
    mask, sparse, low = parts(layer_of([[3.0, 0.0], [0.0, 2.0]], keep=6), rank_share=0.67, iterations=1)
    assert low.tolist() == [[pytest.approx(3.0), 0.0], [0.0, 0.0]]
    assert int(mask.sum()) == 2
    assert sparse[1].tolist() == [0.0, pytest.approx(2.0)]


@pytest.mark.parametrize("keep", [0, 1, 29, 48, 95])
@pytest.mark.parametrize("rank_share", [0.0, 0.25, 0.6])
def test_both_parts_together_have_as_many_numbers_as_weights_are_kept(method, random_layer, keep, rank_share):
    mask, weight, left, right = method("oats", rank_share=rank_share).prune_layer(random_layer(3, keep=keep))
    assert left.shape[1] == len(right) == int(rank_share * keep / (6 + 16))
    assert int(mask.sum()) + left.numel() + right.numel() == keep
    rows = mask.sum(1)
    assert rows.max() - rows.min() <= 1
    assert weight.isfinite().all()


def test_without_factors_it_is_wanda(method, parts, random_layer):
    layer = random_layer(5)
    mask, weight = method("wanda").prune_layer(layer)
    found, sparse, low = parts(layer, rank_share=0)
    assert torch.equal(found, mask)
    torch.testing.assert_close(sparse, weight * mask)
    assert not low.any()


def test_larger_inputs_with_smaller_weights_change_nothing_but_the_scale(parts, random_layer, layer_of):
    layer = random_layer(2, keep=60)
    by = torch.linspace(0.1, 9.0, 16, dtype=torch.float64)
    scaled = layer_of(layer.weight / by, layer.moments * by * by[:, None], 60)
    for one, other in zip(parts(layer)[1:], parts(scaled)[1:], strict=True):
        torch.testing.assert_close(one, other * by)


def test_more_turns_come_nearer_to_the_scaled_weight(parts, random_layer):
    layer = random_layer(7, keep=60)

    def distance(iterations):
        _, sparse, low = parts(layer, iterations=iterations, rank_share=0.4)
        return float(((layer.weight - sparse - low) * layer.norms).square().sum())

    distances = [distance(iterations) for iterations in (1, 2, 4, 8, 32)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.97 * distances[0]


def test_an_input_that_is_never_used_has_no_part_in_the_factors(parts, layer_of):
    """What is kept of its weights stays as it is; outputs do not depend on it, later layers' statistics neither."""
    moments = torch.diag(torch.tensor([1.0, 0.0, 1.0]))
    mask, sparse, low = parts(layer_of([[1.0, 5.0, 2.0], [3.0, 7.0, 4.0]], moments, keep=6), rank_share=0)
    assert mask.all()
    assert sparse[:, 1].tolist() == [5.0, 7.0]
    _, sparse, low = parts(layer_of([[1.0, 5.0, 2.0], [3.0, 7.0, 4.0]], moments, keep=6), rank_share=0.9)
    assert not low[:, 1].any()
    assert low.isfinite().all()


def test_with_a_structure_the_sparse_part_has_it_and_the_factors_have_their_share_of_both(method, random_layer):
    mask, _, left, right = method("oats", rank_share=0.5).prune_layer(random_layer(2, structure=Structure(2, 4)))
    assert mask.view(-1, 4).sum(1).eq(2).all()
    assert len(right) == left.shape[1] == int(0.5 * 96 / (6 + 16))  # 48 weights, and 48 numbers


def test_with_a_structure_the_target_is_that_of_both_parts(tiny, method):
    by = method("oats", structure=Structure(2, 4), rank_share=0.2)
    task = tiny.task(tiny.MLP(hidden=(12,)))
    pruning = next(
        stage for stage in by.stages(tiny.trial(by, sparsity=0.375, task=task)) if isinstance(stage, PruneLayerwise)
    )
    assert pruning.density == 0.5
    with pytest.raises(Unreachable, match=r"2:4 and a rank_share of 0.2 make a sparsity of 0.375, not 0.5"):
        list(by.stages(tiny.trial(by, sparsity=0.5, task=task)))
