"""Leftovers of processes that were killed after their job was done."""

from __future__ import annotations

import contextlib
import shutil

from prunebench.records.files import remove
from prunebench.store import locks
from prunebench.store.entries import Store


def sweep(store: Store) -> None:
    """Remove locks, notes and checkpoints of jobs that are done; those of unfinished jobs stay, to be continued."""
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
