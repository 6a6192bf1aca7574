"""At scale: how long large suites take to plan, and how busy the scheduler keeps a simulated cluster.

    python benchmarks/scale.py                              into benchmarks/results; about five minutes
    python benchmarks/scale.py --workers 10 --trials 200 --plans 1000 --output /tmp/scale

The cluster is simulated by an executor whose workers take times of their own: 20 to 60 seconds a job, which pass on the
cluster's clock only. Jobs are performed in this process, a step of a network of four hidden units each, which takes no
time on that clock. What the scheduler needs between two jobs does: it is measured and added, so that a slow scheduler
leaves workers idle. Publishing is not part of it; `python benchmarks/load.py` measures that.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from findings import LOCKED
from load import megabytes_now

import prunebench
from prunebench import session
from prunebench.data.prepared import prepare
from prunebench.execution.open_trials import TaskData
from prunebench.execution.scheduler import Scheduler, SchedulerOptions
from prunebench.records.environment import commit, machine
from prunebench.store.entries import Store

SPARSITIES = 24
METHODS = "[random, snip, magnitude, {name: imp, rewind_to: 0}]"
SUITE = """
name: scale
tasks:
  - label: scale
    dataset: digits
    model: {{name: mlp, hidden: [4]}}
    recipe: {{steps: 1, batch_size: 32, optimizer: {{name: sgd, lr: 0.1}}}}
methods: {methods}
sparsities: {sparsities}
seeds: {seeds}
"""
SHORTEST, LONGEST = 20.0, 60.0
"""Seconds of a simulated job."""
MARKS = 10
"""The driver's memory is noted so many times."""


class Simulated(prunebench.Executor):
    """Workers that take the time of a cluster."""

    name = "simulated"
    pools: ClassVar[list[Pool]] = []
    slots: int = 100

    def open(self, context: prunebench.RunContext) -> prunebench.WorkerPool:
        self.pools.append(Pool(self.slots))
        return self.pools[-1]


class Pool(prunebench.WorkerPool):
    """Workers whose clock is moved on by what the scheduler needs, and to the end of the next job while it waits."""

    def __init__(self, slots: int) -> None:
        self.slots, self.now, self.worked, self.scheduling = slots, 0.0, 0.0, 0.0
        self._running: list[tuple[float, str, prunebench.JobSpec]] = []
        self._mark = time.perf_counter()

    @property
    def free(self) -> int:
        return self.slots - len(self._running)

    def submit(self, job: prunebench.JobSpec) -> None:
        self._pass_time()
        seconds = random.Random(job.key).uniform(SHORTEST, LONGEST)
        self.worked += seconds
        heapq.heappush(self._running, (self.now + seconds, job.key, job))

    def wait(self, timeout: float | None) -> list[prunebench.JobResult]:
        self._pass_time()
        self.now = max(self.now, self._running[0][0])
        ended = []
        while self._running and self._running[0][0] <= self.now:
            _, key, job = heapq.heappop(self._running)
            ended.append(prunebench.JobResult(key, prunebench.run_job(job)))
        self._mark = time.perf_counter()
        return ended

    def cancel(self, key: str) -> None:
        self._running = [one for one in self._running if one[1] != key]
        heapq.heapify(self._running)

    def shutdown(self) -> None:
        self._running = []

    def _pass_time(self) -> None:
        """Let the time that the scheduler took since the last call pass on the cluster too."""
        seconds = time.perf_counter() - self._mark
        self.now, self.scheduling, self._mark = self.now + seconds, self.scheduling + seconds, self._mark + seconds


