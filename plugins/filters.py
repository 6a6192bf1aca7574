"""Channels are removed by the size of their filters, or at random: one trained network, its filters compared."""

from typing import Annotated

import torch
from typing_extensions import Doc

import prunebench


class Uniform(prunebench.StructuredMethod):
    """Base class of methods whose scores do not compare channels of different layers."""

    allocation: Annotated[
        prunebench.CutAllocation, Doc("global compares the channels of all layers, uniform removes the same share")
    ] = "uniform"


class ByFilters(Uniform):
    """Base class of scores by the filters of a layer alone."""

    def of_filters(self, filters: torch.Tensor) -> torch.Tensor:
        """The score of each channel; the argument has the shape (channels, weights of one)."""
        raise NotImplementedError

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        return {group.name: self.of_filters(filters_of(group, scoring)) for group in scoring.groups}


class RandomChannels(Uniform):
    """Train, remove channels and heads at random, fine-tune: what any criterion has to beat."""

    name = "random-channels"
    family = "random pruning"
    version = 1
    reference = "the random baseline; see Mittal et al. 2018, arXiv:1801.10447"
    exempt = {"inversion": "random scores do not say which channels matter"}

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        generator = scoring.generator
        return {group.name: torch.rand(group.size, generator=generator) for group in scoring.groups}


class L1Filters(ByFilters):
    """Train, remove the channels whose filters have the smallest sum of absolute weights, fine-tune.

    The filter is that of the first layer that computes the channel; of a head, its queries, keys and values.
    """

    name = "l1-filters"
    version = 1
    reference = "Li et al. 2017, Pruning Filters for Efficient ConvNets, arXiv:1608.08710"

    def of_filters(self, filters: torch.Tensor) -> torch.Tensor:
        return filters.abs().sum(1)


class L2Filters(ByFilters):
    """Train, remove the channels whose filters have the smallest Euclidean norm, fine-tune.

    The filter is that of the first layer that computes the channel; of a head, its queries, keys and values.
    """

    name = "l2-filters"
    version = 1
    reference = "He et al. 2018, Soft Filter Pruning, arXiv:1808.06866; here the filters are removed once"

    def of_filters(self, filters: torch.Tensor) -> torch.Tensor:
        return filters.square().sum(1).sqrt()


class FPGM(ByFilters):
    """Train, remove the channels whose filters are nearest to all others of their layer, fine-tune.

    A filter's score is the sum of its Euclidean distances to the other filters: what is close to their geometric
    median can be expressed by them.
    """

    name = "fpgm"
    version = 1
    reference = "He et al. 2019, Filter Pruning via Geometric Median, arXiv:1811.00250"

    def of_filters(self, filters: torch.Tensor) -> torch.Tensor:
        exact = filters.double()
        return torch.cdist(exact, exact, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


def filters_of(group: prunebench.Group, scoring: prunebench.Scoring) -> torch.Tensor:
    """The filters of the first layer that computes the channels, of shape (channels, weights of one)."""
    return group.outputs[0].of(scoring.parameters).detach()


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [RandomChannels, L1Filters, L2Filters, FPGM]
