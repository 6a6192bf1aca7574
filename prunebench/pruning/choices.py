"""How well scores decide which weights are kept: scores of exactly 0, layers without a score, and ties.

Where scores are equal the order of the weights decides, which no method intends. This is counted at every pruning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from prunebench.api.layers import Layer
from prunebench.api.stages import Allocation, Shares, Structure
from prunebench.pruning.masks import in_groups


@dataclass(frozen=True)
class Choice:
    """Of a pruning; `|` makes that of several, with the largest share of each."""

    zero: int = 0
    """Candidates, weights that were not pruned before, whose score was exactly 0."""
    candidates: int = 0
    tied: int = 0
    """Kept weights whose score was that of a candidate which was not kept."""
    kept: int = 0
    unscored: tuple[str, ...] = ()
    """Layers in which the score of each candidate was 0."""

    def __or__(self, other: Choice) -> Choice:
        zeros = max((self, other), key=lambda one: _share(one.zero, one.candidates))
        ties = max((self, other), key=lambda one: _share(one.tied, one.kept))
        names = dict.fromkeys((*self.unscored, *other.unscored))
        candidates = zeros.candidates or self.candidates or other.candidates
        return Choice(zeros.zero, candidates, ties.tied, ties.kept or self.kept or other.kept, tuple(names))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class Part:
    """A layer's scores, which of its weights could be kept, and which were."""

    layer: Layer
    scores: torch.Tensor
    candidates: torch.Tensor
    kept: torch.Tensor


def choice_of(
    scores: Mapping[str, torch.Tensor],
    kept: Mapping[str, torch.Tensor],
    layers: Sequence[Layer],
    allocation: Allocation | Shares,
    structure: Structure | None,
    candidates: Mapping[str, torch.Tensor] | None = None,
) -> Choice:
    """What a pruning chose from. Reads values, so that an accelerator is waited for.

    Args:
        kept: the masks that were chosen by the scores.
        candidates: masks of the weights that could be kept; by default all.
    """
    parts = []
    for layer in layers:
        if structure is None or structure.fits(layer):  # nothing is chosen in a layer that N:M does not fit
            chosen = kept[layer.name]
            could = torch.ones_like(chosen) if candidates is None else candidates[layer.name]
            parts.append(Part(layer, scores[layer.name].detach(), could, chosen))
    zeros = [int(((part.scores == 0) & part.candidates).sum()) for part in parts]
    counts = [int(part.candidates.sum()) for part in parts]
    unscored = (part.layer.name for part, zero, count in zip(parts, zeros, counts, strict=True) if zero == count > 0)
    return Choice(
        zero=sum(zeros),
        candidates=sum(counts),
        tied=sum(_ties(parts, allocation, structure)),
        kept=sum(int(part.kept.sum()) for part in parts),
        unscored=tuple(unscored),
    )


def _ties(parts: Sequence[Part], allocation: Allocation | Shares, structure: Structure | None) -> Iterator[int]:
    """Kept weights at a threshold that others just missed, in each set of weights that was ranked by itself."""
    if structure is not None:
        yield from (_ties_in_groups(part, structure) for part in parts)
    elif allocation == "global":
        yield _ties_among(parts)
    else:
        yield from (_ties_among([part]) for part in parts)


def _ties_among(parts: Sequence[Part]) -> int:
    lowest = min((float(part.scores[part.kept].min()) for part in parts if bool(part.kept.any())), default=torch.inf)
    dropped = ((part.scores, part.candidates & ~part.kept) for part in parts)
    highest = max((float(scores[out].max()) for scores, out in dropped if bool(out.any())), default=-torch.inf)
    if lowest != highest:
        return 0
    return sum(int(((part.scores == lowest) & part.kept).sum()) for part in parts)


def _ties_in_groups(part: Part, structure: Structure) -> int:
    scores, candidates, kept = (
        in_groups(values, part.layer, structure) for values in (part.scores.float(), part.candidates, part.kept)
    )
    lowest = torch.where(kept, scores, torch.inf).amin(-1, keepdim=True)
    highest = torch.where(candidates & ~kept, scores, -torch.inf).amax(-1, keepdim=True)
    return int(((lowest == highest) & (scores == lowest) & kept).sum())
