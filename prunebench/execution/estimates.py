"""Estimates of what a plan costs: trainings with and without sharing, seconds, bytes."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from prunebench.api import times
from prunebench.api.errors import StoreError
from prunebench.api.layers import Network
from prunebench.api.methods import method_of
from prunebench.api.stages import Cut, Prune, PruneLayerwise, Reconstruct, Train
from prunebench.api.tasks import Trial
from prunebench.messages.durations import LATEST
from prunebench.network.description import describe
from prunebench.plan.jobs import Job, kept_keys, missing_jobs
from prunebench.plan.planning import Node, Plan, expected_flops
from prunebench.pruning.layerwise import HELD_OUT
from prunebench.store.entries import Record, Store

SECONDS_A_STEP = {"cpu": 4e-4, "cuda": 1e-3}
"""Of an optimizer step of a small network on one core and on a GPU, before anything was measured."""
SECONDS_A_LAYER = {"cpu": 0.0, "cuda": 3e-4}
"""Of a step for each layer, likewise: on a GPU kernels of small layers take longer to be started than to run."""
FLOPS_A_SECOND = {"cpu": 8e10, "cuda": 1e13}
"""Of one core and of a GPU, likewise."""
PASSES_LAYERWISE = 5
"""Times that an example is multiplied through the network while its layers are pruned one after the other: dense and
pruned layers, the moments of their inputs, the errors of their outputs."""
SECONDS_A_JOB = 0.5
"""Of a job besides its steps: to start its process, to read and write states, to send the result."""
SAMPLES = 20
BYTES_A_WEIGHT = 4
COPIES = 3
"""Of each weight in a state: its value and, for Adam, two moments."""


@dataclass(frozen=True)
class Duration:
    """How long it takes to run what the store lacks of a plan."""

    seconds: float
    """Of one worker."""
    longest: float
    """Seconds of the longest chain of jobs that wait for each other."""
    basis: str
    """What this is based on."""

    def of(self, workers: int) -> float:
        """Seconds of several workers that start as soon as they can."""
        return max(self.seconds / workers, self.longest)


@dataclass(frozen=True)
class Estimate:
    """Of a whole plan; `jobs`, `steps`, `seconds` and `bytes` are of what the store lacks."""

    trials: int
    cached: int
    skipped: dict[str, list[str]] = field(repr=False)
    """Trials by the reason why they are skipped."""
    failed: dict[str, list[str]] = field(repr=False)
    """Trials by the reason why they fail before anything is run."""
    stages_alone: int
    stages: int
    jobs: int
    steps: int
    flops_alone: float
    flops_shared: float
    seconds: float
    """Of one worker."""
    longest: float
    """Seconds that any number of workers needs at least."""
    basis: str
    """What the seconds are based on."""
    bytes: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def estimate(plan: Plan, store: Store, device: str = "cpu") -> Estimate:
    """What a plan costs on one core or one GPU; reads a few records of the store for the speed of this machine."""
    jobs = missing_jobs(plan, store.has, (planned.key for planned in plan.trials if planned.chain))
    nodes = [plan.nodes[key] for job in jobs.values() for key in job.path]
    time = duration(plan, store, device)
    return Estimate(
        trials=len(plan.trials),
        cached=sum(bool(planned.chain) and store.has(planned.key) for planned in plan.trials),
        skipped=_by_reason((one.trial, one.skipped) for one in plan.trials),
        failed=_by_reason((one.trial, one.failed) for one in plan.trials),
        stages_alone=sum(len(planned.chain) for planned in plan.trials),
        stages=len(plan.nodes),
        jobs=len(jobs),
        steps=sum(node.steps for node in nodes),
        flops_alone=_flops_alone(plan),
        flops_shared=sum(_flops(node) for node in plan.nodes.values()),
        seconds=time.seconds,
        longest=time.longest,
        basis=time.basis,
        bytes=sum(_bytes(plan.nodes[key]) for key in jobs),
    )


def duration(plan: Plan, store: Store, device: str) -> Duration:
    """How long it takes to run what a store lacks of a plan, on one core or one GPU for each worker."""
    jobs = missing_jobs(plan, store.has, (planned.key for planned in plan.trials if planned.chain))
    seconds_of_job, basis = seconds_of(plan, store, device)
    own = {key: SECONDS_A_JOB + seconds_of_job(job) for key, job in jobs.items()}
    ends: dict[str, float] = {}
    for key in graphlib.TopologicalSorter({key: job.needs & jobs.keys() for key, job in jobs.items()}).static_order():
        ends[key] = own[key] + max((ends[need] for need in jobs[key].needs & jobs.keys()), default=0.0)
    return Duration(sum(own.values()), max(ends.values(), default=0.0), basis)


def _by_reason(trials: Iterable[tuple[Trial, str]]) -> dict[str, list[str]]:
    """The names of trials by the reasons given with them; those without one are left out."""
    found: dict[str, list[str]] = {}
    for trial, reason in trials:
        if reason:
            found.setdefault(reason, []).append(str(trial))
    return found


def seconds_of(plan: Plan, store: Store, device: str) -> tuple[Callable[[Job], float], str]:
    """How long a job of a plan takes on `cpu` or `cuda`, as a function; and what that is based on."""
    step_seconds, basis = _step_seconds(plan, store, device)

    def seconds(job: Job) -> float:
        nodes = [plan.nodes[key] for key in job.path]
        evaluated = 0.0 if isinstance(nodes[-1].stage, Train) else _evaluation_flops(nodes[-1]) / FLOPS_A_SECOND[device]
        return sum(_seconds(node, step_seconds, device) for node in nodes) + evaluated

    return seconds, basis


def _network(node: Node) -> Network:
    return describe(node.trial.task)


def _flops(node: Node) -> float:
    return expected_flops(node, _network(node))


def _flops_alone(plan: Plan) -> float:
    """Each trial's whole chain, as if nothing were shared."""
    known: dict[str, float] = {}
    return sum(_flops_from_root(plan, planned.key, known) for planned in plan.trials if planned.chain)


