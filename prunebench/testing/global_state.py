"""Global state of the process, which a method must leave unchanged."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

PYTHON = "Python's global generator"
_CPU = torch.device("cpu")


def _cuda_states() -> list[torch.Tensor]:
    initialized: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return torch.cuda.get_rng_state_all() if initialized else []


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device == _CPU else device)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _cudnn() -> tuple[bool, bool]:
    return torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic


def _set_cudnn(flags: tuple[bool, bool]) -> None:
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = flags


GLOBAL_STATE: Mapping[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "torch's global generator": (torch.get_rng_state, torch.set_rng_state),
    "the GPUs' global generators": (_cuda_states, torch.cuda.set_rng_state_all),
    "numpy's global generator": (np.random.get_state, np.random.set_state),
    PYTHON: (random.getstate, random.setstate),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, _set_default_device),
    "torch's grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's deterministic algorithms": (_deterministic, lambda flags: torch.use_deterministic_algorithms(*flags)),
    "torch's cuDNN flags": (_cudnn, _set_cudnn),
    "torch's matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch's anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
}
"""The functions that read and set each."""


@contextmanager
def kept() -> Iterator[list[str]]:
    """Restore what changes inside, and list it."""
    before = {name: get() for name, (get, _) in GLOBAL_STATE.items()}
    changed: list[str] = []
    try:
        yield changed
    finally:
        for name, (get, put) in GLOBAL_STATE.items():
            equal = (
                operator.eq if name == PYTHON else same
            )  # element by element, its 625 numbers would take most of the time
            if not equal(before[name], get()):
                changed.append(name)
                put(before[name])


def disturb(draw: int) -> None:
    """Seed the global generators, as if something else had run before."""
    torch.manual_seed(draw)
    np.random.seed(draw)
    random.seed(draw)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, tensors and arrays inside of lists and mappings bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)
