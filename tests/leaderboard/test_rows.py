"""One row a method and sparsity."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from prunebench.api.objectives import ACCURACY, Metric
from prunebench.leaderboard import select
from prunebench.leaderboard.publishing import trials
from prunebench.leaderboard.rows import COLUMNS, OPTIONAL, framed, records, rows


def row_of(results, method="snipper", sparsity=0.9, expected=None):
    found = [
        row for row in records(rows(results, expected)) if (row["method"], row["target_sparsity"]) == (method, sparsity)
    ]
    assert len(found) == 1
    return found[0]


def test_a_row_is_over_the_seeds(seeds):
    row = row_of(seeds(0.90, 0.91, 0.95))
    assert row["n"] == row["seeds"] == 3
    assert row["metric_mean"] == pytest.approx(0.92)
    assert row["metric_std"] == pytest.approx(math.sqrt((0.02**2 + 0.01**2 + 0.03**2) / 2))
    assert (row["task"], row["protocol"], row["variant"]) == ("digits", "protocol-1", "variant of snipper")
    assert (row["status"], row["reason"], row["control"]) == ("done", "", False)


def test_the_figures_of_a_row(result):
    row = row_of([result(metrics={"collapsed_layers": 1.0}), result(seed=1, metrics={"wall_seconds": 5.0})])
    expected = {
        "sparsity": 0.9,
        "training_cost": 0.2,
        "training_flops": 4e9,
        "examples": 6400.0,
        "wall_seconds": 4.0,
        "inference_flops": 500.0,
        "speedup": 4.0,
        "compression": 10.0,
        "parameters_kept": 100.0,
        "parameters_prunable": 1000,
        "collapsed_layers": 1,
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_nothing_is_divided_by_nothing(result):
    row = row_of([result(metrics={"inference_flops": 0.0, "parameters_kept": 0.0})])
    assert row["speedup"] is None
    assert row["compression"] is None


def test_one_seed_has_no_deviation(result):
    row = row_of([result(), *([])])
    assert (row["n"], row["metric_std"]) == (1, None)


def test_the_difference_to_dense_is_over_the_seeds_that_both_have(result, seeds):
    dense = seeds(0.90, 0.92, method="unpruned", control=True)
    row = row_of([*dense, *seeds(0.91, 0.95, 0.99)])
    # 0.91 and 0.95 beside 0.90 and 0.92: error sqrt(1e-3 / 2), 25/17 degrees of freedom: half the width is 0.138370.
    assert (row["pairs"], row["interval"]) == (2, "welch")
    assert row["difference"] == pytest.approx(0.02)
    assert row["difference_low"] == pytest.approx(0.02 - 0.138370, abs=1e-6)
    assert row["difference_high"] == pytest.approx(0.02 + 0.138370, abs=1e-6)


def test_rows_whose_seeds_correlate_with_the_dense_network_have_paired_intervals(seeds):
    dense = seeds(0.90, 0.92, 0.97, method="unpruned", control=True)
    several = [one for index in range(5) for one in seeds(0.89, 0.90, 0.96, sparsity=0.5 + index / 10)]
    row = row_of([*dense, *several], sparsity=0.5)
    # Differences -1, -2, -1 points: mean -4/3, deviation 0.57735, t(0.975, 2) = 4.302653: half the width is 1.434218.
    assert row["interval"] == "paired"
    assert 100 * row["difference_low"] == pytest.approx(-4 / 3 - 1.434218, abs=1e-5)
    fewer = row_of([*dense, *several[:12]], sparsity=0.5)
    assert (fewer["interval"], fewer["difference"]) == ("welch", row["difference"])
    assert row_of([*dense, *several], "unpruned", 0.0)["interval"] == ""


def test_the_dense_network_is_compared_with_nothing_and_has_no_tier(seeds):
    results = [*seeds(0.9, 0.91, 0.92, method="unpruned", control=True), *seeds(0.8, 0.81, 0.82)]
    row = row_of(results, "unpruned", 0.0)
    assert (row["control"], row["pairs"], row["difference"], row["tier"]) == (True, 0, None, None)


def test_two_controls_are_not_ranked_and_the_first_by_label_is_the_reference(seeds):
    results = [
        *seeds(0.9, 0.91, 0.92, method="b control", control=True),
        *seeds(0.1, 0.11, 0.13, method="a control", control=True),
        *seeds(0.3, 0.3, 0.3),
    ]
    assert [row["tier"] for row in records(rows(results)) if row["control"]] == [None, None]
    assert row_of(results)["difference"] == pytest.approx(0.3 - (0.1 + 0.11 + 0.13) / 3)


def test_without_a_dense_network_there_is_no_difference(seeds):
    assert row_of(seeds(0.9, 0.8))["difference"] is None


def test_the_dense_network_of_another_task_is_no_reference(seeds):
    dense = [replace(one, task="other") for one in seeds(0.9, 0.8, method="unpruned", control=True)]
    assert row_of([*dense, *seeds(0.9, 0.8)])["difference"] is None


def test_tiers_are_of_one_sparsity_and_of_complete_methods(result, seeds):
    good, bad = (0.90, 0.91, 0.93), (0.80, 0.81, 0.82)
    results = [
        *seeds(*good, method="a"),
        *seeds(*bad, method="b"),
        *seeds(*bad, method="c", sparsity=0.8),
        *seeds(*good, method="d", sparsity=0.8),
        *seeds(0.99, 0.99, method="e"),
    ]
    tiers = {(row["method"], row["target_sparsity"]): row["tier"] for row in records(rows(results))}
    assert tiers == {("a", 0.9): 1, ("b", 0.9): 2, ("c", 0.8): 2, ("d", 0.8): 1, ("e", 0.9): None}


def test_by_default_the_seeds_of_a_task_are_expected_of_each_of_its_methods(result, seeds):
    results = [*seeds(0.9, 0.9, 0.9, method="a"), *seeds(0.9, 0.9, method="b")]
    row = row_of(results, "b")
    assert row["status"] == "incomplete (2 of 3)"
    assert row["reason"] == "seed 2 missing"
    other = replace(result(seed=7), task="other")
    assert row_of([*results, other], "a")["status"] == "done"


def test_a_row_without_all_its_seeds_says_which_and_why(result):
    results = [
        result(seed=0, accuracy=0.7),
        result(seed=1, status="failed"),
        result(seed=2, status="skipped", reason=""),
    ]
    row = row_of(results)
    assert (row["n"], row["metric_mean"], row["tier"]) == (1, 0.7, None)
    assert row["status"] == "incomplete (1 of 3)"
    assert row["reason"] == "seed 1 failed: out of memory; seed 2 skipped: no reason given"


def test_a_row_without_any_seed_says_why(result):
    assert row_of([result(status="failed", reason="a\n  b | c")])["status"] == "failed: a b | c"
    row = row_of([result(status="skipped", seed=seed, reason="not reachable") for seed in range(3)])
    assert (row["status"], row["reason"]) == ("skipped: not reachable", "not reachable")
    assert (row["n"], row["metric_mean"], row["wall_seconds"]) == (0, None, None)
    mixed = row_of([result(status="skipped", reason="x"), result(status="failed", seed=1, reason="y")])
    assert mixed["status"] == "failed: seed 0 skipped: x; seed 1 failed: y"


def test_what_is_expected_and_absent_is_a_row(result):
    expected = [("digits", "snipper", 0.9, seed) for seed in (0, 1)] + [
        ("digits", "ghost", 0.5, 0),
        ("fog", "a", 0.5, 0),
    ]
    frame = rows([result(), result(method="not asked for")], expected)
    found = {(row["task"], row["method"]): row for row in records(frame)}
    assert set(found) == {("digits", "snipper"), ("digits", "ghost"), ("fog", "a")}
    assert found["digits", "snipper"]["status"] == "incomplete (1 of 2)"
    assert (found["digits", "ghost"]["status"], found["digits", "ghost"]["reason"]) == ("missing", "")
    assert found["digits", "ghost"]["suite"] == "s"


def test_a_dense_network_that_is_missing_is_no_method_of_the_pivot(result):
    row = row_of([result()], "unpruned", 0.0, [("digits", "unpruned", 0.0, 0), ("digits", "snipper", 0.9, 0)])
    assert (row["control"], row["status"]) == (True, "missing")


def test_rows_are_ordered_by_task_dense_first_then_sparsity_then_accuracy(result):
    results = [
        replace(result(method="z", sparsity=0.5), task="another"),
        result(method="a", sparsity=0.9, accuracy=0.6),
        result(method="b", sparsity=0.9, accuracy=0.7),
        result(method="c", sparsity=0.5, accuracy=0.1),
        result(method="e", sparsity=0.9, status="failed"),
        result(method="unpruned", control=True, accuracy=0.2),
        result(method="f", sparsity=0.0, accuracy=0.3),
    ]
    assert [row["method"] for row in records(rows(results))] == ["z", "unpruned", "f", "c", "b", "a", "e"]


def test_methods_of_equal_accuracy_are_ordered_by_label(result):
    assert [row["method"] for row in records(rows([result(method="b"), result(method="a")]))] == ["a", "b"]


def test_suites_are_rows_of_their_own(result):
    assert len(rows([result(), replace(result(), suite="other")])) == 2


def test_the_order_of_results_does_not_matter(seeds):
    results = [*seeds(0.9, 0.8, 0.7, method="a"), *seeds(0.6, 0.7, 0.8, method="b")]
    pd.testing.assert_frame_equal(rows(results), rows(results[::-1]))


def test_the_columns_are_those_that_are_explained():
    assert list(rows([]).columns) == [name for name in COLUMNS if name not in OPTIONAL]
    assert len(rows([])) == 0


def test_what_scores_left_undecided_has_columns_where_it_matters(result):
    metrics = {"unscored_layers": 0.0, "unscored_share": 0.0, "tied_share": 0.0099}
    clean = result(metrics=metrics)
    assert not set(OPTIONAL) & set(rows([clean]).columns)
    other = result(seed=1, metrics=metrics | {"unscored_share": 0.25, "tied_share": 0.01})
    frame = rows([clean, other, result(method="clean", metrics=metrics)])
    found = frame.set_index("method")
    assert found.loc["snipper", "unscored_share"] == 0.25
    assert found.loc["snipper", "tied_share"] == 0.01
    assert found.loc["clean", ["unscored_share", "tied_share"]].isna().all()
    assert framed(records(frame)).equals(frame)


def test_records_are_plain_values(result, seeds):
    found = records(rows([result(metrics={"wall_seconds": math.inf}), *seeds(0.5, method="unpruned", control=True)]))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert found[1]["wall_seconds"] is None
    assert type(found[1]["n"]) is int
    assert type(found[1]["control"]) is bool


def test_an_accuracy_that_is_no_number_is_in_no_mean(result):
    row = row_of([result(accuracy=math.nan), result(seed=1, accuracy=0.5)])
    assert (row["metric_mean"], row["metric_std"]) == (0.5, None)


def test_the_trials_show_what_was_measured_of_a_deployed_network_where_there_is_one(result):
    plain = trials(select([result(method="mine")]))
    deployed = trials(select([result(method="mine", metrics={"latency_ms": 0.25})]))
    assert "latency_ms" not in plain.columns
    assert list(deployed["latency_ms"]) == [0.25]
    assert "latency_ms_dense" not in deployed.columns


def test_a_metric_that_older_results_lack_is_a_column_of_the_trials_only_where_one_has_it(result):
    older = result(method="mine")
    newer = result(method="mine", seed=1, metrics={"inference_flops_prunable": 1500.0})
    assert "inference_flops_prunable" not in trials(select([older])).columns
    assert list(trials(select([older, newer]))["inference_flops_prunable"].fillna(-1)) == [-1, 1500]


def test_early_stopping_is_compared_with_the_dense_network_of_the_same_seed(result):
    def stopped(step, accuracy, **changes):
        return result(metrics={"early_stop_step": step, "early_stop_accuracy": accuracy}, **changes)

    dense = [stopped(500, 0.90, seed=seed, method="unpruned", control=True) for seed in range(3)]
    ours = [stopped(300 - 100 * seed, 0.91 + seed / 100, seed=seed) for seed in range(3)]
    control, row = rows([*dense, *ours]).to_dict("records")
    assert (row["early_stop_step"], row["early_stop_step_std"]) == (200, 100)
    assert row["early_stop_step_difference"] == -300
    # 4.302653 * 100 / sqrt(3) = 248.414
    assert row["early_stop_step_difference_high"] == pytest.approx(-51.586, abs=1e-3)
    assert row["early_stop_metric_difference"] == pytest.approx(0.02)
    assert row["ticket"] == "ticket"
    assert control["ticket"] == ""


def test_without_early_stopping_there_is_no_verdict(seeds):
    _, row = rows([*seeds(0.9, 0.9, 0.9, control=True, method="unpruned"), *seeds(0.9, 0.9, 0.9)]).to_dict("records")
    assert row["ticket"] == ""
    assert math.isnan(row["early_stop_step"])


def test_latency_is_compared_with_the_dense_network_seed_by_seed(result):
    def deployed(ours, dense, **changes):
        return result(metrics={"latency_ms": ours, "latency_ms_dense": dense, "size_bytes": 100.0}, **changes)

    (row,) = rows([deployed(1.0, 2.0, seed=0), deployed(2.0, 8.0, seed=1)]).to_dict("records")
    assert row["latency_ms"] == 1.5
    assert row["latency_ratio"] == 3.0
    assert row["latency_ratio_std"] == pytest.approx(math.sqrt(2))
    assert row["size_bytes"] == 100.0


def test_a_latency_that_does_not_apply_has_a_reason(result):
    (row,) = rows([result(provenance={"note.latency_ms": "no sparse path"})]).to_dict("records")
    assert row["latency_note"] == "no sparse path"
    assert math.isnan(row["latency_ms"])


def test_a_row_names_every_machine_that_it_was_measured_on(result):
    (row,) = rows([result(seed=seed, provenance={"machine": f"machine {seed % 2}"}) for seed in range(3)]).to_dict(
        "records"
    )
    assert row["machine"] == "machine 0 / machine 1"


def test_how_a_row_was_asked_for_makes_it_no_other(result):
    made = [result(seed=seed, provenance={"suite.file": f"{seed}.yaml"}) for seed in range(2)]
    assert not select(made).older
    assert rows(made)["n"].tolist() == [2]


# Beside the best


def beside(results):
    return {row["method"]: row["against_best"] for row in records(rows(results))}


def test_a_row_says_what_is_known_of_it_beside_the_best(seeds):
    results = [
        *seeds(0.930, 0.931, 0.932, method="best"),
        *seeds(0.929, 0.930, 0.931, method="close"),
        *seeds(0.99, 0.85, 0.70, method="wide"),
        *seeds(0.80, 0.81, 0.82, method="far"),
        *seeds(0.70, 0.71, method="unfinished"),
    ]
    assert beside(results) == {
        "best": "best",
        "close": "equivalent",
        "wide": "undecided",
        "far": "worse",
        "unfinished": "",
    }


def test_where_every_method_is_at_chance_none_is_compared(seeds):
    objective = (replace(ACCURACY, chance=0.1),)
    poor = [
        *seeds(0.10, 0.11, 0.12, method="a", objective=objective),
        *seeds(0.1, 0.1, 0.1, method="b", objective=objective),
    ]
    assert beside(poor) == {"a": "chance", "b": "chance"}
    assert [row["tier"] for row in records(rows(poor))] == [None, None]
    assert beside([*poor, *seeds(0.9, 0.91, 0.92, method="c", objective=objective)])["c"] == "best"
    assert beside(seeds(0.1, 0.1, 0.1, method="a") + seeds(0.1, 0.11, 0.12, method="b"))["b"] == "best"


def test_a_method_whose_values_are_no_numbers_is_in_no_tier_and_others_are_compared(seeds):
    """As a mean of nothing, 0, it would be the best of a metric that is better when lower."""
    metric = Metric(name="accuracy", label="error", direction="lower", best=0.0)
    good = seeds(0.10, 0.11, 0.12, method="a", objective=(metric,))
    poor = seeds(0.50, 0.51, 0.52, method="b", objective=(metric,))
    lost = seeds(math.nan, math.nan, math.nan, method="c", objective=(metric,))
    tiers = {row["method"]: row["tier"] for row in records(rows([*good, *poor, *lost]))}
    assert tiers == {"a": 1, "b": 2, "c": None}


def test_methods_with_the_same_results_are_named_together_and_counted_once(seeds):
    twins = [*seeds(0.93, 0.94, 0.95, method="one"), *seeds(0.93, 0.94, 0.95, method="other")]
    twins = [replace(result, metrics=result.metrics | {"loss": 0.5, "wall_seconds": result.seed}) for result in twins]
    others = seeds(0.90, 0.91, 0.92, method="third")
    found = {row["method"]: row["identical"] for row in records(rows([*twins, *others]))}
    assert found == {"one": "one, other", "other": "one, other", "third": ""}
    # Of three methods it would be the test of Games & Howell, of two it is Welch's.
    assert beside([*twins, *others]) == {"one": "best", "other": "best", "third": "worse"}
    changed = [*twins[:-1], replace(twins[-1], metrics=twins[-1].metrics | {"density/fc1": 0.5})]
    assert {row["identical"] for row in records(rows([*changed, *others]))} == {""}
    elsewhere = replace(twins[0], sparsity=0.5)
    assert {row["identical"] for row in records(rows([*twins, elsewhere, *others]))} == {""}
