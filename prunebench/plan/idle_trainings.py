"""Trainings after the end of a recipe whose schedule has come down to almost 0, so that they change nothing."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.api.methods import method_of
from prunebench.api.stages import Train
from prunebench.plan.planning import Node, Plan
from prunebench.training.recipes import learning_rate

SMALLEST = 1e-3
"""A share of the recipe's learning rate; a training below it hardly changes weights."""


@dataclass(frozen=True)
class IdleTraining:
    """Trainings of a method in a task at a learning rate of almost 0."""

    task: str
    method: str
    steps: int
    """Of all trials."""
    schedule: str
    rate: float

    def __str__(self) -> str:
        return (
            f"{self.task}: {self.method} fine-tunes for {self.steps:,} steps at a learning rate of {self.rate:.2g}, to "
            f"which the schedule {self.schedule!r} has come down at the end of the recipe, so that it hardly trains: "
            "go back to an earlier rate (method lr-rewinding, or a stage `rewind: {to: 75%, weights: false}`), or "
            "choose a schedule that ends higher"
        )


def idle_trainings(plan: Plan) -> list[IdleTraining]:
    """The trainings of a plan that hardly train, by task and method."""
    steps: dict[tuple[str, str, str, float], int] = {}
    for node in plan.nodes.values():
        recipe, clock = node.trial.task.recipe, node.trial.task.clock
        beyond = node.stop - max(node.start, clock.total) if _uses_learning_rate(node) else 0
        if beyond > 0 and (rate := _last_rate(node)) < SMALLEST * recipe.optimizer.lr:
            key = (node.trial.task.label, node.trial.entry.label, recipe.schedule.name, rate)
            steps[key] = steps.get(key, 0) + beyond
    return [IdleTraining(task, method, count, name, rate) for (task, method, name, rate), count in steps.items()]


def _uses_learning_rate(node: Node) -> bool:
    """Whether it is a training that uses the learning rate of the recipe."""
    by = method_of(node.stage)
    return isinstance(node.stage, Train) and not (by is not None and by.ignores_learning_rate)


def _last_rate(node: Node) -> float:
    return learning_rate(node.trial.task.recipe, node.trial.task.clock, node.stop)
