"""Movement pruning: what is kept are weights that move away from zero while the network is fine-tuned."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError

from .ste import StraightThrough

DECAYS = (0.9, 0.999)
"""Of the means of the scores' gradients and of their squares."""


class Movement(prunebench.Method):
    """Train a score for each weight beside the weights, and use the weights with the highest scores.

    The gradient of each weight, used or not, times the weight goes straight through the mask to its score, which a
    separate Adam trains: a score rises while its weight moves away from zero. The density falls along a cubic, from 1
    at `start` to the target at `until`; masks change until the end.
    """

    name = "movement"
    family = "learned masks"
    version = 1
    reference = "Sanh et al. 2020, arXiv:2005.07683"
    presets = {
        "paper": prunebench.Preset(
            "Sanh et al. 2020, as on SQuAD: dense for 5,400 of 88,000 steps, and at the target for the last 10,800",
            {"start": "6.1%", "until": "87.7%"},
        ),
        "soft": prunebench.Preset(
            "Sanh et al. 2020: one threshold for all layers, and a penalty on the scores",
            {"start": "6.1%", "until": "87.7%", "allocation": "global", "penalty": 400.0},
        ),
    }

    start: Annotated[prunebench.Time, Doc("when pruning begins; scores are trained before it too")] = "10%"
    until: Annotated[prunebench.Time, Doc("when the target is reached")] = "75%"
    score_lr: Annotated[float, Gt(0), Doc("learning rate of the scores")] = 1e-2
    penalty: Annotated[
        float,
        Ge(0),
        Doc("times the mean of sigmoid(score) over all weights, in the loss; it grows as the density falls"),
    ] = 0.0
    allocation: Annotated[
        prunebench.Allocation, Doc("uniform: top-k in each layer; global: one threshold for all of them")
    ] = "uniform"

    def updater(self, density: float | None) -> prunebench.Updater:
        if density is None:
            raise PrunebenchError("movement pruning needs the density to end with: Train(by=..., density=...)")
        return _Moving(self, density)

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train(by=self, density=trial.density)


class _Moving(StraightThrough):
    def __init__(self, rule: Movement, density: float) -> None:
        self.rule, self.density = rule, density
        self._steps_made: int | None = None

    def begin(self, training: prunebench.Training) -> None:
        start, end = self._span(training)
        if not training.step <= start < end <= training.clock.total:
            raise PrunebenchError(
                f"no movement pruning from step {start} to {end} in a training from step {training.step} to "
                f"{training.clock.total}: set `start` and `until` to times within it"
            )
        for name, weight in training.weights.items():
            training.memory |= {f"{what}/{name}": torch.zeros_like(weight) for what in ("score", "mean", "square")}
        training.memory["scored"] = torch.zeros((), device=training.device)
        self._steps_made = training.step

    def select(self, training: prunebench.Training) -> None:
        scores = {name: training.memory[f"score/{name}"] for name in training.weights}
        training.keep_highest(scores, self._density(training), self.rule.allocation)

    def restore_dense(self, training: prunebench.Training) -> None:
        if self._steps_made is None:  # the training goes on after an interruption
            self._steps_made = training.step
        super().restore_dense(training)

    @torch.no_grad()
    def after_backward(self, training: prunebench.Training) -> bool:
        removed = (1 - self._density(training)) / (1 - self.density) if self.density < 1 else 0.0
        pull = self.rule.penalty * removed / training.network.size
        training.memory["scored"] += 1
        for name, weight in training.weights.items():
            if weight.grad is None:
                continue
            chance = torch.sigmoid(training.memory[f"score/{name}"])
            self._train_scores(training, name, weight.grad * weight + pull * chance * (1 - chance))
            weight.grad.mul_(training.masks[name])
        return False

    def after_step(self, training: prunebench.Training) -> None:
        self._steps_made = training.step + 1

    def _train_scores(self, training: prunebench.Training, name: str, gradient: torch.Tensor) -> None:
        """A step of Adam for the scores of a layer."""
        score, mean, square = (training.memory[f"{what}/{name}"] for what in ("score", "mean", "square"))
        first, second = DECAYS
        mean.lerp_(gradient, 1 - first)
        square.lerp_(gradient.square(), 1 - second)
        steps = training.memory["scored"]
        size = (square / (1 - second**steps)).sqrt() + 1e-8
        score -= self.rule.score_lr * mean / (1 - first**steps) / size

    def _span(self, training: prunebench.Training) -> tuple[int, int]:
        return training.step_of(self.rule.start), training.step_of(self.rule.until)

    def _density(self, training: prunebench.Training) -> float:
        """The density that the steps made so far lead to."""
        assert self._steps_made is not None, "begin or restore_dense comes first"
        start, end = self._span(training)
        left = min(1.0, max(0.0, (end - self._steps_made) / (end - start)))
        return self.density + (1 - self.density) * left**3


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Movement]
