"""Masks: which weights are kept. Exact top-k, shuffling, packing to bits.

A mask is a bool tensor of its weight's shape, True where the weight is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from math import prod

import numpy as np
import torch

from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.layers import Layer
from prunebench.api.stages import Allocation, Shares, Structure
from prunebench.pruning.allocation import kept_counts, total_kept

Masks = dict[str, torch.Tensor]

AT_HAND = ("cpu",)
"""Devices whose values can be looked at in any step of a training: nothing is waited for."""

Parts = Sequence[tuple[int, Callable[[], torch.Tensor]]]
"""The size of each part of some scores, and what makes it, one-dimensional."""


def top(scores: torch.Tensor, k: int) -> torch.Tensor:
    """A bool mask of exactly the `k` highest of one-dimensional `scores`; among equals the first are kept."""
    (kept,) = _highest([(scores.numel(), lambda: scores)], k)
    return kept


def _highest(parts: Parts, k: int) -> list[torch.Tensor]:
    """A mask for each part of exactly the `k` highest of all; among equals the first are kept."""
    if k == 0:
        return [torch.zeros_like(make(), dtype=torch.bool) for _, make in parts]
    joined = _joined(parts)
    if joined.device.type in AT_HAND:
        return _highest_in_place(parts, joined, k)
    return list(torch.split(top_unread(joined, k), [size for size, _ in parts]))


def _highest_in_place(parts: Parts, joined: torch.Tensor, k: int) -> list[torch.Tensor]:
    """`_highest` on the CPU, given also all parts in one tensor, whose order changes.

    Beside the scores this one copy is in memory, where `torch.kthvalue` and `torch.topk` need three and more.
    """
    threshold = _kth_highest(joined, k)
    masks = [make().to(threshold.dtype) >= threshold for _, make in parts]
    surplus = sum(int(mask.sum()) for mask in masks) - k
    for (_, make), mask in zip(reversed(parts), reversed(masks), strict=True):
        if surplus <= 0:
            break
        ties = torch.nonzero(make().to(threshold.dtype) == threshold).flatten()[-surplus:]
        mask[ties] = False
        surplus -= len(ties)
    return masks


def top_unread(scores: torch.Tensor, k: int) -> torch.Tensor:
    """What `top` gives for finite scores and a `k` above 0, with no value read from the accelerator they are on."""
    threshold = torch.topk(scores, k, sorted=False).values.min()  # kthvalue has one of a GPU's many processors work
    above, ties = scores > threshold, scores == threshold
    return above | (ties & (ties.cumsum(0) <= k - above.sum()))


def _joined(parts: Parts) -> torch.Tensor:
    """All parts in one new tensor, each gone as soon as it is copied."""
    joined = torch.empty(0)
    for start, (size, make) in zip(accumulate((size for size, _ in parts), initial=0), parts, strict=False):
        part = make()
        if start == 0:
            joined = part.new_empty(sum(size for size, _ in parts))
        joined = joined.to(torch.promote_types(joined.dtype, part.dtype))
        joined[start : start + size] = part
    return joined


def _kth_highest(scores: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th highest of scores on the CPU; their order changes."""
    if scores.dtype == torch.bfloat16:  # unknown to numpy
        scores = scores.float()
    place = scores.numel() - k
    values = scores.numpy()
    values.partition(place)
    return scores[place]


def keep_highest(
    scores: Mapping[str, torch.Tensor],
    masks: Mapping[str, torch.Tensor],
    layers: Sequence[Layer],
    density: float,
    allocation: Allocation | Shares,
    structure: Structure | None = None,
) -> Masks:
    """The masks that keep the highest scores among the weights that `masks` still keeps.

    Args:
        structure: keep N of every M instead, and the layers that this does not fit as they are; a group of which
            earlier pruning left fewer than N keeps those. The density and its allocation then have no say.

    Raises:
        PrunebenchError: for scores that lack a layer, have another shape, or are not all finite.
        Unreachable: when fewer weights are left than the density needs.
    """
    _check_shapes(scores, layers)
    for layer in layers:
        if not bool((scores[layer.name].isfinite() | ~masks[layer.name]).all()):
            raise PrunebenchError(f"the scores of {layer.name!r} are not all finite")
    left = {layer.name: int(masks[layer.name].sum()) for layer in layers}
    flat = {layer.name: partial(_candidates, scores[layer.name], masks[layer.name]) for layer in layers}
    chosen = _chosen(flat, layers, left, density, allocation, structure)
    return {name: mask & masks[name] for name, mask in chosen.items()} if structure is not None else chosen


