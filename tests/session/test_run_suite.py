"""From a suite to its leaderboard, with everything real: workers, store, MLflow."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from prunebench_plugins.local import Local

import prunebench
from prunebench import session, tracking
from prunebench.api.errors import DataError
from prunebench.execution.processes import forking
from prunebench.session import running
from tests import runs

RECIPE = {"epochs": 1, "batch_size": 2, "optimizer": {"name": "sgd", "lr": 0.1}}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A run of the tiny suite and the folder that it was started in."""
    folder = tmp_path_factory.mktemp("run")
    before = Path.cwd()
    os.chdir(folder)
    try:
        loaded = session.load_suite(runs.write_suite(folder))
        yield session.run_suite(loaded, output=folder / "board", workers=2), folder, loaded
    finally:
        os.chdir(before)


def test_a_run_ends_with_a_row_for_each_cell_of_the_grid(outcome):
    found, _, loaded = outcome
    assert found.ok
    assert found.counts == {"done": len(loaded.trials)}
    assert len(found.frame) == 1 + 4 * 2
    assert set(found.frame["status"]) == {"done"}
    assert set(found.frame["n"]) == {2}


def test_every_trial_is_one_run_in_mlflow_whatever_is_run_again(outcome):
    _, folder, loaded = outcome
    again = session.run_suite(loaded, output=folder / "again", workers=2)
    assert again.counts == {"cached": len(loaded.trials)}
    results = tracking.read_results(suite="tiny", with_history=True)
    assert len(results) == len(loaded.trials)
    dense = next(result for result in results if result.control and result.seed == 0)
    assert [point["step"] for point in dense.history] == [10, 20]
    assert dense.history[-1]["test_accuracy"] == dense.metrics["accuracy"]


def test_running_again_publishes_the_same_bytes(outcome):
    _, folder, loaded = outcome
    session.run_suite(loaded, output=folder / "first")
    session.run_suite(loaded, output=folder / "second")
    first = {path.name: path.read_bytes() for path in (folder / "first").iterdir()}
    assert first == {path.name: path.read_bytes() for path in (folder / "second").iterdir()}
    assert {"README.md", "tiny.svg", "rows.csv"} <= set(first)


AGAIN = """
import json, sys
from pathlib import Path
from prunebench import session
loaded = session.load_suite("tiny.yaml")
outcome = session.run_suite(loaded, output=Path("board"))
counted = {"counts": outcome.counts, "rows": len(outcome.frame), "results": len(outcome.results)}
print(json.dumps({**counted, "modules": sorted(sys.modules)}))
"""


