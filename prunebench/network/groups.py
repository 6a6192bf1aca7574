"""Which channels and attention heads of a network can be removed, and from which tensors each must be removed.

Torch-Pruning's dependency graph (Fang et al. 2023, arXiv:2301.12900) proposes the groups. Nothing is taken on trust:
for each proposal a cut network with random weights is compared with the dense one in which everything that was removed
is zero. What differs, or is not understood, is left out by name and stays whole.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from unittest import mock

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from prunebench.api.components import Input
from prunebench.api.errors import PrunebenchError
from prunebench.api.layers import Group, Part
from prunebench.data import seeds
from prunebench.data.inputs import Inputs
from prunebench.network.attention import Attention, find_attention, head_indices, watched
from prunebench.network.cut_checks import CPU, difference, drawn_examples, first_line, randomized
from prunebench.network.cuts import Kept, NetworkCut, head_count
from prunebench.network.modules import copied

MOST_ITEMS, MOST_PLACES = 5_000, 20_000_000
"""More items of a group, and channels in all of them, than any network has: DenseNet-121 has 102 and 52,224."""
FUSED = (1, 3)
"""How many times the width of all heads a layer before attention has: once, or for queries, keys and values at once."""


@dataclass(frozen=True)
class Groups:
    """What can be removed from a network."""

    found: tuple[Group, ...]
    """In the order of the network's parameters."""
    left_out: Mapping[str, str]
    """Why channels stay whole, by the name of the first weight that computes them."""


class _Whole(Exception):
    """Why the channels of a group stay whole."""


def find_groups(module: nn.Module, inputs: Sequence[Input], allowed: Collection[str]) -> Groups:
    """The groups of a network; the network itself is not changed.

    Args:
        inputs: what the network is given.
        allowed: names of the weights whose outputs may be removed; what they do not name stays whole.

    Raises PrunebenchError for a network that Torch-Pruning cannot follow.
    """
    with seeds.seeded("groups"), torch.enable_grad():
        model = randomized(copied(module).to(CPU).eval())
        examples = drawn_examples(inputs)
        known = find_attention(model, examples)
        proposals = _proposals(model, examples, known)
        order = {name: place for place, name in enumerate(dict(model.named_parameters()))}
        found: list[Group] = []
        left_out: dict[str, str] = {}
        outcomes = [_group(items, model, order, allowed) for items in proposals]
        for name, outcome in (*outcomes, *(_heads_of(one, model, order, allowed) for one in known)):
            if isinstance(outcome, str):
                left_out[name] = outcome
            elif outcome.size > 1:
                found.append(outcome)
        found.sort(key=lambda group: order[group.name])
        differing = _differing(model, found, examples)
    left_out |= dict.fromkeys(differing, "without them the network computes something else")
    return Groups(tuple(group for group in found if group.name not in differing), left_out)


def cut_of(groups: Sequence[Group], kept: Mapping[str, Sequence[int]], module: nn.Module) -> NetworkCut:
    """The cut that keeps some channels of groups.

    Args:
        kept: the channels by the name of their group; groups that are not named stay whole.
        module: the network that the groups were found in.
    """
    removed: dict[tuple[str, int], set[int]] = defaultdict(set)
    heads: list[tuple[str, int]] = []
    blocks: list[str] = []
    for group in groups:
        stay = set(kept.get(group.name, range(group.size)))
        gone = [channel for channel in range(group.size) if channel not in stay]
        if not gone:
            continue
        for part in group.parts:
            removed[part.tensor, part.dim].update(index for channel in gone for index in part.indices[channel])
        if group.kind == "heads" and head_count(module.get_submodule(group.attention)):
            heads.append((group.attention, len(stay)))
        blocks += [group.blocks[block] for block in gone if group.kind == "blocks"]
    tensors = {**dict(module.named_buffers()), **dict(module.named_parameters())}
    entries = []
    for (name, dim), gone_there in removed.items():
        size = tensors[name].shape[dim]
        entries.append(Kept(name, dim, size, tuple(index for index in range(size) if index not in gone_there)))
    return NetworkCut(tuple(sorted(entries)), tuple(sorted(heads)), tuple(sorted(blocks)))


