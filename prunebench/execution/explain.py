"""Explains cache misses: which part of a trial's chain the store lacks, and which key input changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prunebench.api.errors import CorruptEntry, PrunebenchError, StoreError
from prunebench.api.tasks import Trial
from prunebench.execution.key_inputs import DATA, PROTOCOL, VERSION, Inputs, in_no_key, inputs_of, is_of_code
from prunebench.messages.durations import is_date
from prunebench.messages.suggestions import nearest
from prunebench.plan.jobs import Job, missing_jobs
from prunebench.plan.planning import UNKNOWN_DATA, Plan, PlannedTrial
from prunebench.records.files import read_bytes
from prunebench.store.entries import Record, Store
from prunebench.store.locks import running

Kind = Literal[
    "stored",
    "skipped",
    "broken",
    "running",
    "failed",
    "without-data",
    "damaged",
    "changed",
    "unfinished",
    "unread",
    "never",
]
"""The status of a trial. `broken`: the code of its data set fails while it is planned. `unread`: its data was not read
here, so that its keys are not known. `without-data`: its data could not be read."""
NOT_SET = "not set"


@dataclass(frozen=True)
class Change:
    """A key input that changed."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Missing:
    """What a run would have to compute for a trial."""

    stage: str
    """The first stage that is missing."""
    place: int
    """Of that stage in the chain, counted from 1."""
    stages: int
    """Of the whole chain."""
    jobs: int
    steps: int


@dataclass(frozen=True)
class Reason:
    """Why a trial is not taken from the store; or that it is."""

    kind: Kind
    text: str
    changes: tuple[Change, ...] = ()
    since: float = 0.0
    """When the entry was made that the changes are counted from, in Unix seconds."""
    missing: Missing | None = None


