"""Learning-rate rewinding."""

from collections.abc import Iterator
from typing import Annotated

from typing_extensions import Doc

import prunebench

from .ladder import Ladder


class LRRewinding(Ladder):
    """Train, prune the smallest weights, set the step (hence the learning rate) back to `rewind_to`, train again.

    Weights, BatchNorm statistics and momentum stay as they are, unlike in weight rewinding; and so on, level by level,
    down to the target.
    """

    name = "lr-rewinding"
    version = 1
    reference = "Renda et al. 2020, arXiv:2003.02389"
    presets = {
        "paper": prunebench.Preset("Renda et al. 2020: each level is retrained for the original training time"),
        "one-shot": prunebench.Preset("Renda et al. 2020: one level, straight to the target", {"iterative": False}),
    }

    rewind_to: Annotated[prunebench.Time, Doc("where the learning rate goes back to; 0 retrains the whole recipe")] = 0

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        return self.rounds(trial, prunebench.Rewind(to=self.rewind_to, weights=False))


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [LRRewinding]
