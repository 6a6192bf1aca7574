"""What a fork server has loaded, so that each worker process starts with it: torch, its compiler, and the plugins.

Importing this must start no thread and touch no GPU: the processes forked from here would inherit half of it.
"""

import contextlib
import threading
from collections.abc import Sequence
from importlib import import_module

import safetensors.torch  # noqa: F401  which reading a state needs
import torch

from prunebench.api import plugins
from prunebench.execution import worker
from prunebench.isolation import descendants
from prunebench.records.environment import installed
from prunebench.records.sources import core_source, source_hash

import_module("torch._dynamo")  # a second or two, which the counting of FLOPs would cost each worker


def load(files: Sequence[str], blocked: Sequence[str]) -> None:
    """Load the plugins of a run, and work out what does not change from job to job."""
    found = plugins.load(tuple(files), frozenset(blocked))
    installed()
    core_source()
    for cls in found.origins:
        with contextlib.suppress(Exception):  # a job that needs it says what is wrong
            source_hash(cls)


def unfit() -> str:
    """Why processes cannot be forked after what was loaded; nothing if they can."""
    if threading.active_count() > 1:
        return "a plugin starts threads as it is imported"
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return "a plugin uses CUDA as it is imported"
    if descendants.children():
        return "a plugin starts processes as it is imported"
    return ""


load((), plugins.foreign_names())

__all__ = ["load", "unfit", "worker"]
