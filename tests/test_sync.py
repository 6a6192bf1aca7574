"""Results that wait in the store go to MLflow, once, and nothing is run for it."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from prunebench import session, tracking
from prunebench.cli import main
from prunebench.errors import StoreError, TrackingError
from prunebench.execution.jobs import missing_jobs
from prunebench.store import Store
from tests import runs
from tests.execution import filling

AWAY = "http://127.0.0.1:9"
STORE = Path(".prunebench")


SETTINGS = ("seeds=1", "tasks.recipe.epochs=1")
ONLY = ("method=random,sparsity=0.5",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a suite was done, and nothing was sent."""
    folder = tmp_path_factory.mktemp("sync")
    suite = session.load_suite(runs.write_suite(folder), settings=SETTINGS, only=ONLY)
    store = Store.open(folder / STORE)
    filling.perform(suite, store)
    session._noted(suite, session.prepared_already(suite, None, store.root), store)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "PRUNEBENCH_DATA", "PRUNEBENCH_STORE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def loaded(here):
    return session.load_suite("tiny.yaml", settings=SETTINGS, only=ONLY)


def notes():
    return list((STORE / session.UNSENT).glob("*.json"))


def test_a_server_that_is_away_is_an_error_within_seconds_and_the_results_wait_on(here, loaded, monkeypatch):
    import mlflow  # noqa: F401 (which takes seconds of its own)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    begun = time.monotonic()
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        list(session.sync_all())
    with pytest.raises(TrackingError):
        session.sync_suite(loaded)
    assert time.monotonic() - begun < 60
    assert len(notes()) == 1


def test_what_waits_is_sent_once_without_naming_the_suite(here, loaded):
    states = sorted(STORE.rglob("states/*/*/*"))
    assert [(one.suite, one.sent, one.there, one.open) for one in session.sync_all()] == [("tiny", 2, 0, 0)]
    assert notes() == []
    assert list(session.sync_all()) == []
    found = session.sync_suite(loaded)
    assert (found.sent, found.there) == (0, 2)
    assert len(tracking.read_results(suite="tiny")) == 2
    assert sorted(STORE.rglob("states/*/*/*")) == states


@pytest.mark.slow
def test_a_run_after_it_sends_nothing_twice_and_leaves_no_note(here, loaded):
    session.sync_suite(loaded)
    before = {result.trial: result for result in tracking.read_results(suite="tiny")}
    assert session.run_suite(loaded, workers=1).counts == {"cached": 2}
    assert {result.trial: result for result in tracking.read_results(suite="tiny")} == before
    assert notes() == []


def test_what_failed_is_sent_as_failed_and_what_is_not_done_is_counted(here):
    wider = session.load_suite("tiny.yaml", settings=SETTINGS, only=["method=random"])
    store = Store(STORE.resolve())
    plan = session.plan_suite(wider, session.prepared_already(wider, None, STORE))
    assert session.sync_suite(wider).open == 1
    [key] = missing_jobs(plan, store, [one.key for one in plan.trials])
    store.write_failure(key, {"reason": "no luck", "time": 123.0})
    try:
        first, second = session.sync_suite(wider), session.sync_suite(wider)
    finally:
        store.forget_failure(key)
    assert (first.sent, first.open) == (1, 0)
    assert (second.sent, second.there) == (0, 3)
    [failed] = [result for result in tracking.read_results(suite="tiny") if result.status == "failed"]
    assert (failed.reason, failed.finished) == ("no luck", 123.0)


def test_a_damaged_entry_is_not_sent(here, loaded, tmp_path, monkeypatch):
    plan = session.plan_suite(loaded, session.prepared_already(loaded, None, STORE))
    record = Store(STORE.resolve()).folder(plan.trials[0].key) / "record.json"
    content = record.read_bytes()
    record.write_bytes(content[:-9])
    try:
        assert session.sync_suite(loaded).damaged == 1
    finally:
        record.write_bytes(content)


def test_a_note_that_is_not_one_is_an_error_with_its_name(here):
    (STORE / session.UNSENT / "broken.json").write_text(json.dumps({"suite": 7}))
    try:
        with pytest.raises(StoreError, match=r"broken\.json cannot be read"):
            list(session.sync_all())
    finally:
        (STORE / session.UNSENT / "broken.json").unlink()


def test_the_command_says_how_many_were_sent_and_how_many_were_there(here, loaded, monkeypatch):
    session.sync_suite(loaded)
    arguments = ["sync", "tiny.yaml", *(f"--only={one}" for one in ONLY), *(f"--set={one}" for one in SETTINGS)]
    said = CliRunner().invoke(main, arguments)
    assert (said.exit_code, said.stdout) == (0, "tiny: 0 sent, 2 there already, 0 not done yet\n")
    assert CliRunner().invoke(main, ["sync"]).stdout == "nothing waits in .prunebench\n"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    away = CliRunner().invoke(main, arguments)
    assert away.exit_code == 2
    assert "127.0.0.1:9" in away.stderr


@pytest.mark.slow
def test_a_run_whose_server_is_away_leaves_a_note_and_one_that_reached_it_none(tmp_path):
    runs.write_suite(tmp_path)
    arguments = ["--only", *ONLY, *(part for one in SETTINGS for part in ("--set", one))]
    away = runs.prunebench("run", "tiny.yaml", *arguments, cwd=tmp_path, MLFLOW_TRACKING_URI=AWAY)
    assert away.returncode == 1
    assert len(list((tmp_path / STORE / session.UNSENT).iterdir())) == 1
    assert runs.prunebench("run", "tiny.yaml", *arguments, cwd=tmp_path).returncode == 0
    assert list((tmp_path / STORE / session.UNSENT).iterdir()) == []
