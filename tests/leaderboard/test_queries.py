"""Rows that satisfy conditions, in an order."""

import pytest
from click.testing import CliRunner

from prunebench.api.errors import BoardError
from prunebench.cli import main
from prunebench.leaderboard import rows, write
from prunebench.leaderboard.queries import parse_conditions, query


@pytest.fixture
def results(result):
    def row(method, sparsity, accuracy, cost, **metrics):
        return result(method=method, sparsity=sparsity, accuracy=accuracy, metrics={"training_cost": cost, **metrics})

    return [
        result(method="unpruned", control=True, accuracy=0.95, metrics={"training_cost": 1.0}),
        row("tickets", 0.9, 0.94, 5.0),
        row("tickets", 0.98, 0.91, 5.5),
        row("gradual", 0.9, 0.93, 0.25, size_bytes=2000.0, latency_ms=0.5),
        row("gradual", 0.98, 0.92, 1.2, size_bytes=900.0),
        row("random", 0.9, 0.60, 0.1),
        result(method="random", sparsity=0.98, status="failed"),
    ]


@pytest.fixture
def frame(results):
    return rows(results)


def labels(frame):
    return [f"{method}-{target:g}" for method, target in zip(frame["method"], frame["target_sparsity"], strict=True)]


def test_rows_satisfy_every_condition_and_the_best_come_first(frame):
    assert labels(query(frame, "training_cost<=1.2, sparsity>=0.9", "accuracy")) == [
        "gradual-0.9",
        "gradual-0.98",
        "random-0.9",
    ]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("cost<1.2", {"unpruned-0", "gradual-0.9", "random-0.9"}),
        ("cost<=1.2,sparsity>0.9", {"gradual-0.98"}),
        ("accuracy>=93%", {"unpruned-0", "tickets-0.9", "gradual-0.9"}),
        ("accuracy > 0.93", {"unpruned-0", "tickets-0.9"}),
        ("training_cost = 5", {"tickets-0.9"}),
        ("training_cost == 5.0", {"tickets-0.9"}),
        ("cost != 5, target_sparsity = 0.9", {"gradual-0.9", "random-0.9"}),
        ("size<1e3", {"gradual-0.98"}),  # rows that were not deployed have no size
        ("latency<=0.5", {"gradual-0.9"}),
        ("n<1", {"random-0.98"}),
        ("sparsity>=90%, sparsity<=0.9", {"tickets-0.9", "gradual-0.9", "random-0.9"}),
    ],
)
def test_a_condition_compares_a_column_or_a_metric_with_a_number(frame, where, expected):
    assert set(labels(query(frame, where))) == expected


def test_a_sparsity_that_differs_by_rounding_to_whole_weights_is_the_one_that_was_asked_for(result):
    found = rows([result(sparsity=0.9, metrics={"sparsity": 0.8999}), result(method="b", metrics={"sparsity": 0.899})])
    assert labels(query(found, "sparsity>=0.9")) == ["snipper-0.9"]


def test_rows_are_sorted_by_what_is_better_and_a_minus_reverses(frame):
    assert labels(query(frame, "n>0", "cost"))[0] == "random-0.9"
    assert labels(query(frame, "n>0", "-cost"))[0] == "tickets-0.98"
    assert labels(query(frame, "n>0", "sparsity"))[0].endswith("0.98")
    assert labels(query(frame, None, "accuracy"))[0] == "unpruned-0"
    assert labels(query(frame, None, "accuracy"))[-1] == "random-0.98"  # without a value
    assert labels(query(frame, None, "-accuracy"))[-1] == "random-0.98"


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("training_cots<=1", "no column of numbers 'training_cots'; did you mean 'training_cost'?"),
        ("acuracy>0.9", "did you mean 'accuracy'?"),
        ("cost", "'cost' is not a name, a comparison and a number"),
        ("cost<=", "is not a name, a comparison and a number"),
        ("cost<=1 sparsity>=0.9", "'1 sparsity>=0.9' in 'cost<=1 sparsity>=0.9' is not a number"),
        ("cost<=x", "'x' in 'cost<=x' is not a number"),
        ("cost=>1", "is not a name, a comparison and a number"),
        ("method=1", "no column of numbers 'method'"),
        ("__import__('os')<1", "is not a name, a comparison and a number"),
        ("cost<1,,n>0", "'' is not a name"),
    ],
)
def test_what_is_not_understood_is_said(frame, where, complaint):
    with pytest.raises(BoardError) as caught:
        parse_conditions(where, frame)
    assert complaint in str(caught.value)


def test_the_command_prints_the_rows_with_the_figures_that_it_was_asked_about(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(results, tmp_path / "board")
    run = CliRunner().invoke
    done = run(main, ["leaderboard", "./board", "--where", "size<=2000", "--sort", "accuracy"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "size kB" in lines[0]
    assert lines[2].split()[:2] == ["gradual", "90"]
    assert lines[3].split()[:2] == ["gradual", "98"]
    assert lines[-1] == "2 of 7 rows"
    for form, start in (("json", "["), ("csv", "task,"), ("markdown", "| method"), ("latex", "%")):
        assert run(main, ["leaderboard", "./board", "--sort", "cost", "--format", form]).output.startswith(start)
    wrong = run(main, ["leaderboard", "./board", "--sort", "costs"])
    assert wrong.exit_code != 0
    assert "did you mean 'cost'?" in wrong.output
    for options in (["--output", "x"], ["--check"], ["--format", "html"]):
        assert run(main, ["leaderboard", "./board", "--where", "cost<1", *options]).exit_code == 2
    assert "0 of 7 rows" in run(main, ["leaderboard", "./board", "--where", "cost>100"]).output
