"""The full table of a task: its columns, and what each of them means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from prunebench.api.objectives import Metric
from prunebench.leaderboard.metrics import Objective, difference_title, from_text, margin_words, metric_of, title
from prunebench.leaderboard.rows import COLUMNS
from prunebench.leaderboard.tables.model import Table, code, said
from prunebench.leaderboard.tables.sections import Row, Section, deviating, interval, percent, spread, state
from prunebench.records.results import IN_RUNTIME, RUNTIME


@dataclass(frozen=True)
class Column:
    """A column of the page: its heading, the figures of a row that it shows, and how."""

    heading: str
    figures: tuple[str, ...]
    show: Callable[[Row], str]


AGAINST_BEST = {
    "best": "best",
    "equivalent": "within {}",
    "undecided": "too few seeds",
    "worse": "worse",
    "chance": "all at chance",
}
REMARKS = {
    "": "why it was not measured",
    "zeros": "that its zeros are multiplied like other numbers",
    "kernels": "what the runtime says of its program",
    "load": "that other processes used the machine meanwhile",
    "speedup": "dense latency / latency, both measured; mean over seeds",
    "speedup_int8": "dense latency / latency of the dense network in INT8; mean over seeds",
}
"""Columns of RUNTIME that are not metrics of a result."""
OPTIONAL = {
    "processor s",
    "engine",
    "tuned",
    "own recipe",
    "ticket of",
    "size kB",
    "latency ms",
    "unscored %",
    "ties %",
}
LEFT = {"method", "beside the best", "engine", "tuned", "own recipe", "ticket of", "status"}


def every_row(section: Section) -> Table:
    """Every row, without the columns that the task has nothing for."""
    shown = [
        column
        for column in columns(section.objective)
        if column.heading not in OPTIONAL or any(row.get(column.figures[0]) not in (None, "") for row in section.rows)
    ]
    body = tuple(tuple(column.show(row) for column in shown) for row in section.rows)
    sides = tuple("left" if column.heading in LEFT else "right" for column in shown)
    return Table(tuple(column.heading for column in shown), body, sides)


def meanings(frame: pd.DataFrame) -> Table:
    """Every column of the data, where the page shows it, and what it means."""
    objectives = [from_text(text) for text in dict.fromkeys(frame["objective"])] or [from_text("")]
    headings: dict[str, dict[str, None]] = {}
    for column in (column for objective in objectives for column in columns(objective)):
        for name in column.figures:
            headings.setdefault(name, {})[column.heading] = None
    others = {metric.name: metric.label for objective in objectives for metric in objective[1:]}
    explained = COLUMNS | {
        column: text
        for name, label in others.items()
        for column, text in ((name, f"{label} on the test set; mean"), (f"{name}_std", "its sample standard deviation"))
        if name not in COLUMNS
    }
    explained |= {name: text for name in map(str, frame) if (text := _in_runtime(name))}
    lines = [
        (code(name), " or ".join(headings.get(name, ())), said(text))
        for name, text in explained.items()
        if name in frame
    ]
    return Table(("column of rows.csv", "on this page", "meaning"), tuple(lines))


def _in_runtime(name: str) -> str:
    """What a column of RUNTIME means; empty for others."""
    if not name.startswith(RUNTIME):
        return ""
    label, figure, *batch = name.removeprefix(RUNTIME).split("/")[:3] + [""] * (name.count("/") < 2)
    known = IN_RUNTIME | REMARKS
    of = f", {batch[0]} in a pass" if batch and batch[0] else ""
    return f"in {label}{of}: {known.get(figure, f'{figure} on the test set, measured there')}"


def _against_best(row: Row) -> str:
    return AGAINST_BEST.get(row["against_best"], "").format(margin_words(metric_of(row)))


def _other(metric: Metric) -> Column:
    names = (metric.name, f"{metric.name}_std")
    return Column(title(metric), names, lambda row: deviating(row, metric.name, metric.factor, metric.decimals))


def _number(name: str, suffix: str = "") -> Callable[[Row], str]:
    return lambda row: "" if row[name] is None else digits(row[name]) + suffix


def _optional_number(name: str) -> Callable[[Row], str]:
    """A number of a column that not every table has."""
    return lambda row: "" if row.get(name) is None else digits(row[name])


def _scaled(value: float | None, unit: float) -> str:
    return "" if value is None else f"{value / unit:,.3g}" if value < 1000 * unit else f"{value / unit:,.0f}"


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


def columns(objective: Objective) -> list[Column]:
    """The full table of a task with these metrics, in its order."""
    metric, *others = objective
    return [
        Column("method", ("method",), lambda row: str(row["method"])),
        Column("target %", ("target_sparsity",), lambda row: percent(row["target_sparsity"])),
        Column(
            "sparsity %", ("sparsity",), lambda row: "" if row["sparsity"] is None else f"{100 * row['sparsity']:.2f}"
        ),
        Column("n", ("n",), _number("n")),
        Column(title(metric), ("metric_mean", "metric_std"), lambda row: spread(row, 0)),
        *map(_other, others),
        Column(
            difference_title(metric),
            ("difference", "difference_low", "difference_high"),
            lambda row: interval(row, "difference", metric.factor, metric.decimals),
        ),
        Column("pairs", ("pairs",), _number("pairs")),
        Column("tier", ("tier", "told_apart"), _tier),
        Column("beside the best", ("against_best",), _against_best),
        Column("training cost", ("training_cost",), _number("training_cost", "×")),
        Column("training FLOPs", ("training_flops",), _large("training_flops")),
        Column("examples", ("examples",), _large("examples")),
        Column("wall s", ("wall_seconds",), _number("wall_seconds")),
        Column("processor s", ("processor_seconds",), _optional_number("processor_seconds")),
        Column("engine", ("engine",), lambda row: row.get("engine") or ""),
        Column("tuned", ("tuned",), lambda row: row.get("tuned") or ""),
        Column("own recipe", ("own_recipe",), lambda row: row.get("own_recipe") or ""),
        Column("ticket of", ("ticket_of",), lambda row: row.get("ticket_of") or ""),
        Column("inference FLOPs", ("inference_flops",), _large("inference_flops")),
        Column("speed-up", ("speedup",), _number("speedup", "×")),
        Column("compression", ("compression",), _number("compression", "×")),
        Column("weights kept", ("parameters_kept",), _number("parameters_kept")),
        Column("collapsed layers", ("collapsed_layers",), _number("collapsed_layers")),
        Column("size kB", ("size_bytes",), lambda row: _scaled(row["size_bytes"], 1000)),
        Column("latency ms", ("latency_ms",), lambda row: _scaled(row["latency_ms"], 1)),
        Column("unscored %", ("unscored_share",), _share("unscored_share")),
        Column("ties %", ("tied_share",), _share("tied_share")),
        Column("status", ("status",), state),
    ]
