"""Packed states: entries of the store as bytes, for other machines; verified when packed and when unpacked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from prunebench.api.errors import CorruptEntry, StoreError
from prunebench.records.files import flush_folder, flushed_file, read_bytes
from prunebench.store.entries import Store

PackedState = dict[str, bytes]


def pack(store: Store, key: str) -> PackedState:
    """The files of an entry by their names. Raises CorruptEntry for a damaged one, StoreError for none."""
    store.tensors(key, store.record(key))
    return _files(store.folder(key))


def unpack(store: Store, key: str, packed: PackedState) -> None:
    """Write a packed state to the store, whole or not at all.

    Raises CorruptEntry for one that was damaged in transit, StoreError when the store cannot be written.
    """
    aside = Store(store.root / f".arriving.{key}.{os.getpid()}")
    try:
        _write(aside.folder(key), packed)
        aside.tensors(key, aside.record(key))
        store.folder(key).parent.mkdir(parents=True, exist_ok=True)
        if not store.has(key):  # else another run has computed it in the meantime
            store.discard(key)
            aside.folder(key).rename(store.folder(key))
            flush_folder(store.folder(key).parent)
    except OSError as error:
        raise StoreError(f"cannot write {store.folder(key)}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside.root, ignore_errors=True)


def _files(folder: Path) -> PackedState:
    try:
        return {path.name: read_bytes(path) for path in sorted(folder.iterdir())}
    except OSError as error:
        raise CorruptEntry(f"{folder} cannot be read: {error.strerror}") from error


def _write(folder: Path, packed: PackedState) -> None:
    folder.mkdir(parents=True)
    for name, content in packed.items():
        path = folder / Path(name).name
        with flushed_file(path) as file:
            file.write(content)
    flush_folder(folder)
