"""A manifest of what a board was made from, so that an unchanged board is not made again.

The manifest is verified, never trusted. It names the files of a board, and has one hash of their bytes, of the results
that they were made from, and of the code that made them. If any of these differs, the board is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pandas as pd

from prunebench.leaderboard.overlaps import FILE as OVERLAPS
from prunebench.leaderboard.reported import FILE as REPORTED
from prunebench.leaderboard.rows import framed
from prunebench.records.environment import installed
from prunebench.records.files import hashes_of, read_bytes, read_json, write_store_file

ROWS = "rows.json"
_PACKAGE = Path(__file__).parents[1]


def standing(note: Path, source: str, directory: Path) -> pd.DataFrame | None:
    """The rows of the board that a folder has; None unless it is as it would be made.

    Args:
        note: as `note_down` wrote it, or anything else.
        source: stands for all that a board is made from but its code.
    """
    try:
        return None if current_files(note, source, directory) is None else _rows(directory)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def current_files(note: Path, source: str, directory: Path) -> dict[str, str] | None:
    """The hash of each file of the board that a folder has, by name; None unless it is as it would be made."""
    noted = read_json(note)
    try:
        files = hashes_of(directory, noted["files"])
        return files if noted["seal"] == _seal(source, files) else None
    except (OSError, KeyError, TypeError, AttributeError):
        return None


def note_down(note: Path, source: str, directory: Path, written: Iterable[Path], frame: pd.DataFrame) -> None:
    """Note that a board was written to a folder; what cannot be noted is made again the next time.

    Args:
        written: the files of the board.
        frame: its rows.
    """
    # A board without these files uses them once they are added to its folder.
    names = sorted({OVERLAPS, REPORTED, *(path.name for path in written)})
    try:
        if not _rows(directory).equals(frame):  # JSON has no infinity
            return
        text = json.dumps({"files": names, "seal": _seal(source, hashes_of(directory, names))}, indent=1)
        write_store_file(note, text.encode())
    except OSError:
        return


def _rows(directory: Path) -> pd.DataFrame:
    return framed(json.loads(read_bytes(directory / ROWS)))


def _seal(source: str, files: Mapping[str, str]) -> str:
    text = json.dumps([source, _code(), files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _code() -> str:
    """Hash of this package's files, and of what is installed beside it."""
    state = hashlib.sha256(installed().encode())
    for path in sorted(_PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            state.update(path.relative_to(_PACKAGE).as_posix().encode() + path.read_bytes())
    return state.hexdigest()
