"""The rows of one task, as the pages and plots show them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from prunebench.api.objectives import Metric
from prunebench.leaderboard.metrics import Objective, from_text, metric_of
from prunebench.leaderboard.reported import STATUS
from prunebench.leaderboard.rows import records
from prunebench.leaderboard.statistics import mean

Row = Mapping[str, Any]
Place = tuple[str, str]
"""A suite and a task of it."""

ENDINGS = ("", "-cost", "-runtimes", "-sizes", "-early-stop", "-early-metric", "-layers", "-overlap")
"""What the names of a section's plots end with, before .svg."""
RANKS = "ranks"
"""The plot across tasks."""
LONGEST = 230
"""Of a section's part of a file name, of which most systems allow 255 bytes in all."""


@dataclass(frozen=True)
class Section:
    """A task of a suite and its rows, in the order of the table."""

    suite: str
    task: str
    title: str
    file: str
    """What the names of this section's files start with."""
    rows: tuple[Row, ...]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The methods behind each row's method that stands for several with the same results."""

    @property
    def objective(self) -> Objective:
        """The metrics of the task, the primary one first."""
        return from_text(self.rows[0].get("objective"))

    @property
    def metric(self) -> Metric:
        """The metric that methods are ranked by."""
        return self.objective[0]

    @cached_property
    def controls(self) -> list[Row]:
        """The dense network that methods are compared with."""
        return [row for row in self.rows if row["control"] and not row.get("as_given")]

    @cached_property
    def given(self) -> list[Row]:
        """The dense network as it was given, without training."""
        return [row for row in self.rows if row.get("as_given")]

    @cached_property
    def sparsities(self) -> list[float]:
        return sorted({row["target_sparsity"] for row in self.rows if not row["control"]})

    @cached_property
    def methods(self) -> dict[str, dict[float, Row]]:
        """By method its rows by sparsity; those with every sparsity first, then by mean, the best first."""
        found: dict[str, dict[float, Row]] = defaultdict(dict)
        for row in self.rows:
            if not row["control"]:
                found[row["method"]][row["target_sparsity"]] = row
        return {label: found[label] for label in sorted(found, key=lambda label: (*_merit(found[label]), label))}

    @property
    def reported(self) -> list[Row]:
        """The rows that others reported."""
        return [row for row in self.rows if is_reported(row)]

    @property
    def measured(self) -> Section:
        """The section without what others reported."""
        return replace(self, rows=tuple(row for row in self.rows if not is_reported(row)))

    @property
    def compared(self) -> dict[float, list[Row]]:
        """The rows that are compared with each other, by sparsity."""
        found: dict[float, list[Row]] = defaultdict(list)
        for row in self.rows:
            if row["tier"] is not None:
                found[row["target_sparsity"]].append(row)
        return dict(found)


