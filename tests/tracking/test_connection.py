"""A connection to MLflow: where it is, what it says of itself, and how it fails."""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock

from prunebench import tracking
from prunebench.api.errors import PrunebenchError, TrackingError
from prunebench.tracking import Tracker, connection, read_results, tracking_uri
from prunebench.tracking.addresses import sqlite_file


def test_the_uri_is_the_explicit_one_else_the_environments_else_a_file_in_this_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv(tracking.URI_VARIABLE, "http://tracking.example:5000")
    assert tracking_uri() == "http://tracking.example:5000"
    assert tracking_uri("sqlite:///other/some.db?timeout=3") == f"sqlite:///{tmp_path}/other/some.db?timeout=3"
    assert tracking_uri("sqlite:////abs/some.db") == "sqlite:////abs/some.db"
    assert tracking_uri("sqlite:///s") == f"sqlite:///{tmp_path}/s"
    assert tracking_uri("sqlite:///:memory:") == "sqlite:///:memory:"


def test_importing_tracking_does_not_import_mlflow():
    code = "import sys, prunebench.tracking; print([m for m in ('mlflow', 'sqlalchemy', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_connection_keeps_mlflow_silent_about_itself(tracker, done):
    tracker.publish(done())
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_TRUNCATE_LONG_VALUES"] == "false"
    assert [thread.name for thread in threading.enumerate() if "elemetry" in thread.name] == []


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_an_unreachable_server_is_an_error_within_seconds_that_hides_the_password(scheme):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(TrackingError, match=address) as caught:
            Tracker(f"{scheme}://me:s3cret@{address}/db")
    assert time.monotonic() - start < 8
    assert "refused" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert isinstance(caught.value, PrunebenchError)


def test_a_server_that_never_answers_is_an_error_within_seconds(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(TrackingError):
            read_results(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert time.monotonic() - start < 8


def test_an_unknown_kind_of_address_is_an_error():
    with pytest.raises(TrackingError, match="gopher"):
        Tracker("gopher://somewhere")


def test_reading_makes_no_database(tmp_path):
    with pytest.raises(TrackingError, match=r"none\.db.*run a suite first"):
        read_results(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_opened_by_one_user_at_a_time(monkeypatch, sqlite):
    monkeypatch.setattr(connection, "_PATIENCE", 0.05)
    with FileLock(f"{sqlite_file(sqlite)}.lock"), pytest.raises(TrackingError, match="lock"):
        Tracker(sqlite)


@pytest.mark.slow
def test_first_users_at_the_same_time_share_one_new_database(tmp_path):
    code = f"from prunebench.tracking import Tracker; Tracker('sqlite:///{tmp_path}/new/shared.db').published('s')"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 2


def test_a_new_database_writes_ahead(sqlite):
    Tracker(sqlite)
    assert sqlite3.connect(sqlite_file(sqlite)).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_of_somebody_else_keeps_its_journal_and_this_folders_own_does_not(monkeypatch, tmp_path):
    for name in ("theirs.db", "mlflow.db"):
        sqlite3.connect(tmp_path / name).execute("CREATE TABLE t (x)")
    monkeypatch.chdir(tmp_path)
    for uri in (f"sqlite:///{tmp_path}/theirs.db", f"sqlite:///{tmp_path}/mlflow.db"):
        connection._prepare(uri)
    modes = [
        sqlite3.connect(tmp_path / n).execute("PRAGMA journal_mode").fetchone()[0] for n in ("theirs.db", "mlflow.db")
    ]
    assert modes == ["delete", "wal"]


def test_errors_of_the_program_are_not_taken_for_mlflows():
    with pytest.raises(ZeroDivisionError), connection.translated("sqlite:///x.db"):
        _ = 1 / 0


def test_a_database_whose_making_was_cut_off_is_made_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".mlflow.db.new").write_bytes(b"half of a database")
    Tracker()
    assert read_results() == []
    assert not list(tmp_path.glob(".mlflow.db.new*"))


def test_no_database_stands_under_its_name_before_it_is_whole(tmp_path, monkeypatch):
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def cut_off(*_):
        assert not (tmp_path / "mlflow.db").exists()
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SqlAlchemyStore, "__init__", cut_off)
    with pytest.raises(KeyboardInterrupt):
        Tracker()
    assert not (tmp_path / "mlflow.db").exists()
