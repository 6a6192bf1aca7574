"""The progress of a suite, read from its store alone; runs are not disturbed."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from prunebench.api.errors import StoreError
from prunebench.messages.durations import is_date
from prunebench.plan.jobs import Job, kept_keys, missing_jobs
from prunebench.plan.planning import Plan
from prunebench.store.collection import Size, sizes
from prunebench.store.entries import Record, Store
from prunebench.store.locks import Running, abandoned, running

RECENT = 64
"""How many of the last entries the pace is measured on."""


@dataclass(frozen=True)
class Pace:
    """Optimizer steps of some jobs, and the seconds in which at least one of them ran."""

    steps: int
    seconds: float

    @property
    def rate(self) -> float:
        """Steps a second of all workers together; 0 while nothing was measured."""
        return self.steps / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Progress:
    """Of a plan; trials are counted by how they ended, jobs by how they stand."""

    trials: int
    done: int
    failed: Mapping[str, str]
    """Reasons by the names of the trials."""
    skipped: Mapping[str, str]
    running: tuple[Running, ...]
    others: int
    """Running jobs of this store that are not part of this plan."""
    dead: tuple[Running, ...]
    """Jobs of this plan whose process died before they were done."""
    waiting: int
    """Jobs that are neither done nor running, and can be."""
    steps: int
    """Optimizer steps of the whole plan."""
    steps_left: int
    """Of the jobs that are running or waiting."""
    pace: Pace
    disk: Mapping[str, Size]

    @property
    def left(self) -> int:
        """Trials that are neither done, failed nor skipped."""
        return self.trials - self.done - len(self.failed) - len(self.skipped)

    @property
    def seconds_left(self) -> float | None:
        """At the pace of the last jobs; None where there is none."""
        if not self.steps_left:
            return 0.0 if not self.left else None
        return self.steps_left / self.pace.rate if self.pace.rate else None

    def as_json(self) -> dict[str, Any]:
        more = {"left": self.left, "steps_a_second": self.pace.rate, "seconds_left": self.seconds_left}
        return {**asdict(self), **more}


def progress(plan: Plan, store: Store, without_data: Mapping[str, Record] = MappingProxyType({})) -> Progress:
    """How far a plan is; reads the store and changes nothing.

    Args:
        without_data: the failures of tasks whose data could not be read, by label.
    """
    jobs = missing_jobs(plan, store.has, (planned.key for planned in plan.trials if planned.chain))
    marks = running(store)
    ours = tuple(mark for mark in marks if mark.key in jobs)
    reasons = {key: str(failure["reason"]) for key, failure in lost(store, jobs, {mark.key for mark in ours}).items()}
    labels = {key: plan.nodes[key].trial.task.label for key in jobs}
    reasons |= {key: str(without_data[label]["reason"]) for key, label in labels.items() if label in without_data}
    going = {key: job for key, job in jobs.items() if key not in reasons}
    ahead = sum(plan.nodes[step].steps for job in going.values() for step in job.path)
    names = {str(planned.trial): planned for planned in plan.trials}
    ends = {name: reasons[planned.key] for name, planned in names.items() if planned.chain and planned.key in reasons}
    return Progress(
        trials=len(plan.trials),
        done=sum(bool(planned.chain) and planned.key not in jobs for planned in plan.trials),
        failed=ends | {name: planned.failed for name, planned in names.items() if planned.failed},
        skipped={name: planned.skipped for name, planned in names.items() if planned.skipped},
        running=ours,
        others=len(marks) - len(ours),
        dead=tuple(mark for mark in abandoned(store) if mark.key in going),
        waiting=len(going) - len(ours),
        steps=sum(node.steps for node in plan.nodes.values()),
        steps_left=ahead - sum(mark.step - mark.start for mark in ours),
        pace=_pace(plan, store, ours),
        disk=sizes(store),
    )


def lost(store: Store, jobs: Mapping[str, Job], under_way: Collection[str] = ()) -> dict[str, Record]:
    """The failures that keep jobs from running: their own, or that of a job that they need."""
    followers: dict[str, list[str]] = {key: [] for key in jobs}
    for job in jobs.values():
        for need in job.needs & jobs.keys():
            followers[need].append(job.key)
    failures = {key: store.failure(key) for key in jobs if key not in under_way}
    found: dict[str, Record] = {}
    waiting = [(key, {"reason": "", "time": 0.0, **failure}) for key, failure in failures.items() if failure]
    while waiting:
        key, failure = waiting.pop()
        if key not in found:
            found[key] = failure
            waiting += [(follower, failure) for follower in followers[key]]
    return found


def _pace(plan: Plan, store: Store, ours: Iterable[Running]) -> Pace:
    """Of the last jobs in the store and of those under way; the times in which none of them ran do not count."""
    steps, spans = 0, []
    for key in _latest(plan, store):
        try:
            record = store.record(key)
        except StoreError:
            continue
        begun, ended = record.get("started", ""), record.get("finished", "")
        if is_date(begun) and is_date(ended):
            steps += plan.nodes[key].steps
            spans.append((float(begun), float(ended)))
    for mark in ours:
        steps += mark.step - mark.start
        spans.append((mark.started, max(mark.updated, min(time.time(), mark.updated + 1))))
    return Pace(steps, _covered(spans))


def _latest(plan: Plan, store: Store) -> list[str]:
    """Keys of the trainings that were put into the store last."""
    times = {}
    for key in kept_keys(plan):
        if plan.nodes[key].steps:
            try:
                times[key] = (store.folder(key) / "record.json").stat().st_mtime
            except OSError:
                continue
    return sorted(times, key=lambda key: times[key])[-RECENT:]


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of some intervals."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
