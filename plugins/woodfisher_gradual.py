"""Gradual pruning by the optimal brain surgeon: oBERT's schedule, with a new Fisher information at each step."""

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Ge, Interval
from typing_extensions import Doc

import prunebench

from .woodfisher import WoodFisher


class WoodFisherGradual(WoodFisher):
    """Train, then prune as `woodfisher` in some steps, and fine-tune after each at the last learning rate.

    The first step prunes to the sparsity `initial`; what the others lack of the target falls along a cubic. Each step
    computes new gradients, of the weights that are left. With `rewind_to` the learning rate goes back there instead,
    and the rest of the recipe is trained again after each step.
    """

    name = "woodfisher-gradual"
    version = 1
    reference = "Kurtic et al. 2022 (oBERT), arXiv:2203.07259; Singh & Alistarh 2020, arXiv:2004.14340"
    presets = {
        "obert": prunebench.Preset(
            "Kurtic et al. 2022: from 70 %, blocks of 50, 1,024 gradients of mini-batches of 16, damping 1e-7; without "
            "distillation",
            {"gradients": 1024, "batch_size": 16, "block": 50, "damping": 1e-7, "update": "each", "initial": 0.7},
        ),
    }

    initial: Annotated[float, Interval(ge=0, lt=1), Doc("sparsity of the first step; the target if that is lower")] = (
        0.7
    )
    prunings: Annotated[int, Ge(1), Doc("steps, the first one included")] = 8
    between: Annotated[prunebench.Time, Doc("fine-tuning after each step but the last, such as 1ep")] = "10%"
    rewind_to: Annotated[
        prunebench.Time | None, Doc("instead of that, rewind the learning rate to this time and train to the end")
    ] = None

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        if self.rewind_to is not None:
            yield prunebench.Train(until=self.rewind_to)
        yield prunebench.Train()
        densities = self.densities(trial.density)
        for density in densities:
            yield prunebench.Prune(by=self, density=density, allocation=self.allocation)
            if self.rewind_to is not None:
                yield prunebench.Rewind(to=self.rewind_to, weights=False)
                yield prunebench.Train()
            elif density != densities[-1]:
                yield prunebench.Train(until=f"+{self.between}")
        yield prunebench.Train(until=f"+{self.finetune}")

    def densities(self, target: float) -> list[float]:
        """After each step: from that of `initial` down to the target, fast at first."""
        begin = max(round(1 - self.initial, 12), target)
        if begin == target or self.prunings == 1:
            return [target]
        last = self.prunings - 1
        return [*(round(target + (begin - target) * (1 - i / last) ** 3, 12) for i in range(last)), target]


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [WoodFisherGradual]