def _differing(model: nn.Module, groups: Sequence[Group], examples: Inputs) -> set[str]:
    """The groups that cannot be removed as proposed; each is tried by itself if all of them together fail."""
    if is_same(model, groups, examples):
        return set()
    differing = {group.name for group in groups if not is_same(model, [group], examples)}
    left = [group for group in groups if group.name not in differing]
    return differing if is_same(model, left, examples) else {group.name for group in groups}


def is_same(model: nn.Module, groups: Sequence[Group], examples: Inputs, kept: range | None = None) -> bool:
    """Whether the network without some channels of groups computes what it does with zeros there.

    Args:
        kept: the channels of each group that are kept; by default every other one.
    """
    cut = cut_of(groups, {group.name: range(0, group.size, 2) if kept is None else kept for group in groups}, model)
    try:
        differs, allowed = difference(model, cut, examples)
    except Exception:  # of the network's code, for which the shapes do not fit
        return False
    return differs <= allowed


@dataclass(frozen=True)
class _Item:
    """A module in a proposal, and which of its channels belong to each channel of the group's first layer."""

    path: str
    module: Any
    dim: int
    """Of a parameter that is in no layer."""
    outputs: bool
    """Whether they are channels that the module computes, not those that it reads."""
    places: Sequence[int]
    roots: Sequence[int]


def _proposals(model: nn.Module, examples: Inputs, known: Sequence[Attention]) -> list[list[_Item]]:
    """The groups as Torch-Pruning sees them, without those of the heads of attention that is known."""
    paths = {id(module): path for path, module in model.named_modules()}
    paths |= {id(parameter): name for name, parameter in model.named_parameters()}
    groups, graph = _dependencies(model, examples, known)
    found = [[_item(one, graph, paths) for one in group.items] for group in groups]
    heads = {path for attention in known for path in attention.projections}
    return [items for items in found if not any(item.outputs and item.path in heads for item in items)]


