"""Channels are removed by the size of their filters, or at random: one trained network, its filters compared."""

from typing import Annotated

import torch
from typing_extensions import Doc

import prunebench


class RandomChannels(prunebench.StructuredMethod):
    """Train, remove channels and heads at random, fine-tune: what any criterion has to beat."""

    name = "random-channels"
    version = 1
    reference = "the random baseline; see Mittal et al. 2018, arXiv:1801.10447"
    exempt = {"inversion": "random scores do not say which channels matter"}

    allocation: Annotated[
        prunebench.CutAllocation, Doc("global compares the channels of all layers, uniform removes the same share")
    ] = "uniform"

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        generator = scoring.generator
        return {group.name: torch.rand(group.size, generator=generator) for group in scoring.groups}


class L1Filters(prunebench.StructuredMethod):
    """Train, remove the channels whose filters have the smallest sum of absolute weights, fine-tune.

    The filter is that of the first layer that computes the channel; of a head, its queries, keys and values.
    """

    name = "l1-filters"
    version = 1
    reference = "Li et al. 2017, Pruning Filters for Efficient ConvNets, arXiv:1608.08710"

    allocation: Annotated[
        prunebench.CutAllocation, Doc("global compares the channels of all layers, uniform removes the same share")
    ] = "uniform"

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        return {group.name: _filters(group, scoring).abs().sum(1) for group in scoring.groups}


class L2Filters(prunebench.StructuredMethod):
    """Train, remove the channels whose filters have the smallest Euclidean norm, fine-tune.

    The filter is that of the first layer that computes the channel; of a head, its queries, keys and values.
    """

    name = "l2-filters"
    version = 1
    reference = "He et al. 2018, Soft Filter Pruning, arXiv:1808.06866; here the filters are removed once"

    allocation: Annotated[
        prunebench.CutAllocation, Doc("global compares the channels of all layers, uniform removes the same share")
    ] = "uniform"

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        return {group.name: _filters(group, scoring).square().sum(1).sqrt() for group in scoring.groups}


class FPGM(prunebench.StructuredMethod):
    """Train, remove the channels whose filters are nearest to all others of their layer, fine-tune.

    A filter's score is the sum of its Euclidean distances to the other filters: what is close to their geometric
    median can be expressed by them.
    """

    name = "fpgm"
    version = 1
    reference = "He et al. 2019, Filter Pruning via Geometric Median, arXiv:1811.00250"

    allocation: Annotated[
        prunebench.CutAllocation, Doc("global compares the channels of all layers, uniform removes the same share")
    ] = "uniform"

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        scores = {}
        for group in scoring.groups:
            filters = _filters(group, scoring).double()
            scores[group.name] = torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist").sum(1)
        return scores


def _filters(group: prunebench.Group, scoring: prunebench.Scoring) -> torch.Tensor:
    """The filters of the first layer that computes the channels, of shape (channels, weights of one)."""
    return group.outputs[0].of(scoring.parameters).detach()


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [RandomChannels, L1Filters, L2Filters, FPGM]