def suite_of(trials: int, methods: str, folder: Path) -> Path:
    """A suite of about so many trials."""
    sparsities = [round(0.5 + 0.02 * index, 2) for index in range(SPARSITIES)]
    count = methods.count(",") + 1 - methods.count("{")
    path = folder / f"scale-{trials}.yaml"
    path.write_text(
        SUITE.format(methods=methods, sparsities=sparsities, seeds=max(1, trials // (SPARSITIES * count))), "utf-8"
    )
    return path


def planning(trials: int, folder: Path) -> dict[str, float]:
    """Processor time and memory of planning a suite of so many trials, in this process."""
    loaded = session.load_suite(suite_of(trials, "[random, snip, magnitude, gradual]", folder))
    task = loaded.trials[0].task
    prepared = {task.label: prepare(task.dataset, None, folder / "data")}
    session.plan_suite(session.load_suite(suite_of(1, "[random]", folder)), prepared)  # describes the network
    begun = time.process_time()
    plan = session.plan_suite(loaded, prepared)
    return {"trials": len(plan.trials), "seconds": time.process_time() - begun, "mb": megabytes_now()}


def cluster(workers: int, trials: int, folder: Path) -> dict[str, Any]:
    """How busy a simulated cluster is kept, and the memory of this process on the way."""
    loaded = session.load_suite(suite_of(trials, METHODS, folder))
    store = Store.open(folder / "store")
    task = loaded.trials[0].task
    prepared = {task.label: prepare(task.dataset, None, store.data)}
    options = SchedulerOptions(executor=Simulated(slots=workers), checkpoint_every=0)
    plan = session.plan_suite(loaded, prepared)
    scheduler = Scheduler(plan, store, loaded.registry, TaskData(prepared), options)
    memory, total = {0: megabytes_now()}, len(loaded.trials)
    for done, event in enumerate(scheduler.events(), 1):
        assert event.result.status == "done", event.result
        if done % max(1, total // MARKS) == 0:
            memory[done] = megabytes_now()
    (pool,) = Simulated.pools
    jobs = sum(1 for _ in (store.root / "states").glob("*/*/record.json"))
    return {
        "workers": workers,
        "trials": total,
        "jobs": jobs,
        "busy": pool.worked / (workers * pool.now),
        "hours": pool.now / 3600,
        "ms_a_job": 1000 * pool.scheduling / jobs,
        "memory_mb": memory,
    }


def in_new_process(section: str, *arguments: object) -> dict[str, Any]:
    """What a section finds in a new process, so that its memory is measured alone."""
    with tempfile.TemporaryDirectory(prefix="prunebench-scale-") as folder:
        command = [sys.executable, __file__, "--inside", folder, section, *map(str, arguments)]
        subprocess.run(command, check=True, cwd=folder)
        found: dict[str, Any] = json.loads(Path(folder, "found.json").read_text("utf-8"))
        return found


SECTIONS: dict[str, Callable[..., dict[str, Any]]] = {"planning": planning, "cluster": cluster}


def page(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    kept = found["cluster"]
    lines = [
        "# Scale",
        "",
        "| planned trials | seconds of one core | MB in use |",
        "| ---: | ---: | ---: |",
        *(f"| {one['trials']:,} | {one['seconds']:.1f} | {one['mb']:.0f} |" for one in found["planning"]),
        "",
        f"A simulated cluster of {kept['workers']} workers, with {kept['trials']:,} trials in {kept['jobs']:,} jobs of "
        f"{SHORTEST:.0f} to {LONGEST:.0f} s, is **{100 * kept['busy']:.1f} % busy** over {kept['hours']:.1f} hours of "
        "its clock, its end included, when fewer jobs are left than workers. The scheduler needs "
        f"{kept['ms_a_job']:.1f} ms for each job. Publishing, which runs beside it, is not counted.",
        "",
        "| finished trials | MB in use by the driver |",
        "| ---: | ---: |",
        *(f"| {int(done):,} | {mb:.0f} |" for done, mb in kept["memory_mb"].items()),
        "",
        f"Measured {found['date']} on {found['machine']}, commit {found['commit']}; load average before "
        f"{found['load']:.1f}" + (": other work shared the cores." if found["load"] > LOCKED else "."),
        "",
        "Written by `python benchmarks/scale.py`.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--trials", type=int, default=5000, help="of the simulated cluster")
    parser.add_argument("--plans", type=int, nargs="+", default=[10_000, 100_000], help="trials to plan")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--inside", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        folder, section, *numbers = asked.inside
        measured = SECTIONS[section](*map(int, numbers), Path(folder))
        Path(folder, "found.json").write_text(json.dumps(measured), "utf-8")
        return
    found: dict[str, Any] = {"load": os.getloadavg()[0], "date": time.strftime("%Y-%m-%d")}
    found |= {"machine": machine(), "commit": commit()}
    found["planning"] = [in_new_process("planning", trials) for trials in asked.plans]
    found["cluster"] = in_new_process("cluster", asked.workers, asked.trials)
    asked.output.mkdir(parents=True, exist_ok=True)
    (asked.output / "scale.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    (asked.output / "scale.md").write_text(page(found), "utf-8")
    print(page(found))


if __name__ == "__main__":
    main()
