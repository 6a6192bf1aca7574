"""The rows of a task in each runtime that they were measured in, and the front of metric and latency there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prunebench.leaderboard.metrics import metric_of
from prunebench.leaderboard.tables.sections import Row, Section
from prunebench.records.results import RUNTIME

FASTER = 1.05
"""From this ratio of latencies on a row is said to be faster than another one."""


@dataclass(frozen=True)
class Measured:
    """A row in a runtime."""

    row: Row
    label: str
    """Of the runtime."""
    batch: int
    """Examples in a pass: the first that the suite lists."""

    def get(self, name: str) -> float | None:
        value = self.row.get(f"{RUNTIME}{self.label}/{name}")
        return None if value is None else float(value)

    def timed(self, name: str) -> float | None:
        """A figure of passes of this batch."""
        return self.get(f"{name}/{self.batch}")

    @property
    def metric(self) -> float | None:
        """The primary metric there."""
        return self.get(metric_of(self.row).name)

    @property
    def latency(self) -> float | None:
        return self.timed("latency_ms")

    @property
    def reason(self) -> str:
        """Why it was not measured."""
        return str(self.row.get(f"{RUNTIME}{self.label}") or "")

    @property
    def zeros(self) -> str:
        """That its zeros are multiplied like other numbers."""
        return str(self.row.get(f"{RUNTIME}{self.label}/zeros") or "")


Cost = Callable[[Measured], float | None]


def _latency(one: Measured) -> float | None:
    return one.latency


def labels(section: Section) -> list[str]:
    """The runtimes that rows of a task were measured in."""
    names = {name for row in section.rows for name in row if name.startswith(RUNTIME) and row[name] is not None}
    return sorted({name.split("/")[1] for name in names})


def batches(section: Section, label: str) -> list[int]:
    """The numbers of examples in timed passes, in ascending order."""
    start = f"{RUNTIME}{label}/latency_ms/"
    found = {name.removeprefix(start) for row in section.rows for name in row if name.startswith(start)}
    return sorted(int(one) for one in found if one.isdecimal() and len(one) < 10)


def measured(section: Section, label: str, batch: int) -> list[Measured]:
    """The rows that this runtime has anything to say of."""
    found = [Measured(row, label, batch) for row in section.rows]
    return [one for one in found if one.latency is not None or one.reason]


def front(rows: Sequence[Measured], cost: Cost = _latency) -> list[Measured]:
    """Those that no other one beats in the metric at no more of a cost, the cheapest first.

    Costs that differ by less than FASTER are equal.

    Args:
        cost: the latency, or the size of the files.
    """
    complete = [one for one in known(rows) if cost(one) is not None]
    found = [one for one in complete if not any(_beats(other, one, cost) for other in complete)]
    return sorted(found, key=lambda one: cost(one) or 0.0)


def _beats(other: Measured, one: Measured, cost: Cost) -> bool:
    """Whether a row has a better metric at no more cost, or the same at less."""
    theirs, own = cost(other) or 0.0, cost(one) or 0.0
    better, same = merit(other) > merit(one), merit(other) == merit(one)
    return (better and theirs <= FASTER * own) or (same and theirs * FASTER < own)


def known(rows: Sequence[Measured]) -> list[Measured]:
    return [one for one in rows if one.latency is not None and one.metric is not None and one.row["status"] == "done"]


def merit(one: Measured) -> float:
    return metric_of(one.row).sign * (one.metric or 0.0)
