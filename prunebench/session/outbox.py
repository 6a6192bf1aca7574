"""The outbox: notes in the store of runs whose results did not all reach MLflow, and sending the rest."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any
from uuid import uuid4

from annotated_types import Predicate
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from prunebench.api import plugins
from prunebench.api.errors import CorruptEntry, PrunebenchError, StoreError, SuiteError
from prunebench.api.registry import Registry
from prunebench.api.tasks import Suite
from prunebench.data.prepared import Prepared
from prunebench.execution.progress import lost
from prunebench.execution.results import stored_result
from prunebench.plan.jobs import missing_jobs
from prunebench.plan.planning import Plan, make_plan
from prunebench.records.files import read_json, remove, remove_unless_folder, write_store_file
from prunebench.records.keys import digest
from prunebench.session.loading import LoadedSuite, prepared_already, with_origin
from prunebench.session.run_options import STORE
from prunebench.store.entries import Store, is_older
from prunebench.store.locks import make_way, running
from prunebench.suite.annotations import first_error
from prunebench.suite.reading import from_plain, to_plain
from prunebench.tracking.retrying import PATIENCE, insisted

UNSENT = "unsent"
"""The folder of a store with a note for each run whose results were not all sent."""


def is_key(text: str) -> bool:
    """Whether a text could be the key of an entry: with any other, a path could lead out of the store."""
    return len(text) == 32 and set(text) <= set("0123456789abcdef")


Key = Annotated[str, Predicate(is_key)]


@contextmanager
def pending(loaded: LoadedSuite, prepared: Mapping[str, Prepared], plan: Plan, store: Store) -> Iterator[Path]:
    """Write a note of the results that a run will send; it is removed once all are sent, and `sync_all` reads it.

    A lock beside it is held while the run goes on.
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
    path, lock = _open_note(store.root / UNSENT, digest(note))
    try:
        _write(path, json.dumps(note))
        yield path
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _open_note(folder: Path, name: str) -> tuple[Path, FileLock]:
    """Where a run's note goes, and the lock beside it, held: its own, where the same run is on a second time."""
    path = folder / f"{name}.json"
    lock = _lock_of(path)
    try:
        remove_unless_folder(folder)
        folder.mkdir(exist_ok=True)
        make_way(Path(lock.lock_file))
        lock.acquire(timeout=0)
    except Timeout:
        return _open_note(folder, f"{name}-{uuid4().hex[:8]}")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return path, lock


def _write(path: Path, text: str) -> None:
    try:
        write_store_file(path, text.encode())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def _lock_of(note: Path) -> FileLock:
    return FileLock(note.with_suffix(".lock"))


@dataclass(frozen=True)
class SyncReport:
    """What was sent of a suite's results; counts of trials."""

    suite: str
    """Its name; the note's file where that cannot be read."""
    sent: int = 0
    there: int = 0
    """Trials that MLflow had already."""
    open: int = 0
    """Trials that have no result yet."""
    damaged: int = 0
    """Trials whose state is damaged; a run computes it again."""
    outdated: int = 0
    """Trials whose result was computed by other code or plugins than are loaded now; a run computes it again."""
    older: int = 0
    """Trials whose result is of an older protocol; likewise."""
    unread: str = ""
    """Why the note cannot be read."""
    waiting_for: tuple[str, ...] = ()
    """The plugin files without which `withheld` of them cannot be sent."""
    withheld: int = 0
    waiting: bool = False
    """Whether a run that goes on will send more."""


def sync_suite(
    loaded: LoadedSuite, *, store: Path = STORE, data: Path | None = None, patience: float = PATIENCE
) -> SyncReport:
    """Send what the store has of a suite's results to MLflow, and run nothing; what is there is not sent again.

    Args:
        patience: seconds for which MLflow may fail without a break; it is tried again, ever less often.

    Raises:
        TrackingError: when MLflow cannot be reached.
    """
    known = prepared_already(loaded, data, store)
    prints = {label: found.fingerprint for label, found in known.items()}
    return _send(loaded, prints, Store(store.resolve()), patience=patience)


def sync_all(
    store: Path = STORE,
    *,
    plugin_files: Iterable[str | os.PathLike[str]] = (),
    blocked: Iterable[str] = (),
    patience: float = PATIENCE,
) -> Iterator[SyncReport]:
    """The same for every suite whose last run in this store did not send all of its results.

    What cannot be sent then is not waited for any more, unless the run is still on: only another run can make it, and
    sends it. Results that need a loose plugin which is not given, but is still there, are waited for too.

    Args:
        plugin_files: loose plugins. A note in the store names those that its run had, and none is loaded for that.
        blocked: names of installed plugins to leave out.

    Raises:
        TrackingError: when MLflow cannot be reached.
        StoreError: for a note that cannot be taken away.
    """
    opened, given = Store(store.resolve()), Given(plugins.loose_files(plugin_files), frozenset(blocked))
    for path in sorted((opened.root / UNSENT).glob("*.json")):
        lock = _lock_of(path)
        try:
            make_way(Path(lock.lock_file))
            with lock.acquire(timeout=0):
                sent = _send_note(path, opened, given, patience)
                if not sent.withheld:
                    remove(path)
                Path(lock.lock_file).unlink(missing_ok=True)
        except Timeout:
            sent = replace(_send_note(path, opened, given, patience), waiting=True)
        except OSError as error:
            raise StoreError(f"cannot take {path} away: {error.strerror or error}") from error
        yield sent


