"""Two boards side by side."""

import json
from dataclasses import replace

import pytest

from prunebench.leaderboard.boards.comparison import MARKS, as_json, as_markdown, as_text, compare, summary
from prunebench.leaderboard.boards.published import Board


def board(*results, name="one"):
    return Board(name, tuple(result for some in results for result in (some if isinstance(some, list) else [some])))


def only(before, after, **how):
    (line,) = compare(board(before), board(after, name="two"), **how).lines
    return line


def test_a_row_with_a_significant_paired_difference_is_better_or_worse(seeds):
    # Differences 0.020, 0.022, 0.024: mean 0.022, deviation 0.002, t = 0.022 / (0.002 / √3) = 19.0526.
    before, after = seeds(0.90, 0.91, 0.92), seeds(0.920, 0.932, 0.944)
    line = only(before, after)
    assert (line.kind, line.before, line.after) == ("better", "91.00 ± 1.00", "93.20 ± 1.20")
    assert line.difference == pytest.approx(0.022)
    # t with two degrees of freedom: p = 1 - t / √(2 + t²) = 0.0027435; half the width is 4.302653 · 0.002 / √3.
    assert line.p == pytest.approx(0.0027435, abs=1e-6)
    assert (line.low, line.high) == pytest.approx((0.022 - 0.0049683, 0.022 + 0.0049683), abs=1e-6)
    assert only(after, before).kind == "worse"


def test_a_difference_that_noise_explains_is_told_as_such(seeds):
    line = only(seeds(0.90, 0.91, 0.92), seeds(0.93, 0.90, 0.93))
    assert (line.kind, line.note) == ("same", "not told apart")
    assert line.p > 0.05


def test_the_p_values_are_corrected_for_all_rows_that_were_tested(seeds):
    # Alone p = 0.02 would be a difference; with 19 other rows that are as far apart it is none.
    before = [one for index in range(20) for one in seeds(0.90, 0.91, 0.92, method=f"m{index}")]
    after = [one for index in range(20) for one in seeds(0.92, 0.924, 0.942, method=f"m{index}")]
    alone = only(before[:3], after[:3])
    assert (alone.kind, alone.p < 0.05) == ("better", True)
    assert {line.kind for line in compare(board(before), board(after)).lines} == {"same"}


def test_the_same_figures_are_equal(seeds):
    line = only(seeds(0.9, 0.8), seeds(0.9, 0.8))
    assert (line.kind, line.note, line.difference) == ("same", "equal", 0.0)


def test_two_seeds_cannot_tell(seeds):
    line = only(seeds(0.1, 0.2), seeds(0.9, 0.8))
    assert (line.kind, line.note) == ("same", "too few seeds to tell")


def test_seeds_that_are_not_shared_are_compared_as_two_sets(result):
    before = [result(seed=seed, accuracy=accuracy) for seed, accuracy in enumerate((0.90, 0.91, 0.92))]
    after = [result(seed=seed + 5, accuracy=accuracy) for seed, accuracy in enumerate((0.95, 0.96, 0.97))]
    line = only(before, after)
    # Welch: t = 0.05 / √(0.01²/3 + 0.01²/3) = 6.1237 with 4 degrees of freedom: p = 0.0036.
    assert (line.kind, line.note) == ("better", "seeds are not shared")
    assert line.p == pytest.approx(0.0036, abs=1e-4)
    assert only(after, [replace(one, seed=one.seed + 5) for one in after]).kind == "same"


def test_new_and_gone_rows_are_told(result):
    found = compare(board(result(method="a"), result(method="b")), board(result(method="b"), result(method="c")))
    assert [(line.kind, line.method) for line in found.lines] == [("new", "c"), ("gone", "a"), ("same", "b")]


def test_rows_of_another_protocol_or_variant_are_not_compared_and_say_why(seeds):
    before = seeds(0.9, 0.91, 0.92)
    protocol = [
        replace(
            one, protocol="p2", params=one.params | {"task.recipe.epochs": 20}, metrics=one.metrics | {"accuracy": 1}
        )
        for one in before
    ]
    line = only(before, protocol)
    assert (line.kind, line.note) == ("not comparable", "another protocol: recipe.epochs 40 → 20")
    variant = [replace(one, variant="v2", params=one.params | {"method.rate": 0.5}) for one in before]
    line = only(before, variant)
    assert (line.kind, line.note) == ("not comparable", "another variant: method.rate not set → 0.5")
    line = only(before, variant, any_variant=True)
    assert (line.kind, line.note) == ("same", "another variant: method.rate not set → 0.5; equal")
    assert only(before, protocol, any_variant=True).kind == "not comparable"


