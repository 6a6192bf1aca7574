"""Garbage collection: what is in a store, what of it some suites need, and removing the rest.

    states, checkpoints, failures, logs     by the keys of stages
    data                                    by the fingerprints of data sets
    running, unsent, boards                 notes of runs, never collected
    receipts                                of finished runs, of the last commands only
    networks                                descriptions of networks, likewise

Only a store's own folders are read, and links are never followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prunebench.api.errors import CorruptEntry, StoreError
from prunebench.api.tasks import Trial
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.data.prepared import Prepared, damage, noted_fingerprint
from prunebench.plan.planning import make_plan
from prunebench.records.files import read_bytes, read_json, remove
from prunebench.store import locks
from prunebench.store.checkpoints import kept_steps
from prunebench.store.entries import Store, is_older
from prunebench.store.locks import Running, running

CHECKPOINTS = "checkpoints"
BY_KEY = ("states", CHECKPOINTS, "failures", "logs")
DATA = "data"
KINDS = (*BY_KEY, DATA)
"""The folders of a store that something may be collected from."""
LISTED = ".files"
"""Ends the name of a folder that lists the files of a data set, which lie elsewhere."""
OTHER = "other"
YOUNG = 3600.0
"""Seconds for which a partial folder may still be written to."""


@dataclass(frozen=True)
class Size:
    """Of some entries."""

    entries: int = 0
    bytes: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.entries + other.entries, self.bytes + other.bytes)


@dataclass(frozen=True)
class Item:
    """Something in a store: a state, a log, a data set."""

    kind: str
    name: str
    """The key or fingerprint that it belongs to."""
    path: Path
    bytes: int
    unfinished: bool = False
    """Partial: not renamed to its place yet."""


@dataclass(frozen=True)
class Needs:
    """What some suites need: keys of stages, and fingerprints of data sets."""

    keys: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()

    def __or__(self, other: Needs) -> Needs:
        return Needs(self.keys | other.keys, self.data | other.data)


@dataclass(frozen=True)
class Damage:
    """An entry whose bytes are not those that were written."""

    item: Item
    text: str


def items(store: Store) -> Iterator[Item]:
    """Everything in a store, each item once."""
    for folder in _folders(store.root):
        if folder.name == "states":
            for shelf in _folders(folder):
                yield from (_item("states", path) for path in _listed(shelf))
        elif folder.name in KINDS:
            yield from (_item(folder.name, path) for path in _listed(folder))
        else:
            yield from (_item(OTHER, path) for path in _listed(folder))


def sizes(store: Store) -> dict[str, Size]:
    """The size of a store by kind."""
    found: defaultdict[str, Size] = defaultdict(Size)
    for item in items(store):
        found[item.kind] += Size(1, item.bytes)
    return {kind: found[kind] for kind in (*KINDS, OTHER) if kind in found}


def sizes_needed(store: Store, wanted: Needs) -> dict[str, Size]:
    """The size of what is needed, by kind."""
    now = time.time()
    found: defaultdict[str, Size] = defaultdict(Size)
    for item in items(store):
        if is_needed(item, wanted, now):
            found[item.kind] += Size(1, item.bytes)
    return dict(found)


def _item(kind: str, path: Path) -> Item:
    hidden = path.name.startswith(".") or path.suffix == ".part"
    name = path.name.lstrip(".").partition(".")[0]
    if kind == DATA and path.suffix in (".json", LISTED):
        name = _fingerprint_in(path.with_suffix(".json"))
    return Item(kind, name, path, _bytes(path), hidden)


def _fingerprint_in(index: Path) -> str:
    """The data set that an index leads to; nothing for one that is damaged."""
    return noted_fingerprint(index) or ""


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # it was removed in the meantime
        return []


def _folders(folder: Path) -> list[Path]:
    return [path for path in _listed(folder) if path.is_dir() and not path.is_symlink()]


def _bytes(path: Path) -> int:
    """Of a file, or of all files below a folder."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        with os.scandir(path) as inside:
            return sum(_bytes(Path(one.path)) for one in inside)
    except OSError:  # it was removed in the meantime
        return 0


