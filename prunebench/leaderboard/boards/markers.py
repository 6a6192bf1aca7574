"""Places in a Markdown file that a published board fills.

    <!-- prunebench:begin digits/pivot -->
    <!-- prunebench:end digits/pivot -->

The board writes the text between the two lines. The name is that of a board; or of one of its tables, in all tasks or
in one: `digits`, `digits/pivot`, `digits/digits-mlp/pivot`. Markers in a fenced block of code are an example.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pandas as pd

from prunebench.api.errors import BoardError
from prunebench.leaderboard.plots.marks import is_plotted
from prunebench.leaderboard.tables.markdown import fragments
from prunebench.leaderboard.tables.sections import Section, sections
from prunebench.messages.suggestions import nearest

TABLES = {
    "caption": "what the values are, and of how many seeds",
    "pivot": "the primary metric of the methods by sparsity",
    "cost": "training cost of the methods by sparsity",
    "cost-caption": "what the costs are",
    "rows": "every row with every figure",
    "plot": "the primary metric against sparsity",
    "cost-plot": "the primary metric against training cost",
}
"""What can be shown; a board's name alone shows the first four."""
ALL = ("caption", "pivot", "cost-caption", "cost")
PLOTS = {"plot": ("", "sparsity"), "cost-plot": ("-cost", "training cost")}
_MARKER = re.compile(r" {0,3}<!--\s*prunebench:(begin|end)(?:\s+(.*?))?\s*-->\s*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@dataclass(frozen=True)
class Region:
    """A place between two markers: the numbers of their lines, from 0."""

    name: str
    begin: int
    end: int


def fill(text: str, origin: str, board: str, frame: pd.DataFrame, folder: str | None = None) -> str:
    """The text with the places of one board filled; those of others stay as they are.

    Args:
        origin: what errors call the text.
        board: the board's name.
        frame: its rows.
        folder: where its plots are, as a link of this text; None where it is not published.

    Raises:
        BoardError: for markers that do not pair, a name that the board does not have, or no place of this board.
    """
    lines = text.splitlines(keepends=True)
    found = regions(lines, origin)
    ours = [region for region in found if region.name.partition("/")[0] == board]
    if not ours:
        others = f"; it has those of {', '.join(sorted({one.name for one in found}))}" if found else ""
        raise BoardError(
            f"{origin} has no place for the board {board!r}{others}; write the lines "
            f"<!-- prunebench:begin {board}/pivot --> and <!-- prunebench:end {board}/pivot --> where it is to stand"
        )
    newline = "\r\n" if lines[ours[0].begin].endswith("\r\n") else "\n"
    for region in reversed(ours):
        content = _content(region, board, sections(frame), folder, f"{origin}:{region.begin + 1}")
        lines[region.begin + 1 : region.end] = [line + newline for line in ["", *content.splitlines(), ""]]
    return "".join(lines)


def regions(lines: Sequence[str], origin: str) -> list[Region]:
    """The places of a text, in their order. Raises BoardError for markers that do not pair."""
    found: list[Region] = []
    opened: tuple[str, int] | None = None
    for number, kind, name in _markers(lines):
        place = f"{origin}:{number + 1}"
        if kind == "begin":
            if opened is not None:
                raise BoardError(f"{place}: begins before the place {opened[0]!r} of line {opened[1] + 1} has ended")
            if not name:
                raise BoardError(f"{place}: a place without a name: <!-- prunebench:begin digits/pivot -->")
            opened = (name, number)
        elif opened is None:
            raise BoardError(f"{place}: an end without a beginning")
        elif name not in ("", opened[0]):
            raise BoardError(f"{place}: ends {name!r}, and line {opened[1] + 1} began {opened[0]!r}")
        else:
            found.append(Region(*opened, number))
            opened = None
    if opened is not None:
        raise BoardError(f"{origin}:{opened[1] + 1}: {opened[0]!r} has no end: <!-- prunebench:end {opened[0]} -->")
    return found


def _markers(lines: Sequence[str]) -> Iterator[tuple[int, Literal["begin", "end"], str]]:
    fence = ""
    for number, line in enumerate(lines):
        ticks = _FENCE.match(line)
        if ticks and not fence:
            fence = ticks[1]
        elif ticks and ticks[1].startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        elif not fence and (marker := _MARKER.fullmatch(line)):
            yield number, "begin" if marker[1] == "begin" else "end", marker[2] or ""


def _content(region: Region, board: str, found: Sequence[Section], folder: str | None, place: str) -> str:
    parts = region.name.removeprefix(board).removeprefix("/")
    task, _, table = parts.rpartition("/")
    if table and table not in TABLES:
        near = nearest(table, TABLES, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(TABLES)}"
        raise BoardError(f"{place}: a board has no table {table!r}; {hint}")
    chosen = [section for section in found if task in ("", section.title, section.task)]
    if not chosen:
        there = f"there are {', '.join(section.title for section in found)}" if found else "it has no rows"
        raise BoardError(f"{place}: the board {board!r} has no task {task!r}; {there}")
    several = len(chosen) > 1
    blocks = [block for section in chosen for block in _blocks(section, table, several, folder, place)]
    return "\n\n".join(filter(None, blocks))


def _blocks(section: Section, table: str, several: bool, folder: str | None, place: str) -> Iterator[str]:
    texts = fragments(section)
    if several:
        yield f"**{texts['title']}**"
    if table in PLOTS:
        yield _plot(section, table, folder, place)
        return
    yield from (texts[name] for name in ((table,) if table else ALL))


def _plot(section: Section, table: str, folder: str | None, place: str) -> str:
    if folder is None:
        raise BoardError(f"{place}: a plot is a link to a published board: publish it with --output too")
    if not is_plotted(section):
        return ""
    ending, against = PLOTS[table]
    path = quote(f"{folder}/{section.file}{ending}.svg".removeprefix("./"))
    return f"![Test {section.metric.label} against {against}: {fragments(section)['title']}]({path})"


def linked(folder: Path, page: Path) -> str:
    """A folder as a link from a page."""
    return Path(os.path.relpath(folder.resolve(), page.resolve().parent)).as_posix()
