"""Early-bird tickets: pruning as soon as the mask no longer changes."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError

from .drop_grow import highest

MASKS = "masks"
"""In the memory of a training before the pruning: the last masks, of shape (masks, weights), the newest first."""
PRUNED = "pruned"
"""In the memory of a training from the pruning on."""


class EarlyBird(prunebench.Method):
    """Train densely until magnitude pruning would choose nearly the same weights some times in a row, and prune then.

    After each `interval` the mask of the largest weights of all layers together is compared with the ones before. What
    is kept goes on from its weights to the end of the recipe.
    """

    name = "early-bird"
    family = "during training"
    version = 1
    reference = "You et al. 2020, arXiv:1909.11957"

    interval: Annotated[prunebench.Time, Doc("time between masks")] = "1ep"
    window: Annotated[int, Ge(2), Doc("consecutive masks that must be near each other")] = 5
    distance: Annotated[
        float, Gt(0), Le(1), Doc("largest distance between them: the share of the kept weights that another lacks")
    ] = 0.1
    until: Annotated[prunebench.Time, Doc("when to prune at the latest")] = "50%"

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train(by=self, density=trial.density)

    def updater(self, density: float | None) -> prunebench.Updater:
        if density is None:
            raise PrunebenchError("early-bird pruning needs a density: Train(by=..., density=...)")
        return _Watching(self, density)


class _Watching(prunebench.Updater):
    """Compares the masks of the last intervals until the network is pruned."""

    def __init__(self, rule: EarlyBird, density: float) -> None:
        self.rule, self.density = rule, density

    def needs_dense_gradient(self, training: prunebench.Training) -> bool:
        return False

    def begin(self, training: prunebench.Training) -> None:
        if not training.step < training.step_of(self.rule.until) <= training.clock.total:
            raise PrunebenchError(f"until: {self.rule.until!r} is not after step {training.step} of the recipe")

    def after_step(self, training: prunebench.Training) -> None:
        if PRUNED in training.memory:
            return
        steps_made, latest = training.step + 1, training.step_of(self.rule.until)
        watching = steps_made % max(1, training.step_of(self.rule.interval)) == 0
        if steps_made >= latest or (watching and self._settled(training)):
            scores = {name: weight.detach().abs() for name, weight in training.weights.items()}
            training.keep_highest(scores, self.density)
            training.memory.clear()
            training.memory[PRUNED] = torch.ones(())

    def _settled(self, training: prunebench.Training) -> bool:
        """Whether all masks in the window, the one of now among them, are near each other."""
        weights = torch.cat([weight.detach().abs().flatten() for weight in training.weights.values()])
        count = round(self.density * len(weights))
        now = highest(weights, count)[None]
        masks = torch.cat([now, training.memory[MASKS][: self.rule.window - 1]]) if MASKS in training.memory else now
        training.memory[MASKS] = masks
        kept = masks.float()
        return len(masks) == self.rule.window and float((kept @ kept.T).min()) >= (1 - self.rule.distance) * count


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [EarlyBird]
