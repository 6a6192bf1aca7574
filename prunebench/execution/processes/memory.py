"""The memory of a worker process: what it frees it keeps, for its next step.

A training takes memory for its activations at each step, and frees all of it. glibc gives large blocks back to the
system at once, which has to fill their pages with zeros when they are taken again: on a virtual machine more than a
third of ResNet-20's processor time went there (`python benchmarks/speed.py --only memory`).
"""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h."""
SIZES = (1 << 30, 32 << 20)
"""Bytes from which on a block is the system's own; before 2.35 glibc takes no more than the second."""
NEVER = -1
VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed() -> bool:
    """Have this process keep what it frees; peak memory grows by up to a third, results do not change.

    Returns whether that is so now. Where the environment sets one of the two by itself, or where there is another C
    library, nothing is done.
    """
    if any(name in os.environ for name in VARIABLES) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS lack it; Windows has no such library
        return False
    return any(mallopt(M_MMAP_THRESHOLD, size) for size in SIZES) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))
