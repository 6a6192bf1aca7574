"""What a network looks like, without its weights: prunable layers, their sizes, the FLOPs of one example.

Built on torch's meta device, so that a plan of ResNet-50 needs no memory and milliseconds.
FLOPs count a multiply-add as two operations; convolutions, linear layers and attention are counted
(torch.utils.flop_counter), norms and activations are not.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils.flop_counter import FlopCounterMode

from prunebench.components import Model
from prunebench.errors import PrunebenchError
from prunebench.suggestions import nearest
from prunebench.suite.values import Prunable, Task

Count = TypeVar("Count", int, torch.Tensor)


@dataclass(frozen=True)
class Layer:
    """A prunable weight."""

    name: str
    shape: tuple[int, ...]
    flops: float
    """Of the layer's dense forward pass for one example."""
    input_dim: int = 1
    """The dimension of the weight along which its inputs are: 0 in a transposed convolution."""
    groups: int = 1
    """Of a convolution: its inputs and outputs are connected within each group only."""

    @property
    def inputs(self) -> int:
        """Inputs (features or channels) that each output is connected to."""
        return self.shape[1] if self.input_dim else self.shape[0] // self.groups

    @property
    def outputs(self) -> int:
        """Outputs (features or channels) of all groups."""
        return self.shape[0] if self.input_dim else self.shape[1] * self.groups

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Network:
    """A dense network."""

    layers: tuple[Layer, ...]
    flops: float
    """Of one example's forward pass, layers that are not prunable included."""
    parameters: int
    """All of them: biases and norms too."""
    output: str = ""
    """Name of the model's last prunable weight, whether or not the task leaves it alone."""

    @property
    def size(self) -> int:
        """Number of prunable weights: the denominator of density and sparsity."""
        return sum(layer.size for layer in self.layers)

    def flops_at(self, kept: Mapping[str, Count]) -> Count | float:
        """Forward FLOPs of one example when zeros are skipped.

        Args:
            kept: number of weights kept in each layer, each a number or a float64 tensor of one; a layer that is not
                named is dense.
        """
        pruned = ((layer, layer.size - kept[layer.name]) for layer in self.layers if layer.name in kept)
        # A number over a number: a GPU divides a tensor by one with another last bit than a CPU.
        skipped = sum(layer.flops / layer.size * count for layer, count in pruned)
        return self.flops - skipped


def describe(task: Task) -> Network:
    """The network of a task, with the layers that the task allows to be pruned."""
    facts = task.dataset.facts()
    return _describe(task.model, facts.shape, facts.classes, task.prunable)


@functools.lru_cache(maxsize=64)
def _describe(model: Model, shape: tuple[int, ...], classes: int, prunable: Prunable) -> Network:
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        module = model.build(shape, classes).eval()
        counter = FlopCounterMode(display=False)
        # With gradients on: without them attention takes a fused path that the counter does not see.
        with counter, torch.enable_grad():
            module(torch.empty(1, *shape))
    counts = {path.partition(".")[2]: sum(flops.values()) for path, flops in counter.get_flop_counts().items()}
    weights = dict(module.named_parameters())
    if not any(weight.requires_grad for weight in weights.values()):
        raise PrunebenchError(f"model {model.name!r} has no parameter to train: requires_grad is false in all of them")
    names = list(model.prunable(module))
    _check_patterns(model, names, prunable.exclude)
    layers = tuple(
        Layer(
            name,
            tuple(weights[name].shape),
            float(counts.get(name.rpartition(".")[0], 0)),
            **_connections(module, name),
        )
        for name in _chosen(names, prunable)
    )
    if not layers:
        raise PrunebenchError(f"model {model.name!r} has no layer left to prune: see `prunable` in the suite")
    parameters = sum(weight.numel() for weight in weights.values())
    return Network(layers, float(counter.get_total_flops()), parameters, names[-1])


@functools.lru_cache(maxsize=64)
def alone(model: Model, shape: tuple[int, ...], classes: int) -> str:
    """Why the network cannot be trained on a batch of one example, where it can on two: BatchNorm has no variance."""
    for device in ("meta", "cpu"):  # a forward pass that looks at values does not run on the meta device
        with torch.device(device), torch.random.fork_rng(devices=[]), torch.no_grad():
            module = model.build(shape, classes).train()
            if not _failure(module, torch.zeros(2, *shape)):
                return _failure(module, torch.zeros(1, *shape))
    return ""


def _failure(module: nn.Module, inputs: torch.Tensor) -> str:
    """What is wrong with a forward pass, in one line."""
    try:
        logits = module(inputs)
    except Exception as error:  # of the model's own code
        return " ".join(str(error).split()) or type(error).__name__
    if isinstance(logits, torch.Tensor) and logits.shape[:1] != inputs.shape[:1]:
        return f"its output has shape {tuple(logits.shape)}"
    return ""


def _connections(module: nn.Module, name: str) -> dict[str, int]:
    """How a convolution connects inputs and outputs, as fields of a layer; other layers are as linear ones."""
    owner = module.get_submodule(name.rpartition(".")[0])
    if not isinstance(owner, _ConvNd):
        return {}
    return {"input_dim": 0 if isinstance(owner, _ConvTransposeNd) else 1, "groups": owner.groups}


def _chosen(names: list[str], prunable: Prunable) -> list[str]:
    names = names if prunable.first else names[1:]
    names = names if prunable.last else names[:-1]
    return [name for name in names if not any(re.search(pattern, name) for pattern in prunable.exclude)]


def _check_patterns(model: Model, names: list[str], patterns: Sequence[str]) -> None:
    """Raise PrunebenchError for patterns that match no prunable weight, and so would leave nothing dense."""
    unmatched = [pattern for pattern in patterns if not any(re.search(pattern, name) for name in names)]
    if unmatched:
        raise PrunebenchError("\n".join(_unmatched(model, names, pattern) for pattern in unmatched))


def _unmatched(model: Model, names: list[str], pattern: str) -> str:
    return (
        f"model {model.name!r}: {pattern!r} in `prunable.exclude` matches none of its {len(names)} prunable weights; "
        f"the nearest are {', '.join(nearest(pattern, names, n=3, cutoff=0))}"
    )


def convolutions_and_linears(module: nn.Module) -> list[str]:
    """Names of the weights of every convolution and linear layer, in the order of their definition."""
    layers = [name for name, layer in module.named_modules() if isinstance(layer, (_ConvNd, nn.Linear))]
    return [f"{name}.weight".removeprefix(".") for name in layers]  # a module that is one layer has no name
