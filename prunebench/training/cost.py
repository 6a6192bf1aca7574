"""The cost ledger of a chain, the same for every method.

One training step costs, per example, one forward pass and twice that for the backward pass, where zeros are skipped:
3 * f_S. Scoring is counted as each method declares it. Shared work is charged in full to every trial that needs it: a
trial's cost is that of its whole chain, as if it ran alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prunebench.api.layers import Network
from prunebench.api.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of a chain up to one of its states; `+` adds that of the next stage."""

    training_flops: float = 0.0
    scoring_flops: float = 0.0
    steps: int = 0
    examples: int = 0
    wall_seconds: float = 0.0
    processor_seconds: float | None = 0.0
    """Processor time of the training steps alone; None where part of the chain is older than its measurement."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            training_flops=self.training_flops + other.training_flops,
            scoring_flops=self.scoring_flops + other.scoring_flops,
            steps=self.steps + other.steps,
            examples=self.examples + other.examples,
            wall_seconds=self.wall_seconds + other.wall_seconds,
            processor_seconds=added(self.processor_seconds, other.processor_seconds),
        )

    def __sub__(self, part: Cost) -> Cost:
        """What is left without a part of the same chain."""
        unknown = self.processor_seconds is None or part.processor_seconds is None
        return Cost(
            training_flops=self.training_flops - part.training_flops,
            scoring_flops=self.scoring_flops - part.scoring_flops,
            steps=self.steps - part.steps,
            examples=self.examples - part.examples,
            wall_seconds=self.wall_seconds - part.wall_seconds,
            processor_seconds=None if unknown else (self.processor_seconds or 0.0) - (part.processor_seconds or 0.0),
        )

    @classmethod
    def stored(cls, plain: Mapping[str, Any]) -> Cost:
        """From the values in a record of any age."""
        return cls(**{"processor_seconds": None, **plain})

    @property
    def flops(self) -> float:
        return self.training_flops + self.scoring_flops


def added(one: float | None, other: float | None) -> float | None:
    """The sum of two figures; None if one of them is not known."""
    return None if one is None or other is None else one + other


def training_flops(forward: float, examples: int) -> float:
    """Forward and backward passes of `examples` examples through a network of `forward` FLOPs an example."""
    return 3.0 * forward * examples


def examples_between(task: Task, start: int, stop: int) -> int:
    """How many examples steps start..stop-1 use, counted from 0; the last batch of an epoch may be smaller."""
    per_epoch, size = task.clock.steps_per_epoch, task.recipe.batch_size
    total = min(task.facts.train - task.recipe.validation, per_epoch * size)

    def seen(step: int) -> int:
        epochs, batches = divmod(step, per_epoch)
        return epochs * total + batches * size

    return seen(stop) - seen(start)


def dense_training_flops(task: Task, network: Network) -> float:
    """The training FLOPs of one dense training by the task's recipe: the unit of `training_cost`."""
    examples = examples_between(task, 0, task.clock.total)
    return training_flops(network.flops, examples) + task.objective.batch_flops(network) * examples
