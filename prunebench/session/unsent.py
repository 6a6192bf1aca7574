"""Runs whose results did not all reach MLflow: the notes that they leave in the store, and sending the rest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from prunebench import registry as plugins
from prunebench.data import Prepared
from prunebench.errors import CorruptEntry, PrunebenchError, StoreError
from prunebench.execution.claims import running
from prunebench.execution.jobs import missing_jobs
from prunebench.execution.outcomes import stored_result
from prunebench.execution.progress import lost
from prunebench.identity import digest
from prunebench.plan import Plan, make_plan
from prunebench.session.loading import STORE, Loaded, asked_for, prepared_already
from prunebench.store import Store, is_older
from prunebench.suite.reading import from_plain, to_plain
from prunebench.tracking.retrying import PATIENCE, insisted
from prunebench.writing import replaced

UNSENT = "unsent"
"""The folder of a store with a note for each run whose results were not all sent."""


@contextmanager
def noted(loaded: Loaded, prepared: Mapping[str, Prepared], plan: Plan, store: Store) -> Iterator[Path]:
    """Write down what a run is about to send; the note goes when all has been sent, and `sync_all` reads it.

    A lock beside it says that the run is on.
    """
    note = {
        "suite": to_plain(loaded.suite),
        "trials": [str(trial) for trial in loaded.trials],
        "keys": {str(one.trial): one.key for one in plan.trials if one.chain},
        "prints": {label: data.fingerprint for label, data in prepared.items()},
        "files": loaded.files,
        "blocked": loaded.blocked,
        "origin": dict(loaded.origin),
    }
    path, lock = _place(store.root / UNSENT, digest(note))
    try:
        _write(path, json.dumps(note))
        yield path
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _place(folder: Path, name: str) -> tuple[Path, FileLock]:
    """Where a run's note goes, and the lock beside it, held: its own, where the same run is on a second time."""
    path = folder / f"{name}.json"
    lock = _lock_of(path)
    try:
        folder.mkdir(exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        return _place(folder, f"{name}-{uuid4().hex[:8]}")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return path, lock


def _write(path: Path, text: str) -> None:
    try:
        replaced(path, text.encode())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def _lock_of(note: Path) -> FileLock:
    return FileLock(note.with_suffix(".lock"))


@dataclass(frozen=True)
class Sent:
    """What sending the results of a suite came to; counts of trials."""

    suite: str
    """Its name; the note's file where that cannot be read."""
    sent: int = 0
    there: int = 0
    """Those that MLflow had already."""
    open: int = 0
    """Those that have no result yet."""
    damaged: int = 0
    """Those whose entry in the store is damaged; a run makes it again."""
    outdated: int = 0
    """Those whose result was made by other code or plugins than are here now; a run makes it again."""
    older: int = 0
    """Those whose result is of an older protocol; likewise."""
    unread: str = ""
    """Why nothing is known of them."""
    waiting: bool = False
    """Whether more is expected of a run that is on."""


def sync_suite(loaded: Loaded, *, store: Path = STORE, data: Path | None = None, patience: float = PATIENCE) -> Sent:
    """Send what the store has of a suite's results to MLflow, and run nothing; what is there is not sent again.

    Args:
        patience: seconds for which MLflow may fail without a break; it is tried again, ever less often.

    Raises:
        TrackingError: when MLflow cannot be reached.
    """
    known = prepared_already(loaded, data, store)
    prints = {label: found.fingerprint for label, found in known.items()}
    return _sent(loaded, prints, Store(store.resolve()), patience=patience)


def sync_all(store: Path = STORE, *, patience: float = PATIENCE) -> Iterator[Sent]:
    """The same for every suite whose last run in this store did not send all of its results.

    What cannot be sent then is not waited for any more, unless the run is still on: only another run can make it, and
    sends it.

    Raises:
        TrackingError: when MLflow cannot be reached.
        StoreError: for a note that cannot be taken away.
    """
    opened = Store(store.resolve())
    for path in sorted((opened.root / UNSENT).glob("*.json")):
        lock = _lock_of(path)
        try:
            with lock.acquire(timeout=0):
                sent = _sent_of(path, opened, patience)
                path.unlink(missing_ok=True)
                Path(lock.lock_file).unlink(missing_ok=True)
        except Timeout:
            sent = replace(_sent_of(path, opened, patience), waiting=True)
        except OSError as error:
            raise StoreError(f"cannot take {path} away: {error.strerror or error}") from error
        yield sent


def _sent_of(path: Path, store: Store, patience: float) -> Sent:
    """Send what a note is about. What it is called, when it cannot be read, is all that is known of it."""
    try:
        note = json.loads(path.read_text("utf-8"))
        name, prints, keys = str(note["suite"]["name"]), dict(note["prints"]), dict(note.get("keys", {}))
        loaded = _remembered(note)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Sent(str(path), unread=f"it is no note of a run: {error!r}")
    except PrunebenchError as error:
        return Sent(name, unread=str(error))
    return _sent(loaded, prints, store, keys, patience)


def _remembered(note: Mapping[str, Any]) -> Loaded:
    files, blocked = tuple(note["files"]), tuple(note["blocked"])
    registry = plugins.load(files, frozenset(blocked))
    suite, names = from_plain(note["suite"], registry), set(note["trials"])
    trials = tuple(trial for trial in suite.trials() if str(trial) in names)
    return Loaded(suite, trials, registry, files, blocked, note["origin"])


def _sent(
    loaded: Loaded,
    prints: Mapping[str, str],
    store: Store,
    keys: Mapping[str, str] = MappingProxyType({}),
    patience: float = PATIENCE,
) -> Sent:
    """Send what the store has of some trials.

    Args:
        keys: of the trials' last states when they were run, by name.
    """
    from prunebench.tracking import Tracker

    plan = make_plan(loaded.trials, prints)
    jobs = missing_jobs(plan, store, (one.key for one in plan.trials if one.chain))
    failures = lost(store, jobs, {work.key for work in running(store)})
    tracker = insisted(lambda: Tracker(patience=patience), patience)
    name, counts = loaded.suite.name, Counter[str]()
    published = tracker.published(name)
    for planned in plan.trials:
        try:
            result = stored_result(planned, store, loaded.registry, prints.get(planned.trial.task.label), failures)
        except CorruptEntry:
            counts["damaged"] += 1
            continue
        if result is None:
            before = keys.get(str(planned.trial))
            made = bool(before and planned.chain and before != planned.key and store.has(before))
            of_now = made and not is_older(store.folder(str(before)) / "record.json")
            counts["outdated" if of_now else "older" if made else "open"] += 1
            continue
        result = asked_for(result, loaded.origin)
        there = result.trial in published and published[result.trial].stands_against(result)
        counts["there" if there else "sent"] += 1
        tracker.publish(result)
    return Sent(
        name,
        sent=counts["sent"],
        there=counts["there"],
        open=counts["open"],
        damaged=counts["damaged"],
        outdated=counts["outdated"],
        older=counts["older"],
    )
