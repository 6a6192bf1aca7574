"""The memory that a network takes in a runtime: measured in a process that loads and runs nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from prunebench.api.runtimes import Runtime
from prunebench.data.inputs import Inputs
from prunebench.isolation.early_forks import EarlyFork
from prunebench.network.delivery import FinishedNetwork

PATIENCE = 120.0
"""Seconds until a program is given up."""
PASSES = 3
RESET_PEAK = "5"
"""Written to `clear_refs`, this makes the peak begin anew."""
PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Subject:
    """A network in a runtime."""

    runtime: Runtime
    network: FinishedNetwork


class MemoryGauge:
    """Measures the memory of programs; `begin` forks the process that they are run in."""

    def __init__(self, early: EarlyFork[tuple[int, Path], int | None] | None, subjects: Sequence[Subject]) -> None:
        self._early, self._subjects = early, subjects

    def of(self, subject: Subject, folder: Path) -> int | None:
        """The bytes that a program takes; None where that cannot be measured.

        Args:
            folder: what `deploy` of the runtime wrote of the network.
        """
        if self._early is None or subject not in self._subjects:
            return None
        try:
            return self._early.call((self._subjects.index(subject), folder))
        except Exception:  # of a program that does not run in that process, or not for long; here it did
            return None


@contextmanager
def gauge(subjects: Sequence[Subject], inputs: Inputs, threads: int) -> Iterator[MemoryGauge]:
    """Context in which the memory of these subjects can be measured; to be entered before any of them is deployed."""
    if not can_be_measured():
        yield MemoryGauge(None, subjects)
        return
    for module in {module for one in subjects for module in one.runtime.requires}:
        importlib.import_module(module)  # what a library takes without a network does not count

    def measured(request: tuple[int, Path]) -> int | None:
        index, folder = request
        return peak_of(subjects[index], folder, inputs, threads)

    with EarlyFork(measured, PATIENCE) as early:
        yield MemoryGauge(early, subjects)


def peak_of(subject: Subject, folder: Path, inputs: Inputs, threads: int) -> int | None:
    """The most resident bytes of this process during some passes, above those before it reads the network.

    Memory for reading the network that is free again by then does not count, and neither do pages of files, such as the
    runtime's code. None if it runs on another device.
    """
    import torch

    torch.set_num_threads(threads)
    _return_freed()
    before = _resident("VmRSS") - _resident("RssFile")
    with TemporaryDirectory(prefix="prunebench-") as own:
        runtime, network = subject.runtime, subject.network
        reads = type(runtime).load is not Runtime.load
        program = runtime.load(folder, threads) if reads else runtime.deploy(network, Path(own))
        if program.device != "cpu":
            return None
        program.run(inputs)
        _return_freed()
        (PROCESS / "clear_refs").write_text(RESET_PEAK, "ascii")
        for _ in range(PASSES):
            program.run(inputs)
        return max(0, _resident("VmHWM") - _resident("RssFile") - before)


def can_be_measured() -> bool:
    """Whether the system tells the peak of a process, and lets it begin anew."""
    return sys.platform == "linux" and os.access(PROCESS / "clear_refs", os.W_OK)


def _resident(name: str) -> int:
    """Bytes of a figure of this process.

    VmRSS is its resident memory, RssFile what of it are pages of files, and VmHWM the peak of all.
    """
    lines = (PROCESS / "status").read_text("ascii", "replace").splitlines()
    [line] = [line for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(line.split()[1])


def _return_freed() -> None:
    """Give freed memory back to the system, where the C library can."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # musl lacks it
        ctypes.CDLL(None).malloc_trim(0)
