"""What a network looks like, without its weights: prunable layers, their sizes, the FLOPs of one example.

FLOPs count a multiply-add as two operations; convolutions, linear layers and attention are counted
(torch.utils.flop_counter), norms and activations are not. They belong to the weights that are multiplied, whichever
module does it and however often.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from math import prod

import torch
from torch import nn

from prunebench.api.components import Interface, Model
from prunebench.api.errors import PrunebenchError
from prunebench.api.layers import Layer, Network
from prunebench.api.tasks import Prunable, Task
from prunebench.data import seeds
from prunebench.data.inputs import constant_inputs
from prunebench.messages.suggestions import nearest
from prunebench.network.cuts import NOTHING, NetworkCut
from prunebench.network.modules import build, called
from prunebench.network.profiles import Connections, Profile, profile

SHARE = 0.01
"""Of all parameters or all FLOPs: with so many, parameters that are not prunable are named."""
SHOWN = 3
LEAVE_OUT = "leave them out with `prunable: {exclude: [...]}` of the task, or in `prunable` of the model"


def describe(task: Task, cut: NetworkCut = NOTHING) -> Network:
    """The network of a task, or what a cut leaves of it, with the layers that the task allows to be pruned.

    Low-rank factors are no part of it: their weights count as kept ones of the layer that they are beside.
    """
    return _describe(task.model, task.interface, task.prunable, cut.without_factors)


@functools.lru_cache(maxsize=256)
def _describe(model: Model, interface: Interface, prunable: Prunable, cut: NetworkCut) -> Network:
    found = profile(model, interface, cut)
    if not found.prunable:
        raise PrunebenchError(f"model {called(model)!r} has no weights to prune: name some in its `prunable`")
    if not found.trainable:
        raise PrunebenchError(
            f"model {called(model)!r} has no parameter to train: requires_grad is false in all of them"
        )
    _check_patterns(model, found, prunable.exclude)
    names = _chosen(found, prunable)
    if not names:
        raise PrunebenchError(f"model {called(model)!r} has no layer left to prune: see `prunable` in the suite")
    _check_multiplied(model, names, found)
    parameters = sum(map(prod, found.shapes.values()))
    others = (_layer(name, found) for name in found.shapes if name not in found.prunable)
    # Biases, scales and other vectors are never prunable, and no news.
    matrices = (one for one in others if one.size > max(one.shape, default=1))
    large = (one for one in matrices if one.size >= SHARE * parameters or one.flops > SHARE * found.total_flops)
    layers = tuple(_layer(name, found) for name in names if prod(found.shapes[name]))  # removed blocks have no weights
    return Network(layers, float(found.total_flops), parameters, found.prunable[-1], tuple(large))


@functools.lru_cache(maxsize=64)
def alone(model: Model, interface: Interface) -> str:
    """Why the network cannot be trained on a batch of one example, where it can on two: BatchNorm has no variance."""
    for device in ("meta", "cpu"):  # a forward pass that looks at values does not run on the meta device
        with torch.device(device), seeds.seeded("profile"), torch.no_grad():
            module = build(model, interface).train()
            if not _failure(module, interface, 2):
                return _failure(module, interface, 1)
    return ""


def _failure(module: nn.Module, interface: Interface, examples: int) -> str:
    """What is wrong with a forward pass, in one line."""
    try:
        outputs = module(constant_inputs(interface.inputs, examples, 0.0))
    except Exception as error:  # of the model's own code
        return " ".join(str(error).split()) or type(error).__name__
    if isinstance(outputs, torch.Tensor) and outputs.shape[:1] != (examples,):
        return f"its output has shape {tuple(outputs.shape)}"
    return ""


def _layer(name: str, found: Profile) -> Layer:
    flops, connections = float(found.flops.get(name, 0.0)), found.connections.get(name, Connections())
    layerwise = name in found.plain
    return Layer(
        name, found.shapes[name], flops, name in found.used, connections.input_dim, connections.groups, layerwise
    )


def _chosen(found: Profile, prunable: Prunable) -> list[str]:
    names = found.prunable if prunable.first else found.prunable[1:]
    names = names if prunable.last else names[:-1]
    excluded = re.compile("|".join(f"(?:{pattern})" for pattern in prunable.exclude) or "(?!)")
    return [name for name in names if not any(map(excluded.search, found.aliases[name]))]


def _check_patterns(model: Model, found: Profile, patterns: Sequence[str]) -> None:
    """Raise PrunebenchError for patterns that match no prunable weight, and so would leave nothing dense."""
    names = [alias for name in found.prunable for alias in found.aliases[name]]
    unmatched = [pattern for pattern in patterns if not any(re.search(pattern, name) for name in names)]
    if unmatched:
        raise PrunebenchError("\n".join(_unmatched(model, found.prunable, pattern) for pattern in unmatched))


def _unmatched(model: Model, names: Sequence[str], pattern: str) -> str:
    return (
        f"model {called(model)!r}: {pattern!r} in `prunable.exclude` matches none of its {len(names)} prunable "
        f"weights; the nearest are {', '.join(nearest(pattern, names, n=3, cutoff=0))}"
    )


def _check_multiplied(model: Model, names: Sequence[str], found: Profile) -> None:
    """Raises PrunebenchError for weights whose zeros would not be those of a multiplication."""
    if filled := [name for name in names if name in found.filled]:
        raise PrunebenchError(
            f"model {called(model)!r} transforms {_listed(filled)} before it multiplies by them, as weight "
            f"standardization does, and what is pruned is not zero there: {LEAVE_OUT}"
        )
    if uncounted := [name for name in names if name in found.uncounted]:
        raise PrunebenchError(
            f"model {called(model)!r} uses {_listed(uncounted)} in operations whose FLOPs are unknown, none of "
            f"them a convolution or a matrix product: {LEAVE_OUT}"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
