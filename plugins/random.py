"""Random pruning at initialization: the baseline of every table."""

from collections.abc import Iterator
from typing import Annotated

import torch
from typing_extensions import Doc

import prunebench


class Random(prunebench.Method):
    """Prune random weights at initialization, then train.

    Each layer keeps an exact number of them: its share of one global draw, the same share everywhere (uniform), or
    more in small layers (ER, ERK).
    """

    name = "random"
    family = "random pruning"
    version = 1
    reference = "Gale et al. 2019, arXiv:1902.09574; ER: Mocanu et al. 2018; ERK: Evci et al. 2020, arXiv:1911.11134"
    exempt = {"inversion": "random scores do not say which weights matter"}

    allocation: Annotated[prunebench.Allocation, Doc("how the kept weights are shared out among the layers")] = "global"

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        generator = scoring.generator
        return {layer.name: torch.rand(layer.shape, generator=generator) for layer in scoring.layers}

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Prune(by=self, density=trial.density, allocation=self.allocation)
        yield prunebench.Train()


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Random]
