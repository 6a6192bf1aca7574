"""Which whole blocks of a network can be removed: those that return their input when all of their weights are zero.

So do the residual blocks of networks that normalize before their layers, and those of ResNets that keep the width. Each
block is tried: a copy of the network with random weights that skips it must compute what the whole network computes
when the weights of the block are zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import nn

from prunebench.api.components import Input
from prunebench.api.layers import Group, Part
from prunebench.data import seeds
from prunebench.network.cut_checks import CPU, drawn_examples, randomized
from prunebench.network.cuts import is_skipped
from prunebench.network.groups import Groups, is_same
from prunebench.network.modules import copied

CHAINS = (nn.Sequential, nn.ModuleList)
"""Modules whose elements run one after the other."""


def find_blocks(
    module: nn.Module, inputs: Sequence[Input], allowed: Collection[str], declared: Sequence[str] = ()
) -> Groups:
    """The blocks that can be removed, a group for each list of them; the network itself is not changed.

    One of each list stays. Where there are blocks in a block, it stays too.

    Args:
        inputs: what the network is given.
        allowed: names of the weights that may be removed; a block with a matrix that they do not name stays.
        declared: names of the submodules that are blocks; by default every element of a list or a sequence.
    """
    found: list[Group] = []
    left_out: dict[str, str] = {}
    with seeds.seeded("groups"), torch.no_grad():
        model = randomized(copied(module).to(CPU).eval())
        examples = drawn_examples(inputs)
        for chain, elements in reversed(list(_candidates(model, declared))):
            paths = [path for path in elements if not any(f"{one.name}.".startswith(f"{path}.") for one in found)]
            fit = []
            for path in paths:
                kept = [name for name, value in _weights(model, path) if value.dim() > 1 and name not in allowed]
                if kept:
                    left_out[path] = f"the task or the method keeps {kept[0]!r}"
                elif is_same(model, [_group(model, chain, [path])], examples, range(0)):
                    fit.append(path)
                else:
                    left_out[path] = "without it the network computes something else than with zeros in it"
            if len(fit) > 1:
                found.append(_group(model, chain, fit))
            left_out |= dict.fromkeys(fit if len(fit) == 1 else (), "one of each list stays")
    return Groups(tuple(reversed(found)), left_out)


def _candidates(model: nn.Module, declared: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The paths of the elements of each list or sequence that have weights, and are none themselves."""
    for chain, module in model.named_modules():
        if isinstance(module, CHAINS):
            named = [(f"{chain}.{name}".removeprefix("."), child) for name, child in module.named_children()]
            paths = [
                path
                for path, child in named
                if not isinstance(child, CHAINS)
                and any(value.dim() > 1 for _, value in _weights(model, path))
                and not is_skipped(child)
                and (not declared or path in declared)
            ]
            if paths:
                yield chain, paths


def _weights(model: nn.Module, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if name.startswith(f"{path}.") and value.dim():
            yield name, value


def _group(model: nn.Module, chain: str, paths: Sequence[str]) -> Group:
    """The group whose slices are whole blocks: a slice is all tensors of one block."""
    parts = []
    for place, path in enumerate(paths):
        for name, value in _weights(model, path):
            own = tuple(range(len(value)))
            parts.append(Part(name, 0, "other", tuple(own if one == place else () for one in range(len(paths)))))
    return Group(chain, "blocks", tuple(parts), blocks=tuple(paths))
