"""The store: a folder for each entry, named by the key of the stage that made it; partial entries are never read.

    <root>/states/ab/abcdef.../record.json            what was done, its figures, the checksums of the rest
                              weights.safetensors
                              optimizer.safetensors
                              masks.safetensors       bit-packed; absent for a dense network
    <root>/checkpoints/<key>/<step>/                  the same, of a training that is not done yet
    <root>/failures/<key>.json                        why a stage failed; never taken for a result
    <root>/data/                                      decoded data sets
    <root>/logs/                                      what the workers printed
    <root>/running/                                   locks and status notes of the jobs that run

An entry is written aside and renamed, so it is there whole or not at all. It holds no path, host or worker count:
the stores of two machines are merged by copying.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.api.errors import CorruptEntry, MissingEntry, StoreError
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.messages.durations import is_date
from prunebench.messages.redaction import redacted_all
from prunebench.records.files import (
    flush_folder,
    flushed_file,
    open_file,
    read_bytes,
    read_json,
    remove,
    remove_unless_folder,
    stamp,
    write_store_file,
)

if TYPE_CHECKING:
    from prunebench.training.state import Tensors

Record = dict[str, Any]
FORMAT = 1
PARTS = ("states", "checkpoints", "failures", "data", "logs", "running")
PROBE = bytes(4096)
"""What a store must have room for, or it is full."""


def is_older(path: Path) -> bool:
    """Whether the record in a file is of an older protocol: no key leads to it, and no run reads it.

    Only the record's beginning is read, so that thousands can be looked through.
    """
    try:
        with open_file(path) as file:
            head = _HEAD.match(file.read(200))
    except OSError:  # it was removed meanwhile, or is not a file
        return False
    return head is not None and int(head["protocol"] or 0) < PROTOCOL_VERSION


_HEAD = re.compile(rb'\{\s*"format": \d+,\s*(?:"protocol": (?P<protocol>\d+))?')


@dataclass(frozen=True)
class Entries:
    """A folder of entries by name."""

    root: Path

    def folder(self, key: str) -> Path:
        return self.root / key

    def has(self, key: str) -> bool:
        return (self.folder(key) / "record.json").is_file()

    def stamp(self, key: str) -> str:
        """A hash of the names, sizes and times of an entry's files: while it stays, the entry has not changed.

        Empty if there is no entry.
        """
        folder = self.folder(key)
        try:
            return stamp(sorted(one.path for one in os.scandir(folder)))
        except OSError:
            return ""

    def record(self, key: str) -> Record:
        """The record of an entry, verified. Raises MissingEntry or CorruptEntry."""
        path = self.folder(key) / "record.json"
        try:
            record: Record = json.loads(read_bytes(path))
            sound = record.pop("checksum") == _checksum(record) and record["key"] == key
            sound = sound and all(name.isidentifier() for name in {**record["files"]})
        except FileNotFoundError:
            raise MissingEntry(f"the store has no entry {key}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CorruptEntry(f"{path} cannot be read: {error}") from error
        if not sound:
            raise CorruptEntry(f"{path} is not what was written: its checksum differs")
        return record

    def verified(self, key: str) -> Record:
        """An entry's record, once every byte of its files is checked too. Raises MissingEntry or CorruptEntry."""
        record = self.record(key)
        for name in record["files"]:
            self._content(key, name, record)
        return record

    def tensors(self, key: str, record: Record) -> dict[str, Tensors]:
        """An entry's tensors by file, checked against the record's checksums. Raises CorruptEntry."""
        import safetensors
        import safetensors.torch

        found = {}
        for name in record["files"]:
            content = self._content(key, name, record)
            try:
                found[name] = safetensors.torch.load(content)
            except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
                raise CorruptEntry(f"{self._path(key, name)} is not a safetensors file: {error}") from error
        return found

    def masks(self, key: str, record: Record) -> Path | None:
        """The file of an entry's bit-packed masks, if its record names one."""
        return self._path(key, "masks") if "masks" in record["files"] else None

    def write(self, key: str, record: Record, files: Mapping[str, Tensors]) -> None:
        """Write an entry whole, or raise StoreError and leave none."""
        import safetensors.torch

        aside = self._aside(key)
        try:
            remove_unless_folder(aside.parent)
            aside.mkdir(parents=True)
            sums = {}
            for name, tensors in files.items():
                content = safetensors.torch.save(tensors)
                sums[name] = hashlib.sha256(content).hexdigest()
                _write_through(aside / f"{name}.safetensors", content)
            record = {"format": FORMAT, "protocol": PROTOCOL_VERSION, "key": key, **record, "files": sums}
            text = json.dumps({**record, "checksum": _checksum(record)}, indent=1)
            _write_through(aside / "record.json", text.encode())
            flush_folder(aside)
            self._publish(key, aside)
            flush_folder(aside.parent)
        except OSError as error:
            raise StoreError(f"cannot write {self.folder(key)}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def discard(self, key: str) -> None:
        """Remove an entry, as a whole: no process ever reads half of it."""
        with contextlib.suppress(OSError):
            remove(self.folder(key))

    def sweep(self, key: str) -> None:
        """Remove what a killed writer of this entry left; only the holder of its lock may call this."""
        for path in self.folder(key).parent.glob(f".{key}.*"):
            with contextlib.suppress(OSError):
                remove(path)

    def _publish(self, key: str, aside: Path) -> None:
        """Rename a complete entry to its place. An existing one stays if it is sound."""
        for again in (True, False):
            try:
                aside.rename(self.folder(key))
                return
            except OSError:
                if self._is_sound(key):
                    return
                if not again:
                    raise
                self.discard(key)

    def _is_sound(self, key: str) -> bool:
        try:
            self.verified(key)
        except StoreError:
            return False
        return True

    def _content(self, key: str, name: str, record: Record) -> bytes:
        path = self._path(key, name)
        try:
            content = read_bytes(path)
        except OSError as error:
            raise CorruptEntry(f"{path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != record["files"][name]:
            raise CorruptEntry(f"{path} is not what was written: its checksum differs")
        return content

    def _path(self, key: str, name: str) -> Path:
        return self.folder(key) / f"{name}.safetensors"

    def _aside(self, key: str) -> Path:
        """A new temporary folder beside an entry."""
        return self.folder(key).parent / f".{key}.{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Store(Entries):
    """A folder of states by key, and of what belongs to them."""

    @classmethod
    def open(cls, root: Path) -> Store:
        """The store at `root`, made if need be. Raises StoreError when it cannot be written to."""
        try:
            for part in PARTS:
                (root / part).mkdir(parents=True, exist_ok=True)
                _probe(root / part)
        except OSError as error:
            raise StoreError(
                f"cannot write to the store {root}: {error.strerror}; name another with --store"
            ) from error
        return cls(root.resolve())

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def folder(self, key: str) -> Path:
        return self.root / "states" / key[:2] / key

    def checkpoints(self, key: str) -> Entries:
        """The checkpoints of a training, by its step."""
        return Entries(self.root / "checkpoints" / key)

    def has_older(self) -> bool:
        """Whether there are states of an older protocol; it stops at the first."""
        return any(is_older(path) for path in self.root.glob("states/*/*/record.json"))

    def failure(self, key: str) -> Record | None:
        """Why a stage failed when it was last tried; None where the note is damaged."""
        failure = read_json(self._failure(key))
        return failure if _is_failure(failure) else None

    def write_failure(self, key: str, failure: Record) -> None:
        """Write why a stage failed, without the secrets that errors quote. Raises StoreError."""
        path = self._failure(key)
        try:
            write_store_file(
                path, json.dumps({"protocol": PROTOCOL_VERSION, **redacted_all(failure)}, indent=1).encode()
            )
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error

    def forget_failure(self, key: str) -> None:
        with contextlib.suppress(OSError):
            remove(self._failure(key))

    def _failure(self, key: str) -> Path:
        return self.root / "failures" / f"{key}.json"


def _is_failure(found: Any) -> bool:
    """Whether a file is the note of a failure: a reason and a time."""
    return isinstance(found, dict) and isinstance(found.get("reason"), str) and is_date(found.get("time", 0.0))


def _probe(folder: Path) -> None:
    """Check that files can be written: permissions and free space."""
    probe = folder / f".writable.{uuid.uuid4().hex}"
    try:
        probe.write_bytes(PROBE)
    finally:
        probe.unlink(missing_ok=True)


def _checksum(record: Record) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _write_through(path: Path, content: bytes) -> None:
    """Write a file, and flush it to the disk."""
    with flushed_file(path) as file:
        file.write(content)
