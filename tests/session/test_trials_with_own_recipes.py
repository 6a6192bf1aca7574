"""Entries that train by values of their own: what their trainings are, what they cost, and where they are ranked."""

import pytest

from prunebench import session
from tests import runs

SUITE = """
name: own
tasks:
  - label: tiny
    dataset: digits
    model: {name: mlp, hidden: [12]}
    recipe: {epochs: 2, batch_size: 100, optimizer: {name: sgd, lr: 0.02, momentum: 0.9}}
  - label: longer
    dataset: digits
    model: {name: mlp, hidden: [12]}
    recipe: {epochs: 4, batch_size: 50, optimizer: {name: sgd, lr: 0.2, momentum: 0.9}}
methods:
  - {name: gradual, interval: 2it}
  - {name: gradual, label: own, interval: 2it, recipe: {epochs: 4, batch_size: 50, optimizer.lr: 0.2}}
  - {label: dense-own, sparsities: [0.5], stages: [initialize, train], recipe: {epochs: 4}}
sparsities: [0.7]
seeds: 1
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A run of the suite, and the folder that it was started in."""
    folder = tmp_path_factory.mktemp("own")
    runs.write_suite(folder, SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield session.run_suite(session.load_suite("tiny.yaml"), output=folder / "board", workers=2), folder


@pytest.fixture
def result_of(outcome):
    by_name = {(one.task, one.method): one for one in outcome[0].results}
    return lambda task, method: by_name[task, method]


def test_it_trains_as_a_task_with_that_recipe_does(result_of):
    own, same = result_of("tiny", "own"), result_of("longer", "gradual")
    assert own.metrics["accuracy"] == same.metrics["accuracy"]
    assert own.metrics["loss"] == same.metrics["loss"]
    assert own.metrics["steps"] == same.metrics["steps"] == 4 * 20
    assert own.provenance["key"] == same.provenance["key"]


def test_it_costs_so_much_of_the_dense_training_of_its_task(result_of):
    """Twice as many epochs are two dense trainings, and what another recipe's dense training costs is no measure."""
    assert result_of("tiny", "dense-own").metrics["training_cost"] == pytest.approx(2)
    own, same = (result_of(*one).metrics["training_cost"] for one in (("tiny", "own"), ("longer", "gradual")))
    assert own == pytest.approx(2 * same)


def test_it_is_ranked_with_the_rows_of_its_task_and_says_what_differs(outcome, result_of):
    own, plain = result_of("tiny", "own"), result_of("tiny", "gradual")
    assert own.protocol == plain.protocol
    assert own.variant != plain.variant
    assert own.provenance["method.recipe"] == "epochs=4, batch_size=50, lr=0.2"
    assert own.params["method.recipe.optimizer.lr"] == 0.2
    text = (outcome[1] / "board" / "README.md").read_text("utf-8")
    assert "Trained by values of their own, not by the task's recipe: dense-own (epochs=4), own (epochs=4, " in text


def test_inspect_and_verify_know_such_a_row(outcome):
    _, folder = outcome
    done = runs.prunebench("inspect", "tiny.yaml", "tiny/own/0.7/0", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = runs.prunebench("verify", "tiny.yaml", "tiny/own/0.7", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reproduced" in done.stdout
