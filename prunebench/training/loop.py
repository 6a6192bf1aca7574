"""The training loop, the same for every method.

A `step` is counted from 0 and named while it is made; `steps_made` counts the steps that have been made. A step is a
function of (parameters, buffers, masks, batch, generator): batches, augmentation and dropout are drawn from
(seed, step), so that training 0 → k → T in two stages is bitwise equal to 0 → T in one, and a resumed training to an
uninterrupted one.
"""

from __future__ import annotations

import math
import reprlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

import torch
from torch import nn

from prunebench.api import times
from prunebench.api.errors import Diverged, PluginError, PrunebenchError
from prunebench.api.layers import Flops, Network
from prunebench.api.methods import Updater
from prunebench.api.stages import Allocation, Structure
from prunebench.api.tasks import Recipe, Task
from prunebench.data import seeds
from prunebench.data.prepared import Data, Examples
from prunebench.pruning.choices import Choice, choice_of
from prunebench.pruning.masks import AT_HAND, Masks, highest
from prunebench.training.cost import Cost
from prunebench.training.optimizer_state import optimizer_tensors, restore_optimizer
from prunebench.training.recipes import learning_rate, make_optimizer, training_loss
from prunebench.training.state import State, Tensors, under

EVALUATION_BATCH = 1000
ADVICE = "try a lower learning rate, or clip_norm"
MANY_CLASSES = 100
"""From this number of classes on, top-5 accuracy is measured too."""


@dataclass(frozen=True)
class Trainer:
    """What training needs besides a state; the same for every stage of a task on a device."""

    task: Task
    network: Network
    model: nn.Module
    """A module of the task's architecture, on the device; its values are overwritten."""
    data: Data
    seed: int


class CheckpointCallback:
    """Base class of what keeps states during a training; by default none is kept."""

    def wants(self, steps_made: int) -> bool:
        """Called after each step; returns whether the state after it is to be kept."""
        return False

    def keep(self, state: State) -> None:
        """Called with each state that is to be kept: a training that resumes from it gives the same results."""


def train(
    trainer: Trainer,
    state: State,
    stop: int,
    stream: str,
    updater: Updater,
    fresh: bool,
    callback: CheckpointCallback | None = None,
) -> State:
    """Train from the state's step until `stop` steps have been made.

    Args:
        stream: names the randomness of data order, augmentation and dropout.
        updater: changes the masks; its docstring shows when each of its hooks is called.
        fresh: whether the updater begins here; otherwise it goes on with the state's memory.
        callback: keeps states on the way.

    Raises:
        Diverged: when the loss of an evaluation is not finite.
    """
    recipe, clock, model = trainer.task.recipe, trainer.task.clock, trainer.model
    training = TrainingContext(trainer, state, updater.trains_dense)
    loss_of, precision = training_loss(recipe), _precision(recipe, training.device)
    # A program for each shape: with dynamic ones the bits would depend on the shapes that came before.
    forward = torch.compile(model, dynamic=False) if recipe.compile else model
    log = MetricsLog(state, training.device)
    if fresh:
        updater.begin(training)
    else:
        updater.restore_dense(training)

    with seeds.restored(), closing(trainer.data):
        model.train()
        for step in range(state.step, stop):
            training.step = step
            seeds.reseed(training.device, trainer.seed, stream, "step", step)
            inputs, labels = trainer.data.batch(trainer.seed, stream, step)
            for group in training.optimizer.param_groups:
                group["lr"] = learning_rate(recipe, clock, step)
            training.optimizer.zero_grad()
            updater.apply_masks(training)
            with precision:
                loss = loss_of(forward(inputs), labels)
            loss.backward()
            updater.restore_dense(training)
            log.add(loss, len(labels), updater.flops(training))
            if not updater.after_backward(training):
                training.make_step(recipe.clip_norm)
            updater.after_step(training)
            if evaluation_due(recipe, clock, step + 1):
                updater.apply_masks(training)
                log.evaluate(trainer, step + 1)
                training.check_scores()
                training.measure_choice()
                updater.restore_dense(training)
            if callback and callback.wants(step + 1):
                updater.apply_masks(training)
                callback.keep(state.changed(**snapshot(model), **log.fields(step + 1), **training.remembered()))
                updater.restore_dense(training)
    updater.apply_masks(training)
    return state.changed(**snapshot(model), **log.final_fields(stop), **training.remembered())


class LoggedFields(TypedDict):
    """The fields of a state that a `MetricsLog` fills in."""

    step: int
    cost: Cost
    unbooked: Cost
    history: tuple[dict[str, float], ...]
    loss_sum: float
    loss_steps: int