def sections(frame: pd.DataFrame, *, merged: bool = True) -> list[Section]:
    """One a task; titled by the task alone where there is one suite.

    Args:
        merged: whether methods with the same results are one row, under all of their names.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in records(frame):
        groups[row["suite"], row["task"]].append(row)
    several = len({suite for suite, _ in groups}) > 1
    titles = {(suite, task): f"{suite}: {task}" if several else task for suite, task in groups}
    files = _files(titles)
    return [
        Section(*place, titles[place], files[place], *(_merged(some) if merged else (tuple(some), {})))
        for place, some in groups.items()
    ]


def _merged(rows: Sequence[Row]) -> tuple[tuple[Row, ...], dict[str, tuple[str, ...]]]:
    """The rows under the names that pages have for their methods, and the methods behind each name that differs.

    Methods with the same results are one row, under all of their names. What was made elsewhere is marked.
    """
    marked = {row["method"]: f"{row['method']} (imported)" for row in rows if is_imported(row)}
    same = {row["method"]: row["identical"] for row in rows if row["identical"]}
    groups = {label: tuple(sorted(method for method in same if same[method] == label)) for label in same.values()}
    groups |= {method: (method,) for method in marked if method not in same}
    names = {label: ", ".join(marked.get(method, method) for method in some) for label, some in groups.items()}
    first = {label: some[0] for label, some in groups.items()}
    labelled = [(row, row["identical"] or row["method"]) for row in rows]
    kept = [(row, label) for row, label in labelled if first.get(label, row["method"]) == row["method"]]
    shown = tuple({**row, "method": names.get(label, label)} for row, label in kept)
    return shown, {names[label]: some for label, some in groups.items()}


def is_imported(row: Row) -> bool:
    """Whether the masks of a row were made elsewhere."""
    return bool(row.get("made_elsewhere")) and not is_reported(row)


def is_reported(row: Row) -> bool:
    """Whether a row was reported by others, and not measured here."""
    return bool(row["status"] == STATUS)


def _files(titles: Mapping[Place, str]) -> dict[Place, str]:
    """What the names of each section's files start with: its title in plain characters, made distinct where titles
    would give two files one name, also where capitals do not tell names apart."""
    names = {place: _plain(title) for place, title in titles.items()}
    mixed = _mixed(names) | {place for place, name in names.items() if len(name) > LONGEST}
    names |= {place: _distinct(place, names[place]) for place in mixed}
    if _mixed(names):  # a title may look like a name that was made distinct
        names = {place: _distinct(place, name) for place, name in names.items()}
    return names


def _plain(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.") or "task"


def _mixed(names: Mapping[Place, str]) -> set[Place]:
    """The sections some of whose files have the name of another section's, or of the plot across tasks."""
    files = {place: {f"{name}{ending}".lower() for ending in ENDINGS} for place, name in names.items()}
    across: Collection[str] = (RANKS,) if len(names) > 1 else ()
    owners = Counter([*across, *(file for some in files.values() for file in some)])
    return {place for place, some in files.items() if any(owners[file] > 1 for file in some)}


def _distinct(place: Place, name: str) -> str:
    """A name that follows from the suite and the task alone, whatever else is on the board."""
    return f"{name[: LONGEST - 20]}-{hashlib.sha256(repr(place).encode()).hexdigest()[:12]}"


def front(rows: Sequence[Row]) -> list[Row]:
    """The complete rows that no other one matches in the primary metric at no more cost, by cost."""
    found: list[Row] = []
    costed = [row for row in rows if row["status"] == "done" and row["training_cost"] and not row["control"]]
    known = [row for row in costed if row["metric_mean"] is not None]
    for row in sorted(known, key=lambda row: (row["training_cost"], -_value(row), row["method"])):
        if not found or _value(row) > _value(found[-1]):
            found.append(row)
    return found


def _value(row: Row) -> float:
    """The mean of the primary metric, or its negative if lower is better."""
    return float(metric_of(row).sign * row["metric_mean"])


def percent(share: float, digits: int = 4) -> str:
    """A share in percent, without trailing zeros."""
    return f"{100 * share:.{digits}g}"


def spread(row: Row, fewer: int = 1) -> str:
    """The primary metric as shown, without its unit, with its sample standard deviation, where there is one.

    Args:
        fewer: decimals than the metric has elsewhere; a table of many cells is read more easily with fewer.
    """
    metric = metric_of(row)
    decimals = max(metric.decimals - fewer, 0)
    return _deviating(row["metric_mean"], row["metric_std"], metric.factor, decimals)


def deviating(row: Row, name: str, scale: float, digits: int) -> str:
    """A figure with its sample standard deviation, where there is one; nothing where there is no figure."""
    return _deviating(row[name], row[f"{name}_std"], scale, digits)


def _deviating(center: float | None, deviation: float | None, scale: float, digits: int) -> str:
    shown = [f"{scale * value:,.{digits}f}" for value in (center, deviation) if value is not None]
    return " ± ".join(shown) if center is not None else ""


def interval(row: Row, name: str, scale: float, digits: int) -> str:
    """A difference with its confidence interval, where there is one."""
    shown = [row[f"{name}{end}"] for end in ("", "_low", "_high")]
    center, low, high = ("" if value is None else f"{scale * value:+,.{digits}f}" for value in shown)
    return f"{center} [{low}, {high}]" if low else center


def state(row: Row) -> str:
    """The status without its reason."""
    return str(row["status"]).partition(":")[0]


def _merit(rows: Mapping[float, Row]) -> tuple[int, float]:
    complete = [row for row in rows.values() if row["status"] == "done" and row["metric_mean"] is not None]
    merits = [_value(row) for row in complete]
    return (-len(merits), -(mean(merits) or 0.0))
