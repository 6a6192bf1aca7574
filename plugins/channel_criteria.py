"""Channels are removed by BatchNorm's scales, by norms of whole groups, or by what the loss says of them."""

from collections.abc import Iterator
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
        for stage in super().stages(trial):
            first = isinstance(stage, prunebench.Train) and stage.until == "end"
            yield prunebench.Train(by=self) if first and self.penalty else stage


class Penalty(prunebench.Updater):
    """Adds the gradient of the sum of absolute scales; the masks do not change."""

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
            parts = (*group.outputs, *group.inputs, *group.scales)
            norms = torch.stack([part.of(scoring.parameters).detach().double().square().sum(1) for part in parts])
            mean = norms.mean(0)
            found[group.name] = mean / mean.mean().clamp(min=torch.finfo(mean.dtype).tiny)
        return found


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

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        parameters = scoring.parameters
        found = {group.name: torch.zeros(group.size, dtype=torch.float64) for group in scoring.groups}
        for gradient in gradients(scoring, self.batches, self.batch_size):
            for group in scoring.groups:
                parts = group.outputs
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


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Slimming, GroupNorm, LampChannels, TaylorChannels, OBDChannels]
