"""A training while it runs: its network, masks and optimizer, as the hooks of an updater see and change them."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TypedDict

import torch
from torch import nn

from prunebench.api import times
from prunebench.api.errors import Diverged, PluginError, PrunebenchError
from prunebench.api.layers import Flops, Group
from prunebench.api.stages import Allocation, Structure
from prunebench.data import seeds
from prunebench.network.groups import find_groups
from prunebench.pruning.choices import Choice, choice_of
from prunebench.pruning.masks import AT_HAND, Masks, highest
from prunebench.training.metrics import ADVICE
from prunebench.training.optimizer_state import optimizer_tensors, restore_optimizer
from prunebench.training.recipes import make_optimizer
from prunebench.training.state import State, Tensors, load, under
from prunebench.training.trial_context import TrialContext

_OPTIMIZER = "optimizer/"
"""Prefix of the names in a state's memory of an optimizer's tensors, where it trains dense weights."""


class Remembered(TypedDict):
    """The fields of a state that a `TrainingContext` fills in."""

    masks: Masks
    optimizer: Tensors
    memory: Tensors
    choice: Choice


class TrainingContext:
    """A running training, which is passed to the hooks of an updater; they may modify it."""

    def __init__(self, context: TrialContext, state: State, trains_dense: bool = False) -> None:
        task = context.trial.task
        self._model = context.model_at(state.cut)
        self._recipe = task.recipe
        self._inputs = task.interface.inputs
        self.network = context.network_at(state.cut)
        self.clock = task.clock
        self.step = state.step
        self.seed = context.trial.seed
        self.batch_size = task.recipe.batch_size
        self._parameters = load(self._model, state)
        self.device = next(self._model.parameters()).device
        self._factors = {
            name: sum(self._parameters[factor].numel() for factor in factors)
            for name, factors in state.cut.factors.items()
        }
        """Weights of the low-rank factors beside a weight; all are trained."""
        self.masks = {name: mask.to(self.device) for name, mask in state.masks.items()}
        """By name, a bool tensor of the weight's shape. Change masks only by `set_masks` or `keep_highest`."""
        memory = {name: value.to(self.device, copy=True) for name, value in state.memory.items()}
        self.memory = {name: value for name, value in memory.items() if not name.startswith(_OPTIMIZER)}
        """Tensors that the updater keeps from step to step; they are saved with the state."""
        self.trains_dense = trains_dense
        """Whether the optimizer trains dense weights (or scores): masks are then applied, not enforced."""
        self._start_optimizer(state.optimizer | under(_OPTIMIZER, memory))
        self.choice = state.choice
        """How well scores decided in the prunings until now."""
        self._measure: Callable[[], Choice] | None = None
        """Counts what the masks were last chosen from, if that was not counted yet."""
        self._finite: dict[str, torch.Tensor] = {}
        """Of each layer whether the scores that masks were chosen by have been finite until now."""
        self._count()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context in which steps are made; other engines change the network for that long."""
        yield

    def begin_step(self, dense_gradient: bool) -> None:
        """Called before each step; other engines skip what a step does not need.

        Args:
            dense_gradient: whether the updater needs the gradients of pruned weights too.
        """

    def _start_optimizer(self, tensors: Tensors) -> None:
        """Make the optimizer, with what it remembers of each weight in the weight's shape."""
        self.optimizer = self._new_optimizer(self._parameters)
        restore_optimizer(self.optimizer, self._parameters, tensors)

    def _new_optimizer(self, trained: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        dense = not any(getattr(module, "sparse", False) is True for module in self._model.modules())  # embeddings
        return make_optimizer(self._recipe.optimizer, trained.values(), dense)

    def _optimizer_tensors(self) -> Tensors:
        """What the optimizer remembers, of each weight in the weight's shape."""
        return optimizer_tensors(self.optimizer, self._parameters)

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self._model

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """All parameters of the model by name."""
        return self._parameters

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The channels and heads of the network that could be removed."""
        return find_groups(self._model, self._inputs, [layer.name for layer in self.network.layers]).found

    @property
    def dense_gradient_flops(self) -> Flops:
        """FLOPs of one example in a step that needs the gradient of every weight: 2 f_S + f_D."""
        return 2 * self.sparse_flops + self.network.flops

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The prunable weights by name; after the backward pass, `weight.grad` is the dense gradient."""
        return {layer.name: self.parameters[layer.name] for layer in self.network.layers}

    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator that is seeded by the trial, the step and `purpose`."""
        return seeds.generator(self.seed, purpose, self.step)

    def step_of(self, time: str | int) -> int:
        """Return the optimizer step of a time such as `75%`."""
        return times.step_of(time, self.clock)

    def keep_highest(
        self,
        scores: Mapping[str, torch.Tensor],
        density: float,
        allocation: Allocation = "global",
        structure: Structure | None = None,
    ) -> None:
        """Make the masks keep exactly round(density * N) weights: the highest of `scores`, pruned ones among them.

        With a structure they keep N of every M, as far as it fits. No step waits for an accelerator here; whether all
        scores were finite is checked at the next evaluation there (`check_scores`).

        Raises:
            PrunebenchError: for scores that lack a layer, have another shape, or are not all finite.
            Diverged: likewise, if the weights are not finite either.
        """
        chosen = highest(scores, self.network.layers, density, allocation, structure)
        for name in chosen:
            self._finite[name] = scores[name].isfinite().all() & self._finite.get(name, True)
        if self.device.type in AT_HAND:
            self.check_scores()
        self._measure = partial(choice_of, scores, chosen, self.network.layers, allocation, structure)
        if not self.trains_dense:
            self.measure_choice()
        self.set_masks(chosen)

    def measure_choice(self) -> None:
        """Count what the masks were last chosen from; where that is at each step, evaluations do, which wait anyway."""
        if self._measure is not None:
            self.choice |= self._measure()
        self._measure = None

    def check_scores(self) -> None:
        """Raises what `keep_highest` does if it was given scores that were not all finite."""
        for name, finite in self._finite.items():
            if not bool(finite):
                self._check_weights()
                raise PrunebenchError(f"training.keep_highest was given scores of {name!r} that are not all finite")

    def _check_weights(self) -> None:
        """Raises Diverged if the weights, or what the updater keeps of them, are not all finite."""
        for values in (self.parameters, self.memory):
            for name, value in values.items():
                if isinstance(value, torch.Tensor) and not bool(value.isfinite().all()):
                    raise Diverged(f"{name!r} is not finite by step {self.step + 1}: {ADVICE}")

    def set_masks(self, masks: Mapping[str, torch.Tensor]) -> None:
        """Replace the masks. Newly pruned weights are set to zero, and the optimizer state (such as momentum) of every
        weight that was pruned or grown is reset."""
        before, self.masks = self.masks, dict(masks)
        with torch.no_grad():
            for name, mask in self.masks.items():
                weight = self.parameters[name]
                stayed = mask & before[name] if name in before else mask
                if not self.trains_dense:
                    weight.mul_(mask)
                    for value in self.optimizer.state[weight].values():
                        if isinstance(value, torch.Tensor) and value.shape == mask.shape:
                            value.mul_(stayed)
        self._count()

    def _enforced(self) -> Masks:
        """The masks that are enforced on dense weights after each step."""
        return {} if self.trains_dense else self.masks

    def _count(self) -> None:
        masked = self._enforced()
        self._weights: list[torch.Tensor] = [self._parameters[name] for name in masked]
        self._kept = [mask.float() for mask in masked.values()]
        kept = {name: mask.sum().double() + self._factors.get(name, 0) for name, mask in self.masks.items()}
        flops = self.network.flops_at(kept)
        self.sparse_flops: Flops = flops if self.trains_dense else float(flops)
        """Forward FLOPs of one example under the masks as they are. If
        `trains_dense` it is a tensor on the device, so that no step waits for it."""

    def remembered(self) -> Remembered:
        """The masks, the optimizer's tensors and the updater's memory, for the state.

        An optimizer of dense weights or scores belongs to the updater's memory, which only the same training goes on
        with: its momentum is not that of the weights in the state.
        """
        self.check_scores()
        optimizer = self._optimizer_tensors()
        for name, value in self.memory.items():
            if not isinstance(value, torch.Tensor):
                raise PluginError(f"training.memory[{name!r}] must be a tensor, and is {reprlib.repr(value)}")
        memory = {name: value.cpu().clone() for name, value in self.memory.items()}
        masks = {name: mask.cpu().clone() for name, mask in self.masks.items()}
        if self.trains_dense:
            memory |= {_OPTIMIZER + key: value for key, value in optimizer.items()}
            optimizer = {}
        return {"masks": masks, "optimizer": optimizer, "memory": memory, "choice": self.choice}

    def make_step(self, clip_norm: float | None) -> None:
        """The optimizer's step. Masks are enforced twice: on the gradients, so that clipping and momentum see the
        sparse network; on the weights, so that no optimizer whatever brings a pruned one back."""
        masked = zip(self._weights, self._kept, strict=True)
        gradients = [(weight.grad, kept) for weight, kept in masked if weight.grad is not None]
        multiply([gradient for gradient, _ in gradients], [kept for _, kept in gradients])
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(self._trained(), clip_norm)
        self.optimizer.step()
        multiply(self._weights, self._kept)

    def _trained(self) -> Iterable[nn.Parameter]:
        """What the optimizer trains."""
        return self._parameters.values()


@torch.no_grad()
def multiply(values: list[torch.Tensor], masks: list[torch.Tensor]) -> None:
    """Multiply each value by its mask, in place."""
    if values:
        torch._foreach_mul_(values, masks)
