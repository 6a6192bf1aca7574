"""Room 3: walking the tree. Jobs that are ready run; what they bring finishes trials; failures take their own along."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from heapq import heappop, heappush

from prunebench.data import Prepared
from prunebench.errors import CorruptEntry
from prunebench.execution.inputs import inputs_of
from prunebench.execution.jobs import Job, missing_jobs, priorities
from prunebench.execution.local import Finished, LocalExecutor
from prunebench.execution.outcomes import result_of, unfinished
from prunebench.execution.worker import Order
from prunebench.plan import Plan, PlannedTrial
from prunebench.registry import Registry
from prunebench.results import Result, Status
from prunebench.store import Store
from prunebench.suite.reading import trial_to_plain

ATTEMPTS = 3
"""How often an order is tried whose worker was killed from outside; an exception of its own is not tried again."""


@dataclass(frozen=True)
class Event:
    """A trial that came to its end, in the order in which they do."""

    planned: PlannedTrial
    result: Result
    cached: bool


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run, which never changes what comes out."""

    workers: int = 1
    threads: int = 1
    device: str = "cpu"
    plugins: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    retry_failed: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


class Walk:
    """One run over a plan: which trials are open, which jobs are left, which failed."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        registry: Registry,
        prepared: Mapping[str, Prepared],
        options: Options,
    ) -> None:
        self.plan, self.store, self.registry, self.prepared, self.options = plan, store, registry, prepared, options
        self._open: dict[str, list[PlannedTrial]] = {}
        self._jobs: dict[str, Job] = {}
        self._failed: dict[str, str] = {}
        self._attempts: Counter[str] = Counter()
        self._protocols = {planned.trial.task.label: planned.protocol for planned in plan.trials}
        self.steps_left = 0
        """Optimizer steps of the jobs that are not done yet, for whoever shows progress."""

    def events(self) -> Iterator[Event]:
        """Run until every trial is done, failed or skipped; yields each once."""
        for planned in self.plan.trials:
            if (result := self._known(planned)) is not None:
                yield Event(planned, result, cached=result.status == "done")
            else:
                self._open.setdefault(planned.key, []).append(planned)
        self._jobs = missing_jobs(self.plan, self.store, self._open)
        for key in self._failed_before():
            yield from self._closed(key)
        if self._jobs:
            yield from self._walked()

    def _walked(self) -> Iterator[Event]:
        options, order = self.options, priorities(self.plan, self._jobs)
        self.steps_left = sum(self._steps(job) for job in self._jobs.values())
        tree = TopologicalSorter({key: job.needs & self._jobs.keys() for key, job in self._jobs.items()})
        tree.prepare()
        ready: list[tuple[int, str]] = []
        slots = min(options.workers, len(self._jobs))
        with LocalExecutor(slots, options.plugins, options.blocked, self.store.logs) as executor:
            while self._jobs:
                for key in tree.get_ready():
                    if key in self._jobs:
                        heappush(ready, (-order[key], key))
                while ready and executor.free:
                    executor.submit(self._order(self._jobs[heappop(ready)[1]]))
                for end in executor.wait():
                    if end.exitcode == 0:
                        self.steps_left -= self._steps(self._jobs.pop(end.key))
                        tree.done(end.key)
                        yield from self._closed(end.key)
                    elif self._may_try_again(end):
                        heappush(ready, (-order[end.key], end.key))
                    else:
                        for key in self._fail(end.key, self._reason(end)):
                            yield from self._closed(key)

    def _known(self, planned: PlannedTrial) -> Result | None:
        """The result of a trial that needs no work."""
        if planned.skipped:
            return self._without_figures(planned, "skipped", planned.skipped)
        if not self.store.has(planned.key):
            return None
        try:
            return result_of(planned, self.store, self.registry, self._fingerprint(planned))
        except CorruptEntry:
            self.store.discard(planned.key)  # made again, like any other that is missing
            return None

    def _closed(self, key: str) -> Iterator[Event]:
        """The trials that end with this state, now that it is made or failed."""
        for planned in self._open.pop(key, []):
            if key in self._failed:
                result = self._without_figures(planned, "failed", self._failed[key])
            else:
                result = result_of(planned, self.store, self.registry, self._fingerprint(planned))
            yield Event(planned, result, cached=False)

    def _without_figures(self, planned: PlannedTrial, status: Status, reason: str) -> Result:
        return unfinished(planned, status, reason, self.registry, self._fingerprint(planned), time.time())

    def _fingerprint(self, planned: PlannedTrial) -> str:
        return self.prepared[planned.trial.task.label].fingerprint

    def _failed_before(self) -> list[str]:
        """Keys of what failed in an earlier run and is not to be retried, with all that waits for it."""
        lost: list[str] = []
        for key in list(self._jobs):
            failure = self.store.failure(key)
            if failure is None or key in self._failed:
                continue
            if self.options.retry_failed:
                self.store.forget_failure(key)
            else:
                lost += self._fail(key, f"{failure['reason']} (failed before; --retry-failed tries again)")
        return lost

    def _order(self, job: Job) -> Order:
        node = self.plan.nodes[job.key]
        label = node.trial.task.label
        return Order(
            trial=trial_to_plain(node.trial),
            protocol=self._protocols[label],
            path=job.path,
            parent=self.plan.nodes[job.path[0]].parent,
            plugins=self.options.plugins,
            blocked=self.options.blocked,
            store=str(self.store.root),
            data=str(self.prepared[label].folder),
            fingerprint=self.prepared[label].fingerprint,
            device=self.options.device,
            threads=self.options.threads,
            environment=tuple(self.options.environment.items()),
            inputs=inputs_of(node.trial, self.prepared[label].fingerprint),
        )

    def _steps(self, job: Job) -> int:
        return sum(self.plan.nodes[key].steps for key in job.path)

    def _may_try_again(self, end: Finished) -> bool:
        """A worker that was killed from outside may have better luck; an exception of its own is final."""
        self._attempts[end.key] += 1
        return bool(end.signal) and self._attempts[end.key] < ATTEMPTS

    def _reason(self, end: Finished) -> str:
        if end.signal:
            return f"its worker was killed by {end.signal} {ATTEMPTS} times (out of memory?)"
        failure = self.store.failure(end.key)
        return failure["reason"] if failure else f"its worker stopped with exit code {end.exitcode}"

    def _fail(self, key: str, reason: str) -> list[str]:
        """Book a job as failed, and every job that needs its state for the same reason; returns all their keys."""
        if key not in self._jobs:
            return []
        self.steps_left -= self._steps(self._jobs.pop(key))
        self._failed[key] = reason
        lost = [key]
        for follower in [job.key for job in self._jobs.values() if key in job.needs]:
            lost += self._fail(follower, reason)
        return lost
