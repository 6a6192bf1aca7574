"""Room 3: walking the tree. Jobs that are ready run; what they bring finishes trials; failures take their own along."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from prunebench.api.errors import CorruptEntry, DataError, StoreError
from prunebench.api.executors import (
    CHECKPOINT_EVERY,
    Executor,
    ExitCode,
    JobResult,
    JobSpec,
    Resources,
    RunContext,
    WorkerPool,
)
from prunebench.api.files import content_of
from prunebench.api.registry import Registry
from prunebench.api.results import Result, Status, undecided
from prunebench.api.tasks import Task
from prunebench.data.prepared import Prepared
from prunebench.execution.budget import Budget
from prunebench.execution.key_inputs import inputs_of
from prunebench.execution.results import result_of, unfinished
from prunebench.messages import durations
from prunebench.plan.jobs import Job, ReadyQueue, missing_jobs
from prunebench.plan.planning import UNKNOWN_DATA, Plan, PlannedTrial
from prunebench.store.entries import Store
from prunebench.store.leftovers import sweep
from prunebench.suite.reading import trial_to_plain

ATTEMPTS = 3
"""How often an order is tried whose worker was killed from outside; an exception of its own is not tried again."""
RESTARTS = 20
"""How often an order is tried whose worker ended for a reason that has nothing to do with it."""
REST = 5.0
"""Most seconds between two of these tries; the first ones follow at once."""
LOSSES = 5
"""How often what a job needs is made again, before the disk is taken to be at fault."""
LOOK = 1.0
"""Seconds until a job that another run holds is looked at again, and between looks at orders that have not begun."""
ROOM = 20.0
"""Seconds until a job that found too little of a GPU's memory is tried again."""
DEFAULT = "local"
"""The executor when none is named."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """A trial that came to its end, in the order in which they do."""

    planned: PlannedTrial
    result: Result
    cached: bool


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run, which never changes what comes out."""

    executor: Executor | None = None
    """By default that which is called `local`."""
    workers: int | None = None
    """Orders at a time; by default as many as the executor has room for."""
    threads: int = 1
    device: str = "cpu"
    resources: Resources = field(default_factory=Resources)
    plugins: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    retry_failed: bool = False
    timeout: float | None = None
    """Seconds that a job may take."""
    checkpoint_every: float = CHECKPOINT_EVERY
    """Seconds between two checkpoints of a training; 0 for none."""
    deadline: float | None = None
    """When all that runs is stopped, as `time.monotonic()` counts."""
    environment: Mapping[str, str] = field(default_factory=dict)


def named_executor(registry: Registry, name: str = DEFAULT) -> Executor:
    """The executor of that name, with its default parameters. Raises PluginError with the nearest name."""
    found = registry.find("executor", name)[0]()
    assert isinstance(found, Executor)
    return found


