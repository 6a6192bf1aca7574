"""Rows of a query as a list, for the terminal and for Markdown."""

from __future__ import annotations

import pandas as pd

from prunebench.leaderboard.metrics import title
from prunebench.leaderboard.tables.columns import Column, columns
from prunebench.leaderboard.tables.markdown import aligned
from prunebench.leaderboard.tables.sections import Row, Section, sections
from prunebench.messages.plain_text import markdown as escaped
from prunebench.messages.plain_text import visible

ALWAYS = ("target_sparsity", "metric_mean", "training_cost", "against_best")
"""Figures that each list has, beside those that the query is about; a counted sparsity replaces the target."""


def listed(frame: pd.DataFrame, rows: pd.DataFrame, named: tuple[str, ...] = (), *, form: str = "simple") -> str:
    """The rows of a query in their order, with the figures that it is about.

    Args:
        frame: all rows of the board.
        rows: those of the query.
        named: columns of the query.
        form: of the table: `simple`, or `pipe` for Markdown.
    """
    by_place = {_place(row): (section, row) for section in sections(frame, merged=False) for row in section.rows}
    found = [by_place[row["suite"], row["task"], row["method"], row["target_sparsity"]] for _, row in rows.iterrows()]
    counted = f"{len(rows)} of {len(frame)} rows"
    if not found:
        return f"{counted}\n"
    several = len({section.title for section, _ in found}) > 1
    show = escaped if form == "pipe" else visible
    header = [*(["task"] if several else []), "method", *(column.heading for column in _shown(found[0][0], named))]
    if len({section.objective for section, _ in found}) > 1:
        header = [name if name != title(found[0][0].metric) else "metric" for name in header]
    body = [
        [
            *([show(section.title)] if several else []),
            show(row["method"]),
            *(column.show(row) for column in _shown(section, named)),
        ]
        for section, row in found
    ]
    sides = ["left"] * (2 if several else 1) + ["right"] * (len(header) - (2 if several else 1))
    made = aligned(body, header, sides, form) if form == "pipe" else _narrow(body, header, sides)
    return f"{made}\n\n{counted}\n"


def _narrow(body: list[list[str]], header: list[str], sides: list[str]) -> str:
    """A table for the terminal without the room that tabulate leaves around headings."""
    line, *rows, _ = aligned([header, *body], [], sides, "simple").splitlines()
    return "\n".join([rows[0], line, *rows[1:]])


def _place(row: Row) -> tuple[str, str, str, float]:
    return (row["suite"], row["task"], row["method"], row["target_sparsity"])


def _shown(section: Section, named: tuple[str, ...]) -> list[Column]:
    wanted = {*ALWAYS, *named}
    if "sparsity" in named and "target_sparsity" not in named:
        wanted.remove("target_sparsity")
    return [column for column in columns(section.objective) if column.figures[0] in wanted]
