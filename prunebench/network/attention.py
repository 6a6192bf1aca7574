"""Attention modules whose heads are known from their layers, as in LLaMA: each width is that of some heads.

Their code turns and repeats queries and keys in ways that a dependency graph does not follow. It need not: what belongs
to a head is known from the shapes of the layers, and `groups` tries each group that is proposed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from prunebench.data.inputs import Inputs


@dataclass(frozen=True)
class Attention:
    """Queries, keys and values in linear layers of their own, and the layer that reads the heads."""

    path: str
    """Of the module with these layers."""
    projections: tuple[str, ...]
    """The paths of the layers of queries, keys and values, in the order in which they are called."""
    output: str
    """The path of the layer that reads the heads."""
    heads: int
    """Heads of keys and values. Each goes with all queries that read it: grouped-query attention has several."""

    @property
    def layers(self) -> tuple[str, ...]:
        return (*self.projections, self.output)


@dataclass
class Calls:
    """What the linear layers of a network do in one pass."""

    outputs: dict[str, torch.Tensor] = field(default_factory=dict)
    """By their paths, in the order in which they are called."""


def find_attention(model: nn.Module, examples: Inputs) -> tuple[Attention, ...]:
    """The attention modules of a network that state the width of a head, `head_dim`, and have four linear layers."""
    candidates = {path: module for path, module in model.named_modules() if type(_head_width(module)) is int}
    if not candidates:
        return ()
    try:
        with watched(model, ()) as calls, torch.no_grad():
            model(examples)
    except Exception:  # of the network's own code; who follows the network next says so
        return ()
    found = (_attention(path, module, list(calls.outputs)) for path, module in candidates.items())
    return tuple(one for one in found if one is not None)


def _head_width(module: nn.Module) -> Any:
    return vars(module).get("head_dim")


def _attention(path: str, module: nn.Module, order: Sequence[str]) -> Attention | None:
    width = _head_width(module)
    named = {f"{path}.{name}".removeprefix("."): layer for name, layer in module.named_children()}
    layers = {name: layer for name, layer in named.items() if isinstance(layer, nn.Linear)}
    called = [name for name in order if name in layers]
    if width < 1 or len(layers) != 4 or len(called) != 4:
        return None
    *projections, output = called
    widths = sorted(layers[name].out_features for name in projections)
    narrow, wide = widths[0], widths[-1]
    if widths[1] != narrow or wide % narrow or narrow % width or layers[output].in_features != wide:
        return None
    return Attention(path, tuple(projections), output, narrow // width)


@contextmanager
def watched(model: nn.Module, apart: Sequence[Attention]) -> Iterator[Calls]:
    """Context in which a pass notes the outputs of linear layers.

    Args:
        apart: attention whose last layer gets its inputs without their history, so that a graph of the pass goes around
            what is between the heads.
    """
    calls = Calls()
    last = {attention.output for attention in apart}
    hooks = []
    for path, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            hooks.append(layer.register_forward_hook(lambda _, __, made, path=path: _note(calls, path, made)))
        if path in last:
            hooks.append(layer.register_forward_pre_hook(lambda _, given: tuple(one.detach() for one in given)))
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _note(calls: Calls, path: str, made: torch.Tensor) -> None:
    calls.outputs.pop(path, None)
    calls.outputs[path] = made


def head_indices(attention: Attention, size: int) -> tuple[tuple[int, ...], ...]:
    """For each head its indices among the outputs or inputs of one of the layers, of which there are `size`."""
    each = size // attention.heads
    return tuple(tuple(range(head * each, (head + 1) * each)) for head in range(attention.heads))
