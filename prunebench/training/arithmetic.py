"""What a GPU is asked for so that the same work gives the same bits, and `float32` means float32."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """What runs on a GPU inside uses deterministic algorithms, and no TF32; a CPU does so by itself.

    Where torch has no such algorithm it warns, once for each operation.
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
    """Whether new memory is filled, which takes time and shows reads of what nobody wrote; returns what it was."""
    # By name: torch's annotations do not have it.
    before: bool = getattr(deterministic, "fill_uninitialized_memory")  # noqa: B009
    setattr(deterministic, "fill_uninitialized_memory", wanted)  # noqa: B010
    return before
