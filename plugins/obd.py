"""Optimal brain damage: pruning by the second order of the loss, without what weights have to do with each other."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge
from typing_extensions import Doc

import prunebench


class OBD(prunebench.Method):
    """Train, then remove the weights with the lowest w² F_ii / 2, with F the empirical Fisher information.

    F_ii is the mean square of the gradient of the loss over mini-batches, in evaluation mode; by default over single
    examples.
    """

    name = "obd"
    family = "after training"
    version = 1
    reference = (
        "LeCun et al. 1989, Optimal Brain Damage; with the Fisher information: Theis et al. 2018, arXiv:1801.05787"
    )

    gradients: Annotated[int, Ge(1), Doc("mini-batches whose gradients are used")] = 256
    batch_size: Annotated[int, Ge(1), Doc("examples in each")] = 1
    allocation: Annotated[prunebench.Allocation, Doc("how the kept weights are shared out among the layers")] = "global"
    finetune: Annotated[prunebench.Time, Doc("fine-tune for so long at the last learning rate, such as 10ep")] = 0

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        squares = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in scoring.weights.items()}
        for count, gradient in enumerate(gradients(scoring, self.gradients, self.batch_size), 1):
            for name, value in gradient.items():
                squares[name] += (value.double().square() - squares[name]) / count
        return {name: weight.detach().double().square() * squares[name] / 2 for name, weight in scoring.weights.items()}

    def scoring_flops(self, network: prunebench.Network, density: float) -> float:
        return 3 * network.flops * self.gradients * self.batch_size

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train()
        yield prunebench.Prune(by=self, density=trial.density, allocation=self.allocation)
        yield prunebench.Train(until=f"+{self.finetune}")


def gradients(scoring: prunebench.Scoring, count: int, size: int) -> Iterator[dict[str, torch.Tensor]]:
    """The gradients of the loss of some mini-batches, by the names of the weights, in evaluation mode."""
    with scoring.mode("eval") as model:
        for inputs, targets in scoring.batches(count, size):
            found = scoring.gradients(scoring.loss(model(inputs), targets))
            yield {name: value.detach() for name, value in found.items()}


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [OBD]
