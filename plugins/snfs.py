"""SNFS: sparse networks from scratch, by sparse momentum."""

from collections.abc import Mapping
from math import floor
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from typing_extensions import Doc

import prunebench

from .drop_grow import DropGrow, Masks, Rewiring, dense_gradient


class SNFS(DropGrow):
    """Every so often drop the smallest weights, and grow as many where the momentum of the gradient is largest.

    Each layer grows a share in proportion to the mean |momentum| of its weights; pruned ones have a momentum too.
    """

    name = "snfs"
    version = 1
    reference = "Dettmers & Zettlemoyer 2019, arXiv:1907.04840"
    presets = {
        "paper": prunebench.Preset(
            "Dettmers & Zettlemoyer 2019: uniform; 50 % after every epoch, cosine over the whole training",
            {"allocation": "uniform", "interval": "1ep", "until": "end", "fraction": 0.5},
        ),
        "rigl-paper": prunebench.Preset("Evci et al. 2020, arXiv:1911.11134: the schedule of RigL"),
    }

    momentum: Annotated[float, Ge(0), Lt(1), Doc("decay of the running mean of the dense gradient")] = 0.9

    def updater(self, density: float | None) -> prunebench.Updater:
        return _MomentumGrowth(self, self.momentum)


class _MomentumGrowth(Rewiring):
    def __init__(self, rule: DropGrow, momentum: float) -> None:
        super().__init__(rule)
        self.momentum = momentum

    def begin(self, training: prunebench.Training) -> None:
        training.memory |= {name: torch.zeros_like(training.weights[name].detach()) for name in training.masks}

    def after_backward(self, training: prunebench.Training) -> bool:
        for name, mean in training.memory.items():
            mean.lerp_(dense_gradient(training.weights[name]), 1 - self.momentum)
        return False

    def after_step(self, training: prunebench.Training) -> None:
        self.rewire(training, training.step + 1)

    def scores(self, training: prunebench.Training) -> dict[str, torch.Tensor]:
        return {name: mean.abs() for name, mean in training.memory.items()}

    def growth(self, training: prunebench.Training, kept: Masks) -> dict[str, int]:
        total = sum(super().growth(training, kept).values())
        means = {name: _mean(training.memory[name], training.masks[name]) for name in kept}
        return shared_out(total, means, {name: int((~mask).sum()) for name, mask in kept.items()})

    def flops(self, training: prunebench.Training) -> prunebench.Flops:
        return training.dense_gradient_flops


def _mean(momentum: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean |momentum| of the kept weights; 0 where there are none, or in a training that has diverged."""
    return float(momentum[mask].abs().mean().nan_to_num(0, 0))


def shared_out(total: int, weights: Mapping[str, float], room: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers in proportion to `weights`, none above its `room`, that add up to `total`.

    What a full layer cannot take is shared out among the others; the largest remainders are rounded up.
    """
    full: dict[str, int] = {}
    while True:
        left = total - sum(full.values())
        # A hair above zero: when the others are full, layers without momentum share alike.
        wanted = {name: weights[name] + 1e-30 for name in room if name not in full}
        exact = {name: left * weight / sum(wanted.values()) for name, weight in wanted.items()}
        over = {name: room[name] for name, share in exact.items() if share >= room[name]}
        if not over:
            break
        full |= over
    counts = {name: floor(share) for name, share in exact.items()}
    by_remainder = sorted(counts, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: left - sum(counts.values())]:
        counts[name] += 1
    return full | counts


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [SNFS]
