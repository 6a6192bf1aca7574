"""The context that is passed to `Method.scores`: the network at one point of a chain, data, and randomness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from prunebench.api.components import Input
from prunebench.api.contexts import Mode
from prunebench.api.layers import Group, Layer
from prunebench.data import seeds
from prunebench.data.inputs import Inputs, constant_inputs
from prunebench.data.task_data import Batch, Data


@dataclass(frozen=True)
class ScoringContext:
    """A network at one point of a chain; see `prunebench.Scoring`.

    The network is a copy: changes that a method makes to it are lost afterwards.

    Pruned weights are zero in it. Every tensor is on `device`. The gradient of a weight that the model has frozen is 0,
    however it is taken.
    """

    model: nn.Module
    layers: tuple[Layer, ...]
    """The prunable layers, in order: `name`, `shape`, `size`."""
    inputs: tuple[Input, ...]
    """What the network is given, for one example."""
    masks: dict[str, torch.Tensor]
    """By name, a bool tensor of the weight's shape: True where it is not pruned."""
    seed: int
    """The trial's."""
    purpose: str
    """The name under which this method's randomness is drawn."""
    open_data: Callable[[], Data]
    """Loads the data set; call `batches` instead."""
    keep: int = 0
    """How many weights are kept after the pruning that scores are for; 0 where nothing is pruned."""
    groups: tuple[Group, ...] = ()
    """The channels and heads that can be removed, for `Method.channel_scores`."""
    memory: dict[str, torch.Tensor] = field(default_factory=dict)
    """What `Method.scores` keeps for the `Method.compensate` of the same pruning."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input: (channels, height, width) of images."""
        return self.inputs[0].shape

    def constant_inputs(self, value: float, count: int = 1, dtype: torch.dtype = torch.float32) -> Inputs:
        """Inputs without data: all numbers have the same value; all tokens are number 0, as tokens have no size."""
        with self.device:
            return constant_inputs(self.inputs, count, value, dtype)

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The prunable weights by name."""
        parameters = dict(self.model.named_parameters())
        return {layer.name: parameters[layer.name] for layer in self.layers}

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """All parameters by name."""
        return dict(self.model.named_parameters())

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def generator(self) -> torch.Generator:
        """A CPU generator that depends on the trial's seed and the method's name alone; the same at each access."""
        return seeds.generator(self.seed, self.purpose)

    def batches(self, count: int, size: int, balanced: bool = False) -> Iterator[Batch]:
        """Yield mini-batches of training examples as (inputs, targets), without replacement and without augmentation.

        If there are fewer than count * size examples, the last batch is smaller. A last batch of one example is
        omitted, because BatchNorm cannot be trained on it, unless `size` is 1 or there is no other example.

        Args:
            count: number of mini-batches.
            size: examples in each; inputs as the network is given them, such as float32 of shape (size, channels,
                height, width).
            balanced: whether a batch has the same number of examples of each class, as far as `size` allows; ignored
                where targets are not classes.
        """
        data = self.open_data()
        order = torch.randperm(len(data.train), generator=seeds.generator(self.seed, self.purpose, "batches"))
        if balanced and data.facts.targets == "classes":
            order = _interleaved(order, data.train.targets.cpu(), data.facts.classes)
        order = order[: count * size]
        if size > 1 and len(order) > 1 and len(order) % size == 1:
            order = order[:-1]
        for chosen in torch.split(order, size):
            yield data.examples(data.train, chosen.to(self.device))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The task's loss of a batch: a scalar, the mean over its examples; without label smoothing."""
        return self.open_data().objective.loss(outputs, targets)

    @contextmanager
    def mode(self, mode: Mode) -> Iterator[nn.Module]:
        """Context in which the model is in the given mode (BatchNorm, dropout); dropout is seeded."""
        before = self.model.training
        with seeds.seeded(self.seed, self.purpose, "dropout"):
            yield self.model.train(mode == "train")
        self.model.train(before)

    def gradients(self, loss: torch.Tensor, **options: Any) -> dict[str, torch.Tensor]:
        """Return the dense gradient of a scalar with respect to each prunable weight, pruned positions included.

        Where there are groups, it is that of every parameter. It is 0 for a frozen weight and for a weight that the
        scalar does not depend on.

        Args:
            options: options of torch.autograd.grad, such as create_graph=True.
        """
        weights = self.parameters if self.groups else self.weights
        if not loss.requires_grad:
            return {name: torch.zeros_like(weight) for name, weight in weights.items()}
        wanted = [weight for weight in weights.values() if weight.requires_grad]
        found = torch.autograd.grad(loss, wanted, **{"allow_unused": True, **options}) if wanted else ()
        by_weight = dict(zip(wanted, found, strict=True))
        none = {name: by_weight.get(weight) for name, weight in weights.items()}
        return {name: torch.zeros_like(weights[name]) if one is None else one for name, one in none.items()}


def _interleaved(order: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """The order re-sorted so that classes take turns: first each class's first example, then each one's second."""
    rank = torch.zeros(len(order), dtype=torch.long)
    shuffled = labels[order]
    for label in range(classes):
        members = (shuffled == label).nonzero().flatten()
        rank[members] = torch.arange(len(members))
    return order[torch.argsort(rank, stable=True)]
