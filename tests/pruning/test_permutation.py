"""Permutations of channels for N:M sparsity: answers worked out by hand, and a search through all of them."""

from itertools import permutations

import pytest
import torch
from torch import nn

import prunebench
from prunebench import Prune, PruneLayerwise, Structure, Train
from prunebench.api.errors import PluginError
from prunebench.api.tasks import Prunable
from prunebench.network.description import describe
from prunebench.pruning.layer_context import LayerContext
from prunebench.pruning.permutation import _reassigned, channel_order, columns_of, retained, search_flops
from prunebench.pruning.solutions import by_method

ONE_OF_TWO = Structure(1, 2, permuted=True)
TWO_OF_FOUR = Structure(2, 4, permuted=True)


def test_the_best_channels_are_dealt_out_to_different_groups():
    """Sums 4, 3, 2, 1: the groups (4, 1) and (3, 2) keep 4 + 3 where (4, 3) and (2, 1) would keep 4 + 2."""
    order = channel_order(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), ONE_OF_TWO)
    assert sorted(map(sorted, order.view(2, 2).tolist())) == [[0, 3], [1, 2]]
    assert retained(torch.tensor([[4.0, 1.0, 3.0, 2.0]]), ONE_OF_TWO) == 7


def test_the_assignment_finds_partners_that_are_not_needed_at_the_same_time():
    """By their sums 10, 6, 9 and 7, channels are dealt out as (0, 1) and (2, 3), which is the given order too.

    Both channels of a group matter to the same output there: 10 + 9 are kept. With 0 and 2 exchanged, each output finds
    one of its two channels in each group, and all scores are kept.
    """
    scores = torch.tensor([[10.0, 6.0, 0.0, 0.0], [0.0, 0.0, 9.0, 7.0]])
    assert retained(scores, ONE_OF_TWO) == 19
    order = channel_order(scores, ONE_OF_TWO)
    assert sorted(map(sorted, order.view(2, 2).tolist())) == [[0, 3], [1, 2]]
    assert retained(scores[:, order], ONE_OF_TWO) == 32