def _dependencies(model: nn.Module, examples: Inputs, known: Sequence[Attention]) -> tuple[list[Any], Any]:
    """Torch-Pruning's groups, and its graph, which goes around what is between the heads of attention."""

    def forward(net: nn.Module, given: Inputs) -> list[torch.Tensor]:
        with watched(net, known) as calls:
            outputs = net(given)
        return [outputs, *(calls.outputs[path] for attention in known for path in attention.projections)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch_pruning.dependency import graph as dependencies

        graph: Any = dependencies.DependencyGraph()
        try:
            graph.build_dependency(model, examples, forward_fn=forward, verbose=False)
            with mock.patch.object(dependencies, "Group", _ends(dependencies.Group)):
                return list(graph.get_all_groups()), graph
        except Exception as error:
            raise PrunebenchError(f"Torch-Pruning cannot follow the network: {first_line(error)}") from error


def _ends(group: Any) -> type:
    """A class of groups of Torch-Pruning that raises where following a network would never end.

    What depends on itself, such as a rotation that adds up two places, is followed in ever longer lists.
    """

    class Ending(group):  # type: ignore[misc]
        places = 0

        def add_dep(self, dep: Any, idxs: Sequence[Any]) -> None:
            super().add_dep(dep, idxs)
            self.places += len(idxs)
            if len(self.items) > MOST_ITEMS or self.places > MOST_PLACES:
                raise RecursionError(f"what belongs to {dep.source.name!r} has no end")

    return Ending


def _item(found: Any, graph: Any, paths: Mapping[int, str]) -> _Item:
    target = found.dep.target
    outputs = bool(graph.is_out_channel_pruning_fn(found.dep.handler))
    path = paths.get(id(target.module), "")
    return _Item(path, target.module, int(target.pruning_dim), outputs, found.idxs, found.root_idxs)


def _group(
    items: Sequence[_Item], model: nn.Module, order: Mapping[str, int], allowed: Collection[str]
) -> tuple[str, Group | str]:
    """The name of a proposal, and its group, or why it is left out."""
    names = sorted((name for item in items for name in _computing(item) if name in order), key=order.__getitem__)
    name = names[0] if names else items[0].path
    try:
        parts = [part for item in items for part in _parts(item, model, len(items[0].places))]
        attention = ""
        if heads := _attention(items, model):
            attention, parts = heads[0], _heads(items, model, heads[1])
    except _Whole as reason:
        return name, str(reason)
    linear = all(isinstance(item.module, nn.Linear) for item in items if _computing(item))
    group = Group(name, "heads" if attention else "channels", _ordered(parts, order), attention, linear=linear)
    if any(type(item.module).__name__ == "_OutputOp" for item in items):
        return name, IS_OUTPUT
    return name, _why_whole(group, allowed) or group


def _ordered(parts: Sequence[Part], order: Mapping[str, int]) -> tuple[Part, ...]:
    by_role = sorted(set(parts), key=lambda part: (_ROLES.index(part.role), order.get(part.tensor, -1), part.tensor))
    return tuple(by_role)


IS_OUTPUT = "they are outputs of the network"
_ROLES = ("output", "input", "scale", "other")


def _why_whole(group: Group, allowed: Collection[str]) -> str:
    if not group.inputs:
        return IS_OUTPUT
    kept = [part.tensor for part in group.outputs if part.tensor not in allowed]
    if kept:
        return f"the task or the method keeps the outputs of {kept[0]!r}"
    if any(None in part.indices or len({len(one) for one in part.indices}) != 1 for part in group.parts):
        return "not every channel has as many weights as the others"
    return ""


def _computing(item: _Item) -> list[str]:
    return [f"{item.path}.weight"] if item.outputs and isinstance(item.module, (_ConvNd, nn.Linear)) else []


def _is_depthwise(layer: _ConvNd) -> bool:
    return layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels


def _tensors(item: _Item) -> list[tuple[str, int, str]]:
    """The tensors of a module that have the channels: name, dimension and role. Raises _Whole for other modules."""
    layer = item.module
    if type(layer).__module__.startswith("torch_pruning."):  # an operation without weights
        return []
    if isinstance(layer, nn.Parameter):
        return [("", item.dim, "scale")]
    if isinstance(layer, _BatchNorm):
        return [("weight", 0, "scale"), *((name, 0, "other") for name in ("bias", "running_mean", "running_var"))]
    if isinstance(layer, nn.PReLU):
        return [("weight", 0, "other")] if layer.num_parameters > 1 else []
    if isinstance(layer, _ConvNd) and _is_depthwise(layer):
        return [("weight", 0, "output"), ("bias", 0, "other")]
    if isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and layer.groups == 1):
        first = 1 if isinstance(layer, _ConvTransposeNd) else 0
        return [("weight", first, "output"), ("bias", 0, "other")] if item.outputs else [("weight", 1 - first, "input")]
    if isinstance(layer, _ConvNd):
        raise _Whole(f"{item.path!r} is a convolution in groups of several channels")
    if isinstance(layer, (nn.LayerNorm, nn.GroupNorm)):
        raise _Whole(f"{item.path!r} normalizes over the channels, so that it would compute something else without one")
    raise _Whole(f"{item.path!r} is of type {type(layer).__name__}, whose channels are not understood")


def _parts(item: _Item, model: nn.Module, channels: int) -> Iterator[Part]:
    known = _known(item, model)
    places: dict[int, list[int]] = defaultdict(list)
    for place, root in zip(item.places, item.roots, strict=True):
        places[root].append(place)
    indices = tuple(tuple(sorted(places.get(channel, ()))) for channel in range(channels))
    for name, dim, role in known:
        yield Part(name, dim, cast(Any, role), indices)


