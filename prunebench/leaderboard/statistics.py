"""The statistics of the leaderboard: over seeds, and corrected for many comparisons."""

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
NOISE = 1e-12
"""A smaller difference or spread is that of the last bits of equal values."""
FEWEST_PAIRS = 3
"""Fewer shared seeds than this cannot tell two methods apart, so no tier is claimed."""

Values = Mapping[int, float]
"""A metric by seed."""


@dataclass(frozen=True)
class Difference:
    """The mean difference over shared seeds and its confidence interval, which two seeds are the least to have."""

    mean: float
    low: float | None
    high: float | None
    pairs: int
    error: float = math.nan
    """The standard error of the mean."""
    freedom: float = math.nan
    """Degrees of freedom of Student's t for this error."""


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
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, difference.freedom)) * difference.error
    return difference.mean - reach, difference.mean + reach


def mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n - 1); None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None


def difference(ours: Values, theirs: Values, paired: bool = True) -> Difference | None:
    """By how much `ours` is above `theirs`, over the seeds that both have; None if they share none.

    Args:
        paired: whether the interval is that of the paired differences (Student's t), or of two independent means, with
            unequal variances (Welch's t); see `pairing_is_narrower`.
    """
    values = _differences(ours, theirs)
    center, pairs = mean(values), len(values)
    if center is None:
        return None
    error, freedom = _paired_error(values) if paired else _welch_error(*_shared(ours, theirs))
    if error is None:
        return Difference(center, None, None, pairs)
    reach = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Difference(center, center - reach, center + reach, pairs, error, freedom)


def _paired_error(differences: Sequence[float]) -> tuple[float | None, float]:
    """The standard error of a mean and its degrees of freedom; None for fewer than two values."""
    spread, pairs = deviation(differences), len(differences)
    return None if spread is None else spread / math.sqrt(pairs), pairs - 1


def _welch_error(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float | None, float]:
    """The standard error of the difference of two means, and its degrees of freedom (Welch-Satterthwaite)."""
    first, second = deviation(ours), deviation(theirs)
    if first is None or second is None:
        return None, math.nan
    one, two = first**2 / len(ours), second**2 / len(theirs)
    if max(first, second) < NOISE:
        return 0.0, len(ours) + len(theirs) - 2
    return math.sqrt(one + two), (one + two) ** 2 / (one**2 / (len(ours) - 1) + two**2 / (len(theirs) - 1))


def _shared(ours: Values, theirs: Values) -> tuple[list[float], list[float]]:
    """The values of the seeds that both have."""
    seeds = sorted(ours.keys() & theirs.keys())
    return [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]


FEWEST_CORRELATIONS = 5
"""From so many rows on, the correlation of seeds is known well enough to choose an interval by it."""


def pairing_is_narrower(values: Sequence[tuple[Values, Values]]) -> bool:
    """Whether the interval of paired differences is narrower than that of two independent means.

    Pairing removes what the two values of a seed have in common, and halves the degrees of freedom. With correlation r,
    equal variances and n seeds the widths are as sqrt(1 - r) t(n - 1) to t(2 n - 2), so pairing takes a correlation of
    more than 0.58 with 3 seeds, 0.31 with 5, and 0.14 with 10. One row of few seeds says little of the correlation, so
    the mean over many rows is taken; `benchmarks/intervals.py` simulates the choice.

    Args:
        values: of the rows of a task, each with those of the dense network. False for fewer than five rows.
    """
    shared = [_shared(*one) for one in values]
    known = [one for one in shared if len(one[0]) >= FEWEST_PAIRS and len({*one[0]}) > 1 and len({*one[1]}) > 1]
    if len(known) < FEWEST_CORRELATIONS:
        return False
    correlation = statistics.fmean(statistics.correlation(*one) for one in known)
    seeds = statistics.median(len(one[0]) for one in known)
    paired, independent = (float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, one)) for one in (seeds - 1, 2 * seeds - 2))
    return math.sqrt(max(1 - correlation, 0.0)) * paired < independent


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
    if max(spreads) < NOISE:
        return 1.0 if math.isclose(first, second, abs_tol=NOISE) else 0.0
    test = scipy.stats.ttest_ind_from_stats(first, spreads[0], len(one), second, spreads[1], len(two), equal_var=False)
    return float(test.pvalue)


def games_howell(ours: Values, theirs: Values, count: int) -> float:
    """Welch's test for two of `count` methods between which any pair might have been compared (Games & Howell 1976):
    the same t and degrees of freedom, beside the studentized range instead of Student's t."""
    one, two = list(ours.values()), list(theirs.values())
    if max(statistics.stdev(one), statistics.stdev(two)) < NOISE:
        return welch(ours, theirs)
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
    if math.isclose(behind, 0.0, abs_tol=NOISE):
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

    Of two methods alone that is Welch's test.
    """
    alone = welch(one, other)
    # Between these two the studentized range always lies, and it takes a hundred times as long.
    if alone >= SIGNIFICANCE or alone * math.comb(count, 2) < SIGNIFICANCE:
        return alone < SIGNIFICANCE
    return games_howell(one, other, count) < SIGNIFICANCE


def _fewest_pairs(methods: Mapping[str, Values]) -> int:
    seeds = [set(values) for values in methods.values()]
    return min(len(ours & theirs) for index, ours in enumerate(seeds) for theirs in seeds[:index])


def _differences(ours: Values, theirs: Values) -> list[float]:
    """Free of the last bits' noise, which would pass for a spread where there is none."""
    return [round(ours[seed] - theirs[seed], 12) for seed in sorted(ours.keys() & theirs.keys())]
