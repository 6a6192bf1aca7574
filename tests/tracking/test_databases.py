"""Database files that MLflow must not open, or cannot: a sentence that says why, from whatever opens them."""

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from click.testing import CliRunner

from prunebench.api.errors import TrackingError
from prunebench.cli import main
from prunebench.tracking import Tracker, check_address, connection, databases, read_results, sqlite_uri
from tests import runs


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """A new database; making one takes seconds."""
    file = tmp_path_factory.mktemp("new") / "mlflow.db"
    connection._create(file)
    return file


@pytest.fixture
def file(new, tmp_path):
    return shutil.copy(new, tmp_path / "mlflow.db")


def execute(file, *statements):
    with closing(sqlite3.connect(file)) as opened, opened:
        for statement in statements:
            opened.execute(statement)


def tables_of_another(file):
    file.unlink()
    execute(file, "CREATE TABLE people (name)", "CREATE TABLE bills (sum)")


def alembic_of_another(file):
    """Another program whose migrations are kept by the same library."""
    file.unlink()
    execute(file, "CREATE TABLE alembic_version (version_num)", "INSERT INTO alembic_version VALUES ('abc')")


def folder(file):
    file.unlink()
    file.mkdir()


WRONG = {
    "newer": (lambda file: execute(file, "UPDATE alembic_version SET version_num = 'fffffffffff0'"), "newer MLflow"),
    "no version": (lambda file: execute(file, "DELETE FROM alembic_version"), "newer MLflow"),
    "older": (
        lambda file: execute(file, "UPDATE alembic_version SET version_num = '451aebb31d03'"),
        "older MLflow .*mlflow db upgrade 'sqlite:////",
    ),
    "older, with fewer tables": (
        lambda file: execute(
            file, "UPDATE alembic_version SET version_num = '451aebb31d03'", "DROP TABLE logged_model_tags"
        ),
        "older MLflow",
    ),
    "another program": (tables_of_another, "another program .*bills, people"),
    "another program with alembic": (alembic_of_another, "another program"),
    "no tables": (lambda file: (file.unlink(), execute(file, "VACUUM")), "another program|is empty"),
    "empty": (lambda file: file.write_bytes(b""), "is empty"),
    "text": (lambda file: file.write_text("some text, " * 1000), "not an SQLite database"),
    "short text": (lambda file: file.write_text("x"), "not an SQLite database|another program"),
    "truncated": (lambda file: file.write_bytes(file.read_bytes()[:5000]), "cannot be read as a database"),
    "overwritten": (lambda file: file.write_bytes(file.read_bytes()[:100] + b"\xff" * 9000), "database"),
    "folder": (folder, "is a folder"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_database_that_is_not_mlflows_is_said_to_be_and_is_left_as_it_is(kind, file):
    spoil, said = WRONG[kind]
    spoil(file)
    before = None if file.is_dir() else file.read_bytes()
    for use in (Tracker, read_results, check_address):
        with pytest.raises(TrackingError, match=said) as caught:
            use(sqlite_uri(file))
        assert "\n" not in str(caught.value)
        assert str(file) in str(caught.value)
    assert before == (None if file.is_dir() else file.read_bytes())


def test_the_newest_version_that_is_installed_is_known(file):
    check_address(sqlite_uri(file))
    from mlflow.store.db.utils import _get_latest_schema_revision

    known, head = databases._revisions()
    assert head == _get_latest_schema_revision()
    assert head in known
    assert len(known) > 40


def test_looking_at_a_database_releases_no_lock_of_this_process(file):
    """POSIX drops all locks that a process has on a file when it closes that file anywhere."""
    code = f"import sqlite3; sqlite3.connect({str(file)!r}, timeout=0).execute('BEGIN EXCLUSIVE')"
    with closing(sqlite3.connect(file, isolation_level=None)) as ours:
        ours.execute("BEGIN IMMEDIATE")
        check_address(sqlite_uri(file))
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "database is locked" in other.stderr


def test_a_locked_database_is_waited_for_and_then_said_to_be_locked(file, monkeypatch):
    monkeypatch.setattr(databases, "_PATIENCE", 0.2)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        with pytest.raises(TrackingError, match="locked by another program"):
            read_results(sqlite_uri(file))
        assert time.monotonic() - begun < 5
        check_address(sqlite_uri(file))  # a run may begin: the lock may be gone when it sends


def test_a_database_that_cannot_be_made_is_known_before(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x", "utf-8")
    (tmp_path / "link").symlink_to("nowhere")
    for place in ("file/mlflow.db", "file/below/mlflow.db", "link/mlflow.db", "x" * 300 + "/mlflow.db"):
        with pytest.raises(TrackingError, match=r"cannot be (made|opened)") as caught:
            check_address(sqlite_uri(tmp_path / place))
        assert "\n" not in str(caught.value)
    check_address(sqlite_uri(tmp_path / "new" / "below" / "mlflow.db"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


COMMANDS = [
    ["run", "tiny.yaml"],
    ["leaderboard"],
    ["leaderboard", "tiny.yaml", "--output", "board"],
    ["sync", "tiny.yaml"],
    ["compare", "tiny.yaml", "tiny"],
    ["merge", "mlflow.db", "tiny", "--output", "board"],
    ["verify", "tiny.yaml", "tiny/random/0.5"],
]


@pytest.mark.parametrize("kind", ["another program", "newer", "text"])
def test_every_command_that_opens_it_says_so_in_one_sentence(kind, file, tmp_path, monkeypatch):
    WRONG[kind][0](file)
    runs.write_suite(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2, (command, done.output)
        assert "Traceback" not in done.output
        assert len(done.stderr.strip().splitlines()) == 1, (command, done.stderr)
    assert not (tmp_path / "board").exists()
