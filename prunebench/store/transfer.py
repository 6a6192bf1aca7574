"""Entries of the store on their way between machines: files as bytes, checked when they leave and when they arrive."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from prunebench.api.errors import CorruptEntry, StoreError
from prunebench.api.files import flush_folder, written_through
from prunebench.store.entries import Store

Parcel = dict[str, bytes]


def pack(store: Store, key: str) -> Parcel:
    """The files of an entry by their names. Raises CorruptEntry for a damaged one, StoreError for none."""
    store.tensors(key, store.record(key))
    return _files(store.folder(key))


def unpack(store: Store, key: str, parcel: Parcel) -> None:
    """Put an entry that arrived into the store, whole or not at all.

    Raises CorruptEntry for one that was damaged on the way, StoreError when the store cannot be written.
    """
    aside = Store(store.root / f".arriving.{key}.{os.getpid()}")
    try:
        _write(aside.folder(key), parcel)
        aside.tensors(key, aside.record(key))
        store.folder(key).parent.mkdir(parents=True, exist_ok=True)
        if not store.has(key):  # else another run made it meanwhile, and it is as good
            store.discard(key)
            aside.folder(key).rename(store.folder(key))
            flush_folder(store.folder(key).parent)
    except OSError as error:
        raise StoreError(f"cannot write {store.folder(key)}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside.root, ignore_errors=True)


def _files(folder: Path) -> Parcel:
    try:
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    except OSError as error:
        raise CorruptEntry(f"{folder} cannot be read: {error.strerror}") from error


def _write(folder: Path, parcel: Parcel) -> None:
    folder.mkdir(parents=True)
    for name, content in parcel.items():
        path = folder / Path(name).name
        with written_through(path) as file:
            file.write(content)
    flush_folder(folder)