class MetricsLog:
    """Losses, evaluations and cost of a training so far."""

    def __init__(self, state: State, device: torch.device) -> None:
        self._begun = state
        self._history = list(state.history)
        self._examples = state.unbooked.examples
        self._flops: Flops = state.unbooked.training_flops
        # On the device, so that no step waits for it.
        self._loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=device)
        self._loss_steps = state.loss_steps

    def add(self, loss: torch.Tensor, examples: int, flops: Flops) -> None:
        """Add a step: its loss, its examples, and its FLOPs for each of them."""
        self._loss_sum += loss.detach()
        self._loss_steps += 1
        self._examples += examples
        if isinstance(flops, torch.Tensor):  # whatever an updater made it of: sums of float32 lose what is added
            flops = flops.detach().to(self._loss_sum.device, torch.float64)
        self._flops += flops * examples

    def evaluate(self, trainer: Trainer, steps_made: int) -> None:
        """Evaluate the network. Raises Diverged for a loss that is not finite."""
        train_loss = float(self._loss_sum) / self._loss_steps
        _check_finite(train_loss, steps_made)
        figures = {"step": float(steps_made), "time": time.time(), "train_loss": train_loss}
        self._history.append(figures | evaluate(trainer.model, trainer.data, steps_made))
        trainer.model.train()
        self._loss_sum.zero_()
        self._loss_steps = 0

    def final_fields(self, steps_made: int) -> LoggedFields:
        """The fields of the state that the training ends with. Raises Diverged as `fields` does."""
        fields = self.fields(steps_made)
        return {**fields, "cost": fields["cost"] + fields["unbooked"], "unbooked": Cost()}

    def fields(self, steps_made: int) -> LoggedFields:
        """The fields of a state on the way. Raises Diverged if the losses since the last evaluation are not finite."""
        _check_finite(float(self._loss_sum), steps_made)
        before = self._begun
        return {
            "step": steps_made,
            "cost": before.cost,
            "unbooked": Cost(
                training_flops=float(self._flops),
                steps=before.unbooked.steps + steps_made - before.step,
                examples=self._examples,
                wall_seconds=before.unbooked.wall_seconds,
            ),
            "history": tuple(self._history),
            "loss_sum": float(self._loss_sum),
            "loss_steps": self._loss_steps,
        }


_OPTIMIZER = "optimizer/"
"""Prefix of the names in a state's memory of an optimizer's tensors, where it trains dense weights."""


class Remembered(TypedDict):
    """The fields of a state that a `TrainingContext` fills in."""

    masks: Masks
    optimizer: Tensors
    memory: Tensors
    choice: Choice


class TrainingContext:
    """A training while it runs: what is passed to the hooks of an updater, which may change it."""

    def __init__(self, trainer: Trainer, state: State, trains_dense: bool = False) -> None:
        self.model = trainer.model
        self.network = trainer.network
        self.clock = trainer.task.clock
        self.step = state.step
        self.seed = trainer.seed
        self.parameters = dict(load(trainer.model, state))
        self.device = next(trainer.model.parameters()).device
        self.masks = {name: mask.to(self.device) for name, mask in state.masks.items()}
        """Bool, of each masked weight's shape. Change them with `set_masks` only."""
        memory = {name: value.to(self.device, copy=True) for name, value in state.memory.items()}
        self.memory = {name: value for name, value in memory.items() if not name.startswith(_OPTIMIZER)}
        """Tensors that the updater keeps from step to step; saved with the state."""
        dense = not any(getattr(module, "sparse", False) is True for module in trainer.model.modules())  # embeddings
        self.optimizer = make_optimizer(trainer.task.recipe.optimizer, self.parameters.values(), dense)
        self.trains_dense = trains_dense
        """Whether the optimizer trains dense weights (or scores): masks are then applied, not enforced."""
        restore_optimizer(self.optimizer, self.parameters, state.optimizer | under(_OPTIMIZER, memory))
        self.choice = state.choice
        """How well scores decided in the prunings until now."""
        self._measure: Callable[[], Choice] | None = None
        """Counts what the masks were last chosen from, if that was not counted yet."""
        self._finite: dict[str, torch.Tensor] = {}
        """Of each layer whether the scores that masks were chosen by have been finite until now."""
        self._count()

    @property
    def dense_gradient_flops(self) -> Flops:
        """FLOPs of one example in a step that needs the gradient of every weight: 2 f_S + f_D."""
        return 2 * self.sparse_flops + self.network.flops

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The prunable weights by name; after the backward pass with their dense gradient."""
        return {layer.name: self.parameters[layer.name] for layer in self.network.layers}

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator of this step's own."""
        return seeds.generator(self.seed, purpose, self.step)

    def step_of(self, time: str | int) -> int:
        """The optimizer step that a time such as `75%` names."""
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
        """Replace the masks. Newly pruned weights become zero; so does the optimizer's memory of every weight that
        changed sides, so that a grown weight starts from nothing."""
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

    def _count(self) -> None:
        masked = {} if self.trains_dense else self.masks
        self._weights: list[torch.Tensor] = [self.parameters[name] for name in masked]
        self._kept = [mask.float() for mask in masked.values()]
        flops = self.network.flops_at({name: mask.sum().double() for name, mask in self.masks.items()})
        self.sparse_flops: Flops = flops if self.trains_dense else float(flops)
        """Forward FLOPs of one example under the masks as they are. If
        `trains_dense` it is a tensor on the device, so that no step waits for it."""

    def remembered(self) -> Remembered:
        """The masks, the optimizer's tensors and the updater's memory, for the state.

        An optimizer of dense weights or scores belongs to the updater's memory, which only the same training goes on
        with: its momentum is not that of the weights in the state.
        """
        self.check_scores()
        optimizer = optimizer_tensors(self.optimizer, self.parameters)
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
            nn.utils.clip_grad_norm_(self.parameters.values(), clip_norm)
        self.optimizer.step()
        multiply(self._weights, self._kept)


