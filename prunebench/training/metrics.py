"""What a training reports: its losses, its evaluations and its cost so far."""

from __future__ import annotations

import math
import time
from typing import TypedDict

import torch
from torch import nn

from prunebench.api.errors import Diverged
from prunebench.api.layers import Flops
from prunebench.data.prepared import Data, Examples
from prunebench.training.cost import Cost
from prunebench.training.state import State

EVALUATION_BATCH = 1000
ADVICE = "try a lower learning rate, or clip_norm"
"""Of a training that diverges."""
MANY_CLASSES = 100
"""From this number of classes on, top-5 accuracy is measured too."""


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
            ),
            "history": tuple(self._history),
            "loss_sum": float(self._loss_sum),
            "loss_steps": self._loss_steps,
        }


def evaluate(model: nn.Module, data: Data, steps_made: int) -> dict[str, float]:
    """Loss and accuracy on the validation split, if there is one, and on the test split.

    Raises Diverged for a loss that is not finite: the very last step may have broken the weights.
    """
    model.eval()
    figures: dict[str, float] = {}
    for name, split in (("validation", data.validation), ("test", data.test)):
        if len(split):
            figures |= {f"{name}_{key}": value for key, value in _measured(model, data, split).items()}
            _check_finite(figures[f"{name}_loss"], steps_made, name)
    return figures


@torch.no_grad()
def _measured(model: nn.Module, data: Data, split: Examples) -> dict[str, float]:
    """Summed over examples, so that a ragged last batch weighs what it holds; top-5 accuracy with many classes."""
    loss = torch.zeros((), dtype=torch.float64, device=split.labels.device)
    correct = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    among_five = torch.zeros_like(correct)
    for inputs, labels in data.in_order(split, EVALUATION_BATCH):
        logits = model(inputs).float()
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(1) == labels).sum()
        if data.classes >= MANY_CLASSES:
            among_five += (logits.topk(5).indices == labels[:, None]).sum()
    top5 = {"accuracy_top5": int(among_five) / len(split)} if data.classes >= MANY_CLASSES else {}
    return {"loss": float(loss) / len(split), "accuracy": int(correct) / len(split), **top5}


def _check_finite(loss: float, steps_made: int, split: str = "training") -> None:
    if not math.isfinite(loss):
        raise Diverged(f"the {split} loss is {loss} by step {steps_made}: {ADVICE}")
