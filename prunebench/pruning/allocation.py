"""How many weights each layer keeps: exact counts for uniform, ER and ERK allocation, and for shares by hand.

ER and ERK (Mocanu et al. 2018; Evci et al. 2020): density_l = min(1, e * r_l), where e is solved so that the total is
exact. A layer that would exceed 1 is made dense and e is solved again; clamping instead would lose weights. In r_l the
inputs of a grouped convolution are those of one output, and its outputs those of all groups, as in the papers' code.

Shares by hand (`prunebench.api.stages.Shares`): density_l = share_l ** x, where x is solved so that the total is exact.
With the shares that one pruning round leaves, a whole x is a rung of the ladder, and a fraction lies between two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor

from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.layers import Layer
from prunebench.api.stages import Allocation, Shares


def total_kept(size: int, density: float) -> int:
    """round(density * N): the number of weights that a density stands for."""
    return round(density * size)


def kept_counts(layers: Sequence[Layer], density: float, allocation: Allocation | Shares) -> dict[str, int]:
    """The number of weights each layer keeps; they add up to exactly round(density * N).

    Args:
        allocation: `uniform`, `er`, `erk` or shares (`global` has no counts: the scores decide).
    """
    total = total_kept(sum(layer.size for layer in layers), density)
    if not isinstance(allocation, str):
        check_shares(layers, density, allocation)
        return _by_shares(layers, dict(allocation), total)
    if allocation == "uniform":
        return allotted(layers, {layer.name: density for layer in layers}, total)
    ratio = {"er": _er, "erk": _erk}[allocation]
    return allotted(layers, _scaled_densities(layers, total, ratio), total)


def _er(layer: Layer) -> float:
    return (layer.inputs + layer.outputs) / (layer.inputs * layer.outputs)


def _erk(layer: Layer) -> float:
    dimensions = layer.shape if layer.input_dim else (layer.outputs, layer.inputs, *layer.shape[2:])
    return sum(dimensions) / layer.size


def _scaled_densities(layers: Sequence[Layer], total: int, ratio: Callable[[Layer], float]) -> dict[str, float]:
    dense: set[str] = set()
    while True:
        sparse = [layer for layer in layers if layer.name not in dense]
        budget = total - sum(layer.size for layer in layers if layer.name in dense)
        scale = budget / sum(layer.size * ratio(layer) for layer in sparse) if sparse else 0.0
        largest = max(sparse, key=ratio, default=None)
        if largest is None or scale * ratio(largest) <= 1:
            return {layer.name: 1.0 if layer.name in dense else scale * ratio(layer) for layer in layers}
        dense.add(largest.name)


def allotted(layers: Sequence[Layer], densities: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that add up to the total: the largest remainders are rounded up, ties in layer order."""
    exact = {layer.name: densities[layer.name] * layer.size for layer in layers}
    counts = {name: floor(value + 1e-9) for name, value in exact.items()}
    by_remainder = sorted(layers, key=lambda layer: counts[layer.name] - exact[layer.name])
    for layer in by_remainder[: total - sum(counts.values())]:
        counts[layer.name] += 1
    return counts


def check_shares(layers: Sequence[Layer], density: float, shares: Shares) -> None:
    """Raises PrunebenchError for shares of no layer, and Unreachable for a density below that of the dense layers."""
    by_name, names = dict(shares), [layer.name for layer in layers]
    if unknown := [name for name in by_name if name not in names]:
        raise PrunebenchError(f"no prunable layer is called {unknown[0]!r}; there are {', '.join(names)}")
    if len(by_name) < len(shares):
        raise PrunebenchError("a layer has two shares")
    size = sum(layer.size for layer in layers)
    dense = sum(layer.size for layer in layers if by_name.get(layer.name, 1.0) == 1.0)
    if total_kept(size, density) < dense:
        raise Unreachable(f"density {density:g} is below {dense / size:g}, which the layers that stay dense make up")


def _by_shares(layers: Sequence[Layer], shares: Mapping[str, float], total: int) -> dict[str, int]:
    """round(share ** x * size) in each layer, with the x at which they add up to the total; ties in layer order.

    As x grows every count falls one by one and none rises again, so that a ladder of prunings is nested in each layer.
    """

    def counts(x: float) -> dict[str, int]:
        return {layer.name: ceil(shares.get(layer.name, 1.0) ** x * layer.size - 0.5) for layer in layers}

    low, high = 0.0, 1.0  # at low there are enough weights or more, at high enough or fewer
    while sum(counts(high).values()) > total:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if sum(counts(middle).values()) >= total else (low, middle)
    kept, more = counts(high), counts(low)
    for name in kept:
        kept[name] += min(more[name] - kept[name], total - sum(kept.values()))
    return kept
