"""The jobs that workers have: since when they run, how often they were tried, and what the end of each means."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from enum import Enum

from prunebench.api.executors import ExitCode, JobResult, WorkerPool
from prunebench.records.files import read_bytes
from prunebench.store.entries import Store

ATTEMPTS = 3
"""How often a job is tried whose worker was killed from outside; an exception of its own is final."""
RESTARTS = 20
"""How often a job is tried whose worker ended for a reason that has nothing to do with it."""
LONGEST_PAUSE = 5.0
"""Most seconds between two of these tries; the first ones follow at once."""
MEMORY_PAUSE = 20.0
"""Seconds until a job that found too little of a GPU's memory is tried again."""


class RunningJobs:
    """The jobs that a worker pool has, and when each of them began."""

    def __init__(self) -> None:
        self._started: dict[str, float | None] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._started

    def __iter__(self) -> Iterator[str]:
        return iter(self._started)

    def __len__(self) -> int:
        return len(self._started)

    @property
    def some_wait(self) -> bool:
        """Whether a job was submitted and has not begun."""
        return None in self._started.values()

    def add(self, key: str) -> None:
        self._started[key] = None

    def remove(self, key: str) -> float | None:
        """Returns when the job began; None for one that never did, or is not known."""
        return self._started.pop(key, None)

    def note_begun(self, pool: WorkerPool, now: float) -> None:
        """Note which jobs have begun: their time limit counts from then."""
        for key, started in self._started.items():
            if started is None and pool.begun(key):
                self._started[key] = now

    def deadlines(self, limit: float) -> dict[str, float]:
        """When each job that has begun reaches a time limit of so many seconds."""
        return {key: started + limit for key, started in self._started.items() if started is not None}

    def overdue(self, limit: float | None) -> list[str]:
        """The jobs that have run for longer than the time limit, if there is one."""
        if limit is None:
            return []
        now = time.monotonic()
        return [key for key, deadline in self.deadlines(limit).items() if now >= deadline]


class Retry(Enum):
    """What follows the end of a worker that made no state."""

    AT_ONCE = "at once"
    LATER = "later"
    NEVER = "never"


class Retries:
    """Counts how often jobs were tried, and decides whether one is tried again."""

    def __init__(self) -> None:
        self._kills: Counter[str] = Counter()
        self._restarts: Counter[str] = Counter()

    def decide(self, result: JobResult) -> tuple[Retry, float]:
        """Whether a job is tried again, and after how many seconds."""
        if result.exitcode == ExitCode.NOT_RUN:
            return self._restart(result.key)
        if result.exitcode == ExitCode.OUT_OF_MEMORY:
            # More memory may be free once other jobs on that GPU have ended.
            return (Retry.LATER, MEMORY_PAUSE) if self._may_try_again(result.key) else (Retry.NEVER, 0.0)
        if result.killer and self._may_try_again(result.key):
            return Retry.AT_ONCE, 0.0
        return Retry.NEVER, 0.0

    def _restart(self, key: str) -> tuple[Retry, float]:
        """A job that was not at fault: whatever makes all of them end may be over in a moment."""
        restarts = self._restarts[key]
        if restarts >= RESTARTS:
            return Retry.NEVER, 0.0
        self._restarts[key] += 1
        return Retry.LATER, min(LONGEST_PAUSE, 0.1 * 2**restarts) if restarts else 0.0

    def _may_try_again(self, key: str) -> bool:
        self._kills[key] += 1
        return self._kills[key] < ATTEMPTS


def failure_reason(result: JobResult, store: Store) -> str:
    """Why a job failed that is not tried again."""
    if result.exitcode == ExitCode.OUT_OF_MEMORY:
        return f"the GPU's memory did not suffice, {ATTEMPTS} times: {last_log_line(result.key, store)}"
    if result.killer:
        return f"its worker was killed by {result.killer} {ATTEMPTS} times (out of memory?)"
    if result.exitcode == ExitCode.NOT_RUN:
        return f"{result.cause or 'its worker was lost'}, {RESTARTS + 1} times"
    if result.exitcode == ExitCode.DONE:
        return "its worker reported success, but the store has no state of it"
    failure = store.failure(result.key)
    return failure["reason"] if failure else result.cause or f"its worker stopped with exit code {result.exitcode}"


def last_log_line(key: str, store: Store) -> str:
    """What the worker of a job printed last; a disk that is full may have had no room for that."""
    try:
        lines = read_bytes(store.logs / f"{key}.log").decode("utf-8", "replace").split("\n")
    except OSError:
        lines = []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last or f"cannot write to the store {store.root}: make room, and the same command goes on from here"