def published(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_of_which_nothing_changed_needs_neither_mlflow_nor_plots_nor_a_compiler(outcome):
    _, folder, loaded = outcome
    before, times = published(folder / "board"), {path: path.stat().st_mtime_ns for path in folder.rglob("*.svg")}
    done = subprocess.run([sys.executable, "-c", AGAIN], cwd=folder, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["counts"] == {"cached": len(loaded.trials)}
    assert (said["rows"], said["results"]) == (1 + 4 * 2, len(loaded.trials))
    assert {"mlflow", "vl_convert", "scipy.stats", "jinja2", "torch._dynamo"} & set(said["modules"]) == set()
    assert published(folder / "board") == before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.svg")} == times


def damaged(folder):
    """Ways to make the board of a folder need making again."""
    board = folder / "board"
    yield lambda: (board / "tiny.svg").unlink()
    yield lambda: (board / "README.md").write_text("mine", "utf-8")
    yield lambda: [note.write_text("{", "utf-8") for note in (folder / ".prunebench" / "boards").iterdir()]
    yield lambda: _without_a_run(tracking.read_results(suite="tiny")[3].trial)


def _without_a_run(trial):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking.tracking_uri())
    experiment = client.get_experiment_by_name("prunebench/tiny").experiment_id
    (run,) = client.search_runs([experiment], f"tags.prunebench.trial = '{trial}'")
    client.delete_run(run.info.run_id)


def test_whatever_changed_since_a_run_the_next_one_makes_it_right_again(outcome):
    found, folder, loaded = outcome
    before = published(folder / "board")
    for damage in damaged(folder):
        damage()
        again = session.run_suite(loaded, output=folder / "board")
        assert again.ok
        assert published(folder / "board") == before
        pd.testing.assert_frame_equal(again.frame, found.frame)
        assert len(tracking.read_results(suite="tiny")) == len(loaded.trials)


def test_other_cells_make_another_board_in_the_same_folder(outcome):
    _, folder, loaded = outcome
    before, fewer = published(folder / "board"), session.load_suite(folder / "tiny.yaml", settings=["seeds=1"])
    assert set(session.run_suite(fewer, output=folder / "board").frame["n"]) == {1}
    assert published(folder / "board")["rows.csv"] != before["rows.csv"]
    session.run_suite(loaded, output=folder / "board")
    assert published(folder / "board") == before


def test_a_run_says_what_it_was_done_with(outcome):
    found, _, _ = outcome
    provenance = next(result for result in found.results if result.method == "imp").provenance
    assert provenance["prunebench"] == prunebench.__version__
    assert {"torch", "python", "machine", "commit", "data", "key", "method.plugin", "method.source"} <= set(provenance)
    assert provenance["method.plugin"] == f"prunebench {prunebench.__version__}"


def test_results_say_how_they_were_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs.write_suite(tmp_path)
    plugin = runs.with_trouble(tmp_path, "pass")
    loaded = session.load_suite("tiny.yaml", settings=["seeds=1"], plugin_files=["mine.py"], blocked=["snip"])
    assert loaded.origin == {
        "suite.file": "tiny.yaml",
        "suite.settings": '["seeds=1"]',
        "suite.plugins": '["mine.py"]',
        "suite.blocked": '["snip"]',
    }
    machines = session.load_suite(tmp_path / "tiny.yaml", plugin_files=[plugin])
    assert machines.origin == {"suite.file": "tiny.yaml", "suite.plugins": '["mine.py"]'}


class Prepared(Local):
    """The local executor, which counts how often it was prepared."""

    name = "prepared"
    calls: ClassVar[list[bool]] = []

    def prepare(self):
        super().prepare()
        self.calls.append(forking._template.is_alive)


@pytest.mark.usefixtures("outcome")
def test_an_executor_is_prepared_only_where_a_job_will_have_to_run(tmp_path):
    text = runs.SUITE.replace("[0.5, 0.7]", "[0.5, 0.99999]")  # keeps none of 888 weights: skipped
    loaded = session.load_suite(runs.write_suite(tmp_path, text), only=["method=random,seed=0"])
    for store, calls in (("a", True), ("a", False), ("b", True)):
        Prepared.calls.clear()
        session.run_suite(loaded, store=tmp_path / store, executor=Prepared())
        assert bool(Prepared.calls) is calls
        assert all(Prepared.calls)


def test_keyword_arguments_override_the_options_and_unknown_ones_are_refused(outcome, monkeypatch):
    _, folder, loaded = outcome
    found = []
    monkeypatch.setattr(running, "_scheduler_options", lambda loaded, options, *_: found.append(options) or 1 / 0)
    given = prunebench.RunOptions(workers=3, threads=2, store=folder / ".prunebench")
    for changes in ({}, {"workers": 1}):
        with pytest.raises(ZeroDivisionError):
            session.run_suite(loaded, given, **changes)
    assert found == [given, dataclasses.replace(given, workers=1)]
    with pytest.raises(TypeError, match="worker"):
        session.run_suite(loaded, worker=1)


def test_a_run_that_another_thread_stops_keeps_what_is_done_and_goes_on_later(outcome, tmp_path, monkeypatch):
    _, _, loaded = outcome
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    stop = threading.Event()
    given = prunebench.RunOptions(store=tmp_path / "store", stop=stop)
    found = session.run_suite(loaded, given, watch=lambda scheduler: lambda event: stop.set())
    done = len(found.results)
    assert (0 < done < len(loaded.trials), found.open, found.ok) == (True, len(loaded.trials) - done, False)
    assert len(found.frame) > 0
    rest = session.run_suite(loaded, dataclasses.replace(given, stop=None))
    assert (rest.counts["cached"] >= done, rest.open, rest.ok) == (True, 0, True)


def test_tracked_results_say_how_they_were_asked_for(outcome):
    found, _, _ = outcome
    tracked = tracking.read_results(suite="tiny")
    for results in (found.results, tracked):
        assert {result.provenance["suite.file"] for result in results} == {"tiny.yaml"}


def test_results_wait_in_the_store_while_mlflow_is_away(outcome, monkeypatch):
    _, _, loaded = outcome
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    away = session.run_suite(loaded)
    assert not away.ok
    assert away.frame is None
    assert f"{len(loaded.trials)} results wait in the store" in away.untracked


def test_the_folder_of_data_sets_is_that_of_the_variable_unless_one_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_DATA", str(tmp_path / "named"))
    dataset = {"name": "image-folder", "path": "cats", "classes": 2, "train": 4, "test": 2, "size": 8}
    (tmp_path / "suite.yaml").write_text(
        json.dumps(
            {
                "name": "cats",
                "tasks": [{"dataset": dataset, "model": "resnet20", "recipe": RECIPE}],
                "methods": ["random"],
                "sparsities": [0.5],
                "seeds": 1,
            }
        ),
        "utf-8",
    )
    loaded = session.load_suite(tmp_path / "suite.yaml")
    for given, looked in ((None, "named"), (tmp_path / "given", "given")):
        with pytest.raises(DataError, match=f"{looked}.cats"):
            session.run_suite(loaded, store=tmp_path / "store", data=given)


def test_results_say_which_profile_they_were_made_with(tmp_path):
    text = runs.SUITE + "profiles: {short: {tasks.recipe.epochs: 1, methods: [random], seeds: 1}}\n"
    loaded = session.load_suite(runs.write_suite(tmp_path, text), settings=["profile=short"])
    assert loaded.origin["suite.profile"] == "short: tasks.recipe.epochs=1, methods=[random], seeds=1"
    assert loaded.origin["suite.settings"] == '["profile=short"]'
    assert len(loaded.trials) == 1 + 2
    assert "suite.profile" not in session.load_suite(tmp_path / "tiny.yaml").origin
