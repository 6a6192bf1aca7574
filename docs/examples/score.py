"""A score for each weight, which is all that most methods need."""

import torch

import prunebench


class Relative(prunebench.Method):
    """Keep the weights with the largest magnitude relative to the norm of their layer, then train."""

    name = "relative"
    reference = "unpublished"

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        return {name: weight.abs() / weight.norm() for name, weight in scoring.weights.items()}


@prunebench.hookimpl
def register_methods():
    return [Relative]
