"""A server that fails now and then gets everything, once, in one call; one that goes on failing is given up in time."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from prunebench import session
from prunebench.api.errors import TrackingError, Unavailable
from prunebench.cli import main
from prunebench.session import outbox as unsent
from prunebench.store.entries import Store
from prunebench.tracking import Publisher, Tracker, connection, read_results, retrying
from prunebench.tracking.retrying import insisted
from tests import flaky, runs
from tests.execution import filling


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """No attempt waits longer than it must, and MLflow makes none of its own."""
    monkeypatch.setattr(retrying, "_FIRST", 0.01)
    monkeypatch.setattr(retrying, "_LONGEST", 0.05)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


@pytest.fixture
def database(sqlite):
    connection.connect(sqlite)
    return sqlite


@pytest.fixture
def serve(database, tmp_path, monkeypatch):
    return lambda fault: flaky.serving(database, tmp_path / "artifacts", monkeypatch, fault)


def in_turn(number, _):
    """Two of three requests fail, each time in another way."""
    kinds = [kind for kind in flaky.FAULTS if kind != "login"]
    return kinds[number % len(kinds)] if number % 3 else None


def of_suite(database, suite):
    from mlflow import MlflowClient

    client = MlflowClient(database)
    found = client.get_experiment_by_name(f"prunebench/{suite}")
    active = [run for run in client.search_runs([found.experiment_id]) if run.info.lifecycle_stage == "active"]
    assert len([run for run in active if "prunebench.parent" in run.data.tags]) == 1
    return [run for run in active if "prunebench.parent" not in run.data.tags]


def test_a_server_that_fails_two_times_of_three_gets_every_result_once(serve, database, suite, done):
    results = [done(trial=f"t{seed}", seed=seed) for seed in range(4)]
    with serve(in_turn) as (uri, application):
        tracker = insisted(lambda: Tracker(uri, patience=10), 10)
        tracker.published(suite)
        for result in results:
            tracker.publish(result)
        assert {"500", "lost", "reset", "html", "429"} <= application.faults.keys()
        application.fault = lambda number, path: None
        read = read_results(uri, suite, with_history=True, with_layers=True)
    assert read == [replace(one, masks=None) for one in results]
    assert [run.info.status for run in of_suite(database, suite)] == ["FINISHED"] * 4


def test_a_run_whose_creation_was_not_heard_of_is_not_there_twice(serve, database, suite, done):
    lost = iter([True, True])

    def fault(_, path):
        return "lost" if path.endswith("runs/create") and next(lost, False) else None

    with serve(fault) as (uri, application):
        Tracker(uri, patience=10).publish(done())
        assert application.faults["lost"] == 2
    assert [run.info.status for run in of_suite(database, suite)] == ["FINISHED"]


@pytest.mark.parametrize("kind", ["500", "503", "429", "html", "reset"])
def test_a_server_that_goes_on_failing_is_given_up_in_time_with_one_sentence(kind, serve, suite, done):
    with serve(lambda number, path: kind) as (uri, application):
        begun = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            insisted(lambda: Tracker(uri, patience=0.5), 0.5)
        assert time.monotonic() - begun < 5
        assert application.asked > 2
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_who_must_sign_in_is_told_at_once(serve):
    with serve(lambda number, path: "login") as (uri, application):
        with pytest.raises(TrackingError, match="401") as caught:
            insisted(lambda: Tracker(uri, patience=30), 30)
        assert not isinstance(caught.value, Unavailable)
        assert application.asked <= 2


def test_a_run_goes_on_beside_a_server_that_fails_and_says_what_is_not_sent(serve, suite, done, monkeypatch):
    down = []
    with serve(lambda number, path: "503" if down else None) as (uri, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setattr("prunebench.tracking.publisher._PATIENCE", 0.1)
        sender = Publisher(suite)
        sender.put(done())
        while not read_results(uri, suite):
            time.sleep(0.05)
        down.append(True)
        sender.put(done(trial="t1"))
        sender.put(done(trial="t2"))
        assert sender.close().endswith("(2 results wait in the store)")
        down.clear()
        assert [result.trial for result in read_results(uri, suite)] == ["t0"]


def test_sync_sends_everything_in_one_call(serve, database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = session.load_suite(
        runs.write_suite(tmp_path, runs.SUITE.replace("name: tiny", "name: flaky", 1)),
        settings=("seeds=1", "tasks.recipe.epochs=1"),
        only=("method=random",),
    )
    store = Store.open(Path(".prunebench"))
    filling.perform(loaded, store)
    prepared = session.prepared_already(loaded, None, store.root)
    with unsent.pending(loaded, prepared, session.plan_suite(loaded, prepared), store):
        pass
    with serve(in_turn) as (uri, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        done = CliRunner().invoke(main, ["sync", "--patience", "20s"])
    assert (done.exit_code, done.stdout) == (0, "flaky: 3 sent, 0 sent before, 0 not finished\n"), done.stderr
    assert [run.info.status for run in of_suite(database, "flaky")] == ["FINISHED"] * 3
    assert list((store.root / session.UNSENT).glob("*.json")) == []


def test_only_what_may_pass_is_tried_again():
    tries = []

    def refused():
        tries.append(1)
        raise TrackingError("never")

    with pytest.raises(TrackingError, match="never"):
        insisted(refused, 60)
    assert len(tries) == 1


def test_nothing_is_printed_while_a_server_is_tried_again(serve, tmp_path, capfd, caplog):
    with serve(lambda number, path: "reset") as (uri, _), pytest.raises(Unavailable):
        insisted(lambda: Tracker(uri, patience=0.2), 0.2)
    assert [record for record in caplog.records if record.name.startswith("urllib3")] == []
