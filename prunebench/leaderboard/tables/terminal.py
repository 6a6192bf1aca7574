"""The leaderboard as a table for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

import pandas as pd

from prunebench.leaderboard.tables.markdown import aligned, fragments
from prunebench.leaderboard.tables.pivots import cell, cost
from prunebench.leaderboard.tables.sections import Row, Section, percent, sections, spread, state
from prunebench.messages.plain_text import visible


def text(frame: pd.DataFrame, width: int = 80) -> str:
    """The pivots for a terminal of this width, and the reasons of what is not done."""
    return "\n\n".join("\n".join(_lines(section, width)) for section in sections(frame.map(_visible))) + "\n"


def _visible(value: object) -> object:
    return visible(value) if isinstance(value, str) else value


def _lines(section: Section, width: int) -> Iterator[str]:
    said = fragments(section)
    yield from textwrap.wrap(f"{section.title}: test accuracy in percent, {said['seeds']}", width)
    for row in section.controls:
        yield f"dense network ({row['method']}): {spread(row) or state(row)}"
    yield from _blocks(section, width, _starred)
    if section.tiered:
        yield "* the best tier at this sparsity"
    if section.methods:
        yield ""
        yield from textwrap.wrap(said["cost-caption"], width)
        yield from _blocks(section, width, cost)
    for row in section.rows:
        if row["status"] != "done":
            yield from textwrap.wrap(_complaint(row), width, subsequent_indent="  ")


def _complaint(row: Row) -> str:
    reason = f": {row['reason']}" if row["reason"] else ""
    return f"{row['method']} at {percent(row['target_sparsity'])} %: {state(row)}{reason}"


def _blocks(section: Section, width: int, show: Callable[[Row | None], str]) -> Iterator[str]:
    """The pivot, in as many tables below each other as its sparsities need."""
    cells = {label: [show(rows.get(s)) for s in section.sparsities] for label, rows in section.methods.items()}
    if not cells:
        return
    heads = [f"{percent(sparsity)} %" for sparsity in section.sparsities]
    widest = max(len(cell) for row in (heads, *cells.values()) for cell in row)
    label = min(max(map(len, cells)), max(width // 3, 12))
    fitting = max(1, (width - label) // (widest + 2))
    for start in range(0, len(section.sparsities), fitting):
        header = ["method", *heads[start : start + fitting]]
        body = [[textwrap.fill(name, label), *row[start : start + fitting]] for name, row in cells.items()]
        yield ""
        yield aligned(body, header, ["left", *["right"] * (len(header) - 1)], "simple")


def _starred(row: Row | None) -> str:
    return cell(row) + ("*" if row is not None and row["tier"] == 1 else " ")
