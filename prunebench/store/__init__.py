"""The content-addressed store: states, checkpoints, locks, garbage collection, transfer."""

from prunebench.store.entries import Store
from prunebench.store.transfer import pack, unpack

__all__ = ["Store", "pack", "unpack"]
