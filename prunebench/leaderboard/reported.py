"""Numbers that others reported, such as those of a paper: shown beside the measured rows of a board, and never ranked.

A file `reported.csv` has a line for each number, with the columns of COLUMNS. Rows of them are marked everywhere, and
are in no test, tier, Pareto front or rank.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunebench.api.errors import BoardError
from prunebench.leaderboard.families import family_named
from prunebench.leaderboard.metrics import Objective, as_text
from prunebench.messages.plain_text import cell as text_cell
from prunebench.messages.plain_text import of_cell, visible
from prunebench.messages.suggestions import near, shown

FILE = "reported.csv"
COLUMNS = ("task", "model", "method", "sparsity", "metric", "value", "std", "n", "source")
REQUIRED = ("task", "method", "sparsity", "metric", "value", "source")
STATUS = "reported"
"""The status of such a row."""
LONGEST, LARGEST, LARGEST_FILE, MOST_SEEDS = 500, 1e12, 2**24, 10**6


@dataclass(frozen=True)
class Reported:
    """A number that others reported."""

    task: str
    """The label of the task that it is shown with."""
    method: str
    sparsity: float
    """The share of the weights that is removed, as reported; 0 for a dense network."""
    metric: str
    """Name of the task's primary metric, such as accuracy."""
    value: float
    """As tables show it: a percentage where they do."""
    source: str
    """Paper and table, or URL."""
    model: str = ""
    """The network, as the source names it."""
    std: float | None = None
    """Standard deviation over `n` runs, if the source has it."""
    n: int | None = None

    @property
    def label(self) -> str:
        """The name of the method on a board; no suite can have a label with brackets."""
        return f"{self.method} ({STATUS})"


def read_reported(path: Path) -> tuple[Reported, ...]:
    """The numbers of a file. Raises BoardError, which names the line and the column."""
    try:
        if path.exists() and not path.is_file():
            raise BoardError(f"{path} is not a file")
        if path.stat().st_size > LARGEST_FILE:
            raise BoardError(f"{path} has more than {LARGEST_FILE:,} bytes: this is no list of reported numbers")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BoardError(f"{path} is not UTF-8 text: byte {error.start}") from None
    except OSError as error:
        raise BoardError(f"{path} cannot be read: {error.strerror}") from None
    return parse(text, str(path))


def in_folder(folder: Path) -> tuple[Reported, ...]:
    """The reported numbers of a published board, if it has any. Raises BoardError as `read_reported` does."""
    path = folder / FILE
    return read_reported(path) if path.exists() else ()


def parse(text: str, origin: str = FILE) -> tuple[Reported, ...]:
    """The numbers of such a text. Raises BoardError, which names the line and the column."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    found: dict[tuple[object, ...], Reported] = {}
    try:
        _check_columns(reader.fieldnames or (), origin)
        for line in reader:
            place = f"{origin}:{reader.line_num}"
            one = _parsed(line, place)
            if found.setdefault((one.task, one.method, one.sparsity), one) is not one:
                raise BoardError(f"{place}: {one.method!r} at {one.sparsity:g} of {one.task!r} is there twice")
    except csv.Error as error:
        raise BoardError(f"{origin}:{reader.line_num}: not CSV: {error}") from None
    return tuple(found.values())


def _check_columns(names: Sequence[str], origin: str) -> None:
    for name in names:
        if name not in COLUMNS:
            raise BoardError(f"{origin}:1: unknown column {shown(name)}{near(name, COLUMNS)}")
    if missing := [name for name in REQUIRED if name not in names]:
        raise BoardError(f"{origin}:1: no column {missing[0]!r}: the first line names {', '.join(REQUIRED)}")
    if len(set(names)) < len(names):
        raise BoardError(f"{origin}:1: a column is named twice")


def _parsed(line: Mapping[str, Any], place: str) -> Reported:
    if None in line or None in line.values():
        raise BoardError(f"{place}: not one value for each column")
    texts = {name: visible(str(of_cell(text.strip()))) for name, text in line.items()}
    for name, text in texts.items():
        if len(text) > LONGEST:
            raise BoardError(f"{place}: {name} has more than {LONGEST} characters")
        if not text and name in REQUIRED:
            raise BoardError(f"{place}: {name} is empty")
    sparsity, value = _number("sparsity", texts, place), _number("value", texts, place)
    std = _number("std", texts, place) if texts.get("std") else None
    if not 0 <= sparsity < 1:
        raise BoardError(f"{place}: sparsity: {sparsity:g} is no share from 0 to below 1; write 0.9 for 90 %")
    if std is not None and std < 0:
        raise BoardError(f"{place}: std: {std:g} is below 0")
    words = {name: texts[name] for name in ("task", "method", "metric", "source")}
    return Reported(
        **words, sparsity=sparsity, value=value, model=texts.get("model", ""), std=std, n=_count(texts, place)
    )


def _number(name: str, texts: Mapping[str, str], place: str) -> float:
    text = texts[name]
    try:
        value = float(text if "_" not in text else "")
    except ValueError:
        raise BoardError(f"{place}: {name}: {shown(text)} is not a number") from None
    if not -LARGEST <= value <= LARGEST:
        raise BoardError(f"{place}: {name}: {text} is not between {-LARGEST:g} and {LARGEST:g}")
    return value


def _count(texts: Mapping[str, str], place: str) -> int | None:
    text = texts.get("n", "")
    if text and not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_SEEDS and len(text) < 9):
        raise BoardError(f"{place}: n: {shown(text)} is no number of runs")
    return int(text) if text else None


def dump(reported: Iterable[Reported]) -> bytes:
    """The text of `reported.csv`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in reported:
        values = (getattr(one, name) for name in COLUMNS)
        writer.writerow(["" if value is None else text_cell(value) for value in values])
    return text.getvalue().encode()


