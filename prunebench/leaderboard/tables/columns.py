"""The full table of a task: its columns, and what each of them means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from prunebench.leaderboard.rows import COLUMNS
from prunebench.leaderboard.tables.model import Table, code, said
from prunebench.leaderboard.tables.sections import Row, Section, deviating, interval, percent, spread, state


@dataclass(frozen=True)
class Column:
    """A column of the page: its heading, the figures of a row that it shows, and how."""

    heading: str
    figures: tuple[str, ...]
    show: Callable[[Row], str]


AGAINST_BEST = {
    "best": "best",
    "equivalent": "within a point",
    "undecided": "too few seeds to tell",
    "worse": "worse",
    "chance": "all at chance",
}


def every_row(section: Section) -> Table:
    """Every row, without the columns that the task has nothing for."""
    optional = {"top-5 %", "unscored %", "ties %"}
    columns = [
        column
        for column in PAGE
        if column.heading not in optional or any(row.get(column.figures[0]) is not None for row in section.rows)
    ]
    body = tuple(tuple(column.show(row) for column in columns) for row in section.rows)
    sides = tuple(
        "left" if column.heading in ("method", "beside the best", "status") else "right" for column in columns
    )
    return Table(tuple(column.heading for column in columns), body, sides)


def meanings(frame: pd.DataFrame) -> Table:
    """Every column of the data, where the page shows it, and what it means."""
    headings = {name: column.heading for column in PAGE for name in column.figures}
    lines = [(code(name), headings.get(name, ""), said(text)) for name, text in COLUMNS.items() if name in frame]
    return Table(("column of rows.csv", "on this page", "meaning"), tuple(lines))


def _number(name: str, suffix: str = "") -> Callable[[Row], str]:
    return lambda row: "" if row[name] is None else digits(row[name]) + suffix


def _share(name: str) -> Callable[[Row], str]:
    """A share in percent, of a column that not every table has."""
    return lambda row: "" if row.get(name) is None else digits(100 * row[name])


def digits(value: float) -> str:
    """Three digits, or as many as an integer has."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _large(name: str) -> Callable[[Row], str]:
    """A large number with its SI prefix: 1.25 G."""

    def show(row: Row) -> str:
        value = row[name]
        if value is None:
            return ""
        power = min(max(int(math.log10(value)) // 3, 0), 5) if value >= 1 else 0
        return f"{value / 1000**power:.3g} {' kMGTP'[power]}".rstrip()

    return show


def _tier(row: Row) -> str:
    """With a question mark where it is the mean alone that puts the row there."""
    return "" if row["tier"] is None else f"{row['tier']}{'?' if row['told_apart'] is False else ''}"


PAGE = (
    Column("method", ("method",), lambda row: str(row["method"])),
    Column("target %", ("target_sparsity",), lambda row: percent(row["target_sparsity"])),
    Column("sparsity %", ("sparsity",), lambda row: "" if row["sparsity"] is None else f"{100 * row['sparsity']:.2f}"),
    Column("n", ("n",), _number("n")),
    Column("accuracy %", ("accuracy_mean", "accuracy_std"), lambda row: spread(row, 2)),
    Column("top-5 %", ("accuracy_top5", "accuracy_top5_std"), lambda row: deviating(row, "accuracy_top5", 100, 2)),
    Column(
        "points above dense",
        ("difference", "difference_low", "difference_high"),
        lambda row: interval(row, "difference", 100, 2),
    ),
    Column("pairs", ("pairs",), _number("pairs")),
    Column("tier", ("tier", "told_apart"), _tier),
    Column("beside the best", ("against_best",), lambda row: AGAINST_BEST.get(row["against_best"], "")),
    Column("training cost", ("training_cost",), _number("training_cost", "×")),
    Column("training FLOPs", ("training_flops",), _large("training_flops")),
    Column("examples", ("examples",), _large("examples")),
    Column("wall s", ("wall_seconds",), _number("wall_seconds")),
    Column("inference FLOPs", ("inference_flops",), _large("inference_flops")),
    Column("speed-up", ("speedup",), _number("speedup", "×")),
    Column("compression", ("compression",), _number("compression", "×")),
    Column("weights kept", ("parameters_kept",), _number("parameters_kept")),
    Column("collapsed layers", ("collapsed_layers",), _number("collapsed_layers")),
    Column("unscored %", ("unscored_share",), _share("unscored_share")),
    Column("ties %", ("tied_share",), _share("tied_share")),
    Column("status", ("status",), state),
)
"""The full table, in its order."""
