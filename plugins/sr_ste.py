"""SR-STE: N:M sparsity from scratch."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge
from typing_extensions import Doc

import prunebench

from .nm import Grouped
from .ste import StraightThrough, magnitudes


class SRSTE(Grouped):
    """Every pass uses the N largest of each M weights along the input channels; the gradient trains all of them.

    What is masked also decays: `decay` times the weight is added to its gradient, so that masks come to rest.
    """

    name = "sr-ste"
    family = "during training"
    version = 1
    reference = "Zhou et al. 2021, arXiv:2102.04010"
    presets = {
        "2-of-4": prunebench.Preset("Zhou et al. 2021: what the sparse tensor cores of NVIDIA GPUs multiply"),
        "4-of-8": prunebench.Preset("Zhou et al. 2021", {"n": 4, "m": 8}),
    }

    decay: Annotated[float, Ge(0), Doc("of the masked weights; 0 is a plain straight-through estimator")] = 2e-4

    def updater(self, density: float | None) -> prunebench.Updater:
        return _Groups(self.structure, self.decay)

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        self.structure.check(trial.density, trial.network.layers)
        yield prunebench.Initialize()
        yield prunebench.Train(by=self, density=trial.density)


class _Groups(StraightThrough):
    def __init__(self, structure: prunebench.Structure, decay: float) -> None:
        self.structure, self.decay = structure, decay

    def select(self, training: prunebench.Training) -> None:
        training.keep_highest(magnitudes(training), self.structure.density, structure=self.structure)

    def after_backward(self, training: prunebench.Training) -> bool:
        with torch.no_grad():
            for name, mask in training.masks.items():
                weight = training.weights[name]
                if weight.grad is not None:
                    weight.grad.add_(weight * ~mask, alpha=self.decay)
        return False


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [SRSTE]
