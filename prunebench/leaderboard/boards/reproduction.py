"""Whether a published number is found again, when the same trials are run once more.

Equal: every figure of every seed but those of a clock is the same, bit for bit. Within its spread: the mean of the
primary metric of the new trials lies in the prediction interval that the published seeds give for it,
mean ± t · s · √(1/n + 1/m), where s is their sample standard deviation, n their number, m that of the new trials, and t
the 97.5 % quantile of Student's distribution with n - 1 degrees of freedom. One published seed has no spread: then the
metric must be equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from prunebench.leaderboard.boards.merging import differences
from prunebench.leaderboard.statistics import CONFIDENCE, deviation, mean
from prunebench.records.results import Result

ROUNDING = 1e-12
"""Noise of the last bits, which is no difference."""


@dataclass(frozen=True)
class Verdict:
    """What became of a row when it was run again."""

    kind: Literal["equal", "within its spread", "not reproduced"]
    published: float | None
    again: float | None
    """Means of the primary metric, as stored."""
    reach: float | None
    """Half the width of the prediction interval; None where there is no spread."""
    seeds: tuple[int, ...]
    """Those that were run again."""
    differing: tuple[str, ...]
    """The figures that are not the same bit for bit."""
    reasons: tuple[str, ...]

    @property
    def reproduced(self) -> bool:
        return self.kind != "not reproduced"


def judge(published: Sequence[Result], again: Sequence[Result]) -> Verdict:
    """What running trials again says about a published row.

    Args:
        published: every done result of the row.
        again: new results of some of its seeds.
    """
    before = {result.seed: result for result in published if result.status == "done"}
    fresh = sorted((result for result in again if result.seed in before), key=lambda result: result.seed)
    failed = [f"seed {r.seed} {r.status}: {' '.join(r.reason.split())}" for r in fresh if r.status != "done"]
    done = [result for result in fresh if result.status == "done"]
    differing = tuple(sorted({name for result in done for name in differences(before[result.seed], result)}))
    old, new = _values(list(before.values())), _values(done)
    reach = _reach(old, len(new))
    reasons = list(failed)
    if not fresh:
        reasons.append("no trial of it was run")
    kind: Literal["equal", "within its spread", "not reproduced"] = "not reproduced"
    if not reasons and not differing:
        kind = "equal"
    elif not reasons and (why := _outside(old, new, reach)):
        reasons.append(why)
    elif not reasons:
        kind = "within its spread"
    seeds = tuple(result.seed for result in fresh)
    return Verdict(kind, mean(old), mean(new), reach, seeds, differing, tuple(reasons))


def _values(results: Sequence[Result]) -> list[float]:
    return [result.metrics.get(result.primary.name, math.nan) for result in results]


def _reach(published: Sequence[float], again: int) -> float | None:
    spread = deviation(published)
    if spread is None or not again:
        return None
    n = len(published)
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread * math.sqrt(1 / n + 1 / again)


def _outside(old: Sequence[float], new: Sequence[float], reach: float | None) -> str:
    """Why the new mean is not within the spread of the old; empty if it is."""
    before, after = mean(old), mean(new)
    if before is None or after is None or not math.isfinite(before) or not math.isfinite(after):
        return "a value of the metric is not a number"
    if reach is None:
        return "" if abs(after - before) <= ROUNDING else "one seed has no spread, and its value is another"
    return "" if abs(after - before) <= reach + ROUNDING else "its mean is outside of the prediction interval"
