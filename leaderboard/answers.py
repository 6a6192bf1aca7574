"""Shared by the scripts that compare the findings of a paper with a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from orderings import Figures, interval

from prunebench.leaderboard.statistics import Difference, difference

Row = tuple[str, float]
"""A row of a board: a method and a target sparsity."""
DENSE: Row = ("dense", 0.0)


@dataclass(frozen=True)
class Finding:
    """A finding of the paper, the figures of the board, and whether they agree."""

    sentence: str
    here: str
    holds: bool
    beyond_chance: bool = True

    @property
    def answer(self) -> str:
        if not self.holds:
            return "**no**"
        return "yes" if self.beyond_chance else "yes, in the mean"


def mean(found: Mapping[int, float]) -> float:
    return fmean(found.values())


def ladder(found: Figures, method: str = "imp") -> list[float]:
    """The sparsities of a method, ascending."""
    return sorted(sparsity for name, sparsity in found if name == method)


def left(sparsity: float) -> str:
    """P_m, the share of remaining weights, as text."""
    return f"{100 * (1 - sparsity):.1f} %"


def gap(found: Figures, ours: Row, theirs: Row = DENSE) -> Difference:
    """The difference of two rows of a board."""
    return apart(found[ours], found[theirs])


def apart(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference:
    """The difference of two means over the seeds that both have; seeds of these boards hardly correlate."""
    made = difference(ours, theirs, paired=False)
    assert made is not None, f"{ours} and {theirs} share no seed"
    return made


def is_above(made: Difference) -> bool:
    """Whether all of the interval is above zero."""
    return made.low is not None and made.low > 0


def points(made: Difference) -> str:
    return f"{interval(made, 100, 2)} points"


def listed(texts: Mapping[float, str]) -> str:
    return "; ".join(f"{left(sparsity)}: {text}" for sparsity, text in texts.items())


def spread(found: Mapping[int, float] | Sequence[float], scale: float, digits: int) -> str:
    """Mean and sample standard deviation."""
    values = list(found.values()) if isinstance(found, Mapping) else found
    deviation = f" ± {scale * stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * fmean(values):.{digits}f}{deviation}"
