"""Data sets, decoded once a machine, fingerprinted, and read from memory-mapped arrays after that.

Data that does not fit into memory is decoded while a network trains: see `prunebench.data.streaming`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from prunebench.api.components import Dataset, Files
from prunebench.api.errors import DamagedData, DataError, StoreError
from prunebench.data import arrays, streaming
from prunebench.data.checks import called, checked_arrays, checked_files, checked_signature
from prunebench.records.files import flush_folder, read_json, remove, stamp, write_store_file
from prunebench.records.keys import digest
from prunebench.records.sources import source_hash

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A data set on this machine: its arrays, or the names of its files, in `folder`; and the hash of all its bytes."""

    folder: Path
    fingerprint: str
    seal: str = field(default="", compare=False)
    """Times and sizes of the files when they were verified: while these are the same, the files are not read again."""


def find(dataset: Dataset, root: Path | None, cache: Path) -> Prepared | None:
    """The data set if it was prepared here before; touches no data."""
    try:
        return _noted(_index(dataset, root, cache), cache)
    except DataError:  # which preparing it reports
        return None


def _noted(index: Path, cache: Path) -> Prepared | None:
    fingerprint = noted_fingerprint(index)
    if fingerprint is None:
        return None
    listing = index.with_suffix(".files")
    folder = listing if streaming.is_streamed(listing) else cache / fingerprint
    return Prepared(folder, fingerprint) if folder == listing or arrays.is_whole(folder) else None


def noted_fingerprint(index: Path) -> str | None:
    """The fingerprint that an index leads to; None for one that is missing or damaged."""
    note = read_json(index)
    if not isinstance(note, dict) or not isinstance(found := note.get("fingerprint"), str):
        return None
    sound = re.fullmatch("[0-9a-f]{32}", found) and note == _note(index, str(note.get("dataset")), found)
    return found if sound else None


def stamped(dataset: Dataset, root: Path | None, cache: Path, prepared: Prepared) -> tuple[tuple[str, ...], str] | None:
    """The files of data that was prepared, and their stamp; while it stays, the same code finds the same data.

    Returns:
        None where that cannot be told: of data whose own `signature` decides, and of data that changed meanwhile.
    """
    if type(dataset).signature is not Dataset.signature:
        return None
    index = _index(dataset, root, cache)
    files = (str(index), *(str(path) for path in sorted(prepared.folder.iterdir())))
    found = files, stamp(files)
    same = noted_fingerprint(index) == prepared.fingerprint and _sealed(prepared.folder) == prepared.seal
    return found if same else None


def _note(index: Path, name: str, fingerprint: str) -> dict[str, str]:
    checksum = hashlib.sha256(json.dumps([index.name, name, fingerprint]).encode()).hexdigest()
    return {"dataset": name, "fingerprint": fingerprint, "checksum": checksum}


def prepare(dataset: Dataset, root: Path | None, cache: Path) -> Prepared:
    """The data set, loaded and written to `cache` unless that was done before; or its files, hashed and listed there.

    What was written before is read and verified; it is made again when it is damaged.

    Raises:
        DataError: when the data is not there, or not what the data set says of itself.
        StoreError: when the cache cannot be written.
    """
    index = _index(dataset, root, cache)  # before reading: what changes meanwhile is read again
    found = _noted(index, cache)
    if found is not None:
        try:
            return verified(found)
        except DamagedData as error:
            _log.warning("data set %r: %s", dataset.name, error)
    files = called(dataset, "files", root)
    prepared = _listed(dataset, files, index) if files is not None else _decoded(dataset, root, cache)
    try:
        write_store_file(index, json.dumps(_note(index, dataset.name, prepared.fingerprint)).encode())
    except OSError as error:
        raise StoreError(f"cannot write {index}: {error.strerror or error}") from error
    return prepared


# Verifying


def verified(prepared: Prepared) -> Prepared:
    """The same data with a seal, once its bytes are known to be those that were written.

    They are read unless the seal that it has is still right. Raises DamagedData.
    """
    found = _sealed(prepared.folder)  # before reading: what changes meanwhile breaks the seal
    if found and found == prepared.seal:
        return prepared
    if trouble := damage(prepared):
        raise DamagedData(trouble)
    return replace(prepared, seal=found)


def damage(prepared: Prepared) -> str:
    """What is wrong with the bytes of prepared data, or nothing; reads all of it."""
    folder, fingerprint = prepared.folder, prepared.fingerprint
    if folder.suffix == ".files":
        return streaming.damage(folder, fingerprint)
    try:
        found = arrays.fingerprint(arrays.read(folder))
    except DamagedData as error:
        return str(error)
    return "" if found == fingerprint else f"{folder} is not what was written, its hash differs; a run makes it again"


def _sealed(folder: Path) -> str:
    """A hash of the sizes, times and numbers of the files in a folder; nothing where one cannot be seen."""
    try:
        listed = {path.name for path in folder.iterdir()} & {*streaming.FILES}
        names = sorted({*listed, *arrays.files_in(folder)})
        stats = [(folder / name).stat() for name in names]
    except OSError:
        return ""
    facts = [(one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for one in stats]
    return hashlib.sha256(json.dumps([names, facts]).encode()).hexdigest()


# Writing


def _decoded(dataset: Dataset, root: Path | None, cache: Path) -> Prepared:
    loaded = arrays.named(checked_arrays(dataset, called(dataset, "load", root)))
    fingerprint = arrays.fingerprint(loaded)
    prepared = Prepared(cache / fingerprint, fingerprint)
    try:
        # The same data may have come by another root or name; what another run is reading is not taken away from it.
        return verified(prepared)
    except DamagedData:
        _written(prepared.folder, lambda aside: arrays.save(loaded, aside))
    return verified(prepared)


def _listed(dataset: Dataset, given: Files, index: Path) -> Prepared:
    files = checked_files(dataset, given)
    # Where files lie is this machine's business: the folder is that of the root, and not of the bytes.
    prepared = Prepared(index.with_suffix(".files"), streaming.fingerprint(files))
    _written(prepared.folder, lambda aside: streaming.write(files, aside, prepared.fingerprint))
    return verified(prepared)


def _written(folder: Path, save: Callable[[Path], None]) -> None:
    """A folder that is there whole or not at all. Raises StoreError."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        remove(aside)  # half of an earlier one
        aside.mkdir(parents=True)
        save(aside)
        flush_folder(aside)
        remove(folder)
        aside.rename(folder)
        flush_folder(folder.parent)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _index(dataset: Dataset, root: Path | None, cache: Path) -> Path:
    """Where this machine notes what it found: another root, or files that changed since, may hold other data."""
    code = source_hash(type(dataset))  # a version may not have been raised yet
    source = digest(dataset, code, str(root.resolve()) if root else "", checked_signature(dataset, root))
    return cache / f"{dataset.name}-{source}.json"
