"""Verdicts on claims, and the rows that show them."""

import pytest

from prunebench.leaderboard.statistics import Difference


@pytest.fixture
def answers(script):
    return script("answers")


@pytest.fixture
def source(answers):
    return answers.Source("Somebody 2020", "2001.00001", "another network")


@pytest.mark.parametrize(
    ("mean", "low", "high", "margin", "verdict"),
    [
        (1.0, 0.5, 1.5, 0.0, "seen"),
        (-1.0, -1.5, -0.5, 0.0, "not seen"),
        (1.0, -0.5, 2.5, 0.0, "undecided"),
        (0.0, 0.0, 0.0, 0.0, "undecided"),
        # An amount is claimed: less than that is shown, or may be.
        (1.2, 0.5, 1.9, 1.0, "seen"),
        (0.5, 0.2, 0.8, 1.0, "not seen"),
        (0.8, 0.2, 1.4, 1.0, "undecided"),
        (1.2, -0.1, 2.5, 1.0, "undecided"),
        # A tolerance: the interval is above it, or below, or neither.
        (-0.1, -0.2, 0.1, -0.3, "seen"),
        (-0.9, -1.2, -0.6, -0.3, "not seen"),
        (-0.1, -0.6, 0.4, -0.3, "undecided"),
    ],
)
def test_the_verdict_on_a_difference(answers, mean, low, high, margin, verdict):
    assert answers.judged(Difference(mean, low, high, 3), margin) == verdict


def test_too_few_seeds_decide_nothing(answers):
    assert answers.judged(Difference(1.0, 0.9, 1.1, 2)) == "undecided"
    assert answers.judged(Difference(1.0, None, None, 1)) == "undecided"
    assert answers.judged(None) == "not run"


def test_a_claim_is_answered_at_each_sparsity_that_was_run(answers, source, rows):
    results = rows({("a", 0.9): (0.90, 0.91, 0.92), ("b", 0.9): (0.80, 0.81, 0.82), ("b", 0.8): (0.9, 0.9, 0.9)})
    made = answers.Claim("a beats b", source, "a", "b", (0.8, 0.9)).answer(results)
    # Equal deviations of 0.01: the difference 0.10 ± t(4, 97.5 %) * 0.01 * √(2/3) = 2.7764 * 0.0081650.
    assert made.row == (
        "| a beats b | [Somebody 2020](https://arxiv.org/abs/2001.00001) | `a` against `b`, points: "
        "90 %: +10.00 [+7.73, +12.27] | **seen** | there another network |"
    )


def test_a_claim_about_what_no_trial_has_is_not_run(answers, source, rows):
    made = answers.Claim("a beats c", source, "a", "c", (0.8, 0.9)).answer(rows({("a", 0.9): (0.9, 0.9)}))
    assert (made.verdict, answers.counted([made])) == ("not run", "1 not run")


def test_verdicts_that_differ_name_their_places(answers, source, rows):
    low, high = (0.80, 0.81, 0.82), (0.90, 0.91, 0.92)
    figures = {("a", 0.8): high, ("b", 0.8): low, ("a", 0.9): low, ("b", 0.9): high, ("a", 0.95): low, ("b", 0.95): low}
    made = answers.Claim("a beats b", source, "a", "b", (0.8, 0.9, 0.95)).answer(rows(figures))
    assert made.verdict == "**seen** at 80 %; **not seen** at 90 %; undecided at 95 %"
    assert answers.counted([made]) == "1 seen, 1 not seen, 1 undecided"


def test_the_dense_network_is_compared_at_every_sparsity(answers, source, rows):
    figures = {("dense", 0.0): (0.80, 0.81, 0.82), ("a", 0.9): (0.90, 0.91, 0.92)}
    assert answers.Claim("", source, "a", "dense", (0.9,)).answer(rows(figures)).verdict == "**seen**"
    assert answers.Claim("", source, "b", "a", (0.5,)).answer(rows(figures)).verdict == "not run"


def test_fewer_iterations_and_smaller_errors_are_better(answers, source, rows):
    def metrics(*values):
        return [{"early_stop_step": value, "output_error": value / 1000} for value in values]

    results = rows({("a", 0.9): metrics(1, 2, 3), ("b", 0.9): metrics(7, 8, 9)})
    for metric, shown in (("early_stop_step", "iterations: 90 %: +6 ["), ("output_error", "outputs: 90 %: +0.60 [")):
        made = answers.Claim("", source, "a", "b", (0.9,), metric=metric).answer(results)
        assert made.verdict == "**seen**"
        assert shown in made.row


def test_a_source_that_is_not_on_arxiv_is_an_address(answers):
    assert answers.Source("A", "https://example.org/a").link == "[A](https://example.org/a)"
