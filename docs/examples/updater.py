"""An updater: a mask that changes during training."""

from typing import Annotated

from typing_extensions import Doc

import prunebench


class Midway(prunebench.Method):
    """Prune the smallest weights in the middle of the training, without interrupting it."""

    name = "midway"
    reference = "unpublished"

    at: Annotated[prunebench.Time, Doc("when the weights are pruned, such as 10ep")] = "50%"

    def updater(self, density):
        return PruneOnce(self.at, density)

    def stages(self, trial: prunebench.Trial):
        yield prunebench.Initialize()
        yield prunebench.Train(by=self, density=trial.density)


class PruneOnce(prunebench.Updater):
    """Prunes after one step. State that must survive an interruption would go into `training.memory`."""

    def __init__(self, at: prunebench.Time, density: float) -> None:
        self.at, self.density = at, density

    def after_step(self, training: prunebench.Training) -> None:
        if training.step + 1 == max(1, training.step_of(self.at)):  # `step` is the step just made, counted from 0
            sizes = {name: weight.detach().abs() for name, weight in training.weights.items()}
            training.keep_highest(sizes, self.density)


@prunebench.hookimpl
def register_methods():
    return [Midway]
