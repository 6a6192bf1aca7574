"""Database files before MLflow opens them: whether they are MLflow's, of a version that it knows, and can be written.

MLflow would fill the database of another program with its tables, migrate an older one without asking, and try for
minutes what cannot work.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sqlite3
from collections.abc import Collection
from contextlib import closing
from functools import cache
from pathlib import Path

from prunebench.api.errors import TrackingError
from prunebench.records.files import unwritable
from prunebench.tracking.addresses import sqlite_file, sqlite_uri, tracking_uri

_TABLES = {"experiments", "runs", "alembic_version"}
"""Tables that every database of MLflow has."""
_PATIENCE = 20.0
"""Seconds to wait for another program that has locked the file."""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_REVISION = re.compile(r'^(revision|down_revision) = "(\w+)"', re.MULTILINE)


def check_address(uri: str | None = None, *, wait: bool = False) -> None:
    """Find out in no time whether a database file can be used, or made. Raises TrackingError.

    Of a server nothing is asked: one that is away holds up no run.

    Args:
        wait: for another program that has locked the file; if not, that is no error.
    """
    file = sqlite_file(tracking_uri(uri))
    if file is None:
        return
    if not str(file).isascii() and os.fsencode(file).decode(errors="replace") != str(file):
        raise TrackingError(f"{str(file)!r} is not UTF-8 text, which MLflow takes for paths alone: rename the folder")
    try:
        there = file.exists()
    except OSError as error:
        raise TrackingError(f"MLflow's database {file} cannot be opened: {error.strerror}") from None
    if there:
        check_file(file, wait)
    elif reason := unwritable(file.parent):
        raise TrackingError(f"MLflow's database {file} cannot be made: {reason}")


def check_file(file: Path, wait: bool = True) -> None:
    """Raise TrackingError, which says what to do, for a file that MLflow must not open, or cannot."""
    if reason := _unsuitable(file) or _denied(file):
        raise TrackingError(f"{file} {reason}")
    try:
        tables, version = _schema(file, _PATIENCE if wait else 0.0)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY:
            if wait:
                raise TrackingError(
                    f"{file} is locked by another program: end that, or try again when it is done"
                ) from None
            return
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
            raise TrackingError(f"{file} is not an SQLite database: {_ELSEWHERE}") from None
        raise TrackingError(f"{file} cannot be read as a database: {error}; {_ELSEWHERE}") from None
    if reason := schema_problem(tables, version, sqlite_uri(file)):
        raise TrackingError(f"{file} {reason}")


_ELSEWHERE = "name another with MLFLOW_TRACKING_URI, or move it away"


def _unsuitable(file: Path) -> str:
    """Why a file is no database at all, as far as that shows without opening it.

    To open and close a database that SQLite has open in this process would release SQLite's locks, and damage it.
    """
    if not file.is_file():
        return f"is {'a folder' if file.is_dir() else 'no regular file'}, not MLflow's database: {_ELSEWHERE}"
    return "" if file.stat().st_size else f"is empty, not MLflow's database: {_ELSEWHERE}"


def _denied(file: Path) -> str:
    """Why MLflow cannot work with a file: it writes, and locks, even to read."""
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        return ""
    return (
        "or its folder cannot be written to, which MLflow does even to read: copy it to a folder that you may write to"
    )


def _schema(file: Path, patience: float) -> tuple[set[str], str]:
    """The tables of a database, and the version of MLflow's schema, if it has one."""
    with closing(sqlite3.connect(file, timeout=patience)) as connection:
        connection.execute("PRAGMA query_only=1")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" not in tables:
            return tables, ""
        versions = connection.execute("SELECT * FROM alembic_version").fetchall()
    return tables, " ".join(str(row[0]) for row in versions)


def schema_problem(tables: Collection[str], version: str, uri: str) -> str:
    """Why a database with these tables is none that the installed MLflow can work with; empty if it can."""
    if not set(tables) >= _TABLES:
        found = ", ".join(sorted(tables)[:3]) or "no tables"
        return f"is the database of another program (it has {found}): {_ELSEWHERE}"
    known, head = _revisions()
    if not known or version == head:
        return ""
    if version in known:
        return (
            f"was made by an older MLflow (schema {version}, and the installed one has {head}): "
            f"take a copy, then run `mlflow db upgrade '{uri}'`"
        )
    return (
        f"was made by a newer MLflow, or is damaged (schema {version!r} is not known): upgrade MLflow, or {_ELSEWHERE}"
    )


@cache
def _revisions() -> tuple[frozenset[str], str]:
    """The versions of the schema that the installed MLflow knows, and the newest; nothing where it has none to read.

    They are read from the text of its migrations: to import those takes a second.
    """
    spec = importlib.util.find_spec("mlflow")
    places = spec.submodule_search_locations if spec else None
    below: dict[str, str] = {}
    for path in Path(next(iter(places or [""]))).glob("store/db_migrations/versions/*.py"):
        found = dict(_REVISION.findall(path.read_text("utf-8")))
        if "revision" in found:
            below[found["revision"]] = found.get("down_revision", "")
    heads = set(below) - set(below.values())
    return (frozenset(below), heads.pop()) if len(heads) == 1 else (frozenset(), "")
