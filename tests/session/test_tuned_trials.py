"""Tuned trials with everything real: what is chosen, what it costs, and that interruptions change nothing."""

import json
import shutil

import pytest

from prunebench import session
from prunebench.store.entries import Store
from tests import runs

SUITE = """
name: tuned
tasks:
  - label: tiny
    dataset: digits
    model: {name: mlp, hidden: [12]}
    recipe: {epochs: 2, batch_size: 100, optimizer: {name: sgd, lr: 0.02, momentum: 0.9}, validation: 200}
  - label: faster
    dataset: digits
    model: {name: mlp, hidden: [12]}
    recipe: {epochs: 2, batch_size: 100, optimizer: {name: sgd, lr: 0.2, momentum: 0.9}, validation: 200}
methods:
  - {name: gradual, interval: 2it}
  - {name: gradual, label: long, interval: 2it, until: 100%}
  - {name: gradual, label: tuned, interval: 2it, tune: {trials: 8, space: {lr: [0.2], until: [75%, 100%]}}}
  - {name: magnitude, label: short, finetune: 1ep}
  - {name: magnitude, label: uniform, finetune: 1ep, allocation: uniform}
  - {name: magnitude, label: tuned-after, finetune: 1ep, tune: {trials: 2, space: {allocation: [uniform]}}}
sparsities: [0.7]
seeds: 1
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A run of the suite, and the folder that it was started in."""
    folder = tmp_path_factory.mktemp("tuned")
    runs.write_suite(folder, SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield session.run_suite(session.load_suite("tiny.yaml"), output=folder / "board", workers=2), folder


@pytest.fixture
def result_of(outcome):
    """The result of a method of a task."""
    by_name = {(one.task, one.method): one for one in outcome[0].results}
    return lambda task, method: by_name[task, method]


def last_validation(result):
    return result.history[-1]["validation_accuracy"]


def test_the_best_candidate_by_validation_accuracy_is_the_row(result_of):
    tuned = result_of("tiny", "tuned")
    same = {
        "as written": result_of("tiny", "gradual"),
        "lr=0.2, until=75%": result_of("faster", "gradual"),
        "lr=0.2, until=100%": result_of("faster", "long"),
    }
    best = max(same, key=lambda name: last_validation(same[name]))
    assert best != "as written"
    assert tuned.provenance["method.tuned"] == f"{best} (best of 3)"
    assert tuned.metrics["accuracy"] == same[best].metrics["accuracy"]
    assert tuned.metrics["sparsity"] == pytest.approx(0.7, abs=1e-3)
    assert tuned.params["method.tune.trials"] == 8


def test_the_row_costs_what_all_candidates_cost(result_of):
    parts = [result_of("tiny", "gradual"), result_of("faster", "gradual"), result_of("faster", "long")]
    tuned = result_of("tiny", "tuned")
    assert tuned.metrics["training_cost"] == pytest.approx(sum(one.metrics["training_cost"] for one in parts))
    assert tuned.metrics["steps"] == sum(one.metrics["steps"] for one in parts) == 3 * 16


def test_a_training_that_candidates_share_is_paid_for_once(result_of):
    dense, short, uniform = (result_of("tiny", name).metrics for name in ("dense", "short", "uniform"))
    tuned = result_of("tiny", "tuned-after").metrics
    assert tuned["training_cost"] == pytest.approx(short["training_cost"] + uniform["training_cost"] - 1)
    assert tuned["steps"] == dense["steps"] + 2 * 8


def test_it_is_ranked_with_the_rows_of_its_task(outcome, result_of):
    assert result_of("tiny", "tuned").protocol == result_of("tiny", "gradual").protocol
    text = (outcome[1] / "board" / "README.md").read_text("utf-8")
    assert "Parameters chosen on validation data, at the cost of all candidates: tuned, tuned-after." in text
    assert "(best of 3)" in text


def test_what_was_interrupted_goes_on_to_the_same_bits(outcome, tmp_path, monkeypatch):
    """As after a kill: the choice and the candidate that it took are gone, and the others are there."""
    _, folder = outcome
    whole = runs.states(folder / ".prunebench")
    shutil.copytree(folder, tmp_path / "again")
    monkeypatch.chdir(tmp_path / "again")
    store = Store(tmp_path / "again" / ".prunebench")
    records = {key: json.loads((store.folder(key) / "record.json").read_text("utf-8")) for key in whole}
    gone = [key for key, record in records.items() if "Choose(" in record["stage"]]
    gone += [key for key, record in records.items() if "lr=0.2" in record["trial"] or "faster" in record["trial"]]
    assert len(gone) >= 4
    for key in gone:
        store.discard(key)
    again = session.run_suite(session.load_suite("tiny.yaml"), output=tmp_path / "board", workers=1)
    assert again.ok
    assert runs.states(tmp_path / "again" / ".prunebench") == whole


def test_inspect_shows_the_candidates_and_the_chosen_chain(outcome):
    done = runs.prunebench("inspect", "tiny.yaml", "tiny/tuned/0.7/0", cwd=outcome[1])
    assert done.returncode == 0, done.stderr
    assert "validation accuracy" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if "chosen" in line]
    assert "lr=0.2" in line
    assert "of one dense training, all candidates" in done.stdout
    assert "29.95 %" in done.stdout  # the density after the training