@dataclass(frozen=True)
class Given:
    """The plugins that a person asked for: what a note says can leave some of them out, and never adds one."""

    files: tuple[str, ...] = ()
    blocked: frozenset[str] = frozenset()

    def registry(self, note: Note) -> Registry:
        """The installed plugins, with the loose files that are given and that the note's run had."""
        names = {Path(file).name for file in note.files}
        files = tuple(file for file in self.files if Path(file).name in names)
        return plugins.load(files, self.blocked | set(note.blocked))

    def lacks(self, note: Note) -> tuple[str, ...]:
        """The loose files that the note's run had, that are not given, and that are still there."""
        names = {Path(file).name for file in self.files}
        return tuple(file for file in note.files if Path(file).name not in names and _is_file(file))


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:
        return False


@dataclass(frozen=True)
class Note:
    """The note of a run. It is validated, as anyone may have written it, and no code is loaded because of it."""

    suite: dict[str, Any]
    trials: tuple[str, ...]
    prints: dict[str, str]
    files: tuple[str, ...]
    blocked: tuple[str, ...]
    origin: dict[str, str]
    keys: dict[str, Key] = field(default_factory=dict)


def _send_note(path: Path, store: Store, given: Given, patience: float) -> SyncReport:
    """Send what a note is about. What it is called, when it cannot be read, is all that is known of it."""
    try:
        note: Note = TypeAdapter(Note).validate_python(read_json(path))
    except ValidationError as error:
        return SyncReport(str(path), unread=f"it is not the note of a run: {first_error(error)}")
    name, lacking = str(note.suite.get("name", path)), given.lacks(note)
    try:
        loaded = _suite_of(note, given)
    except PrunebenchError as error:
        if lacking:
            return SyncReport(name, waiting_for=lacking, withheld=len(note.trials))
        return SyncReport(name, unread=str(error))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return SyncReport(str(path), unread=f"it is not the note of a run: {error!r}")
    absent = set(note.trials) - {str(trial) for trial in loaded.trials}
    sent = _send(loaded, note.prints, store, note.keys, patience)
    if absent and lacking:
        return replace(sent, waiting_for=lacking, withheld=len(absent))
    return replace(sent, outdated=sent.outdated + len(absent))  # the plugin is gone


def _suite_of(note: Note, given: Given) -> LoadedSuite:
    """The note's suite, without the methods that none of the given plugins has."""
    registry = given.registry(note)
    suite = _without_unknown_methods(note.suite, registry)
    trials = tuple(trial for trial in suite.trials() if str(trial) in set(note.trials))
    return LoadedSuite(suite, trials, registry, (), note.blocked, note.origin)


def _without_unknown_methods(plain: Mapping[str, Any], registry: Registry) -> Suite:
    """A suite of the methods whose plugins are loaded. Raises SuiteError when that is no suite."""
    try:
        return from_plain(plain, registry)
    except SuiteError:
        methods = [one for one in plain.get("methods") or [] if _is_known(plain, one, registry)]
        if not methods or len(methods) == len(plain["methods"]):
            raise
        return from_plain({**plain, "methods": methods}, registry)


def _is_known(plain: Mapping[str, Any], method: Any, registry: Registry) -> bool:
    try:
        from_plain({**plain, "methods": [method]}, registry)
    except SuiteError:
        return False
    return True


def _send(
    loaded: LoadedSuite,
    prints: Mapping[str, str],
    store: Store,
    keys: Mapping[str, str] = MappingProxyType({}),
    patience: float = PATIENCE,
) -> SyncReport:
    """Send what the store has of some trials.

    Args:
        keys: of the trials' last states when they were run, by name.
    """
    from prunebench.tracking import Tracker

    plan = make_plan(loaded.trials, prints)
    jobs = missing_jobs(plan, store.has, (one.key for one in plan.trials if one.chain))
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
        result = with_origin(result, loaded.origin)
        there = result.trial in published and published[result.trial].stands_against(result)
        counts["there" if there else "sent"] += 1
        tracker.publish(result)
    return SyncReport(
        name,
        sent=counts["sent"],
        there=counts["there"],
        open=counts["open"],
        damaged=counts["damaged"],
        outdated=counts["outdated"],
        older=counts["older"],
    )
