"""Locks: one for each job that runs, with a status note beside it that other processes read.

    <store>/running/<key>.lock     held while the job runs; the operating system releases it when the process dies
                    <key>.json     what the job does, where, since when, and how far it is

So two runs can share a store, on one machine or on a shared folder, and never wait for a process that died.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le
from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from prunebench.api.errors import StoreError
from prunebench.messages.durations import LATEST
from prunebench.records.files import remove
from prunebench.store.entries import Store

PATIENCE = 0.5
"""Seconds until a lock counts as held: a process that checks a lock holds it for a moment too."""
INTERVAL = 1.0
"""Seconds between two updates of a status note."""


@dataclass(frozen=True)
class Work:
    """What a job is about, for people."""

    trial: str
    stage: str
    start: int
    """The step that its training begins at."""
    stop: int
    """The step that its training ends at; the same for a job that trains nothing."""


Date = Annotated[float, Ge(0), Le(LATEST)]
Step = Annotated[int, Ge(0), Le(2**53)]


@dataclass(frozen=True)
class Running:
    """A running job: what it does, where, and how far it is. Times are Unix seconds."""

    key: str
    trial: str
    stage: str
    host: str
    pid: int
    started: Date
    step: Step
    start: Step
    stop: Step
    updated: Date


class Lock:
    """A lock that is held. A context manager: leaving it releases the lock."""

    def __init__(self, note: Path, lock: FileLock, running: Running) -> None:
        self._note, self._lock, self._running = note, lock, running
        self._write()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def reached(self, step: int) -> None:
        """Update the status note, at most once a second: it may be called at every step."""
        now = time.time()
        if now - self._running.updated >= INTERVAL:
            self._running = replace(self._running, step=step, updated=now)
            self._write()

    def release(self) -> None:
        """Release the lock. The result is in the store by now, so the lock's file is removed as well."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                self._note.unlink(missing_ok=True)
                Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def _write(self) -> None:
        """Write the status note. It only informs people: a full disk is reported when the result is written."""
        aside = self._note.with_suffix(f".{self._running.host}.{self._running.pid}")
        with contextlib.suppress(OSError):
            aside.write_text(json.dumps(asdict(self._running)), "utf-8")  # not flushed: no result depends on it
            aside.replace(self._note)


def lock(store: Store, key: str, about: Work) -> Lock | None:
    """The lock of a job, or None while a process that is alive holds it.

    Raises StoreError when the store cannot be written to.
    """
    lock = _lock(store, key)
    try:
        _folder(store).mkdir(parents=True, exist_ok=True)
        make_way(Path(lock.lock_file), _note(store, key))
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        return None
    except OSError as error:
        raise StoreError(f"cannot write {lock.lock_file}: {error.strerror or error}") from error
    now = time.time()
    return Lock(
        _note(store, key),
        lock,
        Running(
            key=key,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=now,
            step=about.start,
            updated=now,
            **asdict(about),
        ),
    )


def make_way(*paths: Path) -> None:
    """Remove a folder or a link that has the name of a lock or a note."""
    for path in paths:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            remove(path)


def running(store: Store) -> list[Running]:
    """The jobs that run, in the order in which they began; those of processes that died are not among them."""
    return [note for note in _notes(store) if _is_held(store, note.key)]


def abandoned(store: Store) -> list[Running]:
    """The jobs whose process died before they were done; the next run that needs one continues it."""
    return [note for note in _notes(store) if not _is_held(store, note.key) and not store.has(note.key)]


def sweep(store: Store) -> None:
    """Remove what a process left that was killed between the end of its job and the release of the lock.

    Notes of unfinished jobs stay, for `abandoned`; a read-only store stays as it is.
    """
    for path in _folder(store).glob("*.lock"):
        lock = _lock(store, path.stem)
        with contextlib.suppress(Timeout, OSError), lock.acquire(timeout=0):
            if store.has(path.stem):
                _note(store, path.stem).unlink(missing_ok=True)
            _tidy(store, path.stem, lock)


def _tidy(store: Store, key: str, lock: FileLock) -> None:
    """Remove a held lock file without a status note; checking a lock recreates it."""
    if not _note(store, key).exists():
        for aside in _folder(store).glob(f"{key}.*.*"):
            aside.unlink(missing_ok=True)
        Path(lock.lock_file).unlink(missing_ok=True)


def _notes(store: Store) -> list[Running]:
    notes = [_read(path) for path in _folder(store).glob("*.json")]
    return sorted((note for note in notes if note), key=lambda note: note.started)


def _read(path: Path) -> Running | None:
    try:
        note = TypeAdapter(Running).validate_json(path.read_bytes() if path.is_file() else b"")
    except (OSError, ValueError):  # the job has ended, or the file is not a note
        return None
    return note if note.key == path.stem else None


def _is_held(store: Store, key: str) -> bool:
    lock = _lock(store, key)
    if not Path(lock.lock_file).is_file():  # a folder cannot be locked
        return False
    try:
        with lock.acquire(timeout=0):
            _tidy(store, key, lock)
            return False
    except Timeout:
        return True
    except OSError:  # a read-only store: it cannot be found out
        return True


def _folder(store: Store) -> Path:
    return store.root / "running"


def _note(store: Store, key: str) -> Path:
    return _folder(store) / f"{key}.json"


def _lock(store: Store, key: str) -> FileLock:
    return FileLock(_folder(store) / f"{key}.lock", thread_local=False)
