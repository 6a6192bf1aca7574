"""The statistics, against figures worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from prunebench.leaderboard.statistics import (
    Place,
    _told_apart,
    deviation,
    difference,
    games_howell,
    holm,
    is_at_chance,
    mean,
    one_sided_reach,
    p_value,
    pairing_is_narrower,
    places,
    verdict,
    welch,
)


def test_the_deviation_is_that_of_a_sample():
    # 1, 2, 4: mean 7/3; squares of the distances 16/9 + 1/9 + 25/9 = 42/9; over n - 1 = 2: 7/3.
    assert mean([1.0, 2.0, 4.0]) == pytest.approx(7 / 3)
    assert deviation([1.0, 2.0, 4.0]) == pytest.approx(math.sqrt(7 / 3))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan], [0.5, math.inf]])
def test_there_is_no_deviation_of_fewer_than_two_numbers(values):
    assert deviation(values) is None


def test_there_is_no_mean_of_nothing():
    assert mean([]) is None


def test_a_difference_is_paired_by_seed_and_has_students_interval():
    # Differences of seeds 0, 1, 2: 0.01, 0.02, 0.06: mean 0.03, sample variance (4 + 1 + 9)/2 e-4 = 7e-4.
    # t(0.975, 2) = 4.302653; half the width is 4.302653 · sqrt(7e-4 / 3) = 0.0657238.
    found = difference({2: 0.96, 0: 0.91, 1: 0.92, 7: 0.5}, {0: 0.90, 1: 0.90, 2: 0.90, 9: 0.1})
    assert found.pairs == 3
    assert found.mean == pytest.approx(0.03)
    assert found.low == pytest.approx(0.03 - 0.0657238, abs=1e-6)
    assert found.high == pytest.approx(0.03 + 0.0657238, abs=1e-6)


def test_the_difference_of_independent_means_has_welchs_interval():
    # Variances 7e-4 and 1e-4 of 3 values each: error sqrt(8e-4 / 3) = 0.0163299; degrees of freedom
    # (8e-4 / 3)² / ((7e-4 / 3)² / 2 + (1e-4 / 3)² / 2) = 2.56; scipy has the t of such a number.
    ours, theirs = {0: 0.91, 1: 0.92, 2: 0.96, 7: 0.5}, {0: 0.90, 1: 0.91, 2: 0.89, 9: 0.1}
    found = difference(ours, theirs, paired=False)
    assert (found.pairs, found.error) == (3, pytest.approx(0.0163299, abs=1e-7))
    assert found.freedom == pytest.approx(2.56)
    expected = stats.ttest_ind([0.91, 0.92, 0.96], [0.90, 0.91, 0.89], equal_var=False).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((0.03, expected.low, expected.high))


def test_independent_means_without_spread_have_an_interval_of_no_width():
    found = difference({0: 0.8, 1: 0.8, 2: 0.8}, {0: 0.7, 1: 0.7, 2: 0.7}, paired=False)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))
    one = difference({0: 0.8}, {0: 0.7}, paired=False)
    assert (one.low, one.high) == (None, None)


def correlated(correlation, rows, seeds=3):
    """Values of some rows with those of one dense network, of which each has exactly such a correlation."""
    numbers = np.random.default_rng(0)
    dense = scaled(numbers.normal(size=seeds))
    found = []
    for _ in range(rows):
        other = numbers.normal(size=seeds)
        other = scaled(other - (other @ dense) / (dense @ dense) * dense)
        found.append((accuracies(*(correlation * dense + math.sqrt(1 - correlation**2) * other)), accuracies(*dense)))
    return found


def scaled(values):
    return (values - values.mean()) / values.std()


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.584), (5, 0.310), (10, 0.137)])
def test_pairing_takes_a_correlation_that_makes_up_for_fewer_degrees_of_freedom(seeds, least):
    # 1 - (t(2n - 2) / t(n - 1))²: with 3 seeds 1 - (2.776 / 4.303)² = 0.584.
    assert pairing_is_narrower(correlated(least + 0.01, 5, seeds))
    assert not pairing_is_narrower(correlated(least - 0.01, 5, seeds))
    assert not pairing_is_narrower(correlated(-0.9, 5, seeds))


def test_pairing_takes_five_rows_with_three_seeds_and_a_spread():
    rows = correlated(0.99, 5)
    assert pairing_is_narrower(rows)
    assert not pairing_is_narrower(rows[:4])
    assert not pairing_is_narrower([*rows[:4], (accuracies(0.5, 0.5, 0.5), rows[0][1])])
    assert not pairing_is_narrower([*rows[:4], ({0: 0.1, 1: 0.2, 7: 0.3}, rows[0][1])])
    assert not pairing_is_narrower([])


def test_ours_below_theirs_is_a_negative_difference():
    assert difference({0: 0.8, 1: 0.8}, {0: 0.9, 1: 0.9}).mean == pytest.approx(-0.1)


def test_one_pair_has_a_difference_and_no_interval():
    found = difference({0: 0.75}, {0: 0.5})
    assert (found.mean, found.low, found.high, found.pairs) == (0.25, None, None, 1)


def test_without_a_shared_seed_there_is_no_difference():
    assert difference({0: 0.9}, {1: 0.9}) is None


def test_the_p_value_is_that_of_the_paired_t_test():
    ours, theirs = [0.91, 0.92, 0.96], [0.90, 0.90, 0.90]
    expected = stats.ttest_rel(ours, theirs).pvalue
    assert p_value(dict(enumerate(ours)), dict(enumerate(theirs))) == pytest.approx(expected)
    # t = 0.03 / sqrt(7e-4 / 3) = 1.963961 with 2 degrees of freedom: p = 1 - t / sqrt(2 + t²).
    assert p_value(dict(enumerate(ours)), dict(enumerate(theirs))) == pytest.approx(0.188497, abs=1e-6)


def test_equal_differences_are_certain_and_no_difference_is_none():
    assert p_value({0: 0.5, 1: 0.75}, {0: 0.25, 1: 0.5}) == 0.0
    assert p_value({0: 0.5, 1: 0.75}, {0: 0.5, 1: 0.75}) == 1.0
    noisy = {0: 0.9, 1: 0.91, 2: 0.93}, {0: 0.8, 1: 0.81, 2: 0.83}
    assert len({noisy[0][seed] - noisy[1][seed] for seed in range(3)}) > 1
    assert p_value(*noisy) == 0.0


def test_holm_steps_down_and_keeps_the_order_given():
    # Sorted: 0.01·4, then 0.02·3, then max(0.06, 0.03·2), then max(0.06, 0.04·1).
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.001, 0.02, 0.9]) == pytest.approx([0.003, 0.04, 0.9])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_lies_between_the_p_value_and_bonferroni_and_keeps_their_order(p_values):
    adjusted = holm(p_values)
    for p, corrected in zip(p_values, adjusted, strict=True):
        assert p <= corrected <= min(1.0, len(p_values) * p)
    by_p = sorted(zip(p_values, adjusted, strict=True))
    assert [corrected for _, corrected in by_p] == sorted(adjusted)


@given(st.dictionaries(st.integers(0, 9), st.floats(0, 1), min_size=2), st.floats(-0.5, 0.5))
def test_a_shift_is_found_as_the_difference_and_mirrors_when_the_sides_are_swapped(theirs, shift):
    ours = {seed: accuracy + shift for seed, accuracy in theirs.items()}
    found, back = difference(ours, theirs), difference(theirs, ours)
    assert found.mean == pytest.approx(shift, abs=1e-9)
    assert found.low <= found.mean <= found.high
    assert (back.mean, back.low, back.high) == pytest.approx((-found.mean, -found.high, -found.low))


def accuracies(*values):
    return dict(enumerate(values))


def tiers(methods):
    return {label: place.tier for label, place in places(methods).items()}


def test_welchs_test_gives_each_side_a_spread_of_its_own():
    # Means 2 and 6; variances 1 and 4, each over 3: t = -4 / sqrt(5/3) = -3.098387; the degrees of freedom are
    # (5/3)^2 / ((1/3)^2/2 + (4/3)^2/2) = 2.941176.
    found = welch(accuracies(1.0, 2.0, 3.0), accuracies(4.0, 6.0, 8.0))
    assert found == pytest.approx(2 * stats.t.sf(3.098387, 2.941176), abs=1e-7)
    assert found == pytest.approx(stats.ttest_ind([1, 2, 3], [4, 6, 8], equal_var=False).pvalue)


def test_without_any_spread_a_difference_is_certain():
    assert welch(accuracies(0.5, 0.5, 0.5), accuracies(0.5, 0.5, 0.5)) == 1.0
    assert welch(accuracies(0.5, 0.5, 0.5), accuracies(0.6, 0.6, 0.6)) == 0.0
    assert 0 < welch(accuracies(0.5, 0.5, 0.5), accuracies(0.6, 0.6, 0.7)) < 1


def test_methods_that_are_not_told_apart_from_the_best_share_its_tier():
    found = places(
        {
            "worst": accuracies(0.50, 0.51, 0.50, 0.51),
            "best": accuracies(0.90, 0.91, 0.92, 0.93),
            "tied": accuracies(0.91, 0.90, 0.91, 0.92),
            "second": accuracies(0.80, 0.81, 0.83, 0.82),
        }
    )
    assert found == {
        "best": Place(1, None, "best"),
        "tied": Place(1, None, "undecided"),
        "second": Place(2, True, "worse"),
        "worst": Place(3, True, "worse"),
    }


# The means differ by 0.4 points; variances are 4e-6 and 16e-6 of 4 seeds each: the standard error is sqrt(5e-6) =
# 2.2361e-3, the degrees of freedom are 25e-12 / (1e-12 / 3 + 16e-12 / 3) = 4.4118, where the 95 % quantile of t is
# 2.0759: the bound is 0.4 + 0.4642 = 0.8642 points.
BEST = {seed: 0.90 + 2e-3 * value for seed, value in enumerate((1.0, -1.0, 0.5**0.5, -(0.5**0.5)))}
CLOSE = {seed: 0.896 + 4e-3 * value for seed, value in enumerate((1.0, -1.0, -(0.5**0.5), 0.5**0.5))}
FAR = accuracies(0.5, 0.51, 0.52, 0.53)


def test_the_one_sided_bound_is_welchs():
    assert one_sided_reach(BEST, CLOSE) == pytest.approx(0.004642, abs=1e-6)
    assert one_sided_reach(CLOSE, BEST) == one_sided_reach(BEST, CLOSE)
    assert one_sided_reach(accuracies(0.5, 0.5), accuracies(0.4, 0.4)) == 0.0


@pytest.mark.parametrize(("margin", "expected"), [(0.00865, "equivalent"), (0.00863, "undecided"), (0.0, "undecided")])
def test_what_is_shown_to_be_at_most_a_margin_behind_is_equivalent(margin, expected):
    found = places({"best": BEST, "close": CLOSE, "far": FAR}, margin=margin)
    assert {label: place.against_best for label, place in found.items()} == {
        "best": "best",
        "close": expected,
        "far": "worse",
    }


def test_a_significant_difference_is_worse_however_small_it_is():
    best, close = accuracies(0.9, 0.9001, 0.9002), accuracies(0.895, 0.8951, 0.8952)
    found = places({"best": best, "close": close, "far": accuracies(0.5, 0.51, 0.52)}, margin=0.01)
    assert found["close"].against_best == "worse"


def test_methods_with_the_same_mean_are_both_the_best():
    found = places({"a": BEST, "b": dict(reversed(BEST.items())), "far": FAR}, margin=0.01)
    assert [found[label].against_best for label in ("a", "b")] == ["best", "best"]


def test_where_lower_is_better_the_lowest_is_the_best():
    errors = {label: {seed: 1 - value for seed, value in values.items()} for label, values in METHODS.items()}
    assert places(errors, sign=-1, margin=0.009) == places(METHODS, margin=0.009)
    assert places(METHODS, sign=-1, margin=0.009)["far"].against_best == "best"


METHODS = {"best": BEST, "close": CLOSE, "far": FAR}


@pytest.mark.parametrize(
    ("values", "sign", "chance", "best", "expected"),
    [
        ((0.1135, 0.0980, 0.1010), 1, 0.1, 1.0, True),  # the most and less frequent digits of MNIST
        ((0.12, 0.13, 0.125), 1, 0.1, 1.0, False),
        ((0.05, 0.06, 0.04), 1, 0.1, 1.0, True),
        ((250.0, 251.0), -1, 256.0, 1.0, True),
        ((249.0, 249.5), -1, 256.0, 1.0, False),
        ((300.0, 310.0), -1, 256.0, 1.0, True),
    ],
)
def test_what_hardly_differs_from_chance_is_at_chance(values, sign, chance, best, expected):
    assert is_at_chance(accuracies(*values), sign, chance, best) is expected


@pytest.mark.parametrize("spreads", [(0.5, 0.5), (0.1, 0.1), (1.0, 1.0), (0.2, 1.5), (1.5, 0.2)])
@pytest.mark.parametrize("seeds", [3, 5])
def test_a_method_that_is_further_behind_than_the_margin_is_rarely_called_equivalent(seeds, spreads):
    """The error rate that docs/numbers.md states, for two methods one point apart; 1,500 repetitions."""
    random = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(1500):
        one = spreads[0] * random.standard_normal(seeds)
        other = spreads[1] * random.standard_normal(seeds) - 1
        if one.mean() > other.mean():
            behind = float(one.mean() - other.mean())
            wrong += behind + one_sided_reach(accuracies(*one), accuracies(*other)) <= 1.0
    assert wrong / 1500 < 0.07  # 5 % and three standard errors


def test_the_best_of_many_may_be_the_best_by_chance():
    # Means 0.915 and 0.91325; variances 6.667e-7 and 0.833e-7, each over 4: t = 0.00175 / 4.330e-4 = 4.0415; the
    # degrees of freedom are (1.875e-7)^2 / ((1.667e-7)^2/3 + (0.2083e-7)^2/3) = 3.7385.
    best, close = accuracies(0.914, 0.915, 0.916, 0.915), accuracies(0.913, 0.9135, 0.9135, 0.913)
    assert welch(best, close) == pytest.approx(0.018, abs=1e-3)
    for count in (2, 3, 10):
        expected = stats.studentized_range.sf(4.0415 * math.sqrt(2), count, 3.7385)
        assert games_howell(best, close, count) == pytest.approx(expected, rel=1e-3)
    assert games_howell(best, close, 2) == pytest.approx(welch(best, close), rel=1e-6)
    assert tiers({"best": best, "close": close, "far": accuracies(0.1, 0.2, 0.15, 0.17)}) == {
        "best": 1,
        "close": 2,
        "far": 3,
    }
    assert set(tiers({"best": best, **{f"close-{index}": close for index in range(9)}}).values()) == {1}


def test_what_is_certain_without_the_studentized_range_is_what_it_says_too():
    # The short cut by Welch's p, and by Bonferroni's correction of it, never says otherwise.
    random = np.random.default_rng(0)
    for gap in (0.0, 1.0, 3.0, 10.0, 100.0):
        one, other = (accuracies(*(shift + random.standard_normal(3))) for shift in (0.0, gap))
        assert _told_apart(one, other, 10) == (games_howell(one, other, 10) < 0.05)


def test_two_methods_are_compared_by_welchs_test():
    # Paired: differences 1, 2, 3, 2 e-2, t = 4.899 with 3 degrees of freedom, p = 0.0163. Independent: p = 0.0524.
    pair = {"best": accuracies(0.90, 0.91, 0.92, 0.93), "close": accuracies(0.89, 0.89, 0.89, 0.91)}
    assert welch(*pair.values()) == pytest.approx(0.05235, abs=1e-5)
    assert tiers(pair) == {"best": 1, "close": 1}
    assert tiers(pair | {"close": accuracies(0.89, 0.88, 0.89, 0.91)}) == {"best": 1, "close": 2}


def test_a_wide_spread_does_not_lift_a_method_above_one_with_a_higher_mean():
    found = places(
        {
            "best": accuracies(0.90, 0.901, 0.902),
            "narrow": accuracies(0.80, 0.801, 0.802),
            "wide": accuracies(0.95, 0.60, 0.50),
        }
    )
    assert found == {
        "best": Place(1, None, "best"),
        "narrow": Place(2, True, "worse"),
        "wide": Place(2, False, "undecided"),
    }


def test_too_few_shared_seeds_claim_no_tier():
    assert tiers({"a": accuracies(0.9, 0.91), "b": accuracies(0.1, 0.11)}) == {}
    assert tiers({"a": {0: 0.9, 1: 0.9, 2: 0.8}, "b": {1: 0.1, 2: 0.1, 3: 0.2}}) == {}
    assert tiers({"a": accuracies(0.9, 0.91, 0.92), "b": accuracies(0.1, 0.12, 0.11)}) == {"a": 1, "b": 2}


def test_one_method_alone_has_no_tier():
    assert tiers({"a": accuracies(0.9, 0.91, 0.92)}) == {}
    assert tiers({}) == {}


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.lists(st.floats(0, 1), min_size=3, max_size=3),
        min_size=2,
        max_size=6,
    )
)
def test_every_method_has_a_tier_and_tiers_fall_with_the_mean(methods):
    found = tiers({label: accuracies(*values) for label, values in methods.items()})
    assert set(found) == set(methods)
    assert set(found.values()) == set(range(1, max(found.values()) + 1))
    order = sorted(found, key=lambda label: (-mean(methods[label]), label))
    assert [found[label] for label in order] == sorted(found.values())


SPREADS = {
    "equal": lambda count: np.ones(count),
    "one collapsed": lambda count: np.array([1.0] * (count - 1) + [50.0]),
    "half ten times": lambda count: np.array([1.0, 10.0] * count)[:count],
    "few narrow": lambda count: np.array([0.1] + [1.0] * (count - 1)),
    "over two decades": lambda count: np.logspace(-1, 1, count),
}


@pytest.mark.slow
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_equal_methods_are_rarely_told_apart_whatever_their_spreads(count, seeds, spread):
    random, boards = np.random.default_rng(count * seeds), 200
    false = 0
    for _ in range(boards):
        drawn = random.standard_normal((count, seeds)) * SPREADS[spread](count)[:, None] + random.standard_normal(seeds)
        found = tiers({str(index): dict(enumerate(values)) for index, values in enumerate(drawn.tolist())})
        false += max(found.values()) > 1
    # An error rate of 7 % exceeds this bound in one of a thousand simulations.
    assert false <= stats.binom.ppf(0.999, boards, 0.07)


@pytest.mark.slow
def test_differences_of_six_deviations_are_found_with_five_seeds():
    # Of ten methods five are 6 deviations lower: with 5 seeds all of them, with 3 seeds 85 % are told apart.
    random, share = np.random.default_rng(0), {3: 0.0, 5: 0.0}
    for seeds in share:
        for _ in range(100):
            drawn = random.standard_normal((10, seeds)) - 6.0 * (np.arange(10) >= 5)[:, None]
            found = tiers({str(index): dict(enumerate(values)) for index, values in enumerate(drawn.tolist())})
            share[seeds] += sum(found[str(index)] > 1 for index in range(5, 10)) / 500
    assert share[5] > 0.99
    assert 0.75 < share[3] < 0.95


# Tickets


def compared(*differences):
    return difference(accuracies(*differences), accuracies(*[0.0] * len(differences)))


def test_a_ticket_is_no_later_and_no_less_accurate_both_beyond_chance():
    # Steps -200, -300, -100: mean -200, error 100/sqrt(3) = 57.7, one-sided t(0.95, 2) = 2.920: at most -31.4.
    # Accuracy 1, 2, 3 points: mean 2, error 0.577: at least 0.31.
    assert verdict(compared(-200, -300, -100), compared(0.01, 0.02, 0.03)) == "ticket"
    # The two-sided interval of the same differences reaches beyond 0: 4.303 * 57.7 = 248.
    assert compared(-200, -300, -100).high > 0


def test_what_is_later_or_less_accurate_beyond_chance_is_no_ticket():
    # t(0.975, 2) = 4.303: 300 - 4.303 * 57.7 > 0 is later for certain; 200 - 248 is not.
    better = compared(0.01, 0.02, 0.03)
    assert verdict(compared(300, 400, 200), better) == "not"
    assert verdict(compared(200, 300, 100), better) == "undecided"
    assert verdict(compared(-200, -300, -100), compared(-0.03, -0.04, -0.02)) == "not"


def test_no_difference_at_all_is_a_ticket_and_chance_is_undecided():
    assert verdict(compared(0, 0, 0), compared(0.0, 0.0, 0.0)) == "ticket"
    assert verdict(compared(-100, 100, 0), compared(0.01, 0.02, 0.03)) == "undecided"


def test_fewer_than_three_pairs_give_no_verdict():
    assert verdict(compared(-200, -300), compared(0.1, 0.2)) is None
    assert verdict(None, compared(0.1, 0.2, 0.3)) is None
