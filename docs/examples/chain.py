"""A chain of stages: iterative magnitude pruning and its relatives."""

from typing import Annotated

import torch
from typing_extensions import Doc

import prunebench


class EarlyTicket(prunebench.Method):
    """Train briefly, prune the smallest weights, rewind to the initialization, train the kept weights in full."""

    name = "early-ticket"
    reference = "after You et al. 2020, arXiv:1909.11957"

    draw_at: Annotated[prunebench.Time, Doc("when the mask is drawn, such as 5ep")] = "20%"

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        return {name: weight.abs() for name, weight in scoring.weights.items()}

    def stages(self, trial: prunebench.Trial):
        yield prunebench.Initialize()
        yield prunebench.Train(until=self.draw_at)
        yield prunebench.Prune(by=self, density=trial.density)
        yield prunebench.Rewind(to=0)
        yield prunebench.Train()


@prunebench.hookimpl
def register_methods():
    return [EarlyTicket]