def highest(
    scores: Mapping[str, torch.Tensor],
    layers: Sequence[Layer],
    density: float,
    allocation: Allocation | Shares,
    structure: Structure | None = None,
) -> Masks:
    """The masks that keep the highest of all scores, as `keep_highest` does where nothing is pruned yet.

    No value is read from an accelerator, so that a training can choose at each step and never waits for it. That is why
    whether the scores are finite is not checked here.
    """
    _check_shapes(scores, layers)
    sizes = {layer.name: layer.size for layer in layers}
    flat = {layer.name: _exact(scores[layer.name]).flatten for layer in layers}
    return _chosen(flat, layers, sizes, density, allocation, structure)


def _chosen(
    flat: Mapping[str, Callable[[], torch.Tensor]],
    layers: Sequence[Layer],
    left: Mapping[str, int],
    density: float,
    allocation: Allocation | Shares,
    structure: Structure | None,
) -> Masks:
    """The masks of the highest scores.

    Args:
        flat: makes a layer's scores, one-dimensional, what may not be kept below all others.
        left: how many weights of a layer may be kept.
    """
    if structure is not None:
        return {layer.name: _top_of_groups(flat[layer.name]().view(layer.shape), layer, structure) for layer in layers}
    if allocation == "global":
        k = total_kept(sum(layer.size for layer in layers), density)
        _check_left(sum(left.values()), k, "the network")
        chosen = _highest([(layer.size, flat[layer.name]) for layer in layers], k)
        return {layer.name: part.view(layer.shape) for layer, part in zip(layers, chosen, strict=True)}
    counts = kept_counts(layers, density, allocation)
    for layer in layers:
        _check_left(left[layer.name], counts[layer.name], layer.name)
    return {layer.name: top(flat[layer.name](), counts[layer.name]).view(layer.shape) for layer in layers}


def _top_of_groups(scores: torch.Tensor, layer: Layer, structure: Structure) -> torch.Tensor:
    """A mask of the N highest in each group of M along the inputs, the first among equals; of all where none fits."""
    if not structure.fits(layer):
        return torch.ones_like(scores, dtype=torch.bool)
    groups = in_groups(scores, layer, structure)
    highest = groups.argsort(dim=-1, descending=True, stable=True)[..., : structure.n]
    kept = torch.zeros_like(groups, dtype=torch.bool).scatter(-1, highest, True)
    return kept.flatten(-2).movedim(-1, layer.input_dim)


def in_groups(values: torch.Tensor, layer: Layer, structure: Structure) -> torch.Tensor:
    """A layer's values with the M of each group in the last dimension."""
    by_input = values.movedim(layer.input_dim, -1)
    return by_input.reshape(*by_input.shape[:-1], -1, structure.m)


def _check_shapes(scores: Mapping[str, torch.Tensor], layers: Sequence[Layer]) -> None:
    """Raises PrunebenchError for scores that lack a layer, or have another shape."""
    for layer in layers:
        if layer.name not in scores:
            raise PrunebenchError(f"the scores lack {layer.name!r}; they cover {sorted(scores)}")
        shape = tuple(scores[layer.name].shape)
        if shape != layer.shape:
            raise PrunebenchError(f"the scores of {layer.name!r} have shape {shape}, not {layer.shape}")


def _candidates(score: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A layer's scores as one dimension, what is pruned already below all others."""
    # -inf is below every finite score, so what is pruned can only come back if too few are left, which is an error.
    return torch.where(mask, _exact(score), -torch.inf).flatten()


def _exact(score: torch.Tensor) -> torch.Tensor:
    """Scores as floats that tell all of them apart, in counts up to 2**53."""
    return score.detach() if score.is_floating_point() else score.detach().double()


def _check_left(left: int, k: int, where: str) -> None:
    if left < k:
        raise Unreachable(f"{k} weights are to be kept in {where}, but earlier pruning left only {left}")


def shuffled(mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A mask with as many kept weights, at random places."""
    order = torch.randperm(mask.numel(), generator=generator).to(mask.device)
    return mask.flatten()[order].view(mask.shape)


def pack(mask: torch.Tensor) -> torch.Tensor:
    """A mask as bits: a one-dimensional uint8 tensor, eight weights a byte, the first in the highest bit."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy().reshape(-1)))


def unpack(bits: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The mask of the given shape that `pack` made bits of."""
    size = prod(shape)
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=size).astype(bool)).view(*shape)
