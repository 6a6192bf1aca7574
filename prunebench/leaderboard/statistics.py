"""The statistics of the leaderboard: over seeds, paired, and corrected for many comparisons."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
FEWEST_PAIRS = 3
"""Fewer shared seeds than this cannot tell two methods apart, so no tier is claimed."""

Accuracies = Mapping[int, float]
"""Accuracy by seed."""


@dataclass(frozen=True)
class Difference:
    """A mean paired difference and its confidence interval, which two seeds are the least to have."""

    mean: float
    low: float | None
    high: float | None
    pairs: int
    error: float = math.nan
    """The standard error of the mean."""


Verdict = Literal["ticket", "not", "undecided"]


def verdict(steps: Difference | None, accuracy: Difference | None) -> Verdict | None:
    """Whether early stopping comes no later (j' <= j) and is no less accurate (a' >= a) than in the dense network.

    `ticket` takes both to be shown, each by a one-sided 95 % bound; `not` takes one to be refuted, by the two-sided
    interval, which is a one-sided bound corrected for two tries. None with too few pairs.
    """
    if steps is None or accuracy is None or min(steps.pairs, accuracy.pairs) < FEWEST_PAIRS:
        return None
    if _bounds(steps, CONFIDENCE)[0] > 0 or _bounds(accuracy, CONFIDENCE)[1] < 0:
        return "not"
    one_sided = 2 * CONFIDENCE - 1
    if _bounds(steps, one_sided)[1] <= 0 and _bounds(accuracy, one_sided)[0] >= 0:
        return "ticket"
    return "undecided"


def _bounds(difference: Difference, confidence: float) -> tuple[float, float]:
    reach = float(stats.t.ppf((1 + confidence) / 2, difference.pairs - 1)) * difference.error
    return difference.mean - reach, difference.mean + reach


def mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n - 1); None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None


def difference(ours: Accuracies, theirs: Accuracies) -> Difference | None:
    """By how much `ours` is above `theirs`, over the seeds that both have; None if they share none."""
    values = _differences(ours, theirs)
    center, spread, pairs = mean(values), deviation(values), len(values)
    if center is None:
        return None
    if spread is None:
        return Difference(center, None, None, pairs)
    error = spread / math.sqrt(pairs)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, pairs - 1)) * error
    return Difference(center, center - reach, center + reach, pairs, error)


def p_value(ours: Accuracies, theirs: Accuracies) -> float:
    """Of the two-sided paired t-test: how likely so large a difference is if there is none."""
    values = _differences(ours, theirs)
    if len(set(values)) == 1:  # without a spread there is no t; scipy would warn and answer nan
        return 1.0 if values[0] == 0 else 0.0
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def welch(ours: Accuracies, theirs: Accuracies) -> float:
    """Of Welch's two-sided t-test, in which each side has a spread of its own."""
    one, two = list(ours.values()), list(theirs.values())
    first, second = statistics.mean(one), statistics.mean(two)
    spreads = statistics.stdev(one), statistics.stdev(two)
    if not any(spreads):
        return 1.0 if math.isclose(first, second, abs_tol=1e-12) else 0.0
    test = stats.ttest_ind_from_stats(first, spreads[0], len(one), second, spreads[1], len(two), equal_var=False)
    return float(test.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the adjusted p-values, in the order given."""
    adjusted, largest, count = [0.0] * len(p_values), 0.0, len(p_values)
    for rank, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


@dataclass(frozen=True)
class Place:
    """Where a method stands among others."""

    tier: int
    """1 is the best."""
    told_apart: bool | None
    """Whether the method itself is told from the best of the tier above; None in the first tier, which has none."""


def places(methods: Mapping[str, Accuracies]) -> dict[str, Place]:
    """Tiers of methods: going down by mean, a new one begins with the first that is told from the best of the last.

    So no method stands above one with a higher mean. One whose spread is so wide that it is not told from the tier
    above itself says so.

    Returns:
        nothing where no tier can be claimed: fewer than two methods, or two that share fewer than three seeds.
    """
    order = sorted(methods, key=lambda label: (-(mean(list(methods[label].values())) or 0.0), label))
    if len(order) < 2 or _fewest_pairs(methods) < FEWEST_PAIRS:
        return {}
    different = _told_apart(methods)
    found = {order[0]: Place(1, None)}
    above, best, tier = "", order[0], 1
    for label in order[1:]:
        if frozenset((best, label)) in different:
            above, best, tier = best, label, tier + 1
        found[label] = Place(tier, frozenset((above, label)) in different if above else None)
    return found


def _told_apart(methods: Mapping[str, Accuracies]) -> set[frozenset[str]]:
    """The pairs that differ, at one error rate for all of them together: the best is not known beforehand, so that
    every pair counts as a comparison."""
    pairs = list(itertools.combinations(sorted(methods), 2))
    test = p_value if len(methods) == 2 else welch
    adjusted = holm([test(methods[one], methods[two]) for one, two in pairs])
    return {frozenset(pair) for pair, p in zip(pairs, adjusted, strict=True) if p < SIGNIFICANCE}


def _fewest_pairs(methods: Mapping[str, Accuracies]) -> int:
    seeds = [set(accuracies) for accuracies in methods.values()]
    return min(len(ours & theirs) for index, ours in enumerate(seeds) for theirs in seeds[:index])


def _differences(ours: Accuracies, theirs: Accuracies) -> list[float]:
    """Free of the last bits' noise, which would pass for a spread where there is none."""
    return [round(ours[seed] - theirs[seed], 12) for seed in sorted(ours.keys() & theirs.keys())]
