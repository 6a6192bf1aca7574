"""Results that wait in the store go to MLflow, once, and nothing is run for it."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from prunebench import session, tracking
from prunebench.api.errors import TrackingError
from prunebench.cli import main
from prunebench.plan.jobs import missing_jobs
from prunebench.session import outbox as unsent
from prunebench.store.entries import Store
from tests import runs
from tests.execution import filling

AWAY = "http://127.0.0.1:9"
STORE = Path(".prunebench")


SETTINGS = ("seeds=1", "tasks.recipe.epochs=1")
ONLY = ("method=random,sparsity=0.5",)


def noted(suite, store):
    """The note of a run that is on, and stays when its end is that of a process."""
    prepared = session.prepared_already(suite, None, store.root)
    return unsent.pending(suite, prepared, session.plan_suite(suite, prepared), store)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a suite was done, and nothing was sent."""
    folder = tmp_path_factory.mktemp("sync")
    suite = session.load_suite(runs.write_suite(folder), settings=SETTINGS, only=ONLY)
    store = Store.open(folder / STORE)
    filling.perform(suite, store)
    with noted(suite, store):
        pass
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
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
        list(session.sync_all(patience=2))
    with pytest.raises(TrackingError):
        session.sync_suite(loaded, patience=2)
    assert time.monotonic() - begun < 30
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
    [key] = missing_jobs(plan, store.has, [one.key for one in plan.trials])
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


@pytest.fixture
def suite(here):
    """Loads a suite of another name, of which nothing is done; nothing else waits to be sent."""
    for note in notes():
        note.unlink()

    def load(*settings, plugin="", **options):
        if plugin:
            Path("mine.py").write_text(plugin, "utf-8")
            options |= {"plugin_files": ["mine.py"], "only": ["method=mine,sparsity=0.5"]}
        return session.load_suite("tiny.yaml", settings=["name=other", *SETTINGS, *settings], **options)

    return load


def sync():
    done = CliRunner().invoke(main, ["sync"])
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


PLUGIN = """
import prunebench

class Mine(prunebench.Method):
    name = "mine"

    def scores(self, scoring):
        return {name: weight.abs() for name, weight in scoring.weights.items()}

@prunebench.hookimpl
def register_methods():
    return [Mine]
"""


def test_what_nobody_has_done_is_not_waited_for_when_its_run_has_ended(suite, loaded):
    store = Store(STORE.resolve())
    with noted(suite("tasks.recipe.epochs=3", only=ONLY), store):
        code, said, beside = sync()
        assert (code, said) == (0, "other: 0 sent, 0 sent before, 2 not finished\n")
        assert beside == "other: a run of it is active and sends its results"
        assert len(notes()) == 1
    assert sync() == (0, "other: 0 sent, 0 sent before, 2 not finished\n", "")
    assert list((STORE / session.UNSENT).iterdir()) == []
    assert sync() == (0, "no results wait in .prunebench\n", "")


def test_the_same_run_twice_at_once_has_two_notes_and_the_end_of_one_forgets_nothing_of_the_other(suite, loaded):
    store = Store(STORE.resolve())
    with noted(loaded, store):
        with noted(loaded, store) as second:
            assert len(notes()) == 2
            second.unlink()  # it has sent everything
        assert len(notes()) == 1
    assert [(one.suite, one.waiting) for one in session.sync_all()] == [("tiny", False)]
    assert list((STORE / session.UNSENT).iterdir()) == []


def test_results_of_code_that_is_no_longer_there_are_told_and_dropped_and_the_rest_is_sent(suite, here):
    store = Store(STORE.resolve())
    mine = suite(plugin=PLUGIN)
    filling.perform(mine, store)
    with noted(mine, store):
        pass
    Path("mine.py").write_text(PLUGIN.replace("weight.abs()", "-weight.abs()"), "utf-8")
    done = runs.prunebench("sync", "--plugin", "mine.py", cwd=here)  # a process of its own reads the file anew
    assert (done.returncode, done.stdout) == (1, "other: 1 sent, 0 sent before, 0 not finished\n")
    assert done.stderr.startswith("other: 1 not sent: they were computed with other code, plugins or files; the")
    assert notes() == []
    assert [result.method for result in tracking.read_results(suite="other")] == ["dense"]


def test_a_suite_whose_plugin_is_gone_keeps_no_other_from_being_sent(suite, loaded, here):
    store = Store(STORE.resolve())
    with noted(suite(plugin=PLUGIN), store), noted(loaded, store):
        pass
    Path("mine.py").unlink()
    assert len(notes()) == 2
    done = runs.prunebench("sync", cwd=here)
    assert done.returncode == 1
    assert sorted(line.partition(":")[0] for line in done.stdout.splitlines()) == ["other", "tiny"]
    assert done.stderr.startswith("other: 1 not sent: they were computed with other code, plugins or files; the")
    assert notes() == []


def test_results_of_a_loose_plugin_are_sent_once_it_is_named_and_until_then_the_others(suite, here):
    """The note names the file, which is not loaded for that: it writes a marker when it is."""
    store = Store(STORE.resolve())
    Path("marking.py").write_text(PLUGIN + f"\nopen({str(here / 'marker')!r}, 'w').close()\n", "utf-8")
    mine = suite("name=marked", plugin_files=["marking.py"], only=["method=mine,sparsity=0.5"])
    filling.perform(mine, store)
    with noted(mine, store):
        pass
    (here / "marker").unlink()
    done = runs.prunebench("sync", cwd=here)
    assert done.returncode == 1
    assert "marked: 1 not sent yet: they need plugin files" in done.stderr
    assert f"`prunebench sync --plugin {here / 'marking.py'}` sends them" in " ".join(done.stderr.split())
    assert not (here / "marker").exists()
    assert len(notes()) == 1
    assert "dense" in {result.method for result in tracking.read_results(suite="marked")}
    done = runs.prunebench("sync", cwd=here, PRUNEBENCH_PLUGINS=str(here / "marking.py"))
    assert (done.returncode, done.stdout) == (0, "marked: 1 sent, 1 sent before, 0 not finished\n")
    assert notes() == []
    assert {"dense", "mine"} <= {result.method for result in tracking.read_results(suite="marked")}


def test_a_note_that_is_none_is_named_and_dropped(here):
    for content in ("{", '{"suite": 7}', "[]", "7"):
        (STORE / session.UNSENT / "broken.json").write_text(content, "utf-8")
        code, said, beside = sync()
        assert (code, said, notes()) == (1, "", [])
        assert "broken.json: not sent, and no longer waiting: it is not the note of a run" in beside


def test_the_command_says_how_many_were_sent_and_how_many_were_there(here, loaded, monkeypatch):
    session.sync_suite(loaded)
    arguments = ["sync", "tiny.yaml", *(f"--only={one}" for one in ONLY), *(f"--set={one}" for one in SETTINGS)]
    said = CliRunner().invoke(main, arguments)
    assert (said.exit_code, said.stdout) == (0, "tiny: 0 sent, 2 sent before, 0 not finished\n")
    assert CliRunner().invoke(main, ["sync"]).stdout == "no results wait in .prunebench\n"
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
