"""Which channels and heads are removed, given their scores: the lowest ones, as few as reach a target."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence

import torch

from prunebench.api.errors import PluginError, Unreachable
from prunebench.api.layers import Group
from prunebench.api.stages import CutAllocation

Kept = dict[str, tuple[int, ...]]
"""The channels that are kept, ascending, by the name of their group."""


def check_scores(scores: object, groups: Sequence[Group], method: str) -> dict[str, torch.Tensor]:
    """The scores of groups on the CPU. Raises PluginError for what are none."""
    if not isinstance(scores, Mapping):
        raise PluginError(
            f"channel_scores of method {method!r} must return a dict of tensors by the names of the groups, and "
            f"returned {reprlib.repr(scores)}"
        )
    found = {}
    for group in groups:
        score = scores.get(group.name)
        if not isinstance(score, torch.Tensor) or score.shape != (group.size,):
            shown = (
                f"a tensor of shape {tuple(score.shape)}" if isinstance(score, torch.Tensor) else reprlib.repr(score)
            )
            raise PluginError(
                f"channel_scores of method {method!r} must return a tensor of shape ({group.size},) for group "
                f"{group.name!r}, and returned {shown}"
            )
        found[group.name] = score.detach().cpu().double()
        if not bool(found[group.name].isfinite().all()):
            raise PluginError(f"method {method!r}: the scores of group {group.name!r} are not all finite")
    return found


def keep_highest_channels(
    scores: Mapping[str, torch.Tensor],
    groups: Sequence[Group],
    allocation: CutAllocation,
    align: int,
    enough: Callable[[Kept], bool],
) -> Kept:
    """The channels that are kept when the fewest of the lowest scores are removed that are enough; ties by place.

    Args:
        allocation: `global` compares the scores of all groups; `uniform` removes the same share of each group.
        align: the number of channels that a group keeps is rounded up to a multiple of this.
        enough: whether what is kept meets the target; it must stay true when more is removed.

    Raises Unreachable where one channel of each group, or `align`, are still too many.
    """
    order = _order(scores, groups, allocation)
    least, most = 0, len(order)
    if not enough(_kept(order[:most], groups, scores, align)):
        raise Unreachable("the target cannot be reached")
    while least < most:
        middle = (least + most) // 2
        if enough(_kept(order[:middle], groups, scores, align)):
            most = middle
        else:
            least = middle + 1
    return _kept(order[:most], groups, scores, align)


def _order(scores: Mapping[str, torch.Tensor], groups: Sequence[Group], allocation: CutAllocation) -> list[str]:
    """The group that loses its lowest remaining channel at each step, if none had to keep any."""
    ranks: list[tuple[float, int]] = []
    for place, group in enumerate(groups):
        values = scores[group.name].sort().values
        if allocation == "uniform":
            values = (torch.arange(group.size, dtype=torch.float64) + 0.5) / group.size
        ranks += [(value, -place) for value in values.tolist()]
    return [groups[-place].name for _, place in sorted(ranks)]


def _kept(removed: Sequence[str], groups: Sequence[Group], scores: Mapping[str, torch.Tensor], align: int) -> Kept:
    counts = {group.name: 0 for group in groups}
    for name in removed:
        counts[name] += 1
    found = {}
    for group in groups:
        step = align if group.kind == "channels" else 1
        left = max(1, group.size - counts[group.name])
        left = min(group.size, -(-left // step) * step)
        highest = scores[group.name].argsort(descending=True, stable=True)[:left]
        found[group.name] = tuple(sorted(highest.tolist()))
    return found
