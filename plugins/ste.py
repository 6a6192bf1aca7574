"""Straight-through estimation: the largest weights are used, all of them are trained."""

from collections.abc import Iterator
from typing import Annotated

import torch
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError


class STE(prunebench.Method):
    """Every pass uses the largest weights only, and the gradient that they get trains the dense weights behind them.

    That gradient is passed straight through the mask, to weights that are masked as well: they may grow, and come back.
    """

    name = "ste"
    family = "during training"
    version = 1
    reference = "Bengio et al. 2013, arXiv:1308.3432; pruned weights: Lin et al. 2020 (DPF), arXiv:2006.07253"

    allocation: Annotated[prunebench.Allocation, Doc("how kept weights are shared out among the layers")] = "uniform"

    def updater(self, density: float | None) -> prunebench.Updater:
        if density is None:
            raise PrunebenchError("straight-through masks need a density: Train(by=..., density=...)")
        return _Largest(density, self.allocation)

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train(by=self, density=trial.density)


class StraightThrough(prunebench.Updater):
    """Keeps the dense weights in memory during each pass, and in the weights between; a subclass makes the masks."""

    trains_dense = True

    def apply_masks(self, training: prunebench.Training) -> None:
        training.memory |= {f"dense/{name}": weight.detach().clone() for name, weight in training.weights.items()}
        self.select(training)
        with torch.no_grad():
            for name, mask in training.masks.items():
                training.weights[name].mul_(mask)

    def restore_dense(self, training: prunebench.Training) -> None:
        with torch.no_grad():
            for name, weight in training.weights.items():
                weight.copy_(training.memory[f"dense/{name}"])

    def select(self, training: prunebench.Training) -> None:
        """Make the masks from the dense weights."""
        raise NotImplementedError

    def flops(self, training: prunebench.Training) -> prunebench.Flops:
        return training.dense_gradient_flops


class _Largest(StraightThrough):
    def __init__(self, density: float, allocation: prunebench.Allocation) -> None:
        self.density, self.allocation = density, allocation

    def select(self, training: prunebench.Training) -> None:
        training.keep_highest(magnitudes(training), self.density, self.allocation)


def magnitudes(training: prunebench.Training) -> dict[str, torch.Tensor]:
    return {name: weight.detach().abs() for name, weight in training.weights.items()}


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [STE]
