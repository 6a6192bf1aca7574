"""What an MLflow says, as a hash: of databases made by hand, as no table of MLflow's is known here."""

import sqlite3
from contextlib import closing

import pytest

from prunebench.tracking import contents
from prunebench.tracking.addresses import artifact_folder


@pytest.fixture
def place(tmp_path):
    """A database with two tables, and a suite's file beside it."""
    file = tmp_path / "mlflow.db"
    change(file, "CREATE TABLE runs (id TEXT, figure REAL)", 'CREATE TABLE "odd ""name" (bits BLOB)')
    change(file, "INSERT INTO runs VALUES ('one', 0.5), ('two', NULL)", 'INSERT INTO "odd ""name" VALUES (x\'00ff\')')
    beside(file).mkdir(parents=True)
    (beside(file) / "masks").write_bytes(b"bits")
    return file


def change(file, *statements):
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def beside(file):
    return file.parent / "mlruns" / "prunebench-mine" / "run"


def of(file, suite="mine"):
    return contents(suite, f"sqlite:///{file}")


def test_what_is_the_same_has_the_same_hash(place):
    assert of(place) is not None
    assert of(place) == of(place)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE runs SET figure = 0.5000000000000001 WHERE id = 'one'",
        "UPDATE runs SET figure = 0 WHERE id = 'two'",
        "DELETE FROM runs WHERE id = 'two'",
        "INSERT INTO runs VALUES ('three', 1)",
        'UPDATE "odd ""name" SET bits = x\'00fe\'',
        "CREATE TABLE another (id TEXT)",
    ],
)
def test_whatever_row_is_changed_the_hash_is_another(place, statement):
    before = of(place)
    change(place, statement)
    assert of(place) not in (before, None)


def test_a_file_that_is_changed_added_or_gone_is_seen(place):
    found, masks = [of(place)], beside(place) / "masks"
    masks.write_bytes(b"more bits")
    found.append(of(place))
    (beside(place) / "more").write_bytes(b"")
    found.append(of(place))
    masks.unlink()
    found.append(of(place))
    assert None not in found
    assert len(set(found)) == 4


def test_a_database_is_the_same_before_and_after_its_log_is_written_back(place):
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("INSERT INTO runs VALUES ('three', 1)")
        connection.commit()
        assert place.with_name("mlflow.db-wal").stat().st_size > 0
        before = of(place)
    assert not place.with_name("mlflow.db-wal").exists()
    assert of(place) == before


def test_looking_changes_nothing(place):
    before = {path: path.read_bytes() for path in place.parent.rglob("*") if path.is_file()}
    of(place)
    assert {path: path.read_bytes() for path in place.parent.rglob("*") if path.is_file()} == before


def test_where_nothing_can_be_told_there_is_no_hash(place, tmp_path):
    assert of(place, "another suite without files") is None
    assert of(tmp_path / "nowhere.db") is None
    assert not (tmp_path / "nowhere.db").exists()
    assert contents("mine", "http://127.0.0.1:9") is None
    place.write_bytes(b"no database, " * 1000)
    assert of(place) is None


def test_the_files_of_a_suite_are_looked_for_where_they_are_put(place):
    assert artifact_folder(f"sqlite:///{place}", "prunebench/mine") == beside(place).parent
