"""A manifest of what a board was made from, so that an unchanged board is not made again.

The manifest is verified, never trusted. It names the files of a board, and has one hash of their bytes, of the results
that they were made from, and of the code that made them. If any of these differs, the board is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pandas as pd

from prunebench.leaderboard.overlaps import FILE as OVERLAPS
from prunebench.leaderboard.rows import framed
from prunebench.records.environment import installed
from prunebench.records.files import read_bytes, read_json, write_store_file

ROWS = "rows.json"
_PACKAGE = Path(__file__).parents[1]


def standing(note: Path, source: str, directory: Path) -> pd.DataFrame | None:
    """The rows of the board that a folder has; None unless it is as it would be made.

    Args:
        note: as `note_down` wrote it, or anything else.
        source: stands for all that a board is made from but its code.
    """
    noted = read_json(note)
    try:
        if noted["seal"] != _seal(source, directory, noted["files"]):
            return None
        return _rows(directory)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def note_down(note: Path, source: str, directory: Path, written: Iterable[Path], frame: pd.DataFrame) -> None:
    """Note that a board was written to a folder; what cannot be noted is made again the next time.

    Args:
        written: the files of the board.
        frame: its rows.
    """
    # A board without overlaps uses an overlap file that is added to its folder.
    names = sorted({OVERLAPS, *(path.name for path in written)})
    try:
        if not _rows(directory).equals(frame):  # JSON has no infinity
            return
        text = json.dumps({"files": names, "seal": _seal(source, directory, names)}, indent=1)
        write_store_file(note, text.encode())
    except OSError:
        return


def _rows(directory: Path) -> pd.DataFrame:
    return framed(json.loads(read_bytes(directory / ROWS)))


def _seal(source: str, directory: Path, names: Iterable[str]) -> str:
    files = {name: _hash(directory / Path(name).name) for name in names}  # a note names nothing outside of the folder
    text = json.dumps([source, _code(), files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _hash(path: Path) -> str:
    """Of a file's bytes; nothing for what is not there, or is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@cache
def _code() -> str:
    """Hash of this package's files, and of what is installed beside it."""
    state = hashlib.sha256(installed().encode())
    for path in sorted(_PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            state.update(path.relative_to(_PACKAGE).as_posix().encode() + path.read_bytes())
    return state.hexdigest()
