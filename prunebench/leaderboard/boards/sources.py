"""Where a board's results come from: a published folder, an MLflow address, or a suite's name in the default MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prunebench.api.errors import BoardError
from prunebench.leaderboard.boards.published import FILE, Board, read_board
from prunebench.messages.redaction import redacted
from prunebench.records.results import Result
from prunebench.tracking import read_results, sqlite_uri, tracking_uri

DATABASE = "mlflow.db"


def read_source(source: str) -> Board:
    """The results that a text names.

    Args:
        source: a published folder; a folder with mlflow.db, such a file, or an address of MLflow, each with `#SUITE`
            for one suite of several; or the name of a suite, in the MLflow that is the default.

    Raises:
        BoardError: when there are no results, or the folder cannot be read.
        TrackingError: when MLflow cannot be read.
    """
    if is_published(source):
        return read_board(Path(source))
    for where, suite in _splits(source):
        if (uri := _address(where)) is not None:
            return tracked(suite or None, uri)
    return tracked(source)


def _splits(source: str) -> Iterator[tuple[str, str]]:
    """A place and the suite behind `#`; the path of a place may have such a character itself."""
    yield (source, "") if "://" not in source else source.partition("#")[::2]
    for found in re.finditer("#", source):
        yield source[: found.start()], source[found.end() :]


def is_published(source: str) -> bool:
    """Whether a text names a published board: a folder, and no database, and not the name of a suite."""
    folder = Path(source)
    if (folder / FILE).is_file():
        return True
    return folder.is_dir() and ("/" in source or source in (".", "..")) and not (folder / DATABASE).is_file()


def tracked(suite: str | None, uri: str | None = None) -> Board:
    """What MLflow has of a suite, or of all. Raises BoardError when that is nothing."""
    results = read_results(uri, suite)
    if not results:
        where = redacted(tracking_uri(uri))
        others = sorted({result.suite for result in read_results(uri)}) if suite else []
        there = f"it has those of {', '.join(others)}" if others else "it has none at all"
        raise BoardError(f"MLflow at {where} has no results of {f'suite {suite!r}' if suite else 'any suite'}; {there}")
    return Board(suite or _named(results), tuple(results), uri=tracking_uri(uri))


def _address(where: str) -> str | None:
    """The address of MLflow that a text is or stands for; None for a name."""
    if "://" in where:
        return where
    path = Path(where)
    file = path / DATABASE if path.is_dir() else path
    if file.is_file() and file.suffix == ".db":
        return sqlite_uri(file)
    return None


def _named(results: list[Result]) -> str:
    return ", ".join(sorted({result.suite for result in results}))
