"""The jobs that a store lacks, and the queue of those that are ready.

A job is a path of stages from one kept state to the next. Kept are the states that something else goes on from: ends
of trainings, branching points, what is rewound to, and what is before and after a stage that measures latencies. What
lies between is recomputed with the job, since it takes milliseconds and would only fill the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from heapq import heappop, heappush

from prunebench.api.runtimes import Measure
from prunebench.api.stages import Cut, Train
from prunebench.plan.planning import Plan


@dataclass(frozen=True)
class Job:
    """Stages to be performed one after the other; the last one's state is kept."""

    path: tuple[str, ...]
    """Keys of the nodes, first to last."""
    needs: frozenset[str]
    """Keys of the states that must be in the store before."""

    @property
    def key(self) -> str:
        return self.path[-1]


def kept_keys(plan: Plan) -> set[str]:
    """Keys of the nodes whose states go into the store."""
    kept = {trial.key for trial in plan.trials if trial.chain}
    kept |= {source for node in plan.nodes.values() for source in (node.source, *node.sources) if source}
    for key, children in plan.children().items():
        if any(runs_alone(plan, child) for child in children):
            kept |= {key, *(child for child in children if runs_alone(plan, child))}
        if len(children) > 1 or isinstance(plan.nodes[key].stage, Train):
            kept.add(key)
    return kept


def missing_jobs(plan: Plan, has: Callable[[str], bool], wanted: Iterable[str]) -> dict[str, Job]:
    """The jobs that bring the `wanted` states into the store, by the key of their last node.

    Args:
        has: whether the store has the state of a key.
    """
    kept, jobs = kept_keys(plan), dict[str, Job]()
    waiting = [key for key in wanted if not has(key)]
    while waiting:
        key = waiting.pop()
        if key not in jobs:
            jobs[key] = _job(plan, kept, key)
            waiting += [need for need in jobs[key].needs if not has(need)]
    return jobs


def _job(plan: Plan, kept: set[str], key: str) -> Job:
    path, needs = [key], set[str]()
    while (parent := plan.nodes[path[0]].parent) is not None and parent not in kept:
        path.insert(0, parent)
    if parent is not None:
        needs.add(parent)
    for step in path:
        node = plan.nodes[step]
        needs |= {source for source in (node.source, *node.sources) if source and source not in path}
    return Job(tuple(path), frozenset(needs))


def priorities(plan: Plan, jobs: dict[str, Job]) -> dict[str, int]:
    """For each job the optimizer steps of the longest chain that waits for it, its own included: do these first.

    Measurements in runtimes, during which nothing else runs, come last.
    """
    followers: dict[str, list[str]] = {key: [] for key in jobs}
    for job in jobs.values():
        for need in job.needs & jobs.keys():
            followers[need].append(job.key)
    found: dict[str, int] = {}
    for key in reversed(_in_order(jobs)):
        own = -1 if runs_alone(plan, key) else sum(plan.nodes[step].steps for step in jobs[key].path)
        found[key] = own + max((0, *(found[follower] for follower in followers[key])))
    return found


def runs_alone(plan: Plan, key: str) -> bool:
    """Whether nothing else may run meanwhile, because the job of this key measures latencies."""
    stage = plan.nodes[key].stage
    return isinstance(stage, Measure) or (isinstance(stage, Cut) and stage.unit == "latency")


def _in_order(jobs: dict[str, Job]) -> list[str]:
    """Keys of the jobs, each after those that it needs."""
    return list(TopologicalSorter({key: job.needs & jobs.keys() for key, job in jobs.items()}).static_order())


class ReadyQueue:
    """The jobs that are left, by urgency: the length of the chain that waits for a job. Deferred jobs come last.

    Args:
        running: keys of jobs that have been taken already.
    """

    def __init__(self, plan: Plan, jobs: dict[str, Job], running: Collection[str] = ()) -> None:
        self.jobs = jobs
        self._urgency = priorities(plan, jobs)
        self._lacking = {key: set(job.needs & jobs.keys()) for key, job in jobs.items()}
        self._followers: dict[str, list[str]] = {key: [] for key in jobs}
        for key, lacking in self._lacking.items():
            for need in lacking:
                self._followers[need].append(key)
        self._ready: list[tuple[int, str]] = []
        self._later: list[tuple[float, str]] = []
        for key, lacking in self._lacking.items():
            if not lacking and key not in running:
                self.put_back(key)

    def __bool__(self) -> bool:
        return bool(self.jobs)

    @property
    def next_look(self) -> float | None:
        """When the first deferred job is due."""
        return self._later[0][0] if self._later else None

    def take(self, now: float) -> str | None:
        """The key of the most urgent job that can begin; it is not given again unless it is put back."""
        while self._ready:
            key = heappop(self._ready)[1]
            if key in self.jobs:
                return key
        while self._later and self._later[0][0] <= now:
            key = heappop(self._later)[1]
            if key in self.jobs:
                return key
        return None

    def put_back(self, key: str) -> None:
        heappush(self._ready, (-self._urgency[key], key))

    def put_off(self, key: str, until: float) -> None:
        heappush(self._later, (until, key))

    def done(self, key: str) -> Job:
        """Take a job off, now that its state is in the store."""
        for follower in self._followers[key]:
            lacking = self._lacking[follower]
            lacking.discard(key)
            if not lacking and follower in self.jobs:
                self.put_back(follower)
        return self.jobs.pop(key)

    def drop(self, key: str) -> list[Job]:
        """Take a job off that failed, and all that wait for it."""
        dropped, waiting = list[Job](), [key]
        while waiting:
            if (one := waiting.pop()) in self.jobs:
                dropped.append(self.jobs.pop(one))
                waiting += self._followers[one]
        return dropped