def test_another_fingerprint_of_the_data_is_a_reason(result):
    other = replace(result(), protocol="p2", provenance=result().provenance | {"data": "fingerprint-2"})
    assert only(result(), other).note == "another protocol: data fingerprint-1 → fingerprint-2"


def test_what_failed_and_is_done_is_better_and_the_other_way_round_worse(seeds, result):
    done, failed = seeds(0.9, 0.8, 0.7), [result(seed=seed, status="failed") for seed in range(3)]
    assert (only(failed, done).kind, only(done, failed).kind, only(failed, failed).kind) == ("better", "worse", "same")
    assert only(done, failed).note == "was done, is failed: out of memory"


def test_another_cost_at_the_same_accuracy_is_told(result):
    line = only(result(), result(metrics={"training_cost": 0.3}))
    assert "training cost 0.2 → 0.3" in line.note


def test_two_suites_are_compared_whatever_they_are_called(seeds):
    before, after = seeds(0.9, 0.8), [replace(one, suite="z") for one in seeds(0.9, 0.8)]
    assert [line.kind for line in compare(board(before), board(after)).lines] == ["same"]
    both = compare(board(before, after), board(after))
    assert [(line.kind, line.task) for line in both.lines] == [("gone", "s: digits"), ("same", "z: digits")]


@pytest.fixture
def everything(seeds, result):
    before = [*seeds(0.90, 0.91, 0.92, method="up"), *seeds(0.92, 0.932, 0.944, method="down"), result(method="gone")]
    before += [*seeds(0.9, 0.9, method="same"), result(method="other|<b>")]
    after = [*seeds(0.92, 0.932, 0.944, method="up"), *seeds(0.90, 0.91, 0.92, method="down"), result(method="new")]
    after += [*seeds(0.9, 0.9, method="same"), replace(result(method="other|<b>"), variant="v2")]
    return compare(board(before, name="main"), board(after, name="branch"))


def test_the_summary_counts_with_marks_and_words(everything):
    assert summary(everything) == (
        "main → branch: ▲ 1 better, ▼ 1 worse, + 1 new, − 1 gone, ≠ 1 not comparable, = 1 same"
    )
    assert len(set(MARKS.values())) == len(MARKS)


@pytest.mark.parametrize("width", [40, 80])
def test_the_terminal_shows_each_kind_in_its_width(everything, width):
    text = as_text(everything, width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    assert "▲ better digits: up at 90 %: 91.00 ± 1.00 → 93.20 ± 1.20, +2.20 [+1.70, +2.70], p = 0.005" in flat
    assert "▼ worse digits: down at 90 %" in flat
    assert "digits: 1 row of other|<b>: another variant" in flat
    assert "same at 90 %" not in flat
    assert "= same digits: same at 90 %" in " ".join(as_text(everything, width, everything=True).split())


def test_markdown_cannot_be_broken_out_of(everything):
    text = as_markdown(everything)
    assert "other\\|&lt;b> at 90 %" in text
    assert "▲ better" in text
    assert "= same" not in text.partition("\n|")[2]


def test_json_has_every_row(everything):
    found = json.loads(as_json(everything))
    assert found["counts"] == {"better": 1, "worse": 1, "new": 1, "gone": 1, "not comparable": 1, "same": 1}
    assert len(found["rows"]) == 6
    assert found["rows"][0]["difference"] == pytest.approx(0.022)


def made_with(results, version, source):
    """Results with a version of the protocol, and with the source of the core."""
    said = {"protocol.version": version, "core.source": source}
    return [replace(one, protocol=f"p{version}", provenance=one.provenance | said) for one in results]


def test_rows_of_an_older_protocol_are_not_compared_which_is_said_in_a_sentence(seeds):
    before = seeds(0.9, 0.91, 0.92)
    line = only(before, made_with(before, "2", "b"))
    assert (line.kind, line.note) == ("not comparable", "another protocol: protocol version none (older) → 2")
    line = only(made_with(before, "1", "a"), made_with(before, "2", "b"))
    assert line.note == "another protocol: protocol version 1 → 2"


def test_rows_of_one_protocol_and_other_source_are_compared_and_marked(seeds):
    before = made_with(seeds(0.9, 0.91, 0.92), "1", "a")
    line = only(before, made_with(before, "1", "b"))
    assert (line.kind, line.note) == ("same", "other source of the same version: core; equal")
    assert only(before, before).note == "equal"
    own = [replace(one, variant="v2", provenance=one.provenance | {"method.source": "m2"}) for one in before]
    before = [replace(one, provenance=one.provenance | {"method.source": "m1"}) for one in before]
    assert "other source" not in only(before, own, any_variant=True).note
