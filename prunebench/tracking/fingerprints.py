"""Whether an MLflow still says what it said, found out in a tenth of a second: its database is read without MLflow."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from prunebench.tracking.addresses import artifact_folder, sqlite_file, tracking_uri
from prunebench.tracking.tracker import EXPERIMENT

_ROWS = 4096
"""So many are in memory at a time."""
_PATIENCE = 1.0
"""Seconds to wait for whoever writes."""


def contents(suite: str, uri: str | None = None) -> str | None:
    """Hash of every row of a database file, whatever its tables, and of what files a suite has beside it.

    Of files their names, sizes and times count.

    Returns:
        None where this cannot be told: of a server, and of what is not there or cannot be read.
    """
    uri = tracking_uri(uri)
    file, folder = sqlite_file(uri), artifact_folder(uri, EXPERIMENT + suite)
    if file is None or folder is None or not file.is_file():
        return None
    state = hashlib.sha256(uri.encode())
    try:
        for part in (*_rows(file), *_files(folder)):
            state.update(part.encode())
    except (OSError, sqlite3.Error):
        return None
    return state.hexdigest()


def _rows(file: Path) -> Iterator[str]:
    """The rows of every table as text, all of one moment."""
    with closing(sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None)) as connection:
        connection.execute("PRAGMA query_only=1")
        connection.execute("BEGIN")
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        for (name,) in tables:
            yield repr(name)
            rows = connection.execute('SELECT * FROM "{}"'.format(name.replace('"', '""')))
            while some := rows.fetchmany(_ROWS):
                yield repr(some)


def _files(folder: Path) -> Iterator[str]:
    """The files below a folder. Raises OSError where there is none."""
    with os.scandir(folder) as inside:
        for one in sorted(inside, key=lambda one: one.name):
            if one.is_dir(follow_symlinks=False):
                yield from _files(Path(one.path))
            else:
                found = one.stat()
                yield repr((one.path, found.st_size, found.st_mtime_ns))
