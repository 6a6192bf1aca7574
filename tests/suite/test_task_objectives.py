"""The objective of a task in a suite: named, left to the data, or wrong."""

import pytest

import prunebench
from prunebench.suite import from_plain, to_plain


@pytest.fixture
def with_objective(valid):
    """The valid suite with an objective, and with keys in its recipe."""
    return lambda text, recipe="epochs: 4": valid.replace(
        "dataset: scans\n", f"dataset: scans\n    objective: {text}\n"
    ).replace("epochs: 4", recipe)


def test_a_task_is_a_classification_unless_it_says_otherwise(read, valid):
    assert read(valid).tasks[0].objective == prunebench.Classification()
    assert "objective" not in to_plain(read(valid))["tasks"][0]


def test_an_objective_is_named_with_its_parameters_and_travels(read, with_objective, fakes):
    suite = read(with_objective("{name: distance, power: 2}"))
    assert suite.tasks[0].objective == fakes.components["objective"]["distance"](power=2)
    assert from_plain(to_plain(suite), fakes) == suite
    assert read(with_objective("distance")).tasks[0].objective.power == 1


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("ranks", "objective 'ranks' is for targets that are ranks, and those of the data are classes"),
        ("distanc", "unknown objective 'distanc'; did you mean 'distance'?"),
        ("{name: distance, power: 0}", "must be a whole number of at least 1, not 0"),
        ("nameless", "objective 'nameless' reports no metric to rank methods by"),
        ("taken", "objective 'taken': 'sparsity' is also the name of another figure"),
    ],
)
def test_an_objective_that_does_not_fit_is_an_error_at_its_place(mistakes, with_objective, objective, message):
    assert message in mistakes(with_objective(objective))[0]


def test_label_smoothing_needs_an_objective_that_has_it(mistake, with_objective):
    line = mistake(with_objective("distance", "epochs: 4, label_smoothing: 0.1"))
    assert line.endswith("objective 'distance' does not support label smoothing")
