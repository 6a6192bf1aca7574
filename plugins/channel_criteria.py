"""Channels are removed by BatchNorm's scales, by norms of whole groups, or by what the loss says of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated

import torch
from annotated_types import Ge
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import Unreachable

from .filters import filters_of
from .obd import gradients


class Slimming(prunebench.StructuredMethod):
    """Train with a penalty on the scales of BatchNorm, remove the channels with the smallest scales, fine-tune.

    The penalty adds `penalty` times the sign of each scale to its gradient. Channels that no BatchNorm scales
    are removed last.
    """

    name = "slimming"
    version = 1
    reference = "Liu et al. 2017, Learning Efficient Convolutional Networks through Network Slimming, arXiv:1708.06519"
    exempt = {"inversion": "in a short training the scales stay near 1, whichever channels matter"}

    penalty: Annotated[float, Ge(0), Doc("factor of the sum of absolute scales in the loss")] = 1e-4

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        found = {group.name: _scales(group, scoring) for group in scoring.groups if group.scales}
        if not found:
            raise Unreachable("slimming compares scales of BatchNorm, and no channel of this network has one")
        largest = max(float(scales.max()) for scales in found.values())
        return {group.name: found.get(group.name, torch.full((group.size,), largest + 1)) for group in scoring.groups}

    def updater(self, density: float | None) -> prunebench.Updater:
        return Penalty(self.penalty)

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        return _penalized(self, super().stages(trial), self.penalty)


class Penalty(prunebench.Updater):
    """Adds the gradient of the sum of absolute scales; the masks do not change."""

    keeps_masks = True

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def after_backward(self, training: prunebench.Training) -> bool:
        for layer in training.model.modules():
            if isinstance(layer, _BatchNorm) and layer.weight is not None and layer.weight.grad is not None:
                layer.weight.grad.add_(layer.weight.detach().sign(), alpha=self.factor)
        return False


def _scales(group: prunebench.Group, scoring: prunebench.Scoring) -> torch.Tensor:
    return group.scales[0].of(scoring.parameters).detach().abs().sum(1)


class GroupNorm(prunebench.StructuredMethod):
    """Train, remove the channels with the smallest weights in all layers that they belong to, fine-tune.

    A channel's score is the sum of its squared weights in a layer, the mean over all weights that compute, read or
    scale it, relative to the mean of its group.
    """

    name = "group-norm"
    version = 1
    reference = "Fang et al. 2023, DepGraph: Towards Any Structural Pruning, arXiv:2301.12900; without its regularizer"

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        found = {}
        for group in scoring.groups:
            mean = _mean_norms(group, scoring.parameters)
            found[group.name] = mean / mean.mean().clamp(min=torch.finfo(mean.dtype).tiny)
        return found


class DepGraph(GroupNorm):
    """Train with a penalty on the weights of whole groups, remove the channels with the smallest, fine-tune.

    In each step `penalty` times 2^(4 (max - s) / (max - min)) times the weight is added to its gradient, for all
    weights that compute, read or scale a channel; s is the root of the sum of squares that `group-norm` scores, and max
    and min are those of its group. Weak channels are pulled to zero in all layers together, up to 16 times as much as
    strong ones.
    """

    name = "depgraph"
    version = 1
    reference = "Fang et al. 2023, DepGraph: Towards Any Structural Pruning, arXiv:2301.12900; with its regularizer"

    penalty: Annotated[float, Ge(0), Doc("factor of the weights in their gradients, for the strongest channels")] = 1e-4

    def updater(self, density: float | None) -> prunebench.Updater:
        return GroupPenalty(self.penalty)

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        return _penalized(self, super().stages(trial), self.penalty)


class GroupPenalty(prunebench.Updater):
    """Pulls the weights of each channel to zero, the more the smaller they are; the masks do not change."""

    keeps_masks = True

    def __init__(self, factor: float) -> None:
        self.factor = factor

    @torch.no_grad()
    def after_backward(self, training: prunebench.Training) -> bool:
        weights = {name: value.detach() for name, value in training.parameters.items()}
        for group in training.groups:
            pull = self.factor * strengths(_mean_norms(group, weights).sqrt())
            for part in _weights_of(group):
                gradient = training.parameters[part.tensor].grad
                if gradient is None:
                    continue
                factors = torch.zeros(gradient.shape[part.dim], dtype=gradient.dtype, device=gradient.device)
                for places in torch.tensor(part.indices, device=gradient.device).T:
                    factors[places] = pull.to(gradient.dtype)
                shape = [-1 if dim == part.dim else 1 for dim in range(gradient.dim())]
                gradient.addcmul_(weights[part.tensor], factors.view(shape))
        return False


def strengths(sizes: torch.Tensor) -> torch.Tensor:
    """1 for the largest channel of a group, 16 for the smallest, and between them by powers; 1 if all are equal."""
    spread = sizes.max() - sizes.min()
    return torch.where(spread > 0, 2 ** (4 * (sizes.max() - sizes) / spread), torch.ones_like(sizes))


def _weights_of(group: prunebench.Group) -> tuple[prunebench.Part, ...]:
    return (*group.outputs, *group.inputs, *group.scales)


def _mean_norms(group: prunebench.Group, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The sum of the squared weights of each channel in a layer, the mean over all layers that it belongs to."""
    return torch.stack([part.of(weights).detach().double().square().sum(1) for part in _weights_of(group)]).mean(0)