def _flops_from_root(plan: Plan, key: str, known: dict[str, float]) -> float:
    """FLOPs of a node and all that it needs."""
    if key in known:
        return known[key]
    if plan.nodes[key].sources:
        return known.setdefault(key, sum(_flops(plan.nodes[one]) for one in _needed(plan, plan.nodes[key].sources)))
    path = [key]
    while (parent := plan.nodes[path[-1]].parent) is not None and parent not in known:
        path.append(parent)
    total = known[parent] if parent is not None else 0.0
    if plan.nodes[path[-1]].sources:
        total += _flops_from_root(plan, path.pop(), known)
    for step in reversed(path):
        total += _flops(plan.nodes[step])
        known[step] = total
    return total


def _needed(plan: Plan, keys: Iterable[str]) -> set[str]:
    """Some nodes and all before them, each once."""
    found, waiting = set[str](), list(keys)
    while waiting:
        if (key := waiting.pop()) not in found:
            found.add(key)
            waiting += [parent] if (parent := plan.nodes[key].parent) is not None else []
    return found


def _step_seconds(plan: Plan, store: Store, device: str) -> tuple[float | None, str]:
    """Seconds of one optimizer step as measured by trainings in the store on such a device, or None."""
    measured = list(_measured(plan, store, device))
    if measured:
        return median(measured), f"measured on {len(measured)} stages of the store"
    return None, "a guess: nothing of this suite was measured yet"


def _measured(plan: Plan, store: Store, device: str) -> Iterable[float]:
    found = 0
    for key in kept_keys(plan):
        if found == SAMPLES:
            return
        if store.has(key):
            try:
                record = store.record(key)
            except StoreError:
                continue
            seconds, own = _step_seconds_in(record)
            if seconds is not None and own == device:
                found += 1
                yield seconds


def _step_seconds_in(record: Record) -> tuple[float | None, str]:
    """How long a step took, and on what device; None where the record does not say, or nonsense."""
    try:
        cost, on_cpu = record["state"]["cost"], record["environment"].get("device", "cpu") == "cpu"
        seconds = float(cost["wall_seconds"] / cost["steps"])
    except (KeyError, TypeError, AttributeError, ArithmeticError):
        return None, ""
    return seconds if 0 <= seconds <= LATEST else None, "cpu" if on_cpu else "cuda"


def _seconds(node: Node, step_seconds: float | None, device: str) -> float:
    if not isinstance(node.stage, Train):
        return _pruning_flops(node) / FLOPS_A_SECOND[device]
    if step_seconds is not None:
        return node.steps * step_seconds
    # The dense engine skips no zeros, and nor does an evaluation.
    trained = _flops(node) / (1.0 if node.engine == "sparse" else max(node.density, 1e-3))
    flops = trained + _evaluations(node) * _evaluation_flops(node)
    step = SECONDS_A_STEP[device] + SECONDS_A_LAYER[device] * len(_network(node).layers)
    return node.steps * step + flops / FLOPS_A_SECOND[device]


def _pruning_flops(node: Node) -> float:
    """Of what finds masks or weights without a training."""
    stage, by, network = node.stage, method_of(node.stage), _network(node)
    if isinstance(stage, (PruneLayerwise, Reconstruct)):
        return PASSES_LAYERWISE * (stage.examples + HELD_OUT) * network.flops
    if isinstance(stage, (Prune, Cut)) and by is not None:
        try:
            rounds = stage.rounds if isinstance(stage, Prune) else 1
            return rounds * float(by.scoring_flops(network, node.density))
        except Exception:  # of the method's own code, which fails again where it counts
            return 0.0
    return 0.0


def _evaluations(node: Node) -> float:
    """How many times a training is evaluated."""
    interval = max(1, times.step_of(node.trial.task.recipe.evaluate_every, node.trial.task.clock))
    return max(1.0, node.steps / interval)


def _evaluation_flops(node: Node) -> float:
    """Of one evaluation, on all test and validation examples."""
    task = node.trial.task
    return (task.facts.test + task.recipe.validation) * _network(node).flops


def _bytes(node: Node) -> float:
    network = _network(node)
    rest = network.parameters - network.size
    return COPIES * BYTES_A_WEIGHT * (network.size * node.density + rest) + network.size / 8
