"""Entries that train tickets of another task: what they begin with, what that costs, and what they run."""

from pathlib import Path

import pytest
import torch

from prunebench import session
from prunebench.execution.open_trials import TaskData
from prunebench.inspection import trials
from prunebench.inspection.exports import export
from prunebench.plan.chain import Adopt
from tests import runs

TASKS = """
tasks:
  - label: low
    dataset: {name: digits, classes: [0, 1, 2, 3, 4]}
    model: &mlp {name: mlp, hidden: [12]}
    recipe: &recipe {epochs: 4, batch_size: 50, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
  - label: high
    dataset: {name: digits, classes: [5, 6, 7, 8, 9]}
    model: *mlp
    recipe: *recipe
  - label: three
    dataset: {name: digits, classes: [7, 8, 9]}
    model: *mlp
    recipe: *recipe
"""
SUITE = (
    "name: tickets"
    + TASKS
    + """
methods:
  - {name: imp, label: ticket, iterative: false}
  - {name: imp, label: of-low, iterative: false, ticket_of: {task: low}}
  - {name: imp, label: of-low-shuffled, iterative: false, ticket_of: {task: low}, shuffle: true}
  - {name: imp, label: of-low-reinit, iterative: false, ticket_of: {task: low}, reinitialize: true}
  - {name: imp, label: rewound, iterative: false, rewind_to: 25%}
  - {name: imp, label: rewound-of-low, iterative: false, rewind_to: 25%, ticket_of: {task: low, weights: true}}
  - {name: rigl, interval: 2it}
  - {name: rigl, label: rigl-of-low, interval: 2it, ticket_of: {task: low}}
  - {name: slimming, label: channels-of-low, ticket_of: {task: low}}
  - {name: edge-popup, label: unweighted-of-low, ticket_of: {task: low}}
sparsities: [0.7]
seeds: 1
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which the suite was run."""
    folder = tmp_path_factory.mktemp("tickets")
    runs.write_suite(folder, SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def loaded(folder):
    return session.load_suite("tiny.yaml")


@pytest.fixture(scope="module")
def outcome(folder, loaded):
    return session.run_suite(loaded, output=folder / "board", workers=2)


@pytest.fixture(scope="module")
def result_of(outcome):
    by_name = {(one.task, one.method): one for one in outcome.results}
    return lambda task, method: by_name[task, method]


@pytest.fixture(scope="module")
def end_of(outcome, loaded):
    """The last state of a trial."""
    return lambda task, method: trials.open_trial(loaded, f"{task}/{method}/0.7/0").end


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def counts(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_the_masks_are_those_of_the_other_task(end_of):
    theirs, own = end_of("low", "ticket").masks, end_of("high", "of-low").masks
    assert same(own, theirs)
    assert not same(own, end_of("high", "ticket").masks)


def test_a_last_layer_of_another_shape_stays_dense(end_of, result_of):
    masks, theirs = end_of("three", "of-low").masks, end_of("low", "ticket").masks
    assert same(masks, {"1.weight": theirs["1.weight"]})
    kept = {layer["name"]: (layer["kept"], layer["total"]) for layer in result_of("three", "of-low").layers}
    assert kept["3.weight"] == (36, 36)


def test_a_task_has_no_row_of_its_own_tickets_transferred(outcome):
    assert {one.task for one in outcome.results if one.method == "of-low"} == {"high", "three"}


def test_it_trains_as_a_mask_from_a_file_does(outcome, loaded, result_of, folder):
    """The method `transfer` reads the same ticket from a file, and knows nothing of other tasks."""
    path = folder / "ticket.safetensors"
    export(trials.open_trial(loaded, "low/ticket/0.7/0"), path)
    text = f"name: file{TASKS}methods: [{{name: transfer, ticket: {path}}}]\nsparsities: [0.7]\nseeds: 1\n"
    Path("file.yaml").write_text(text)
    again = session.run_suite(session.load_suite("file.yaml", only=["task=high"]), output=folder / "file", workers=1)
    (given,) = (one for one in again.results if one.method == "transfer")
    found = result_of("high", "of-low")
    assert (given.metrics["loss"], given.metrics["accuracy"]) == (found.metrics["loss"], found.metrics["accuracy"])


def test_it_costs_what_finding_the_ticket_there_and_training_it_here_do(result_of):
    """Three passes an example, of two operations a weight; the examples of the tasks are 503 and 497."""
    dense, kept = 64 * 12 + 12 * 5, round(0.3 * (64 * 12 + 12 * 5))
    flops = 6 * 4 * (503 * dense + 497 * kept)
    assert result_of("high", "of-low").metrics["training_flops"] == flops
    assert result_of("high", "of-low").metrics["training_cost"] == pytest.approx(flops / (6 * 4 * 497 * dense))


def test_ablations_are_of_the_ticket_that_was_transferred(end_of):
    plain, shuffled, redrawn = (end_of("high", f"of-low{what}") for what in ("", "-shuffled", "-reinit"))
    assert counts(shuffled.masks) == counts(plain.masks)
    assert not same(shuffled.masks, plain.masks)
    assert same(redrawn.masks, plain.masks)
    assert not same(redrawn.parameters, plain.parameters)


def adopted(loaded, name):
    """The state in which a transferred ticket begins to train."""
    finished = trials.open_trial(loaded, name)
    return finished.state(next(node.key for node in finished.nodes if isinstance(node.stage, Adopt)))


def test_with_weights_it_begins_where_the_ticket_was_rewound_to(outcome, loaded):
    theirs = trials.open_trial(loaded, "low/rewound/0.7/0")
    rewound = theirs.state(theirs.nodes[-2].key)
    assert rewound.step == 11
    own = adopted(loaded, "high/rewound-of-low/0.7/0")
    assert own.step == 0
    assert same(own.parameters, rewound.parameters)
    assert not own.optimizer
    assert same(trials.open_trial(loaded, "high/rewound-of-low/0.7/0").origin(3).parameters, own.parameters)


def test_with_weights_a_layer_of_another_shape_has_its_own(outcome, loaded):
    finished, own = (
        trials.open_trial(loaded, "three/rewound-of-low/0.7/0"),
        adopted(loaded, "three/rewound-of-low/0.7/0"),
    )
    fresh = finished.state(finished.nodes[0].key)
    assert own.parameters["3.weight"].shape == (3, 12)
    assert torch.equal(own.parameters["3.weight"], fresh.parameters["3.weight"])
    assert not torch.equal(own.parameters["1.weight"], fresh.parameters["1.weight"] * own.masks["1.weight"])


def test_masks_that_a_training_makes_are_those_of_its_end(end_of):
    assert same(end_of("high", "rigl-of-low").masks, end_of("low", "rigl").masks)


def test_what_has_no_masks_to_transfer_is_skipped_with_the_reason(result_of):
    found = result_of("high", "channels-of-low")
    assert found.status == "skipped"
    assert "another task has no place for its masks" in found.reason


def test_rows_say_where_their_tickets_were_found(outcome, result_of, folder):
    assert result_of("high", "of-low").provenance["method.ticket_of"] == "low"
    assert "method.ticket_of" not in result_of("high", "ticket").provenance
    assert result_of("high", "of-low").variant != result_of("high", "ticket").variant
    page = " ".join((folder / "board/README.md").read_text().split())
    assert "Tickets that were found in another task: of-low (low)" in page
    assert "rewound-of-low (low, with its weights)" in page


def test_alone_it_finds_its_ticket_in_an_empty_store(result_of, folder):
    alone = session.load_suite("tiny.yaml", only=["task=high", "method=of-low"])
    again = session.run_suite(alone, output=folder / "alone", store=folder / "other", workers=2)
    (found,) = (one for one in again.results if one.method == "of-low")
    assert found.metrics["loss"] == result_of("high", "of-low").metrics["loss"]
    assert {one.task for one in again.results} == {"high"}
    more = session.run_suite(alone, output=folder / "alone", store=folder / "other", workers=2)
    assert more.counts == {"cached": len(again.results)}


def test_without_the_other_tasks_data_it_fails_with_the_reason(loaded):
    data = TaskData({}, {"low": "its files are gone"})
    why = {one.entry.label: data.why_missing(one) for one in loaded.trials if one.task.label == "high"}
    assert why["of-low"] == "its files are gone"
    assert why["ticket"] == ""
