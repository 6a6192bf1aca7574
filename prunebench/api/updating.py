"""Masks that change while a network trains: what SET, RigL, gradual pruning, straight-through and learned masks are.

A method gives `Train(by=self)` in its chain and an `Updater` from `Method.updater`. The loop in `prunebench.training.loop`
calls it; everything that it must remember from step to step it keeps in `training.memory`, which is saved and restored
with the state, so that a training may stop and go on anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from prunebench.training.cost import Flops
    from prunebench.training.loop import Training


class Updater:
    """Does nothing by itself: a static mask. Override what a method needs."""

    trains_dense: ClassVar[bool] = False
    """True if the optimizer works on dense weights (or scores), which `lift` puts back: masks are then imposed before
    each pass, and not enforced after each step. A later stage begins from the imposed weights, with a new optimizer."""

    def begin(self, training: Training) -> None:
        """Called once, before the first step: make a first mask, or what is remembered in `training.memory`."""

    def impose(self, training: Training) -> None:
        """Called before each forward pass, evaluation and snapshot.

        A method whose optimizer works on something else than the sparse weights (straight-through: the dense ones;
        learned masks: the scores) keeps that in the weights between steps, and puts the sparse weights there now.
        """

    def lift(self, training: Training) -> None:
        """Undo `impose`: after the backward pass (`weight.grad` is that of the imposed weights) and each evaluation."""

    def after_backward(self, training: Training) -> bool:
        """Called with the dense gradients in `weight.grad`; True replaces the optimizer's step."""
        return False

    def after_step(self, training: Training) -> None:
        """Called when the optimizer has made its step and pruned weights are zero again."""

    def flops(self, training: Training) -> Flops:
        """Forward and backward FLOPs of this step for one example; by default 3 * f_S, zeros skipped.

        A number, or a tensor of one: `training.sparse_flops` is a tensor if `trains_dense`, and to ask it for its
        number makes each step wait for a GPU.
        """
        return 3 * training.sparse_flops
