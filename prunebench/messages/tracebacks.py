"""Descriptions of errors in the code of plugins, with the lines of the plugin that raised them."""

from __future__ import annotations

import traceback
from collections.abc import Collection
from pathlib import Path

LONGEST = 500
"""Maximum number of characters of a message."""


def own_frames(error: BaseException, files: Collection[Path]) -> list[traceback.FrameSummary]:
    """The frames of a traceback, or else of that of its cause, that are in these files, outermost first."""
    own = {str(file) for file in files}
    found = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    return own_frames(error.__cause__, files) if not found and error.__cause__ is not None else found


def place(error: BaseException, files: Collection[Path]) -> str:
    """The innermost of these frames, as `mine.py:12`; empty if there is none."""
    frames = own_frames(error, files)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def lines(error: BaseException, files: Collection[Path]) -> list[str]:
    """These frames with their code, each as `mine.py:12, in scores: return weight / 0`."""
    return [
        f"{Path(frame.filename).name}:{frame.lineno}, in {frame.name}: {frame.line or ''}".rstrip(": ")
        for frame in own_frames(error, files)
    ]


def description(error: BaseException, files: Collection[Path] = ()) -> str:
    """An error and where it was raised, as `ZeroDivisionError: division by zero (mine.py:12)`.

    If the error has no message, the line of code that raised it is given instead, even if it is in a library.
    """
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")[:LONGEST]
    if str(error).strip():
        where = place(error, files)
        return f"{text} ({where})" if where else text
    if found := own_frames(error, files) or _library_frames(error):
        short = found[-1].filename.rpartition("site-packages/")[2]
        short = short if short != found[-1].filename else Path(short).name
        return f"{text} at {short}:{found[-1].lineno}, in {found[-1].name}: {found[-1].line or ''}".rstrip(": ")
    return text


def _library_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of a traceback outside of torch, outermost first."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if "torch" not in Path(frame.filename).parts]
