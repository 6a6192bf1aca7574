"""Magnitude pruning: of the trained network, and at initialization."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge
from typing_extensions import Doc

import prunebench


class Magnitude(prunebench.Method):
    """Train, remove the smallest weights, fine-tune at the last learning rate.

    With several rounds each removes the same share of what is left, and is followed by a fine-tuning.
    """

    name = "magnitude"
    family = "after training"
    version = 1
    reference = "Han et al. 2015, arXiv:1506.02626"

    finetune: Annotated[prunebench.Time, Doc("length of each fine-tuning, such as 10ep; 0 for none")] = "25%"
    rounds: Annotated[int, Ge(1), Doc("prune and fine-tune this often, to the target by equal shares")] = 1
    allocation: Annotated[prunebench.Allocation, Doc("how the kept weights are shared out among the layers")] = "global"

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        return _magnitudes(scoring)

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train()
        for done in range(1, self.rounds + 1):
            yield prunebench.Prune(by=self, density=trial.density ** (done / self.rounds), allocation=self.allocation)
            yield prunebench.Train(until=f"+{self.finetune}")


class MagnitudeAtInitialization(prunebench.Method):
    """Remove the smallest weights of the untrained network, then train.

    How wide the initialization draws a layer's weights decides how many of them are kept.
    """

    name = "magnitude-init"
    family = "at initialization"
    version = 1
    reference = "Frankle et al. 2021, arXiv:2009.08576"

    allocation: Annotated[prunebench.Allocation, Doc("how the kept weights are shared out among the layers")] = "global"

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        return _magnitudes(scoring)

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Prune(by=self, density=trial.density, allocation=self.allocation)
        yield prunebench.Train()


def _magnitudes(scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
    return {name: weight.abs() for name, weight in scoring.weights.items()}


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Magnitude, MagnitudeAtInitialization]
