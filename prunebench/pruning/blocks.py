"""The blocks of a network, which layerwise methods prune one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from prunebench.api.errors import PrunebenchError

CHAINS = (nn.Sequential, nn.ModuleList)
"""Modules whose elements run one after the other."""

Block = tuple[str, ...]
"""The names of the weights in a block."""


def blocks_of(module: nn.Module, weights: Sequence[str], declared: Sequence[str] = ()) -> list[Block]:
    """The blocks that hold the prunable weights of a network, each weight once.

    Without declared blocks, an element of a chain (`nn.Sequential`, `nn.ModuleList`) is a block, unless it is a chain
    itself; whatever holds a chain is split up, and all else is a block: a residual block, a transformer block or a
    single layer.

    Args:
        declared: names of the submodules that are blocks; a weight outside of them is a block by itself.

    Raises PrunebenchError for a declared name that is not a submodule.
    """
    paths = list(declared) if declared else list(_found(module, "", weights))
    unknown = sorted(set(paths) - dict(module.named_modules()).keys())
    if unknown:
        raise PrunebenchError(f"`blocks` of the model names {unknown[0]!r}, which is not one of its modules")
    left, found = dict.fromkeys(weights), []
    for path in paths:
        block = tuple(name for name in left if _is_in(name, path))
        left = {name: None for name in left if name not in block}
        found.append(block)
    return [block for block in (*found, *((name,) for name in left)) if block]


def in_order(blocks: Sequence[Block], order: Mapping[str, int]) -> list[Block]:
    """Blocks in the order in which their first layers run, and so the layers in each."""
    sorted_within = [tuple(sorted(block, key=order.__getitem__)) for block in blocks]
    return sorted(sorted_within, key=lambda block: order[block[0]])


def _is_in(name: str, path: str) -> bool:
    return not path or name.startswith(f"{path}.")


def _found(module: nn.Module, path: str, weights: Sequence[str]) -> Iterator[str]:
    """The paths of the blocks below a module that is not an element of a chain."""
    if isinstance(module, CHAINS) or _holds_chain(module, path, weights):
        for name, child in _children(module, path, weights):
            is_block = isinstance(module, CHAINS) and not isinstance(child, CHAINS)
            yield from [name] if is_block else _found(child, name, weights)
    else:
        yield path


def _children(module: nn.Module, path: str, weights: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    """The submodules that hold prunable weights, by their paths."""
    for name, child in module.named_children():
        below = f"{path}.{name}" if path else name
        if any(_is_in(weight, below) for weight in weights):
            yield below, child


def _holds_chain(module: nn.Module, path: str, weights: Sequence[str]) -> bool:
    """Whether there is a chain of at least two elements with prunable weights below a module."""
    return any(
        (isinstance(child, CHAINS) and len(list(_children(child, name, weights))) > 1)
        or _holds_chain(child, name, weights)
        for name, child in _children(module, path, weights)
    )
