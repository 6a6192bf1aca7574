"""The statistics of the leaderboard: over seeds, paired, and corrected for many comparisons."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import scipy

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
FEWEST_PAIRS = 3
"""Fewer shared seeds than this cannot tell two methods apart, so no tier is claimed."""

Values = Mapping[int, float]
"""A metric by seed."""


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


def verdict(steps: Difference | None, quality: Difference | None, sign: int = 1) -> Verdict | None:
    """Whether early stopping comes no later (j' <= j) and is no worse (a' >= a) than in the dense network.

    `ticket` takes both to be shown, each by a one-sided 95 % bound; `not` takes one to be refuted, by the two-sided
    interval, which is a one-sided bound corrected for two tries. None with too few pairs.

    Args:
        sign: 1 if higher values of the metric are better, -1 if lower ones are.
    """
    if steps is None or quality is None or min(steps.pairs, quality.pairs) < FEWEST_PAIRS:
        return None
    gain = replace(quality, mean=sign * quality.mean)
    if _bounds(steps, CONFIDENCE)[0] > 0 or _bounds(gain, CONFIDENCE)[1] < 0:
        return "not"
    one_sided = 2 * CONFIDENCE - 1
    if _bounds(steps, one_sided)[1] <= 0 and _bounds(gain, one_sided)[0] >= 0:
        return "ticket"
    return "undecided"


def _bounds(difference: Difference, confidence: float) -> tuple[float, float]:
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, difference.pairs - 1)) * difference.error
    return difference.mean - reach, difference.mean + reach


def mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n - 1); None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None


def difference(ours: Values, theirs: Values) -> Difference | None:
    """By how much `ours` is above `theirs`, over the seeds that both have; None if they share none."""
    values = _differences(ours, theirs)
    center, spread, pairs = mean(values), deviation(values), len(values)
    if center is None:
        return None
    if spread is None:
        return Difference(center, None, None, pairs)
    error = spread / math.sqrt(pairs)
    reach = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, pairs - 1)) * error
    return Difference(center, center - reach, center + reach, pairs, error)


def p_value(ours: Values, theirs: Values) -> float:
    """Of the two-sided paired t-test: how likely so large a difference is if there is none."""
    values = _differences(ours, theirs)
    if len(set(values)) == 1:  # without a spread there is no t; scipy would warn and answer nan
        return 1.0 if values[0] == 0 else 0.0
    return float(scipy.stats.ttest_1samp(values, 0.0).pvalue)


def welch(ours: Values, theirs: Values) -> float:
    """The p-value of Welch's two-sided t-test, which does not assume equal variances."""
    one, two = list(ours.values()), list(theirs.values())
    first, second = statistics.mean(one), statistics.mean(two)
    spreads = statistics.stdev(one), statistics.stdev(two)
    if not any(spreads):
        return 1.0 if math.isclose(first, second, abs_tol=1e-12) else 0.0
    test = scipy.stats.ttest_ind_from_stats(first, spreads[0], len(one), second, spreads[1], len(two), equal_var=False)
    return float(test.pvalue)


