"""Settings under which a GPU gives the same bits for the same work, and `float32` means float32."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Use deterministic algorithms without TF32 on a GPU; on a CPU nothing is to be set.

    Torch warns once for each operation that has no deterministic algorithm.
    Source: https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    before, filled = torch.get_deterministic_debug_mode(), _fills(False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_deterministic_debug_mode(before)
        _fills(filled)


def _fills(wanted: bool) -> bool:
    """Set whether new memory is filled, which takes time and is for debugging alone; returns the old value."""
    # By name: torch's annotations do not have it.
    before: bool = getattr(deterministic, "fill_uninitialized_memory")  # noqa: B009
    setattr(deterministic, "fill_uninitialized_memory", wanted)  # noqa: B010
    return before
