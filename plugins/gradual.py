"""Gradual magnitude pruning."""

from collections.abc import Iterator
from typing import Annotated

import torch
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError


class Gradual(prunebench.Method):
    """Remove the smallest weights little by little while the dense network trains.

    Every `interval` the density falls along a cubic, fast at first: what it lies above the target at step t is what it
    lay above it at first, times (1 - (t - start) / (until - start))^3.
    """

    name = "gradual"
    family = "during training"
    version = 1
    reference = "Zhu & Gupta 2017, arXiv:1710.01878"
    presets = {
        "paper": prunebench.Preset("Zhu & Gupta 2017: the same density in every layer", {"allocation": "uniform"}),
        "rigl-repository": prunebench.Preset(
            "github.com/google-research/rigl: ResNet-50, from step 10,000 to 25,000 of 32,000, every 1,000",
            {"start": "31.25%", "until": "78.125%", "interval": "3.125%", "allocation": "uniform"},
        ),
    }

    start: Annotated[prunebench.Time, Doc("when pruning begins")] = 0
    until: Annotated[prunebench.Time, Doc("when the target is reached")] = "75%"
    interval: Annotated[prunebench.Time, Doc("time between prunings")] = "100it"
    allocation: Annotated[prunebench.Allocation, Doc("how the kept weights are shared out among the layers")] = "global"

    def updater(self, density: float | None) -> prunebench.Updater:
        if density is None:
            raise PrunebenchError("gradual pruning needs the density to end with: Train(by=..., density=...)")
        return _Cubic(self, density)

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train(until=self.start)
        yield prunebench.Train(by=self, density=trial.density)


class _Cubic(prunebench.Updater):
    def __init__(self, rule: Gradual, density: float) -> None:
        self.rule, self.density = rule, density

    def needs_dense_gradient(self, training: prunebench.Training) -> bool:
        return False

    def begin(self, training: prunebench.Training) -> None:
        start, end = max(training.step_of(self.rule.start), training.step), training.step_of(self.rule.until)
        if not start < end <= training.clock.total:
            raise PrunebenchError(f"no gradual pruning from step {start} to {end} in {training.clock.total} steps")
        pruned = sum(int((~mask).sum()) for mask in training.masks.values())
        training.memory["density"] = torch.tensor(1 - pruned / training.network.size, dtype=torch.float64)

    def after_step(self, training: prunebench.Training) -> None:
        steps_made = training.step + 1
        start, end = training.step_of(self.rule.start), training.step_of(self.rule.until)
        interval = max(1, training.step_of(self.rule.interval))
        if steps_made == end or (start < steps_made < end and (steps_made - start) % interval == 0):
            above = float(training.memory["density"]) - self.density
            density = self.density + above * ((end - steps_made) / (end - start)) ** 3
            training.keep_highest(_magnitudes(training), density, self.rule.allocation)


def _magnitudes(training: prunebench.Training) -> dict[str, torch.Tensor]:
    """|w|, and -1 for what is pruned: that comes back only where the rounding of a layer's share gives it one more."""
    scores = {name: weight.detach().abs() for name, weight in training.weights.items()}
    return scores | {name: torch.where(mask, scores[name], -1.0) for name, mask in training.masks.items()}


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Gradual]
