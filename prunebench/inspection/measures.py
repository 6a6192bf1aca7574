"""What is measured of masks and weights: densities, overlap, movement, barriers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from prunebench.api.errors import PrunebenchError
from prunebench.api.layers import Layer
from prunebench.pruning.masks import Masks
from prunebench.training.state import Tensors

TOTAL = "all layers"


@dataclass(frozen=True)
class Density:
    """How much of a layer is kept."""

    layer: str
    size: int
    kept: int

    @property
    def density(self) -> float:
        return self.kept / self.size


@dataclass(frozen=True)
class Overlap:
    """What two masks of a layer share."""

    layer: str
    size: int
    kept: int
    other: int
    """How many weights the two masks keep."""
    both: int
    """And how many of them are the same."""
    by_chance: float
    """How many of them are the same in the mean of random masks that keep as many."""

    @property
    def iou(self) -> float | None:
        """Intersection over union; None where both keep nothing."""
        return self._over_union(self.both)

    @property
    def chance(self) -> float | None:
        """That of random masks: the mean intersection over the union that goes with it."""
        return self._over_union(self.by_chance)

    def _over_union(self, both: float) -> float | None:
        union = self.kept + self.other - both
        return both / union if union else None


@dataclass(frozen=True)
class Movement:
    """How far the weights of a layer went: the mean of |after - before|."""

    layer: str
    kept: float | None
    """Of those that the final mask keeps, in the last training; None where there are none."""
    survived: float | None
    """In the training before the last pruning, of those that this pruning kept; None where nothing was trained."""
    removed: float | None
    """In the same training, of those that it removed."""


def densities(layers: Iterable[Layer], kept: Mapping[str, int]) -> list[Density]:
    """By layer, and of all of them together; a layer that is not named is dense."""
    rows = [Density(layer.name, layer.size, kept.get(layer.name, layer.size)) for layer in layers]
    return [*rows, Density(TOTAL, sum(row.size for row in rows), sum(row.kept for row in rows))]


def overlaps(layers: Sequence[Layer], masks: Masks, others: Masks) -> list[Overlap]:
    """Two networks' masks by layer, and all of them together; a layer without a mask is dense."""
    rows = [_overlap(layer, masks.get(layer.name), others.get(layer.name)) for layer in layers]
    sums = (sum(getattr(row, name) for row in rows) for name in ("size", "kept", "other", "both", "by_chance"))
    return [*rows, Overlap(TOTAL, *sums)]


def _overlap(layer: Layer, mask: torch.Tensor | None, other: torch.Tensor | None) -> Overlap:
    dense = torch.ones(layer.shape, dtype=torch.bool)
    one, another = (dense if found is None else found for found in (mask, other))
    if one.shape != another.shape:
        raise PrunebenchError(
            f"the masks of {layer.name!r} are of shapes {tuple(one.shape)} and {tuple(another.shape)}"
        )
    kept, kept_other = int(one.sum()), int(another.sum())
    return Overlap(layer.name, layer.size, kept, kept_other, int((one & another).sum()), kept * kept_other / layer.size)


def movements(
    layers: Iterable[Layer],
    last: tuple[Tensors, Tensors, Masks],
    pruned: tuple[Tensors, Tensors, Masks, Masks] | None,
) -> list[Movement]:
    """By layer.

    Args:
        last: weights before and after the last training, and its masks.
        pruned: weights before and after the training before the last pruning, and the masks before and after that
            pruning; None when nothing was trained before it.
    """
    return [_movement(layer, last, pruned) for layer in layers]


def _movement(
    layer: Layer,
    last: tuple[Tensors, Tensors, Masks],
    pruned: tuple[Tensors, Tensors, Masks, Masks] | None,
) -> Movement:
    name, dense = layer.name, torch.ones(layer.shape, dtype=torch.bool)
    first, final, masks = last
    kept = _mean_distance(first[name], final[name], masks.get(name, dense))
    if pruned is None:
        return Movement(name, kept, None, None)
    first, final, alive, left = pruned
    lived, survived = alive.get(name, dense), left.get(name, dense)
    return Movement(
        name,
        kept,
        _mean_distance(first[name], final[name], lived & survived),
        _mean_distance(first[name], final[name], lived & ~survived),
    )


def _mean_distance(before: torch.Tensor, after: torch.Tensor, where: torch.Tensor) -> float | None:
    distances = (after - before).abs()[where]
    return float(distances.double().mean()) if distances.numel() else None


def barrier(errors: Sequence[float]) -> float:
    """The highest error on the way between two networks, above the mean of the errors at its ends."""
    return max(errors) - fmean((errors[0], errors[-1]))


def between(one: Tensors, other: Tensors, share: float) -> Tensors:
    """The weights at a share of the straight way from one network to another; what is counted stays as in the first."""
    return {
        name: torch.lerp(value, other[name], share) if value.is_floating_point() else value
        for name, value in one.items()
    }