# --- what is needed


def needs(trials: Iterable[Trial], prepared: Mapping[str, Prepared], store: Store) -> Needs:
    """What trials need of a store: of a task whose data was not read from here, whatever data goes by its name.

    Args:
        prepared: the data that was read, by task label.

    Raises DataError where a task cannot be planned, so that what it needs is not known.
    """
    of_task: defaultdict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        of_task[trial.task.label].append(trial)
    keys: set[str] = set()
    prints: set[str] = set()
    for label, some in of_task.items():
        some[0].task.facts  # noqa: B018
        found = {prepared[label].fingerprint} if label in prepared else _prints(store, some[0].task.dataset.name)
        for fingerprint in found:
            keys |= make_plan(some, {label: fingerprint}).nodes.keys()
        prints |= found
    return Needs(frozenset(keys), frozenset(prints))


def _prints(store: Store, dataset: str) -> set[str]:
    """All data by the name of this data set that a store has, or has states of."""
    found = set()
    for index in _listed(store.data):
        if index.suffix == ".json" and index.name.startswith(f"{dataset}-"):
            found.add(_fingerprint_in(index))
    for item in items(store):
        if item.kind == "states" and not item.unfinished:
            inputs = _said(item).get("inputs")
            if isinstance(inputs, dict) and inputs.get("dataset.name") == dataset:
                found.add(str(inputs.get("data", "")))
    return found - {""}


def _said(item: Item) -> Mapping[str, Any]:
    """What the record of a state says, unchecked."""
    record = read_json(item.path / "record.json")
    return record if isinstance(record, dict) else {}


def trial_of(item: Item) -> str:
    """The trial that a state was computed for."""
    return str(_said(item).get("trial", ""))


def is_needed(item: Item, wanted: Needs, now: float) -> bool:
    """Whether an item stays: it is needed, or may still be written to."""
    if item.kind not in KINDS:
        return True
    if item.unfinished:
        return now - _changed(item.path) < YOUNG
    return item.name in (wanted.data if item.kind == DATA else wanted.keys)


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return float("inf")


# --- removing


@dataclass(frozen=True)
class Surplus:
    """What none of some suites needs."""

    items: tuple[Item, ...] = field(repr=False)
    held: tuple[Running, ...]
    """Running jobs that belong to none of the suites: while there are any, nothing is removed."""

    @property
    def sizes(self) -> dict[str, Size]:
        found: defaultdict[str, Size] = defaultdict(Size)
        for item in self.items:
            found[item.kind] += Size(1, item.bytes)
        return {kind: found[kind] for kind in KINDS if kind in found}

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.items)


def surplus(store: Store, wanted: Needs) -> Surplus:
    """What could be collected; changes nothing."""
    now = time.time()
    return Surplus(
        tuple(item for item in items(store) if not is_needed(item, wanted, now)), _foreign_jobs(store, wanted)
    )


def _foreign_jobs(store: Store, wanted: Needs) -> tuple[Running, ...]:
    return tuple(work for work in running(store) if work.key not in wanted.keys)


def older(store: Store) -> Surplus:
    """Items of an older protocol, which no current key leads to. Changes nothing."""
    everything = [item for item in items(store) if not item.unfinished]
    found = [item for item in everything if _is_older(item)]
    keys = {item.name for item in found}
    logs = [item for item in everything if item.kind == "logs" and item.name in keys]
    return Surplus((*found, *logs), tuple(running(store)))


def _is_older(item: Item) -> bool:
    if item.kind == "states":
        return is_older(item.path / "record.json")
    if item.kind == CHECKPOINTS:
        return any(is_older(path) for path in item.path.glob("*/record.json"))
    return item.kind == "failures" and _is_older_failure(item.path)


