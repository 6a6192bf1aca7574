"""An objective: a loss, and metrics that add up over examples, here one that is better when it is lower."""

import torch
from torch.nn.functional import one_hot

import prunebench


class Brier(prunebench.Objective):
    """The squared error of predicted probabilities, which also punishes networks that are too sure of themselves."""

    name = "brier"
    reference = "Brier 1950, Monthly Weather Review 78(1)"
    targets = ("classes",)

    def outputs(self, facts: prunebench.DataFacts) -> tuple[int, ...]:
        return (facts.classes,)

    def metrics(self, facts: prunebench.DataFacts) -> list[prunebench.Metric]:
        score = prunebench.Metric(
            name="brier",
            label="Brier score",
            direction="lower",
            decimals=3,
            scale="log",
            best=0.0,
            chance=1 - 1 / facts.classes,
        )
        accuracy = prunebench.Metric(name="accuracy", label="accuracy", direction="higher", unit="%", factor=100)
        return [score, accuracy]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.errors(outputs, targets).mean()

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        error = self.errors(outputs, targets).sum()
        return {"loss": error, "brier": error, "accuracy": (outputs.argmax(1) == targets).sum()}

    def errors(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of each example, from 0 to 2."""
        return (outputs.softmax(1) - one_hot(targets, outputs.shape[1])).square().sum(1)


@prunebench.hookimpl
def register_objectives():
    return [Brier]
