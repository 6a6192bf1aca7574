"""What processes leave behind that are killed between the end of a job and the end of their work on it."""

from __future__ import annotations

import contextlib

from prunebench.api.files import removed
from prunebench.store import locks as claims
from prunebench.store.entries import Store


def sweep(store: Store) -> None:
    """Take it away, for nobody takes up a job that is done; what died in the middle stays, and is gone on from."""
    claims.sweep(store)
    for checkpoints in (store.root / "checkpoints").glob("*"):
        if store.has(checkpoints.name):
            with contextlib.suppress(OSError):
                removed(checkpoints)
