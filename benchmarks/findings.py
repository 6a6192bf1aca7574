"""What a benchmark finds: promises, what was measured of them in turns, and the page that says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median

import prunebench
from prunebench.records.environment import commit, machine

LOCKED = 0.5
"""Processes that wait for a core before a benchmark begins, from which on its machine is busy."""


@dataclass(frozen=True)
class Turn:
    """How long one run took."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Finding:
    """A promise, and what was measured of it."""

    what: str
    limit: float
    turns: Sequence[float]
    """Ratios or seconds of wall time, one a turn."""
    cpu: float | None = None
    unit: str = "×"
    least: bool = False
    """Whether the limit is a least."""

    @property
    def value(self) -> float:
        return median(self.turns)

    @property
    def kept(self) -> bool:
        return self.value >= self.limit if self.least else self.value <= self.limit


def timed(run: Callable[[], object]) -> Turn:
    begun = time.perf_counter(), time.process_time()
    run()
    return Turn(time.perf_counter() - begun[0], time.process_time() - begun[1])


def in_turns(one: Callable[[], object], other: Callable[[], object], rounds: int) -> list[tuple[Turn, Turn]]:
    """Both, one after the other, so many times; the first time of each is not counted."""
    one(), other()
    return [(timed(one), timed(other)) for _ in range(rounds)]


def compared(what: str, limit: float, turns: Sequence[tuple[Turn, Turn]]) -> Finding:
    """How much longer the first of each turn took than the second."""
    cpu = median(one.cpu / other.cpu for one, other in turns)
    return Finding(what, limit, [one.wall / other.wall for one, other in turns], cpu)


def row(finding: Finding) -> str:
    bound = "at least" if finding.least else "at most"
    low, high = min(finding.turns), max(finding.turns)
    cpu = "" if finding.cpu is None else f"{finding.cpu:.3f}"
    verdict = "yes" if finding.kept else "**no**"
    promise = f"{bound} {finding.limit:g} {finding.unit}".strip()
    return f"| {finding.what} | {promise} | {finding.value:.3f} ({low:.3f}–{high:.3f}) | {cpu} | {verdict} |"


def report(rows: Sequence[str], load: float, busy: bool) -> str:
    said = (
        f"**The machine was busy** ({load:.1f} processes ran before this began): of the ratios only those of processor "
        "time mean something, and none of the seconds."
        if busy
        else f"The machine was idle otherwise (a load of {load:.1f} before this began)."
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "mlflow"))
    return "\n".join(
        [
            "# How fast it is",
            "",
            f"{machine()}; prunebench {prunebench.__version__} {commit()}, {packages}; one thread. {said}",
            "",
            "Written by `python benchmarks/speed.py`: medians of turns, with the least and the greatest.",
            "",
            "| | promised | wall time | processor time | kept |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