class Scheduler:
    """One run over a plan: which trials are open, which jobs are left, which failed."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        registry: Registry,
        prepared: Mapping[str, Prepared],
        options: Options,
        without_data: Mapping[str, str] = MappingProxyType({}),
        prepare: Callable[[Task], Prepared] | None = None,
    ) -> None:
        """Begin with a plan.

        Args:
            without_data: why a task has no data, by label; its trials fail for that reason.
            prepare: prepares a task's data again, where what was prepared is damaged.
        """
        self.without_data = without_data
        self.plan, self.store, self.registry, self.options = plan, store, registry, options
        self.prepared, self._prepare = dict(prepared), prepare
        self.budget = Budget(options.deadline, plan, store, options.device, options.checkpoint_every > 0)
        self._open: dict[str, list[PlannedTrial]] = {}
        self._agenda = ReadyQueue(plan, {})
        self._running: dict[str, float | None] = {}
        """When the jobs that were taken have begun."""
        self._busy: set[str] = set()
        """Jobs that another run was seen to hold."""
        self._failed: dict[str, str] = {}
        self._kills: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._warned: set[tuple[str, str]] = set()
        """Tasks and methods whose scores were said to leave something undecided."""
        self._restarts: Counter[str] = Counter()
        self._protocols = {planned.trial.task.label: planned.protocol for planned in plan.trials}
        self.steps_left = 0
        """Optimizer steps of the jobs that are not done yet, for whoever shows progress."""

    @property
    def left(self) -> list[PlannedTrial]:
        """The trials that have not come to their end: none, unless the time was up."""
        return [planned for trials in self._open.values() for planned in trials]

    @property
    def settled(self) -> bool:
        """Whether the store has the end of every trial, so that there is most likely nothing to run."""
        return all(planned.chain and self.store.has(planned.key) for planned in self.plan.trials)

    @property
    def outlook(self) -> str:
        """How long the shortest job takes that is left; nothing when none is."""
        if not self._agenda:
            return ""
        seconds = min(self.budget.estimate(job) for job in self._agenda.jobs.values())
        return f"the shortest job that is left takes about {durations.rounded(seconds)} ({self.budget.basis})"

    def events(self) -> Iterator[Event]:
        """Run until every trial is done, failed or skipped, or the time is up; yields each trial once.

        Raises StoreError when the store cannot be written to.
        """
        sweep(self.store)
        for planned in self.plan.trials:
            if (result := self._known(planned)) is not None:
                yield Event(planned, result, cached=result.status == "done")
            else:
                self._open.setdefault(planned.key, []).append(planned)
        self._renew()
        yield from self._failed_before()
        if self._agenda:
            executor = self.options.executor or named_executor(self.registry)
            with executor.open(self._site()) as pool:
                _log.info("%s", pool.place or f"executor {executor.name}")
                yield from self._walked(pool)

    def _site(self) -> RunContext:
        options = self.options
        return RunContext(
            store=self.store.root,
            workers=options.workers,
            threads=options.threads,
            device=options.device,
            plugins=options.plugins,
            blocked=options.blocked,
            resources=options.resources,
        )

    def _renew(self) -> None:
        """Work out what is missing for the trials that are open."""
        self._agenda = ReadyQueue(self.plan, missing_jobs(self.plan, self.store.has, self._open), self._running)
        self.steps_left = sum(self._steps(job) for job in self._agenda.jobs.values())

    def _walked(self, pool: WorkerPool) -> Iterator[Event]:
        while self._agenda and not self.budget.over:
            yield from self._found()
            self._start(pool)
            if pool.free and not self._running and self._agenda.next_look is None:
                return  # nothing of what is left fits into the time that is left
            for end in self._ends(pool):
                yield from self._ended(end)
            for key in self._overdue():
                pool.cancel(key)
                yield from self._given_up(key)

    def _start(self, pool: WorkerPool) -> None:
        """Fill what is free with the most urgent jobs that still end in time."""
        late = []
        while pool.free and (key := self._agenda.take(time.monotonic())) is not None:
            if key in self._running:  # it was ready again before it ended: what it needed was lost and made anew
                continue
            if self.budget.fits(self._agenda.jobs[key]):
                pool.submit(self._order(self._agenda.jobs[key]))
                self._running[key] = None
            else:
                late.append(key)
        for key in late:
            self._agenda.put_back(key)

    def _ends(self, pool: WorkerPool) -> list[JobResult]:
        """Wait until something ends, or there is something else to do."""
        now = time.monotonic()
        for key in self._running:
            if self._running[key] is None and pool.begun(key):
                self._running[key] = now
        seconds = self._seconds_to_next(pool, now)
        if self._running:
            return pool.wait(seconds)
        time.sleep(LOOK if seconds is None else seconds)
        return []

    def _seconds_to_next(self, pool: WorkerPool, now: float) -> float | None:
        moments = [] if self.budget.deadline is None else [self.budget.deadline]
        if (look := self._agenda.next_look) is not None:
            # What is due has no room while all work: only whether the other run has made it can be looked at then.
            moments.append(look if pool.free else max(look, now + LOOK))
        if self.options.timeout is not None:
            begun = [moment for moment in self._running.values() if moment is not None]
            moments += [moment + self.options.timeout for moment in begun]
        if len(self._running) > sum(moment is not None for moment in self._running.values()):
            moments.append(now + LOOK)
        return max(0.0, min(moments) - now) if moments else None

    def _overdue(self) -> list[str]:
        limit, now = self.options.timeout, time.monotonic()
        if limit is None:
            return []
        return [key for key, begun in self._running.items() if begun is not None and now - begun >= limit]

    def _given_up(self, key: str) -> Iterator[Event]:
        """Book a job as failed that took too long, unless its state was there before it was stopped."""
        del self._running[key]
        if self.store.has(key):
            yield from self._made(key)
            return
        reason = f"took longer than --timeout {durations.written(self.options.timeout or 0)}"
        failure = {"reason": reason, "lines": [], "traceback": "", "key": key, "time": time.time()}
        self.store.write_failure(key, failure)
        yield from self._fail(key, reason)

    def _ended(self, end: JobResult) -> Iterator[Event]:
        """What the end of a worker means."""
        begun = self._running.pop(end.key, None)
        if end.key not in self._agenda.jobs:  # nobody needs it any more
            return
        if end.exitcode == ExitCode.STORE_FULL:
            raise StoreError(self._last_words(end.key))
        if end.exitcode == ExitCode.LOCKED:
            self._busy.add(end.key)
            self._agenda.put_off(end.key, time.monotonic() + LOOK)
        elif end.exitcode == ExitCode.INPUT_MISSING:
            yield from self._lost(end.key)
        elif self.store.has(end.key):  # however the worker ended after that
            if begun is not None:
                self.budget.ended(self._agenda.jobs[end.key], time.monotonic() - begun)
            yield from self._made(end.key)
        elif end.exitcode == ExitCode.NOT_RUN and self._restarts[end.key] < RESTARTS:
            self._restart(end)
        elif self._may_try_again(end):
            self._put_back(end)
        else:
            yield from self._fail(end.key, self._reason(end))

    def _made(self, key: str) -> Iterator[Event]:
        """Go on from a state that is now in the store."""
        self.steps_left -= self._steps(self._agenda.done(key))
        yield from self._closed(key)

    def _found(self) -> Iterator[Event]:
        """Go on from the states that another run has made meanwhile."""
        for key in [key for key in self._busy if self.store.has(key)]:
            self._busy.discard(key)
            if key in self._agenda.jobs and key not in self._running:
                yield from self._made(key)

    def _lost(self, key: str) -> Iterator[Event]:
        """Make again what a job needs and the store has lost. Raises DataError when its data is other data now."""
        self._losses[key] += 1
        self._prepare_again(self.plan.nodes[key].trial.task)
        self._renew()
        if self._losses[key] > LOSSES:
            reason = f"entries that it needs were missing or damaged {LOSSES} times: is the store's disk sound?"
            yield from self._fail(key, reason)
        else:
            trial = self.plan.nodes[key].trial
            _log.warning("%s: an entry that it needs was missing or damaged; it is made again", trial)

    def _prepare_again(self, task: Task) -> None:
        """Verify a task's data, and make it again if it is damaged."""
        if self._prepare is None:
            return
        again = self._prepare(task)
        if again.fingerprint != self.prepared[task.label].fingerprint:
            raise DataError(f"the data set of {task.label} was changed while the run was on: run again")
        self.prepared[task.label] = again

    def _known(self, planned: PlannedTrial) -> Result | None:
        """The result of a trial that needs no work."""
        if planned.skipped:
            return self._without_figures(planned, "skipped", planned.skipped)
        if reason := self.without_data.get(planned.trial.task.label):
            return self._without_figures(planned, "failed", reason)
        return self._result(planned) if self.store.has(planned.key) else None

    def _result(self, planned: PlannedTrial) -> Result | None:
        """The result of a trial from its entry; none, and a warning, if that is damaged."""
        try:
            result = result_of(planned, self.store, self.registry, self._fingerprint(planned))
            self._warn(planned, result)
            return result
        except StoreError as error:
            _log.warning("%s: %s; it is made again", planned.trial, error)
            if isinstance(error, CorruptEntry):
                self.store.discard(planned.key)
            return None

    def _warn(self, planned: PlannedTrial, result: Result) -> None:
        """Say once of each task and method what its scores left undecided."""
        remark, place = undecided(result.metrics), (result.task, result.method)
        if remark and place not in self._warned:
            self._warned.add(place)
            _log.warning("%s: %s", planned.trial, remark)

    def _closed(self, key: str) -> Iterator[Event]:
        """The trials that end with this state, now that it is made or failed."""
        for planned in self._open.pop(key, []):
            if key in self._failed:
                yield Event(planned, self._without_figures(planned, "failed", self._failed[key]), cached=False)
            elif (result := self._result(planned)) is not None:
                yield Event(planned, result, cached=False)
            else:
                self._open.setdefault(key, []).append(planned)
        if key in self._open:
            yield from self._lost(key)

    def _without_figures(self, planned: PlannedTrial, status: Status, reason: str) -> Result:
        return unfinished(planned, status, reason, self.registry, self._fingerprint(planned), time.time())

    def _fingerprint(self, planned: PlannedTrial) -> str:
        prepared = self.prepared.get(planned.trial.task.label)
        return prepared.fingerprint if prepared else UNKNOWN_DATA

    def _failed_before(self) -> Iterator[Event]:
        """The trials that wait for what failed in an earlier run and is not to be retried."""
        for key in list(self._agenda.jobs):
            failure = self.store.failure(key)
            if failure is None or key in self._failed:
                continue
            if self.options.retry_failed:
                self.store.forget_failure(key)
            else:
                yield from self._fail(key, f"{failure['reason']} (failed before; --retry-failed tries again)")

    def _order(self, job: Job) -> JobSpec:
        node = self.plan.nodes[job.key]
        label = node.trial.task.label
        return JobSpec(
            trial=trial_to_plain(node.trial),
            protocol=self._protocols[label],
            path=job.path,
            parent=self.plan.nodes[job.path[0]].parent,
            needs=tuple(sorted(job.needs)),
            plugins=self.options.plugins,
            blocked=self.options.blocked,
            store=str(self.store.root),
            data=str(self.prepared[label].folder),
            fingerprint=self.prepared[label].fingerprint,
            seal=self.prepared[label].seal,
            device=self.options.device,
            threads=self.options.threads,
            environment=tuple(self.options.environment.items()),
            checkpoint_every=self.options.checkpoint_every,
            inputs=inputs_of(node.trial, self.prepared[label].fingerprint),
        )

    def _steps(self, job: Job) -> int:
        return sum(self.plan.nodes[key].steps for key in job.path)

    def _may_try_again(self, end: JobResult) -> bool:
        """A worker that was killed from outside may have better luck; an exception of its own is final."""
        lucky = bool(end.killer) or end.exitcode == ExitCode.OUT_OF_MEMORY
        self._kills[end.key] += lucky
        return lucky and self._kills[end.key] < ATTEMPTS

    def _put_back(self, end: JobResult) -> None:
        if end.exitcode == ExitCode.OUT_OF_MEMORY:  # it may have more room when what else runs there has ended
            self._agenda.put_off(end.key, time.monotonic() + ROOM)
        else:
            self._agenda.put_back(end.key)

    def _restart(self, end: JobResult) -> None:
        """Try a job again that was not at fault; what makes all of them end may be over in a moment."""
        rest = min(REST, 0.1 * 2 ** self._restarts[end.key]) if self._restarts[end.key] else 0.0
        self._restarts[end.key] += 1
        _log.info("%s: %s; it is started again", self.plan.nodes[end.key].trial, end.cause)
        self._agenda.put_off(end.key, time.monotonic() + rest)

    def _reason(self, end: JobResult) -> str:
        if end.exitcode == ExitCode.OUT_OF_MEMORY:
            return f"the GPU's memory did not suffice, {ATTEMPTS} times: {self._last_words(end.key)}"
        if end.killer:
            return f"its worker was killed by {end.killer} {ATTEMPTS} times (out of memory?)"
        if end.exitcode == ExitCode.NOT_RUN:
            return f"{end.cause or 'its worker was lost'}, {RESTARTS + 1} times"
        if end.exitcode == ExitCode.DONE:
            return "its worker said that it was done, and there is no entry in the store"
        failure = self.store.failure(end.key)
        return failure["reason"] if failure else end.cause or f"its worker stopped with exit code {end.exitcode}"

    def _last_words(self, key: str) -> str:
        """What the worker of a job printed last; a disk that is full may not even have had room for that."""
        try:
            lines = content_of(self.store.logs / f"{key}.log").decode("utf-8", "replace").split("\n")
        except OSError:
            lines = []
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return said or f"cannot write to the store {self.store.root}: make room, and the same command goes on from here"

    def _fail(self, key: str, reason: str) -> Iterator[Event]:
        """Book a job as failed, and every job that needs its state for the same reason."""
        for job in self._agenda.drop(key):
            self.steps_left -= self._steps(job)
            self._failed[job.key] = reason
            yield from self._closed(job.key)