def games_howell(ours: Values, theirs: Values, count: int) -> float:
    """Welch's test for two of `count` methods between which any pair might have been compared (Games & Howell 1976):
    the same t and degrees of freedom, beside the studentized range instead of Student's t. Takes some spread."""
    one, two = list(ours.values()), list(theirs.values())
    parts = statistics.variance(one) / len(one), statistics.variance(two) / len(two)
    t = abs(statistics.mean(one) - statistics.mean(two)) / math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(one) - 1) + parts[1] ** 2 / (len(two) - 1))
    return float(scipy.stats.studentized_range.sf(t * math.sqrt(2), count, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the adjusted p-values, in the order given."""
    adjusted, largest, count = [0.0] * len(p_values), 0.0, len(p_values)
    for rank, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


AgainstBest = Literal["best", "equivalent", "undecided", "worse", "chance"]
"""A method beside the one with the best mean: significantly worse; not so, and shown to be at most a margin worse
(equivalent); or neither, as there are too few seeds for their spread. Where all are at chance, none is compared."""


@dataclass(frozen=True)
class Place:
    """The tier of a method, and what is known of it beside the best."""

    tier: int | None
    """1 is the best; None where all methods are at chance."""
    told_apart: bool | None
    """Whether the method differs significantly from the best of the tier above; None in the first tier."""
    against_best: AgainstBest


def places(methods: Mapping[str, Values], sign: int = 1, margin: float = 0.0) -> dict[str, Place]:
    """Tiers of methods: sorted by mean, a new tier starts at the first that differs significantly from its best.

    So no method is in a better tier than one with a better mean. A method that varies so much that it does not differ
    significantly from the tier above is marked.

    Args:
        methods: for each method its values by seed, one at least.
        sign: 1 if higher values are better, -1 if lower ones are.
        margin: a method that is shown to be at most so much worse than the best is equivalent to it.

    Returns:
        nothing where no tier can be claimed: fewer than two methods, or two that share fewer than three seeds.
    """
    means = {label: sign * statistics.fmean(values.values()) for label, values in methods.items()}
    order = sorted(methods, key=lambda label: (-means[label], label))
    if len(order) < 2 or _fewest_pairs(methods) < FEWEST_PAIRS:
        return {}
    found = {order[0]: Place(1, None, "best")}
    above, best, tier = "", order[0], 1
    for label in order[1:]:
        if _told_apart(methods[best], methods[label], len(order)):
            above, best, tier = best, label, tier + 1
        apart = _told_apart(methods[above], methods[label], len(order)) if above else None
        beside = _against_best(methods[order[0]], methods[label], len(order), sign, margin)
        found[label] = Place(tier, apart, beside)
    return found


CHANCE_SHARE = 0.025
"""A mean that is so far from chance, as a share of the way to the best possible value, is at chance: networks that
always answer the most frequent of almost equally frequent classes are."""


def is_at_chance(values: Values, sign: int, chance: float, best: float) -> bool:
    """Whether the mean of a method is no better than chance, or hardly.

    Args:
        sign: 1 if higher values are better, -1 if lower ones are.
        chance: the value of a network that has learnt nothing.
        best: the best possible value.
    """
    return sign * (statistics.fmean(values.values()) - chance) <= CHANCE_SHARE * abs(best - chance)


def _against_best(best: Values, other: Values, count: int, sign: int, margin: float) -> AgainstBest:
    if _told_apart(best, other, count):
        return "worse"
    behind = sign * (statistics.fmean(best.values()) - statistics.fmean(other.values()))
    if math.isclose(behind, 0.0, abs_tol=1e-12):
        return "best"
    return "equivalent" if behind + one_sided_reach(best, other) <= margin else "undecided"


def one_sided_reach(ours: Values, theirs: Values) -> float:
    """How far above the difference of two means its one-sided upper bound lies, at 95 %, by Welch's t-test.

    A difference whose bound is below a margin is one half of an equivalence test (Schuirmann 1987); the other half
    holds where `ours` is the better mean.
    """
    one, two = list(ours.values()), list(theirs.values())
    if len({*one}) == len({*two}) == 1:  # without any spread scipy would answer nan
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of one side without spread, whose variance is 0
        test = scipy.stats.ttest_ind(one, two, equal_var=False, alternative="less")
    bound = test.confidence_interval(CONFIDENCE).high
    return float(bound) - (statistics.fmean(one) - statistics.fmean(two))


def _told_apart(one: Values, other: Values, count: int) -> bool:
    """Whether the best of `count` methods and another of them differ, whichever of them may have come out as the best.

    Two methods alone are compared by the paired test.
    """
    if count == 2:
        return p_value(one, other) < SIGNIFICANCE
    alone = welch(one, other)
    # Between these two the studentized range always lies, and it takes a hundred times as long.
    if alone >= SIGNIFICANCE or alone * math.comb(count, 2) < SIGNIFICANCE:
        return alone < SIGNIFICANCE
    return games_howell(one, other, count) < SIGNIFICANCE


def _fewest_pairs(methods: Mapping[str, Values]) -> int:
    seeds = [set(accuracies) for accuracies in methods.values()]
    return min(len(ours & theirs) for index, ours in enumerate(seeds) for theirs in seeds[:index])


def _differences(ours: Values, theirs: Values) -> list[float]:
    """Free of the last bits' noise, which would pass for a spread where there is none."""
    return [round(ours[seed] - theirs[seed], 12) for seed in sorted(ours.keys() & theirs.keys())]
