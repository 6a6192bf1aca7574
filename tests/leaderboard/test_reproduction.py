"""Whether a published number is found again."""

import math

import pytest

from prunebench.leaderboard.boards.reproduction import judge


def test_the_same_bits_are_equal_whatever_the_clock_says(seeds, result):
    again = [
        result(seed=seed, accuracy=accuracy, metrics={"wall_seconds": 99.0}) for seed, accuracy in enumerate((0.9, 0.8))
    ]
    verdict = judge(seeds(0.9, 0.8), again)
    assert (verdict.kind, verdict.reproduced, verdict.seeds, verdict.differing) == ("equal", True, (0, 1), ())


def test_within_the_prediction_interval_is_reproduced_and_outside_is_not(seeds):
    # 0.90, 0.91, 0.92: mean 0.91, deviation 0.01; three new: 4.302653 · 0.01 · √(1/3 + 1/3) = 0.0351310.
    published = seeds(0.90, 0.91, 0.92)
    inside = judge(published, seeds(0.945, 0.945, 0.945))
    assert (inside.kind, inside.reproduced, inside.differing) == ("within its spread", True, ("accuracy",))
    assert inside.reach == pytest.approx(0.0351310, abs=1e-6)
    assert (inside.published, inside.again) == (pytest.approx(0.91), pytest.approx(0.945))
    outside = judge(published, seeds(0.946, 0.946, 0.946))
    assert (outside.kind, outside.reproduced) == ("not reproduced", False)
    assert outside.reasons == ("its mean is outside of the prediction interval",)
    assert judge(published, seeds(0.874, 0.874, 0.874)).kind == "not reproduced"


def test_one_seed_run_again_has_a_wider_interval(seeds):
    # 4.302653 · 0.01 · √(1/3 + 1) = 0.0496828.
    assert judge(seeds(0.90, 0.91, 0.92), seeds(0.959)).reach == pytest.approx(0.0496828, abs=1e-6)


def test_one_published_seed_has_no_spread(seeds):
    assert judge(seeds(0.9), seeds(0.9)).kind == "equal"
    verdict = judge(seeds(0.9), seeds(0.901))
    assert (verdict.kind, verdict.reach) == ("not reproduced", None)
    assert "one seed has no spread" in verdict.reasons[0]


def test_another_figure_at_the_same_accuracy_is_named(seeds, result):
    verdict = judge(seeds(0.9, 0.8), [result(seed=0, accuracy=0.9, metrics={"training_cost": 9.0})])
    assert (verdict.kind, verdict.differing) == ("within its spread", ("training_cost",))


def test_a_trial_that_fails_now_is_not_reproduced(seeds, result):
    verdict = judge(seeds(0.9, 0.8), [result(seed=0, accuracy=0.9), result(seed=1, status="failed")])
    assert (verdict.kind, verdict.reasons) == ("not reproduced", ("seed 1 failed: out of memory",))


def test_an_accuracy_that_is_no_number_is_not_reproduced(seeds):
    assert judge(seeds(0.9, 0.8), seeds(math.nan)).kind == "not reproduced"


def test_nothing_run_is_nothing_reproduced(seeds):
    assert judge(seeds(0.9, 0.8), []).reasons == ("no trial of it was run",)
    assert not judge(seeds(0.9), [*seeds(0.9, 0.9)][1:]).reproduced
