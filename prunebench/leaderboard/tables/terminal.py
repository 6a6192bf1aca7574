"""The leaderboard as a table for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from prunebench.leaderboard.tables.markdown import aligned
from prunebench.leaderboard.tables.model import Style, Table, Text, Words, text_of
from prunebench.leaderboard.tables.pivots import caption, cost_caption, costs, values
from prunebench.leaderboard.tables.runtimes import deploy_summary
from prunebench.leaderboard.tables.sections import Row, Section, percent, sections, state
from prunebench.messages.plain_text import visible

SIGNS: Mapping[Style, str] = {"strong": "*", "em": "~", "unsure": "?"}
"""Behind a value, for bold, italic and uncertain."""


def text(frame: pd.DataFrame, width: int = 80) -> str:
    """The pivots for a terminal of this width, and the reasons of what is not done."""
    return "\n\n".join("\n".join(_lines(section, width)) for section in sections(frame.map(_visible))) + "\n"


def _visible(value: object) -> object:
    return visible(value) if isinstance(value, str) else value


def _lines(section: Section, width: int) -> Iterator[str]:
    yield from textwrap.wrap(f"{section.title}: {_plain(caption(section, SIGNS))}", width)
    yield from _blocks(values(section), width)
    if section.methods:
        yield ""
        yield from textwrap.wrap(_plain(cost_caption(section)), width)
        yield from _blocks(costs(section), width)
    for sentence in deploy_summary(section):
        yield ""
        yield from textwrap.wrap(sentence.plain, width)
    for row in section.measured.rows:
        if row["status"] != "done":
            yield from textwrap.wrap(_complaint(row), width, subsequent_indent="  ")


def _plain(words: Words) -> str:
    return text_of(words).plain


def _complaint(row: Row) -> str:
    reason = f": {row['reason']}" if row["reason"] else ""
    return f"{row['method']} at {percent(row['target_sparsity'])} %: {state(row)}{reason}"


def _blocks(table: Table, width: int) -> Iterator[str]:
    """The table, in as many tables below each other as its columns need; whole, if it fits without blanks around ±."""
    cells = [[_plain(label), *map(_signed, row)] for label, *row in table.body]
    if not cells:
        return
    label = min(max(len(row[0]) for row in cells), max(width // 3, 12))
    if sum(_widths(table, cells)) > width - label:
        cells = [[row[0], *(cell.replace(" ± ", "±") for cell in row[1:])] for row in cells]
    widths = _widths(table, cells)
    start = 1
    while start < len(table.header):
        end = start + 1
        while end < len(table.header) and label + sum(widths[start - 1 : end]) <= width:
            end += 1
        body = [[textwrap.fill(row[0], label), *row[start:end]] for row in cells]
        yield ""
        yield aligned(body, ["method", *table.header[start:end]], ["left", *["right"] * (end - start)], "simple")
        start = end


def _widths(table: Table, cells: Sequence[Sequence[str]]) -> list[int]:
    """Of the columns behind the first, with the blanks before them."""
    heads = [f"{head}  " for head in table.header]  # tabulate leaves room around them
    return [2 + max(map(len, column)) for column in zip(*(row[1:] for row in (heads, *cells)), strict=True)]


def _signed(words: Words) -> str:
    """A cell with its sign, for which every value has a place."""
    text = text_of(words)
    return text.plain + (SIGNS.get(text.spans[0].style, " ") if isinstance(words, Text) else "")