@torch.no_grad()
def multiply(values: list[torch.Tensor], masks: list[torch.Tensor]) -> None:
    """Multiply each value by its mask, in place."""
    if values:
        torch._foreach_mul_(values, masks)


def _precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    if recipe.precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def evaluation_due(recipe: Recipe, clock: times.Clock, steps_made: int) -> bool:
    """Whether the network is evaluated after so many steps: at every interval, and at the recipe's end."""
    interval = times.step_of(recipe.evaluate_every, clock)
    return steps_made % max(1, interval) == 0 or steps_made == clock.total


def _check_finite(loss: float, steps_made: int, split: str = "training") -> None:
    if not math.isfinite(loss):
        raise Diverged(f"the {split} loss is {loss} by step {steps_made}: {ADVICE}")


def evaluate(model: nn.Module, data: Data, steps_made: int) -> dict[str, float]:
    """Loss and accuracy on the validation split, if there is one, and on the test split.

    Raises Diverged for a loss that is not finite: the very last step may have broken the weights.
    """
    model.eval()
    figures: dict[str, float] = {}
    for name, split in (("validation", data.validation), ("test", data.test)):
        if len(split):
            figures |= {f"{name}_{key}": value for key, value in _measured(model, data, split).items()}
            _check_finite(figures[f"{name}_loss"], steps_made, name)
    return figures


@torch.no_grad()
def _measured(model: nn.Module, data: Data, split: Examples) -> dict[str, float]:
    """Summed over examples, so that a ragged last batch weighs what it holds; top-5 accuracy with many classes."""
    loss = torch.zeros((), dtype=torch.float64, device=split.labels.device)
    correct = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    among_five = torch.zeros_like(correct)
    for inputs, labels in data.in_order(split, EVALUATION_BATCH):
        logits = model(inputs).float()
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(1) == labels).sum()
        if data.classes >= MANY_CLASSES:
            among_five += (logits.topk(5).indices == labels[:, None]).sum()
    top5 = {"accuracy_top5": int(among_five) / len(split)} if data.classes >= MANY_CLASSES else {}
    return {"loss": float(loss) / len(split), "accuracy": int(correct) / len(split), **top5}


@torch.no_grad()
def load(model: nn.Module, state: State) -> dict[str, nn.Parameter]:
    """Put a state's values into a model; returns its parameters by name."""
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    for name, value in state.parameters.items():
        parameters[name].copy_(value)
    for name, value in state.buffers.items():
        buffers[name].copy_(value)
    return parameters


class Snapshot(TypedDict):
    """The two fields of a state that a model holds."""

    parameters: Tensors
    buffers: Tensors


def snapshot(model: nn.Module) -> Snapshot:
    """A model's values, copied to the CPU."""
    return {
        "parameters": {name: value.detach().cpu().clone() for name, value in model.named_parameters()},
        "buffers": {name: value.detach().cpu().clone() for name, value in model.named_buffers()},
    }