def rows_of(reported: Sequence[Reported], objectives: Mapping[tuple[str, str], Objective]) -> list[dict[str, Any]]:
    """Rows of a board, of the tasks that it has.

    Args:
        objectives: by suite and task label.

    Raises BoardError for a number of another metric than the primary one of its task, or in another unit.
    """
    _check_units(reported, objectives)
    return [
        _row(one, suite, objective)
        for one in reported
        for (suite, task), objective in objectives.items()
        if task == one.task
    ]


def _check_units(reported: Sequence[Reported], objectives: Mapping[tuple[str, str], Objective]) -> None:
    """Raise BoardError if all values of a task whose metric is shown in percent look like shares of one."""
    for (_, task), (metric, *_others) in objectives.items():
        own = [one for one in reported if one.task == task and one.metric == metric.name]
        if metric.unit == "%" and own and all(0 < one.value <= 1 for one in own):
            first, given = own[0], f"{own[0].value:g}"
            raise BoardError(
                f"{FILE}: {first.method!r} of task {task!r} has {given}, which is {given} %: values are as tables show "
                f"them, such as {metric.factor * first.value:g}"
            )


def _row(one: Reported, suite: str, objective: Objective) -> dict[str, Any]:
    metric = objective[0]
    if one.metric != metric.name:
        raise BoardError(
            f"{FILE}: {one.method!r} of task {one.task!r} has {one.metric!r}, and the task's metric is {metric.name!r}"
        )
    value = one.value / metric.factor
    if metric.best is not None and metric.is_better(value, metric.best):
        raise BoardError(
            f"{FILE}: {one.method!r}: {metric.shown(value)} is better than the best {metric.label} there is"
        )
    if metric.scale == "log" and value <= 0:
        raise BoardError(f"{FILE}: {one.method!r}: {metric.label} {one.value:g} is not above 0")
    source = f"{one.source} ({one.model})" if one.model else one.source
    return {
        "suite": suite,
        "task": one.task,
        "method": one.label,
        "family": family_named([one.method]),
        "control": False,
        "target_sparsity": one.sparsity,
        "n": one.n,
        "metric": metric.name,
        "objective": as_text(objective),
        "metric_mean": value,
        "metric_std": None if one.std is None else one.std / metric.factor,
        "status": STATUS,
        "made_elsewhere": source,
        **dict.fromkeys(TEXTS, ""),
    }


TEXTS = ("reason", "protocol", "variant", "ticket", "latency_note", "machine", "command", "against_best", "identical")
"""Texts that such a row does not have."""


def check_tasks(reported: Iterable[Reported], tasks: Sequence[str]) -> None:
    """Raise BoardError for numbers of a task that a board does not have."""
    for one in reported:
        if one.task not in tasks:
            hint = near(one.task, tasks) or f"; it has {', '.join(tasks) or 'none'}"
            raise BoardError(f"reported numbers of {one.method!r}: the board has no task {shown(one.task)}{hint}")
