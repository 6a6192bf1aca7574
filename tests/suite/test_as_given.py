"""The network of a task's file of weights without training: which suites have it, and for which tasks."""

import pytest
import safetensors.torch
import torch

import prunebench
from prunebench.suite import from_plain, to_plain

GIVEN = "dense-as-given"


class AsGiven(prunebench.Method):
    name = GIVEN
    control = True
    as_given = True


@pytest.fixture
def fakes(fakes):
    fakes.components["method"][GIVEN] = AsGiven
    return fakes


@pytest.fixture
def with_weights(valid, tmp_path):
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    return lambda text: valid.replace("dataset: scans\n", f"dataset: scans\n    weights: {text}\n")


def labels(suite):
    return [entry.label for entry in suite.entries]


def test_a_suite_has_it_where_a_file_has_all_weights(read, with_weights, fakes):
    suite = read(with_weights("a.safetensors"))
    assert labels(suite) == ["dense", GIVEN, "coin", "ladder"]
    assert [(trial.sparsity, trial.seed) for trial in suite.trials() if trial.entry.label == GIVEN] == [
        (0.0, 0),
        (0.0, 1),
        (0.0, 2),
    ]
    assert from_plain(to_plain(suite), fakes) == suite


@pytest.mark.parametrize("weights", [None, "{file: a.safetensors, fresh: ['^head']}"])
def test_a_suite_whose_networks_begin_with_random_weights_does_not_have_it(read, valid, with_weights, weights):
    assert labels(read(valid if weights is None else with_weights(weights))) == ["dense", "coin", "ladder"]


def test_of_two_tasks_only_that_with_a_file_has_it(read, with_weights):
    second = """\
  - label: random
    dataset: scans
    model: {name: net, hidden: [30, 10]}
    recipe: {epochs: 4, batch_size: 64, optimizer: {name: adam, lr: 1.2e-3}}
methods:
"""
    suite = read(with_weights("a.safetensors").replace("methods:\n", second))
    assert {trial.task.label for trial in suite.trials() if trial.entry.label == GIVEN} == {"scans-net"}
    assert {trial.task.label for trial in suite.trials() if trial.entry.label == "dense"} == {"scans-net", "random"}


def test_listing_it_where_no_task_has_such_a_file_is_an_error(mistakes, valid):
    [message] = mistakes(valid.replace("  - coin\n", f"  - coin\n  - {GIVEN}\n"))
    assert message == (
        "suite.yaml:8:5: methods.1: 'dense-as-given' is the network in a task's file of weights, and no task here "
        "starts from a file that has all of them: remove this"
    )