def _penalized(
    method: prunebench.Method, stages: Iterable[prunebench.Stage], penalty: float
) -> Iterator[prunebench.Stage]:
    """A chain whose trainings of the whole network are by the method's updater."""
    whole = True
    for stage in stages:
        whole = whole and not isinstance(stage, prunebench.Cut)
        yield replace(stage, by=method) if whole and penalty and isinstance(stage, prunebench.Train) else stage


class LampChannels(prunebench.StructuredMethod):
    """Train, remove the channels whose filters are small beside the larger ones of their layer, fine-tune.

    The score is the squared norm of a filter, divided by the sum of the squared norms of this filter and of all larger
    ones: LAMP, of filters instead of weights.
    """

    name = "lamp-channels"
    version = 1
    reference = "Lee et al. 2021, Layer-adaptive Sparsity for the Magnitude-based Pruning, arXiv:2010.07611"

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        found = {}
        for group in scoring.groups:
            squares = filters_of(group, scoring).double().square().sum(1)
            order = squares.argsort(stable=True)
            ascending = squares[order]
            rest = ascending.flip(0).cumsum(0).flip(0)
            found[group.name] = torch.zeros_like(squares).scatter(0, order, ascending / rest.clamp(min=1e-300))
        return found


class ByGradients(prunebench.StructuredMethod):
    """Base class of scores by the gradients of the loss, in evaluation mode."""

    batches: Annotated[int, Ge(1), Doc("mini-batches whose gradients are used")] = 32
    batch_size: Annotated[int, Ge(1), Doc("examples in each")] = 8

    def of_batch(self, weights: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        """The score of each channel by one gradient; both arguments have the shape (channels, weights of one)."""
        raise NotImplementedError

    def parts(self, group: prunebench.Group) -> tuple[prunebench.Part, ...]:
        """The weights that are scored; by default those that compute the channels."""
        return group.outputs

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        parameters = scoring.parameters
        found = {group.name: torch.zeros(group.size, dtype=torch.float64) for group in scoring.groups}
        for gradient in gradients(scoring, self.batches, self.batch_size):
            for group in scoring.groups:
                parts = self.parts(group)
                weights, slopes = (torch.cat([part.of(of) for part in parts], 1) for of in (parameters, gradient))
                found[group.name] += self.of_batch(weights.detach().double(), slopes.double()).cpu() / self.batches
        return found

    def scoring_flops(self, network: prunebench.Network, density: float) -> float:
        return 3 * network.flops * self.batches * self.batch_size


class TaylorChannels(ByGradients):
    """Train, remove the channels whose removal changes the loss least to first order, fine-tune.

    The score is the square of Σ w dL/dw over all weights that compute the channel, the mean over mini-batches.
    """

    name = "taylor-channels"
    version = 1
    reference = "Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, arXiv:1906.10771"

    def of_batch(self, weights: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        return (weights * slopes).sum(1).square()


class OBDChannels(ByGradients):
    """Train, remove the channels whose removal changes the loss least to second order, fine-tune.

    The score is Σ w² F / 2 over all weights that compute the channel, with F the mean over mini-batches of the square
    of a weight's gradient: what `obd` is for single weights.
    """

    name = "obd-channels"
    version = 1
    reference = "Theis et al. 2018, arXiv:1801.05787, after LeCun et al. 1989, Optimal Brain Damage; here of channels"

    def of_batch(self, weights: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        return (weights * slopes).square().sum(1) / 2


class HeadImportance(ByGradients):
    """Train, remove the attention heads whose gates change the loss least, fine-tune.

    A gate multiplies a head before the layer that reads it. The score is the mean over examples of the absolute
    gradient of the gate, relative to the root mean square of its group. Channels and hidden units have gates too;
    `exclude` keeps them whole.
    """

    name = "head-importance"
    version = 1
    reference = "Michel et al. 2019, Are Sixteen Heads Really Better than One?, arXiv:1905.10650"

    batches: Annotated[int, Ge(1), Doc("mini-batches whose gradients are used")] = 256
    batch_size: Annotated[int, Ge(1), Doc("examples in each; in the paper 1")] = 1

    def parts(self, group: prunebench.Group) -> tuple[prunebench.Part, ...]:
        return group.inputs  # a gate's gradient is the sum of w dL/dw over the weights that read what it multiplies

    def of_batch(self, weights: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        return (weights * slopes).sum(1).abs()

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        found = super().channel_scores(scoring)
        return {name: one / one.square().mean().sqrt().clamp(min=1e-300) for name, one in found.items()}


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Slimming, GroupNorm, DepGraph, LampChannels, TaylorChannels, OBDChannels, HeadImportance]
