"""What the author of a pruning method subclasses: `Method`, and `Updater` for masks that change during a training.

A method yields `Train(by=self)` in its chain and returns an `Updater` from `Method.updater`. The loop in
`prunebench.training.loop` calls it; everything that it must remember from step to step it keeps in `training.memory`,
which is saved and restored with the state, so that a training may stop and go on anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from prunebench.api import stages
from prunebench.api.components import Component
from prunebench.api.contexts import Scoring, Training, Trial
from prunebench.api.errors import PluginError
from prunebench.api.layers import Flops, Network

if TYPE_CHECKING:
    import torch
    from torch import nn


class Updater:
    """Base class of what changes the masks during a training; by default they are static.

    Override the hooks that a method needs. The training loop calls them in this order::

        begin                    once; `restore_dense` instead in a training that goes on after an interruption
        for each step:
            apply_masks          put the sparse weights in place
            forward, backward    which leave a dense gradient in each weight
            restore_dense        undo apply_masks
            flops                the cost of this step, under the masks that it was made with
            after_backward       use or change the gradients; True leaves out the optimizer's step
            optimizer            gradients are masked and clipped, weights change, pruned weights are zero again
            after_step           change the masks: `training.step + 1` steps have been made
            if an evaluation or a checkpoint is due:
                apply_masks
                evaluate
                restore_dense
        apply_masks              once, for the weights that the next stage begins with
    """

    trains_dense: ClassVar[bool] = False
    """True if the optimizer trains dense weights (or scores), which `restore_dense` puts back.

    Masks are then applied before each pass, and not enforced after each step. A later stage begins from the masked
    weights, with a new optimizer.
    """

    def begin(self, training: Training) -> None:
        """Called once, before the first step: make a first mask, or what is remembered in `training.memory`."""

    def apply_masks(self, training: Training) -> None:
        """Called before each forward pass, evaluation and snapshot.

        A method whose optimizer works on something else than the sparse weights (straight-through: the dense ones;
        learned masks: the scores) keeps that in the weights between steps, and puts the sparse weights there now.
        """

    def restore_dense(self, training: Training) -> None:
        """Undo `apply_masks`: called after the backward pass, with the gradients of the masked weights, and after an
        evaluation."""

    def after_backward(self, training: Training) -> bool:
        """Called with the dense gradient of each weight, of its shape, in `weight.grad`.

        Returns whether this replaces the optimizer's step; `training.step` steps have been made before.
        """
        return False

    def after_step(self, training: Training) -> None:
        """Called when the optimizer has made its step and pruned weights are zero again: the place to change the masks.

        `training.step` is the step just made, counted from 0, so that `training.step + 1` steps have been made.
        """

    def flops(self, training: Training) -> Flops:
        """Called before masks change in this step: its forward and backward FLOPs for one example.

        By default 3 * f_S, zeros skipped. `training.dense_gradient_flops` is the cost of a step that needs the gradient
        of every weight. Return a number or a tensor of one: `training.sparse_flops` is a tensor if `trains_dense`, and
        reading its value makes each step wait for a GPU.
        """
        return 3 * training.sparse_flops


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")


def _float32() -> torch.dtype:
    import torch

    return torch.float32


@dataclass(frozen=True)
class Deployed:
    """What `Method.deploy` makes of a network."""

    model: nn.Module
    """In evaluation mode, and on `device`."""
    device: torch.device = field(default_factory=_cpu)
    dtype: torch.dtype = field(default_factory=_float32)
    """Of the inputs; and of the dense network, for its latency to be compared with like."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Short remarks by topic; one on `latency_ms` says why that is not applicable here, and it is left out."""


class Method(Component):
    """A pruning method. Override `scores` and nothing else for most methods; `stages` for a chain of your own."""

    control: ClassVar[bool] = False
    """True for the unpruned network that every other method is compared with."""
    exempt: ClassVar[Mapping[str, str]] = {}
    """Checks of `prunebench check` that are not meant for it, each with the reason: a report shows both."""

    def scores(self, scoring: Scoring) -> dict[str, torch.Tensor]:
        """How much each weight matters; the highest are kept.

        Args:
            scoring: the network at this point of the chain (`scoring.weights`, `.gradients()`, `.generator`, ...).

        Returns:
            for every name in `scoring.weights` a finite tensor of that weight's shape. What is pruned already
            stays pruned whatever its score.
        """
        raise NotImplementedError(f"method {self.name!r} has no scores")

    def scoring_flops(self, network: Network, density: float) -> float:
        """Floating-point operations of one `scores` call, for the cost ledger; 0 for scores that run no network.

        Args:
            network: the dense network's layers and its forward FLOPs for one example.
            density: share of the weights that is kept before the call.
        """
        return 0.0

    def updater(self, density: float | None) -> Updater:
        """A new object that changes masks during a training, for `Train(by=self, density=density)` in the chain."""
        raise NotImplementedError(f"method {self.name!r} has no updater")

    def deploy(self, scoring: Scoring) -> Deployed:
        """The network as it is delivered, for `Deploy(by=self)` in the chain; only on kernels that are really there.

        Args:
            scoring: the network at this point of the chain, in evaluation mode; it may be changed.
        """
        raise NotImplementedError(f"method {self.name!r} deploys nothing")

    def stages(self, trial: Trial) -> Iterator[stages.Stage]:
        """The chain of a trial; by default the weights are scored and pruned at initialization, then trained."""
        yield stages.Initialize()
        yield stages.Prune(by=self, density=trial.density)
        yield stages.Train()


def method_of(stage: stages.Stage) -> Method | None:
    """The method that a stage names, if it names one. Raises PluginError for what is not a method."""
    by = getattr(stage, "by", None)
    if by is not None and not isinstance(by, Method):
        raise PluginError(f"`by` of {type(stage).__name__} must be a prunebench.Method, and is {by!r}")
    return by
