"""The scheduler: runs the jobs that are ready, and closes the trials that end with what they made.

    OpenTrials    trials without a result; a `Result` for each that comes to its end
    ReadyQueue    jobs that are left, the most urgent first
    RunningJobs   jobs that the worker pool has; `Retries` decides what follows a worker's end
    Scheduler     the loop: submit what is ready, wait, act on what ended

A job that fails takes along every job that needs its state.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prunebench.api.errors import StoreError
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
from prunebench.api.registry import Registry
from prunebench.execution.budget import Budget
from prunebench.execution.job_specs import JobSpecs, WorkerSettings
from prunebench.execution.open_trials import Event, OpenTrials, TaskData
from prunebench.execution.running_jobs import Retries, Retry, RunningJobs, failure_reason, last_log_line
from prunebench.messages import durations
from prunebench.plan.jobs import Job, ReadyQueue, missing_jobs, runs_alone
from prunebench.plan.planning import Plan, PlannedTrial
from prunebench.store.collection import remove_leftovers
from prunebench.store.entries import Store

LOSSES = 5
"""How often the input of a job is computed again, before the disk is taken to be at fault."""
POLL_INTERVAL = 1.0
"""Seconds until a job that another run has locked is looked at again, and between looks at jobs that wait to begin and
at whether the run is to stop."""
EXECUTOR = "local"
"""The executor when none is named."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SchedulerOptions:
    """How to run, which never changes the results."""

    executor: Executor | None = None
    """By default the one called `local`."""
    workers: int | None = None
    """Jobs at a time; by default as many as the executor has room for."""
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
    """When everything is stopped, by the clock of `time.monotonic()`."""
    stop: threading.Event | None = None
    """Set from outside to stop everything, as the deadline does."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions and machine, for the record."""

    def worker_settings(self, store: Store) -> WorkerSettings:
        return WorkerSettings(
            store=store.root,
            plugins=self.plugins,
            blocked=self.blocked,
            device=self.device,
            threads=self.threads,
            checkpoint_every=self.checkpoint_every,
            environment=self.environment,
        )

    def run_context(self, store: Store) -> RunContext:
        return RunContext(
            store=store.root,
            workers=self.workers,
            threads=self.threads,
            device=self.device,
            plugins=self.plugins,
            blocked=self.blocked,
            resources=self.resources,
        )


def named_executor(registry: Registry, name: str = EXECUTOR) -> Executor:
    """The executor of that name, with its default parameters. Raises PluginError with the nearest name."""
    found = registry.find("executor", name)[0]()
    assert isinstance(found, Executor)
    return found


