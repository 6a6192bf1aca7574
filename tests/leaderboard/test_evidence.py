"""The tables beside the accuracies."""

import pytest

from prunebench.leaderboard import select, table
from prunebench.leaderboard.tables.markdown import markdown


@pytest.fixture
def page():
    def make(results):
        selection = select(results)
        return markdown(table(selection), selection)

    return make


def test_a_ticket_stands_with_its_figures_and_its_rule(page, result):
    def stopped(step, accuracy, **changes):
        return result(metrics={"early_stop_step": step, "early_stop_accuracy": accuracy}, **changes)

    dense = [stopped(500, 0.90, seed=seed, method="unpruned", control=True) for seed in range(3)]
    found = page([*dense, *(stopped(300 - 100 * seed, 0.91 + seed / 100, seed=seed) for seed in range(3))])
    (line,) = [one for one in found.splitlines() if one.startswith("| snipper") and "ticket" in one]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "snipper",
        "90",
        "200 ± 100",
        "-300 [-548, -52]",
        "92.00 ± 1.00",
        "+2.00 [-0.48, +4.48]",
        "ticket",
    ]
    assert "one-sided 95%" in found


def test_without_a_validation_split_the_page_says_that_tickets_do_not_apply(page, result):
    assert "Not applicable: early stopping takes a validation split" in page([result()])


def test_a_deployed_network_stands_beside_the_dense_one(page, result):
    metrics = {"size_bytes": 2000.0, "size_bytes_dense": 8000.0, "latency_ms": 1.0, "latency_ms_iqr": 0.1}
    found = page([result(metrics=metrics | {"latency_ms_dense": 2.0, "latency_ms_dense_iqr": 0.2})])
    assert [cell.strip() for cell in _line(found, "2.0 ").split("|")[3:8]] == [
        "2.0",
        "25.0%",
        "1 ± 0.1",
        "2 ± 0.2",
        "2.00×",
    ]
    none = page([result(metrics={"size_bytes": 2000.0}, provenance={"note.latency_ms": "no sparse path"})])
    assert "not applicable: no sparse path" in none


def test_a_latency_that_lacks_its_range_or_the_dense_one_says_no_more_than_was_measured(page, result):
    metrics = {"size_bytes": 2000.0, "size_bytes_dense": 8000.0, "latency_ms": 1.0}
    assert _latencies(page([result(metrics=metrics)])) == ["1", "not measured", ""]
    assert _latencies(page([result(metrics=metrics | {"latency_ms_dense": 2.0})])) == ["1", "2", "2.00×"]
    # A range of exactly 0 was measured, and is shown.
    both = {"latency_ms_iqr": 0.0, "latency_ms_dense": 2.0, "latency_ms_dense_iqr": 0.5}
    assert _latencies(page([result(metrics=metrics | both)])) == ["1 ± 0", "2 ± 0.5", "2.00×"]


def test_a_ratio_of_latencies_has_its_deviation(page, result):
    metrics = {"size_bytes": 2000.0, "size_bytes_dense": 8000.0, "latency_ms_dense": 6.0}
    rows = [result(seed=seed, metrics=metrics | {"latency_ms": ms}) for seed, ms in enumerate((2.0, 3.0))]
    assert _latencies(page(rows)) == ["2.5", "6", "2.50× ± 0.71"]  # 3 and 2


def _latencies(page):
    return [cell.strip() for cell in _line(page, "2.0 ").split("|")[5:8]]


def _line(page, text):
    after = page.partition("### Deployed")[2]
    return next(line for line in after.splitlines() if line.startswith("| snipper") and text in line)


def test_the_page_answers_shrinkbench_and_says_how_each_row_is_done_again(page, result):
    found = page([result(provenance={"suite.file": "suites/a.yaml"})])
    assert "| at least 5 operating points" in found
    assert "prunebench run suites/a.yaml --only task=digits,method=snipper,sparsity=0.9\n" in found


def test_across_tasks_there_are_ranks_and_reasons_for_none(page, result):
    found = page(
        [
            result(method=method, task=task, sparsity=sparsity, accuracy=accuracy)
            for method, accuracy in (("a", 0.9), ("b", 0.8))
            for task in ("one", "two")
            for sparsity in (0.8, 0.9)
        ]
        + [result(method="c", task="one", sparsity=0.8)]
    )
    after = found.partition("## Across tasks")[2]
    assert "| a        | 1.00" in after
    assert "3 of 4 blocks are not complete" in after
    assert "No difference between the methods is shown." in after