@pytest.mark.parametrize("structure", [ONE_OF_TWO, TWO_OF_FOUR, Structure(3, 4, True), Structure(1, 4, True)])
@pytest.mark.parametrize("seed", range(20))
def test_a_permutation_never_keeps_less_than_the_given_order(structure, seed):
    scores = torch.rand(3, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    order = channel_order(scores, structure)
    assert order.sort().values.tolist() == list(range(8))
    assert retained(scores[:, order], structure) >= retained(scores, structure)


def test_the_given_order_stays_where_it_is_the_best():
    """Every group has one channel that each output needs."""
    scores = torch.tensor([[5.0, 0.0, 0.0, 4.0], [5.0, 0.0, 0.0, 4.0]])
    assert retained(scores, ONE_OF_TWO) == 18
    assert channel_order(scores, ONE_OF_TWO).tolist() == [0, 1, 2, 3]
    assert channel_order(scores, Structure(2, 2, True)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("n", "m"), [(1, 2), (1, 4), (2, 4), (3, 4)])
@pytest.mark.parametrize("place", [0, 1])
def test_channels_at_one_place_are_exchanged_as_the_best_of_all_exchanges(n, m, place):
    """Three groups, and so six ways to exchange their channels at a place."""
    structure = Structure(n, m, True)
    scores = torch.rand(4, 3 * m, generator=torch.Generator().manual_seed(m + n), dtype=torch.float64) ** 3
    groups = torch.arange(3 * m).view(3, m)
    kept = []
    for order in permutations(range(3)):
        changed = groups.clone()
        changed[:, place] = groups[list(order), place]
        kept.append(retained(scores[:, changed.flatten()], structure))
    found = _reassigned(scores, groups, place, n)
    assert retained(scores[:, found.flatten()], structure) == pytest.approx(max(kept), rel=1e-12)
    assert max(kept) > min(kept)


def test_the_search_comes_near_the_best_of_all_permutations():
    """Of what the best order keeps above the given one it finds most, on average over small layers."""
    shares = []
    for seed in range(10):
        scores = torch.rand(2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 2
        structure = Structure(1, 2, True)
        best = max(retained(scores[:, list(order)], structure) for order in permutations(range(6)))
        given, found = retained(scores, structure), retained(scores[:, channel_order(scores, structure)], structure)
        assert found <= best + 1e-12
        shares.append((found - given) / (best - given) if best > given + 1e-12 else 1.0)
    assert sum(shares) / len(shares) > 0.8


def test_the_channels_of_a_convolution_move_together_at_each_place_of_its_kernel():
    """Three channels, two places: inputs 0 to 2 are those of the first place."""
    assert columns_of(torch.tensor([2, 0, 1]), 6).tolist() == [2, 0, 1, 5, 3, 4]


def layer_of(weight, structure, places=1, moments=None):
    weight = torch.as_tensor(weight, dtype=torch.float64)
    moments = torch.eye(weight.shape[1], dtype=torch.float64) if moments is None else moments
    keep = weight.numel() * structure.n // structure.m
    return LayerContext("layer", weight, moments, torch.zeros(len(moments)).double(), 10, keep, structure, places)


@pytest.mark.parametrize("name", ["magnitude-layerwise", "wanda", "ria"])
def test_a_mask_comes_back_in_the_order_of_the_layer(method, name):
    """Of 4, 3, 2, 1 the two largest stay although they are neighbours; without a permutation 2 would stay for 3."""
    weight = [[4.0, -3.0, 2.0, 1.0]]
    found = by_method(method(name), False)(layer_of(weight, ONE_OF_TWO))
    assert found.mask.tolist() == [[True, True, False, False]]
    assert torch.equal(found.weight, torch.tensor(weight).double())
    assert by_method(method(name), False)(layer_of(weight, Structure(1, 2))).mask.tolist() == [
        [True, False, True, False]
    ]


@pytest.mark.parametrize("name", ["sparsegpt", "obc", "admm", "alps", "dsnot"])
def test_methods_that_change_weights_see_the_moments_of_the_permuted_inputs(method, name):
    """The same as solving the layer whose columns and inputs were moved beforehand."""
    generator = torch.Generator().manual_seed(3)
    inputs = (
        torch.randn(60, 8, generator=generator, dtype=torch.float64) @ torch.randn(8, 8, generator=generator).double()
    )
    weight = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    moments = inputs.T @ inputs / 60
    order = channel_order(weight.abs() * moments.diagonal().sqrt(), TWO_OF_FOUR)
    assert order.tolist() != list(range(8))
    found = by_method(method(name), False)(layer_of(weight, TWO_OF_FOUR, moments=moments))
    beforehand = layer_of(weight[:, order], Structure(2, 4), moments=moments[order][:, order])
    mask, solved = method(name).prune_layer(beforehand)
    assert torch.equal(found.mask[:, order], mask)
    assert torch.allclose(found.weight[:, order], solved)
    assert (found.mask[:, order].view(5, 2, 4).sum(-1) == 2).all()
    assert found.flops == method(name).layer_flops(5, 8, 10) + search_flops(5, 8, TWO_OF_FOUR)


def test_the_search_costs_a_gain_for_each_pair_of_groups_and_an_assignment_at_each_place():
    """Two groups of four: 4 * (3 * 5 * 2² + 2³)."""
    assert search_flops(5, 8, TWO_OF_FOUR) == 272


def n_of_m_somehow(mask, structure):
    """Whether some order of the columns of a mask makes it N:M: a search, for few columns."""
    columns = mask.shape[1]
    return any(
        (mask[:, list(order)].view(len(mask), -1, structure.m).sum(-1) == structure.n).all()
        for order in permutations(range(columns))
    )


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 6, 3, groups=2)
        self.last = nn.Linear(6, 3)

    def forward(self, inputs):
        return self.last(self.grouped(self.stem(inputs).relu()).relu().mean((2, 3)))


class Convolutions(prunebench.Model):
    name = "convolutions-to-permute"

    def build(self, input_shape, num_classes):
        return Convolution()


def test_each_group_of_a_convolution_is_n_of_m_after_one_order_of_its_channels(tiny, run_stages, method):
    task = tiny.task(Convolutions(), steps=4, prunable=Prunable(first=False, last=False))
    stage = PruneLayerwise(by=method("wanda"), density=0.5, structure=TWO_OF_FOUR, examples=30)
    end = run_stages(task, Train(), stage).end
    mask = end.masks["grouped.weight"]
    assert int(mask.sum()) == mask.numel() // 2 == int(torch.count_nonzero(end.parameters["grouped.weight"]))
    for part in mask.view(2, 3, 4, 9):
        assert n_of_m_somehow(part.permute(0, 2, 1).reshape(27, 4), TWO_OF_FOUR)


def test_a_permutation_keeps_more_and_lowers_the_error_of_the_layers(tiny, run_stages, method):
    """The magnitudes that are kept; of the first layer, whose inputs no pruning has changed."""
    found = {}
    for structure in (Structure(2, 4), TWO_OF_FOUR):
        task = tiny.task(tiny.MLP(hidden=(16,)), steps=6, prunable=Prunable(last=False))
        stage = PruneLayerwise(by=method("magnitude-layerwise"), density=0.5, structure=structure, examples=30)
        chain = run_stages(task, Train(), stage)
        (layer,) = describe(task).layers
        found[structure.permuted] = float(chain.end.parameters[layer.name].abs().sum())
        assert int(chain.end.masks[layer.name].sum()) == layer.size // 2
    assert found[True] > found[False]


def test_only_layerwise_methods_permute_channels(method):
    with pytest.raises(ValueError, match="`permuted` belongs to methods that prune layer by layer"):
        Prune(by=method("magnitude"), density=0.5, structure=TWO_OF_FOUR)


class Negative(prunebench.LayerwiseMethod):
    name = "negative-scores"

    def layer_scores(self, layer):
        return -layer.weight.abs()

    def prune_layer(self, layer):
        return layer.keep_highest(layer.weight.abs()), layer.weight


def test_scores_that_no_permutation_can_be_found_by_are_refused():
    with pytest.raises(PluginError, match="layer_scores of method 'negative-scores' must be finite, not negative"):
        by_method(Negative(), False)(layer_of([[1.0, 2.0, 3.0, 4.0]], ONE_OF_TWO))