def _known(item: _Item, model: nn.Module) -> list[tuple[str, int, str]]:
    """The tensors of a module that are there, by their full names. Raises _Whole for a weight that is computed."""
    stored = _stored(model)
    found = []
    for name, dim, role in _tensors(item):
        value = item.module if not name else getattr(item.module, name, None)
        if value is None:  # a layer without bias, BatchNorm without statistics
            continue
        if id(value) not in stored:
            raise _Whole(f"the weight of {item.path!r} is computed from others, as by a parametrization")
        found.append((stored[id(value)], dim, role))
    return found


def _stored(model: nn.Module) -> dict[int, str]:
    """The names of parameters and buffers, a tied one by its first."""
    return {id(value): name for name, value in (*model.named_buffers(), *model.named_parameters())}


def _attention(items: Sequence[_Item], model: nn.Module) -> tuple[str, int] | None:
    """The module whose heads a proposal consists of, and their number; None where it is no attention.

    A layer belongs to attention if the module that it is in counts heads, and something other than the layer before it
    reads it: queries, keys and values go into `_heads`, an MLP in the same module does not.
    """
    before = [item for item in items if item.outputs and isinstance(item.module, nn.Linear)]
    after = [item for item in items if not item.outputs and isinstance(item.module, nn.Linear)]
    if not before or not after:
        return None
    modules = dict(model.named_modules())
    path = before[0].path.rpartition(".")[0]
    counted = head_count(modules[path])
    fused = len(before) == 1 and before[0].module.out_features == 3 * after[0].module.in_features
    several = len(before) == 3
    return (path, counted[1]) if counted and (fused or several) else None


def _heads(items: Sequence[_Item], model: nn.Module, count: int) -> list[Part]:
    """The parts of the heads of attention. Raises _Whole for layers that are not those of attention as it is known."""
    layers = [item for item in items if not type(item.module).__module__.startswith("torch_pruning.")]
    reading = [item.module.in_features for item in layers if not item.outputs and isinstance(item.module, nn.Linear)]
    width = reading[0]
    if width % count or len(set(reading)) != 1:
        raise _Whole(f"{layers[0].path!r} is not divided evenly into {count} heads")
    parts = []
    for item in layers:
        if not isinstance(item.module, nn.Linear):
            raise _Whole(f"{item.path!r} is between the heads and the layers around them")
        size = item.module.out_features if item.outputs else width
        if size % width or size // width not in FUSED:
            raise _Whole(f"{item.path!r} has other heads than the layer that reads them")
        indices = tuple(tuple(_of_head(head, size, width, width // count)) for head in range(count))
        parts += [Part(name, dim, cast(Any, role), indices) for name, dim, role in _known(item, model)]
    return parts


def _heads_of(
    attention: Attention, model: nn.Module, order: Mapping[str, int], allowed: Collection[str]
) -> tuple[str, Group | str]:
    """The name of the first weight of attention that is known from its layers, and its heads, or why they stay."""
    parts = []
    name = min((f"{path}.weight" for path in attention.projections), key=order.__getitem__)
    try:
        for path in attention.layers:
            layer: Any = model.get_submodule(path)
            outputs = path != attention.output
            indices = head_indices(attention, layer.out_features if outputs else layer.in_features)
            item = _Item(path, layer, 0, outputs, (), ())
            parts += [Part(tensor, dim, cast(Any, role), indices) for tensor, dim, role in _known(item, model)]
    except _Whole as reason:
        return name, str(reason)
    group = Group(name, "heads", _ordered(parts, order), attention.path)
    return name, _why_whole(group, allowed) or group


def _of_head(head: int, size: int, width: int, each: int) -> Iterator[int]:
    """The indices of a head among those of queries, keys and values, or of one of them."""
    return (start + head * each + place for start in range(0, size, width) for place in range(each))
