"""What is left of each weight of a network from which channels or attention heads are removed, and how it is removed.

A `NetworkCut` is plain data: for tensors of the dense network, which indices along which dimension are kept, how many
heads attention modules have left, and which weights have low-rank factors beside them. The cut network is always made
of the dense one, so that it is known in full from a model, a cut and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from prunebench.api.errors import CutError
from prunebench.pruning.low_rank import add_factors, factor_names

HEAD_COUNTS = ("num_heads", "heads", "n_heads", "n_head", "num_attention_heads")
"""Attributes in which attention modules keep the number of their heads."""
HEAD_WIDTHS = ("attn_dim", "all_head_size", "inner_dim", "split_size")
"""Attributes in which they keep the number of heads times the width of one."""

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, order=True)
class Kept:
    """What is left of a tensor along one of its dimensions."""

    tensor: str
    """Name of the parameter or buffer."""
    dim: int
    size: int
    """Of the dense network."""
    indices: tuple[int, ...]
    """Ascending, counted in the dense network; none of a tensor in a block that is removed."""


@dataclass(frozen=True)
class NetworkCut:
    """What is left of a network; nothing is removed by default."""

    kept: tuple[Kept, ...] = ()
    """By name and dimension; what is not named is kept whole."""
    heads: tuple[tuple[str, int], ...] = ()
    """The number of heads that are left in attention modules, by the modules' names."""
    blocks: tuple[str, ...] = ()
    """The modules that are removed whole: they return their input."""
    ranks: tuple[tuple[str, int], ...] = ()
    """Of the low-rank factors that are beside weights, by the weights' names."""

    def __bool__(self) -> bool:
        return bool(self.kept or self.heads or self.blocks or self.ranks)

    @property
    def names(self) -> frozenset[str]:
        """The tensors of which something is removed."""
        return frozenset(one.tensor for one in self.kept)

    @property
    def factors(self) -> dict[str, tuple[str, str]]:
        """The parameters of the low-rank factors, by the weight that they are beside."""
        return {name: factor_names(name) for name, _ in self.ranks}

    @property
    def without_factors(self) -> NetworkCut:
        return replace(self, ranks=())

    def in_removed_block(self, name: str) -> bool:
        """Whether a tensor belongs to a block that is removed."""
        return any(name.startswith(f"{path}.") for path in self.blocks)

    def of(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """What is left of a tensor of the dense network."""
        for one in self._of(name):
            value = value.index_select(one.dim, _places(one, value))
        return value

    def whole(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """The tensor of the dense network with zeros, or False, wherever something is removed."""
        for one in self._of(name):
            shape = (*value.shape[: one.dim], one.size, *value.shape[one.dim + 1 :])
            value = value.new_zeros(shape).index_copy_(one.dim, _places(one, value), value)
        return value

    def within(self, before: NetworkCut) -> NetworkCut:
        """This cut in the indices of what an earlier one, which removes less, has left."""
        earlier = {(one.tensor, one.dim): one.indices for one in before.kept}
        kept = tuple(_counted_in(one, earlier.get((one.tensor, one.dim))) for one in self.kept)
        return NetworkCut(kept, self.heads, self.blocks, self.ranks)

    def after(self, before: NetworkCut) -> NetworkCut:
        """The cut of the dense network for this one, whose indices are those of what `before` has left."""
        found = {(one.tensor, one.dim): one for one in before.kept}
        for one in self.kept:
            earlier = found.get((one.tensor, one.dim))
            if earlier is not None:
                indices = tuple(earlier.indices[index] for index in one.indices)
                one = Kept(one.tensor, one.dim, earlier.size, indices)
            found[one.tensor, one.dim] = one
        heads = dict(before.heads) | dict(self.heads)
        blocks = {*before.blocks, *self.blocks}
        ranks = dict(before.ranks) | dict(self.ranks)
        return NetworkCut(
            tuple(sorted(found.values())),
            tuple(sorted(heads.items())),
            tuple(sorted(blocks)),
            tuple(sorted(ranks.items())),
        )

    def _of(self, name: str) -> Iterator[Kept]:
        return (one for one in self.kept if one.tensor == name)


def _places(one: Kept, value: torch.Tensor) -> torch.Tensor:
    return torch.tensor(one.indices, dtype=torch.int64, device=value.device)


NOTHING = NetworkCut()
"""The cut that removes nothing."""


def _counted_in(one: Kept, earlier: tuple[int, ...] | None) -> Kept:
    if earlier is None:
        return one
    places = {index: place for place, index in enumerate(earlier)}
    return Kept(one.tensor, one.dim, len(earlier), tuple(places[index] for index in one.indices))


@torch.no_grad()
def cut_out(module: nn.Module, cut: NetworkCut) -> nn.Module:
    """Remove everything that a cut does not keep, and add its low-rank factors; changes the module, and returns it.

    Raises CutError for a cut that is not one of this module.
    """
    parameters = dict(module.named_parameters())
    _check(cut, {**dict(module.named_buffers()), **parameters})
    _check_blocks(cut, module)
    smaller: dict[int, nn.Parameter] = {}
    for name in cut.names & parameters.keys():
        old = parameters[name]
        smaller[id(old)] = nn.Parameter(cut.of(name, old.detach()).contiguous(), old.requires_grad)
    for path, layer in module.named_modules():
        changed = {name for name, one in layer._parameters.items() if one is not None and id(one) in smaller}
        for name in changed:  # a tied weight by each of its names
            layer._parameters[name] = smaller[id(layer._parameters[name])]
        for name, buffer in layer._buffers.items():
            if buffer is not None and (full := f"{path}.{name}".removeprefix(".")) in cut.names:
                layer._buffers[name] = cut.of(full, buffer).contiguous()
                changed.add(name)
        if changed:
            _resize(layer)
    for path, count in cut.heads:
        _set_heads(module, path, count)
    for path in cut.blocks:
        block: Any = module.get_submodule(path)
        block.forward = _pass_on
    for name, rank in cut.ranks:
        add_factors(module, name, rank)
    return module


def _pass_on(*inputs: Any, **named: Any) -> Any:
    """The forward pass of a block that is removed: its first argument."""
    return inputs[0] if inputs else next(iter(named.values()))


def is_skipped(module: nn.Module) -> bool:
    """Whether a cut has removed this block."""
    return vars(module).get("forward") is _pass_on


def _check(cut: NetworkCut, tensors: Mapping[str, torch.Tensor]) -> None:
    seen: set[tuple[str, int]] = set()
    for one in cut.kept:
        what = f"dimension {one.dim} of {one.tensor!r}"
        if one.tensor not in tensors or not 0 <= one.dim < tensors[one.tensor].dim():
            raise CutError(f"the cut names {what}, which the network does not have")
        if one.size != tensors[one.tensor].shape[one.dim]:
            raise CutError(f"the cut gives {what} a size of {one.size}, and it is {tensors[one.tensor].shape[one.dim]}")
        if (one.tensor, one.dim) in seen:
            raise CutError(f"the cut names {what} twice")
        seen.add((one.tensor, one.dim))
        if not one.indices and cut.in_removed_block(one.tensor):
            continue
        if not one.indices or one.indices[0] < 0 or one.indices[-1] >= one.size or not _ascend(one.indices):
            raise CutError(f"the cut must keep ascending indices from 0 to {one.size - 1} of {what}")


def _check_blocks(cut: NetworkCut, module: nn.Module) -> None:
    modules = dict(module.named_modules())
    for path in cut.blocks:
        if path not in modules or not path:
            raise CutError(f"the cut removes the block {path!r}, which the network does not have")


def _ascend(indices: tuple[int, ...]) -> bool:
    return all(before < after for before, after in pairwise(indices))


def _resize(layer: Any) -> None:
    """Let a layer's description follow the shapes of its weights."""
    if isinstance(layer, _ConvNd):
        outputs, inputs = layer.weight.shape[:2]
        if isinstance(layer, _ConvTransposeNd):
            outputs, inputs = inputs, outputs
        if layer.groups > 1:  # depthwise: the only grouped convolutions that are cut
            layer.groups = inputs = outputs
        layer.out_channels, layer.in_channels = outputs, inputs
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, _BatchNorm):
        layer.num_features = len(layer.running_mean if layer.weight is None else layer.weight)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = layer.weight.numel()


def head_count(module: nn.Module) -> tuple[str, int] | None:
    """The attribute in which a module keeps its number of heads, and that number; None for other modules."""
    for name in HEAD_COUNTS:
        value = vars(module).get(name)
        if type(value) is int and value > 0:
            return name, value
    return None


def _set_heads(module: nn.Module, path: str, count: int) -> None:
    layer = dict(module.named_modules()).get(path)
    found = None if layer is None else head_count(layer)
    if layer is None or found is None or not 1 <= count <= found[1]:
        raise CutError(f"the cut leaves {count} heads in {path!r}, which the network does not have")
    before = vars(layer)
    widths = {name: before[name] for name in HEAD_WIDTHS if type(before.get(name)) is int}
    for name, width in widths.items():
        setattr(layer, name, width // found[1] * count)
    for name in HEAD_COUNTS:
        if before.get(name) == found[1]:
            setattr(layer, name, count)


def to_tensors(cut: NetworkCut) -> Tensors:
    """A cut as tensors of integers, for a file.

    `kept/<dimension>/<tensor>` has the size first, `heads/<module>` the number, `ranks/<weight>` the rank, and
    `blocks/<module>` nothing of interest.
    """
    kept = {f"kept/{one.dim}/{one.tensor}": torch.tensor([one.size, *one.indices]) for one in cut.kept}
    heads = {f"heads/{path}": torch.tensor([count]) for path, count in cut.heads}
    ranks = {f"ranks/{name}": torch.tensor([rank]) for name, rank in cut.ranks}
    return kept | heads | ranks | {f"blocks/{path}": torch.tensor([0]) for path in cut.blocks}


def from_tensors(tensors: Mapping[str, torch.Tensor]) -> NetworkCut:
    """The cut that `to_tensors` wrote; `cut_out` checks whether it is one of its network. Raises CutError."""
    for name, value in tensors.items():
        if value.dtype != torch.int64 or value.dim() != 1 or not len(value):
            raise CutError(f"{name!r} of the cut is not a list of integers")
    blocks = sorted(name.removeprefix("blocks/") for name in tensors if name.startswith("blocks/"))
    heads, ranks = (tuple(sorted(_numbers_in(tensors, kind))) for kind in ("heads/", "ranks/"))
    return NetworkCut(tuple(sorted(_kept_in(tensors))), heads, tuple(blocks), ranks)


def _kept_in(tensors: Mapping[str, torch.Tensor]) -> Iterator[Kept]:
    for name, value in tensors.items():
        kind, _, rest = name.partition("/")
        dim, _, tensor = rest.partition("/")
        if kind == "kept":
            if not (dim.isascii() and dim.isdigit() and len(dim) == 1):
                raise CutError(f"{name!r} of the cut names no dimension")
            size, *indices = value.tolist()
            yield Kept(tensor, int(dim), size, tuple(indices))
        elif kind not in ("heads", "ranks", "blocks"):
            raise CutError(f"{name!r} is no part of a cut")


def _numbers_in(tensors: Mapping[str, torch.Tensor], kind: str) -> Iterable[tuple[str, int]]:
    return ((name.removeprefix(kind), int(value[0])) for name, value in tensors.items() if name.startswith(kind))
