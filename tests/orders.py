"""The orders of a suite, and processes that carry them out, for the tests of what goes wrong in a worker."""

import dataclasses
import multiprocessing
import os
import sys
from pathlib import Path

from prunebench import session
from prunebench.api.executors import JobSpec
from prunebench.data.prepared import prepare
from prunebench.execution.job_specs import JobSpecs, WorkerSettings
from prunebench.plan.jobs import missing_jobs
from prunebench.store.entries import Store


def orders_of(loaded, store: Store, **changes) -> list[JobSpec]:
    """The orders that a store lacks, each after those that it needs."""
    prepared = {trial.task.label: prepare(trial.task.dataset, None, store.data) for trial in loaded.trials}
    plan = session.plan_suite(loaded, prepared)
    specs = JobSpecs(
        plan, loaded.registry, WorkerSettings(store=store.root, plugins=loaded.files, blocked=loaded.blocked)
    )
    jobs = missing_jobs(plan, store.has, [planned.key for planned in plan.trials if planned.chain])
    found, waiting = [], list(jobs.values())
    while waiting:
        job = next(job for job in waiting if not job.needs & {other.key for other in waiting})
        waiting.remove(job)
        spec = specs.spec_of(job, prepared[plan.nodes[job.key].trial.task.label])
        found.append(dataclasses.replace(spec, **changes))
    return found


def in_store(order: JobSpec, store: Store) -> JobSpec:
    """The same order on another store, which has the same data."""
    return dataclasses.replace(order, store=str(store.root))


class Child:
    """A process that carries out an order, after some code that may break it; it leads a group of its own."""

    def __init__(self, order: JobSpec, hook: str, log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["prunebench.execution.processes.preload"])
        self._log = log
        self._process = context.Process(target=_carried_out, args=(order, hook, str(log)))
        self._process.start()

    def is_over(self) -> bool:
        return self._process.exitcode is not None

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it printed."""
        self._process.join(300)
        return self._process.exitcode, self._log.read_text("utf-8")


def _carried_out(order: JobSpec, hook: str, log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from prunebench.execution import worker

    exec(hook, {})
    code = worker.run_job(order)
    sys.stdout.flush()
    os._exit(code)