def trial_named(plan: Plan, name: str) -> PlannedTrial:
    """The trial that a progress line calls so: `task/method/sparsity/seed`. Raises PrunebenchError."""
    trials = {str(planned.trial): planned for planned in plan.trials}
    if name in trials:
        return trials[name]
    near = nearest(name, trials, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"they are called like {next(iter(trials), 'none')!r}"
    raise PrunebenchError(f"the suite has no trial {name!r}; {hint}")


def why(planned: PlannedTrial, plan: Plan, store: Store, fingerprint: str = UNKNOWN_DATA) -> Reason:
    """Why a trial of a plan is not taken from the store; reads the store and changes nothing.

    Args:
        fingerprint: of the trial's data; by default that is not known.
    """
    if planned.skipped:
        return Reason("skipped", planned.skipped)
    if planned.failed:
        return Reason("broken", planned.failed)
    if store.has(planned.key):
        trouble = _damage(store, planned.key)
        return Reason("damaged", trouble) if trouble else Reason("stored", str(store.folder(planned.key)))
    jobs = missing_jobs(plan, store.has, [planned.key])
    first = next(job for job in jobs.values() if not job.needs & jobs.keys())
    missing = _missing(planned, plan, jobs, first)
    found = _obstacle(store, jobs, first) or _compare_inputs(planned, plan, store, first, fingerprint)
    return Reason(found.kind, found.text, found.changes, found.since, missing)


def _damage(store: Store, key: str) -> str:
    """What is wrong with the bytes of an entry, or nothing."""
    try:
        store.tensors(key, store.record(key))
    except CorruptEntry as error:
        return str(error)
    except StoreError:  # it went away meanwhile
        pass
    return ""


def _missing(planned: PlannedTrial, plan: Plan, jobs: Mapping[str, Job], first: Job) -> Missing:
    node = plan.nodes[first.path[0]]
    chain = planned.chain
    # Another trial may split a training of this one, so that its first half is no stage of this chain.
    place = next((chain.index(key) for key in first.path if key in chain), len(chain) - 1)
    steps = sum(plan.nodes[key].steps for job in jobs.values() for key in job.path)
    return Missing(node.summary, place + 1, len(chain), len(jobs), steps)


def _obstacle(store: Store, jobs: Mapping[str, Job], first: Job) -> Reason | None:
    """Why the missing jobs are not done: one runs, failed before, or has a damaged input."""
    for work in running(store):
        if work.key in jobs:
            return Reason("running", f"on {work.host}, process {work.pid}: {work.trial}, {work.stage}")
    for key in jobs:
        if failure := store.failure(key):
            return Reason("failed", str(failure.get("reason", "")), since=float(failure.get("time", 0.0)))
    for key in sorted(first.needs):
        if trouble := _damage(store, key):
            return Reason("damaged", trouble)
    return None


def _compare_inputs(planned: PlannedTrial, plan: Plan, store: Store, first: Job, fingerprint: str) -> Reason:
    """What changed since the nearest entry that was computed for the trial, or for one that it shares stages with."""
    for trial in _related_trials(planned, plan, first):
        if records := list(_records_of(str(trial), store)):
            found = _compare_with(records, inputs_of(trial, fingerprint), plan, fingerprint)
            if trial is planned.trial or found.kind != "unfinished":
                return found
    if fingerprint == UNKNOWN_DATA:
        return Reason("unread", "its data was not read here yet, and nothing in the store was made for it")
    return Reason("never", "nothing in the store was made for it")


def _related_trials(planned: PlannedTrial, plan: Plan, first: Job) -> Iterable[Trial]:
    """The trial itself, and those that its last or its missing stage is recorded for."""
    trials = (planned.trial, plan.nodes[planned.key].trial, plan.nodes[first.key].trial)
    return {str(trial): trial for trial in trials}.values()


def _records_of(name: str, store: Store) -> Iterator[Record]:
    """The entries that were computed for a trial; most others are skipped without parsing them."""
    mark = f'"trial": {json.dumps(name)}'.encode()
    for path in store.root.glob("states/*/*/record.json"):
        try:
            if mark in read_bytes(path):
                yield store.record(path.parent.name)
        except (OSError, StoreError):  # it went away meanwhile, or is damaged
            continue


def _compare_with(records: Iterable[Record], now: Inputs, plan: Plan, fingerprint: str) -> Reason:
    sound = [record for record in records if isinstance(record.get("inputs"), dict) and is_date(record.get("finished"))]
    known = [(_differences(record["inputs"], now), record) for record in sound if record["inputs"]]
    if not known:
        return Reason("changed", "what it was made from before was not written down")
    changes, record = min(known, key=lambda pair: (len(_changes_in_keys(pair[0])), -pair[1]["finished"]))
    since, direct = record["finished"], _changes_in_keys(changes)
    if record["key"] in plan.nodes:
        return Reason("unfinished", "it was begun, and its end was never made or is gone", (), since)
    if versions := _versions(direct, now):  # whatever the data is
        return Reason("changed", f"{versions}: it is computed anew", direct, since)
    if fingerprint == UNKNOWN_DATA:
        text = "its data was not read here, or is not what was read: a run reads it and finds out"
        return Reason("unread", text, direct, since)
    if direct:
        return Reason("changed", "an input of its keys is not what it was", direct, since)
    return Reason("changed", "its chain of stages is another one", changes, since)


def _versions(changes: Iterable[Change], now: Inputs) -> str:
    """The versions that differ from those of the stored result; empty where none does."""
    texts = []
    for change in changes:
        kind = change.name.removesuffix(VERSION)
        if change.name == PROTOCOL:
            texts.append(_protocols(change))
        elif kind != change.name and NOT_SET not in (change.before, change.after):
            what = f"{kind} {now.get(f'{kind}.name', '')}".strip()
            texts.append(f"{what} is version {change.after}, the stored result is of version {change.before}")
    return "; ".join(texts)


def _protocols(change: Change) -> str:
    if change.before == NOT_SET:
        return f"the protocol is version {change.after}, the stored result is of an older one that says no version"
    older = int(change.before) < int(change.after)
    return (
        f"the protocol is version {change.after}, the stored result is of {'older' if older else 'newer'} "
        f"version {change.before}"
    )


def _differences(before: Inputs, after: Inputs) -> tuple[Change, ...]:
    names = [*after, *(name for name in before if name not in after)]
    return tuple(
        Change(name, _text_of(before.get(name)), _text_of(after.get(name)))
        for name in names
        if before.get(name) != after.get(name) and not (name == DATA and after.get(name) == UNKNOWN_DATA)
    )


def _changes_in_keys(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Those that are in the keys: of results of another protocol, the parameters and the data beside the protocol."""
    changes = tuple(change for change in changes if not in_no_key(change.name))
    if all(change.name != PROTOCOL for change in changes):
        return changes
    return tuple(change for change in changes if change.name == PROTOCOL or not is_of_code(change.name))


def _text_of(value: str | int | float | bool | None) -> str:
    if value is None:
        return NOT_SET
    return str(value).lower() if isinstance(value, bool) else str(value)