class Scheduler:
    """Runs what the store lacks of a plan."""

    def __init__(self, plan: Plan, store: Store, registry: Registry, data: TaskData, options: SchedulerOptions) -> None:
        self.plan, self.store = plan, store
        self.budget = Budget(options.deadline, plan, store, options.device, options.checkpoint_every > 0)
        self.steps_left = 0
        """Optimizer steps of the jobs that are not done yet, for progress bars."""
        self._registry, self._data, self._options = registry, data, options
        self._specs = JobSpecs(plan, registry, options.worker_settings(store))
        self._trials = OpenTrials(plan, store, registry, data)
        self._queue = ReadyQueue(plan, {})
        self._running = RunningJobs()
        self._retries = Retries()
        self._locked: set[str] = set()
        """Jobs that another run had locked when they were last tried."""
        self._failed: dict[str, str] = {}
        """Reasons by the keys of the jobs."""
        self._losses: Counter[str] = Counter()

    @property
    def open_trials(self) -> list[PlannedTrial]:
        """The trials without a result: none after a run, unless its time was up or it was stopped."""
        return list(self._trials)

    @property
    def stamps(self) -> Mapping[str, str]:
        """Of each last state that became a result, by its key, `Store.stamp` before it was read."""
        return self._trials.stamps

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return self._options.device

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was reported of results whose scores left something undecided."""
        return tuple(self._trials.warnings.values())

    @property
    def is_complete(self) -> bool:
        """Whether the store has the last state of every trial, so that there is most likely nothing to run."""
        return all(planned.chain and self.store.has(planned.key) for planned in self.plan.trials)

    @property
    def has_work(self) -> bool:
        """Whether a job will have to run, unless it failed in an earlier run."""
        ready = (planned for planned in self.plan.trials if not self._data.why_missing(planned.trial))
        return any(planned.chain and not self.store.has(planned.key) for planned in ready)

    @property
    def outlook(self) -> str:
        """How long the shortest job takes that is left; nothing when none is."""
        if not self._queue:
            return ""
        seconds = min(self.budget.estimate(job) for job in self._queue.jobs.values())
        return f"the shortest job that is left takes about {durations.rounded(seconds)} ({self.budget.basis})"

    def spec_of(self, job: Job) -> JobSpec:
        """What a worker gets to perform a job."""
        return self._specs.spec_of(job, self._data.of(self.plan.nodes[job.key].trial.task))

    def events(self) -> Iterator[Event]:
        """Run until every trial is done, failed or skipped, the time is up or `stop` is set; yields each trial once.

        Raises StoreError when the store cannot be written to.
        """
        remove_leftovers(self.store)
        yield from self._trials.open()
        self._plan_jobs()
        yield from self._fail_what_failed_before()
        if self._queue:
            executor = self._options.executor or named_executor(self._registry)
            with executor.open(self._options.run_context(self.store)) as pool:
                _log.info("%s", pool.place or f"executor {executor.name}")
                yield from self._loop(pool)

    def _plan_jobs(self) -> None:
        """Find the jobs that the open trials lack."""
        self._queue = ReadyQueue(self.plan, missing_jobs(self.plan, self.store.has, self._trials.keys), self._running)
        self.steps_left = sum(self._steps(job) for job in self._queue.jobs.values())

    def _steps(self, job: Job) -> int:
        return sum(self.plan.nodes[key].steps for key in job.path)

    def _fail_what_failed_before(self) -> Iterator[Event]:
        """The trials that need a job which failed in an earlier run and is not to be retried."""
        for key in list(self._queue.jobs):
            failure = self.store.failure(key)
            if failure is None or key in self._failed:
                continue
            if self._options.retry_failed:
                self.store.forget_failure(key)
            else:
                yield from self._fail(key, f"{failure['reason']} (failed before; --retry-failed tries again)")

    # --- the loop

    def _loop(self, pool: WorkerPool) -> Iterator[Event]:
        while self._queue and not self.budget.over and not self._is_stopped:
            yield from self._take_over_finished()
            self._submit_ready(pool)
            if pool.free and not self._running and self._queue.next_look is None:
                return  # no job that is left fits into the time that is left
            for result in self._wait(pool):
                yield from self._handle(result)
            for key in self._running.overdue(self._options.timeout):
                pool.cancel(key)
                yield from self._time_out(key)

    @property
    def _is_stopped(self) -> bool:
        return self._options.stop is not None and self._options.stop.is_set()

    def _take_over_finished(self) -> Iterator[Event]:
        """Go on from the states that another run has computed in the meantime."""
        for key in [key for key in self._locked if self.store.has(key)]:
            self._locked.discard(key)
            if key in self._queue.jobs and key not in self._running:
                yield from self._complete(key)

    def _submit_ready(self, pool: WorkerPool) -> None:
        """Fill the pool with the most urgent jobs that end in time; one that measures latencies runs alone."""
        left = []
        while pool.free and not self._measuring and (key := self._queue.take(time.monotonic())) is not None:
            if key in self._running:  # ready a second time: its input was lost, and computed again, while it ran
                continue
            if self._running and runs_alone(self.plan, key):
                left.append(key)
                break
            if self.budget.fits(self._queue.jobs[key]):
                pool.submit(self.spec_of(self._queue.jobs[key]))
                self._running.add(key)
            else:
                left.append(key)
        for key in left:
            self._queue.put_back(key)

    @property
    def _measuring(self) -> bool:
        """Whether the job that runs must run alone."""
        return any(runs_alone(self.plan, key) for key in self._running)

    def _wait(self, pool: WorkerPool) -> list[JobResult]:
        """Wait until a job ends, or there is something else to do."""
        now = time.monotonic()
        self._running.note_begun(pool, now)
        seconds = self._seconds_to_next(pool, now)
        if self._running:
            return pool.wait(seconds)
        time.sleep(POLL_INTERVAL if seconds is None else seconds)
        return []

    def _seconds_to_next(self, pool: WorkerPool, now: float) -> float | None:
        """Until when to wait at most; None for as long as it takes."""
        moments = [] if self.budget.deadline is None else [self.budget.deadline]
        if (look := self._queue.next_look) is not None:
            # While all workers are busy, a job that is due cannot begin: only whether another run has computed its
            # state can be looked up then.
            moments.append(look if pool.free else max(look, now + POLL_INTERVAL))
        if self._options.timeout is not None:
            moments += self._running.deadlines(self._options.timeout).values()
        if self._running.some_wait or self._options.stop is not None:
            moments.append(now + POLL_INTERVAL)
        return max(0.0, min(moments) - now) if moments else None

    # --- what the end of a job means

    def _handle(self, result: JobResult) -> Iterator[Event]:
        """Act on the end of a worker."""
        key, started = result.key, self._running.remove(result.key)
        if key not in self._queue.jobs:  # no trial needs it any more
            return
        if result.exitcode == ExitCode.STORE_FULL:
            raise StoreError(last_log_line(key, self.store))
        if result.exitcode == ExitCode.LOCKED:
            self._locked.add(key)
            self._queue.put_off(key, time.monotonic() + POLL_INTERVAL)
        elif result.exitcode == ExitCode.INPUT_MISSING:
            yield from self._recompute_input(key)
        elif self.store.has(key):  # however the worker ended after that
            if started is not None:
                self.budget.ended(self._queue.jobs[key], time.monotonic() - started)
            yield from self._complete(key)
        else:
            yield from self._retry_or_fail(result)

    def _retry_or_fail(self, result: JobResult) -> Iterator[Event]:
        retry, seconds = self._retries.decide(result)
        if result.exitcode == ExitCode.NOT_RUN and retry is not Retry.NEVER:
            _log.info("%s: %s; it is started again", self.plan.nodes[result.key].trial, result.cause)
        if retry is Retry.AT_ONCE:
            self._queue.put_back(result.key)
        elif retry is Retry.LATER:
            self._queue.put_off(result.key, time.monotonic() + seconds)
        else:
            yield from self._fail(result.key, failure_reason(result, self.store))

    def _time_out(self, key: str) -> Iterator[Event]:
        """Record a job as failed that took too long, unless its state was there before it was stopped."""
        self._running.remove(key)
        if self.store.has(key):
            yield from self._complete(key)
            return
        reason = f"took longer than --timeout {durations.written(self._options.timeout or 0)}"
        failure = {"reason": reason, "lines": [], "traceback": "", "key": key, "time": time.time()}
        self.store.write_failure(key, failure)
        yield from self._fail(key, reason)

    def _complete(self, key: str) -> Iterator[Event]:
        """Go on from a state that is in the store now."""
        self.steps_left -= self._steps(self._queue.done(key))
        yield from self._trials.close(key)
        if self._trials.is_open(key):  # it could not be read
            yield from self._recompute_input(key)

    def _recompute_input(self, key: str) -> Iterator[Event]:
        """Compute again what the store has lost. Raises DataError when the data of the task is other data now."""
        trial = self.plan.nodes[key].trial
        self._losses[key] += 1
        self._data.verify(trial.task)
        self._plan_jobs()
        if self._losses[key] > LOSSES:
            reason = f"entries that it needs were missing or damaged {LOSSES} times: is the store's disk sound?"
            yield from self._fail(key, reason)
        else:
            _log.warning("%s: an entry that it needs was missing or damaged; it is computed again", trial)

    def _fail(self, key: str, reason: str) -> Iterator[Event]:
        """Record a job as failed, and every job that needs its state for the same reason."""
        for job in self._queue.drop(key):
            self.steps_left -= self._steps(job)
            self._failed[job.key] = reason
            yield from self._trials.fail(job.key, reason)