def _is_older_failure(path: Path) -> bool:
    try:
        failure = json.loads(read_bytes(path))
        return "reason" in failure and int(failure.get("protocol", 0)) < PROTOCOL_VERSION
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def remove_older(store: Store) -> Surplus:
    """Remove items of an older protocol; returns what was removed.

    Raises StoreError while anything runs in the store, as it may be an older version of this program that does.
    """
    found = older(store)
    if found.held:
        one = found.held[0]
        raise StoreError(
            f"{one.trial} is being run in {store.root} (on {one.host}, process {one.pid}): wait until it has ended; "
            "nothing was deleted"
        )
    for item in found.items:
        _remove(item.path)
    return found


def collect(store: Store, wanted: Needs) -> Surplus:
    """Remove what is not needed; returns what was removed.

    Raises StoreError while a run of anything else is on in the store, and when something cannot be removed.
    """
    found = surplus(store, wanted)
    if found.held:
        one = found.held[0]
        raise StoreError(
            f"{one.trial} is being run in {store.root} (on {one.host}, process {one.pid}), and none of these suites "
            "has it: name its suite too, or wait until it has ended; nothing was deleted"
        )
    for item in found.items:
        _remove(item.path)
    return found


def _remove(path: Path) -> None:
    """Remove by renaming first, so that no process reads half of it."""
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return
        aside = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.gone")
        path.rename(aside)
        shutil.rmtree(aside)
    except FileNotFoundError:  # another process removed it
        pass
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror or error}") from error


# --- checking


def damages(store: Store) -> Iterator[Damage]:
    """Every state, checkpoint and data set whose bytes are not those that were written.

    Reads all of them, and changes nothing.
    """
    for item in items(store):
        if item.unfinished or not item.path.is_dir() or item.path.is_symlink():
            continue
        if item.kind == "states":
            if text := _state_damage(store, item):
                yield Damage(item, text)
        elif item.kind == CHECKPOINTS:
            yield from _checkpoint_damages(store, item)
        elif item.kind == DATA and (text := damage(Prepared(item.path, item.name))):
            yield Damage(item, text)


def _state_damage(store: Store, item: Item) -> str:
    try:
        store.tensors(item.name, store.record(item.name))
    except CorruptEntry as error:
        return str(error)
    except StoreError:
        return "" if not item.path.exists() else f"{item.path} has no record"
    return ""


def _checkpoint_damages(store: Store, training: Item) -> Iterator[Damage]:
    """Of the checkpoints of one training; a run may take any of them away meanwhile, having written a newer one."""
    entries = store.checkpoints(training.name)
    for step in kept_steps(entries):
        path = entries.folder(step)
        try:
            record = entries.record(step)
            entries.tensors(step, record)
            text = "" if record.get("node") == training.name else f"{path} is of another training than {training.name}"
        except CorruptEntry as error:
            text = str(error)
        except StoreError:
            text = f"{path} has no record"
        if text and path.exists():
            yield Damage(Item(CHECKPOINTS, f"{training.name}/{step}", path, _bytes(path)), text)


def discard(damage: Damage) -> None:
    """Remove a damaged entry: the next run computes it again, or reads the data again."""
    _remove(damage.item.path)
    if damage.item.kind == CHECKPOINTS:
        with contextlib.suppress(OSError):  # there are others of that training
            damage.item.path.parent.rmdir()


def remove_leftovers(store: Store) -> None:
    """Remove locks, notes and checkpoints of processes that were killed after their job was done.

    Those of unfinished jobs stay, to be continued.
    """
    locks.sweep(store)
    for renamed in store.root.glob("*/.*.gone"):  # on its way to removal when its process was killed
        if renamed.is_dir() and not renamed.is_symlink():
            shutil.rmtree(renamed, ignore_errors=True)
        else:
            renamed.unlink(missing_ok=True)
    for checkpoints in (store.root / "checkpoints").glob("*"):
        if store.has(checkpoints.name):
            with contextlib.suppress(OSError):
                remove(checkpoints)
