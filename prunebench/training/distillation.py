"""The loss of a training step, and distillation: a training that imitates the outputs of another network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from prunebench.api.layers import Network
from prunebench.api.objectives import Objective
from prunebench.api.stages import Distillation
from prunebench.api.tasks import Recipe
from prunebench.network.modules import copied
from prunebench.training.recipes import training_loss
from prunebench.training.state import State, load

StepLoss = Callable[[Any, Any, torch.Tensor], torch.Tensor]
"""The loss of a step, from the network, the inputs and the targets of a batch."""


class Teacher:
    """The network that a training imitates, in evaluation mode and without gradients."""

    def __init__(self, how: Distillation, model: nn.Module, state: State) -> None:
        """
        Args:
            model: a network of the same kind, of which a copy is made.
            state: the values of the teacher.
        """
        self.how = how
        self._model = copied(model)
        load(self._model, state)
        self._model.eval().requires_grad_(False)

    @torch.no_grad()
    def outputs(self, inputs: Any) -> torch.Tensor:
        found: torch.Tensor = self._model(inputs)
        return found


def step_loss(recipe: Recipe, objective: Objective, teacher: Teacher | None) -> StepLoss:
    """The loss of a step: that of the objective, and with a teacher a weighted mean of it and of the imitation."""
    if objective.has_own_step:
        return objective.batch_loss
    loss_of = training_loss(recipe, objective)
    if teacher is None:
        return lambda model, inputs, targets: loss_of(model(inputs), targets)

    def distilled(model: Any, inputs: Any, targets: torch.Tensor) -> torch.Tensor:
        how, outputs = teacher.how, model(inputs)
        imitation = objective.distilled_loss(outputs.float(), teacher.outputs(inputs).float(), how.temperature)
        return (1 - how.weight) * loss_of(outputs, targets) + how.weight * imitation

    return distilled


def extra_flops(trained: Network, dense: Network, objective: Objective, teacher: Teacher | None) -> float:
    """FLOPs of one example in a step besides the passes of the network: of an own step, and of the teacher.

    Args:
        trained: what cuts have left of the network.
        dense: the whole network, which the teacher is.
    """
    return objective.batch_flops(trained) + (0.0 if teacher is None else dense.flops)
