"""Randomness from the identity of the work: each draw has its own generator, named by what it is for.

Results do not depend on the order in which work runs, nor on what ran before in the same process.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(*names: str | int) -> int:
    """A 63-bit seed from names such as (trial seed, "order", epoch)."""
    text = "/".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*names: str | int) -> torch.Generator:
    """A separate CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive(*names))


def reseed(device: torch.device, *names: str | int) -> None:
    """Seed the global generators of Python, NumPy and torch, the latter's for the CPU and for `device`.

    It is two hundred times faster than torch.manual_seed, which without an initialized GPU keeps a stack trace of each
    call, for when there will be one.
    """
    torch.default_generator.manual_seed(derive(*names))
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(derive(*names))
    _reseed_others(*names)


def _reseed_others(*names: str | int) -> None:
    """A model may draw from these: a depth by `random.random()`, weights by `np.random.normal`."""
    random.seed(derive(*names))
    np.random.seed(derive(*names) % 2**32)


@contextmanager
def seeded(*names: str | int) -> Iterator[None]:
    """Code that draws from global generators (layer constructors, dropout) draws repeatably inside."""
    with restored():
        torch.manual_seed(derive(*names))
        _reseed_others(*names)
        yield


@contextmanager
def restored() -> Iterator[None]:
    """What is drawn from global generators inside changes nothing of what is drawn after it.

    Those are Python's, NumPy's, and torch's for the CPU and the GPU in use: another's would start CUDA on it.
    """
    in_use = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    own, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=in_use):
            yield
    finally:
        random.setstate(own)
        np.random.set_state(numbers)
