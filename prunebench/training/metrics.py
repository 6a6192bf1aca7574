"""What a training reports: its losses, its evaluations and its cost so far."""

from __future__ import annotations

import math
import time
from math import prod
from typing import TypedDict

import torch
from torch import nn

from prunebench.api.errors import Diverged, PluginError
from prunebench.api.layers import Flops
from prunebench.data import seeds
from prunebench.data.task_data import Data, Examples
from prunebench.training.cost import Cost, added
from prunebench.training.state import State

EVALUATION_BATCH, EVALUATION_OUTPUTS = 1000, 2**25
"""The largest number of examples in a batch of an evaluation, and of what a network returns for them."""
ADVICE = "try a lower learning rate, or clip_norm"
"""Of a training that diverges."""


class LoggedFields(TypedDict):
    """The fields of a state that a `MetricsLog` fills in."""

    step: int
    cost: Cost
    unbooked: Cost
    history: tuple[dict[str, float], ...]
    loss_sum: float
    loss_steps: int


class MetricsLog:
    """Losses, evaluations and cost of a training so far."""

    def __init__(self, state: State, device: torch.device) -> None:
        self._begun = state
        self._history = list(state.history)
        self._examples = state.unbooked.examples
        self._flops: Flops = state.unbooked.training_flops
        # On the device, so that no step waits for it.
        self._loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=device)
        self._loss_steps = state.loss_steps
        self._seconds = 0.0

    def add_seconds(self, seconds: float) -> None:
        """Add the processor time of a step."""
        self._seconds += seconds

    def add(self, loss: torch.Tensor, examples: int, flops: Flops) -> None:
        """Add a step: its loss, its examples, and its FLOPs for each of them."""
        self._loss_sum += loss.detach()
        self._loss_steps += 1
        self._examples += examples
        if isinstance(flops, torch.Tensor):  # whatever an updater made it of: sums of float32 lose what is added
            flops = flops.detach().to(self._loss_sum.device, torch.float64)
        self._flops += flops * examples

    def evaluate(self, model: nn.Module, data: Data, steps_made: int) -> None:
        """Evaluate the network. Raises Diverged for a loss that is not finite."""
        train_loss = float(self._loss_sum) / self._loss_steps
        _check_finite(train_loss, steps_made)
        figures = {"step": float(steps_made), "time": time.time(), "train_loss": train_loss}
        self._history.append(figures | evaluate(model, data, steps_made))
        model.train()
        self._loss_sum.zero_()
        self._loss_steps = 0

    def final_fields(self, steps_made: int) -> LoggedFields:
        """The fields of the state that the training ends with. Raises Diverged as `fields` does."""
        fields = self.fields(steps_made)
        return {**fields, "cost": fields["cost"] + fields["unbooked"], "unbooked": Cost()}

    def fields(self, steps_made: int) -> LoggedFields:
        """The fields of a state on the way. Raises Diverged if the losses since the last evaluation are not finite."""
        _check_finite(float(self._loss_sum), steps_made)
        before = self._begun
        return {
            "step": steps_made,
            "cost": before.cost,
            "unbooked": Cost(
                training_flops=float(self._flops),
                steps=before.unbooked.steps + steps_made - before.step,
                examples=self._examples,
                wall_seconds=before.unbooked.wall_seconds,
                processor_seconds=added(before.unbooked.processor_seconds, self._seconds),
            ),
            "history": tuple(self._history),
            "loss_sum": float(self._loss_sum),
            "loss_steps": self._loss_steps,
        }


def evaluate(model: nn.Module, data: Data, steps_made: int) -> dict[str, float]:
    """Loss and metrics of the task's objective on the validation split, if there is one, and on the test split.

    Raises:
        Diverged: for a loss that is not finite: the very last step may have broken the weights.
        PluginError: for an objective that leaves out a value.
    """
    model.eval()
    figures: dict[str, float] = {}
    for name, split in (("validation", data.validation), ("test", data.test)):
        if len(split):
            with seeds.seeded("evaluation", name, steps_made):  # a model may draw here too
                found = _measured(model, data, split)
            figures |= {f"{name}_{key}": value for key, value in found.items()}
            _check_finite(figures[f"{name}_loss"], steps_made, name)
    return figures


@torch.no_grad()
def _measured(model: nn.Module, data: Data, split: Examples) -> dict[str, float]:
    """Summed over examples, so that a ragged last batch weighs what it holds."""
    totals: dict[str, torch.Tensor] = {}
    for inputs, targets in data.in_order(split, _batch_size(data)):
        for name, value in data.objective.sums(model(inputs).float(), targets).items():
            value = value.detach().to(torch.float64)
            totals[name] = totals[name] + value if name in totals else value
    found = data.objective.values({name: total.cpu() for name, total in totals.items()}, len(split))
    expected = ("loss", *(metric.name for metric in data.task.metrics))
    if missing := [name for name in expected if name not in found]:
        raise PluginError(f"objective {data.task.objective.name!r}: its values lack {', '.join(map(repr, missing))}")
    return {name: float(found[name]) for name in expected}


def _batch_size(data: Data) -> int:
    """How many examples an evaluation looks at at once: fewer where there are many outputs for each."""
    return max(1, min(EVALUATION_BATCH, EVALUATION_OUTPUTS // max(1, prod(data.task.interface.outputs))))


def _check_finite(loss: float, steps_made: int, split: str = "training") -> None:
    if not math.isfinite(loss):
        raise Diverged(f"the {split} loss is {loss} by step {steps_made}: {ADVICE}")
