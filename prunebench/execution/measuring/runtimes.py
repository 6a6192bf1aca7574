"""What is measured of a finished network in runtimes: agreement with torch, metrics, size and latency."""

from __future__ import annotations

import importlib.util
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunebench.api.errors import PluginError, PrunebenchError, Unsupported
from prunebench.api.runtimes import Measure, Program, Runtime, RuntimeEntry
from prunebench.data.inputs import Inputs, as_floats, tensors_of
from prunebench.data.task_data import Data
from prunebench.execution.measuring.memory_use import MemoryGauge, Subject, gauge
from prunebench.network.delivery import FinishedNetwork
from prunebench.network.deployment import interleaved
from prunebench.records.results import RUNTIME
from prunebench.training.metrics import evaluate

COMPARED = 256
"""At most so many test examples are compared with torch's outputs."""
NO_KERNEL = "no kernel skips its zeros, so they are not expected to make it faster"
FEW_ZEROS = 0.005
"""The share of zeros from which a runtime without kernels for them says so."""
OTHERS = 0.2
"""Cores that other processes may use while latencies are measured, without a remark."""


@dataclass(frozen=True)
class Deployed:
    """A program in its runtime, and the files that it was read from: their folder and bytes."""

    runtime: Runtime
    program: Program
    folder: Path
    size: int

    def run(self, inputs: Inputs) -> torch.Tensor:
        """The outputs for inputs on any device, there."""
        outputs = self.program.run(self.placed(inputs))
        return outputs.float().to(next(tensors_of(inputs)).device)

    def placed(self, inputs: Inputs) -> Inputs:
        """The inputs where the program expects them."""
        program = self.program
        return as_floats(inputs, torch.device(program.device), torch.float16 if program.half else torch.float32)


@dataclass(frozen=True)
class Found:
    """Figures, and remarks by topic."""

    figures: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


class Deployments:
    """Deploys networks, each in a separate folder below `root`; the dense network once in each runtime."""

    def __init__(self, root: Path, dense: FinishedNetwork) -> None:
        self._root, self._dense = root, dense
        self._known: dict[Runtime, Deployed | None] = {}
        self._memory: dict[Runtime, int | None] = {}

    def of(self, runtime: Runtime, network: FinishedNetwork, folder: Path | None = None) -> Deployed:
        """A network in a runtime. Raises Unsupported if it cannot be run there.

        Args:
            folder: an empty one for its files, if they are to stay.
        """
        check_installed([runtime])
        folder = folder or Path(tempfile.mkdtemp(dir=self._root))
        program = runtime.deploy(network, folder)
        if not isinstance(program, Program):
            raise PluginError(f"deploy of runtime {runtime.name!r} must return a prunebench.Program, not {program!r}")
        return Deployed(runtime, program, folder, size_of(folder))

    def of_dense(self, runtime: Runtime | None) -> Deployed | None:
        """The dense network in a runtime; None if it cannot be run there."""
        if runtime is None:
            return None
        if runtime not in self._known:
            try:
                self._known[runtime] = self.of(runtime, self._dense)
            except Unsupported:
                self._known[runtime] = None
        return self._known[runtime]

    def memory_of_dense(self, runtime: Runtime, memory: MemoryGauge) -> int | None:
        """The bytes that the dense network takes in a runtime; None if that is not known."""
        if runtime not in self._memory:
            one = self.of_dense(runtime)
            self._memory[runtime] = memory.of(Subject(runtime, self._dense), one.folder) if one else None
        return self._memory[runtime]


def measured_in_runtimes(
    stage: Measure, network: FinishedNetwork, dense: FinishedNetwork, data: Data, folder: Path | None = None
) -> Found:
    """The figures of RUNTIME for each runtime of a stage.

    Args:
        folder: an empty one for the network's files, if they are to stay; the stage then has one runtime.

    Raises PrunebenchError if a runtime is not installed, or if its outputs are not those of the network.
    """
    found, threads = Found(), stage.latency.threads
    check_installed(entry.runtime for entry in stage.runtimes)
    references = {entry.runtime.dense() for entry in stage.runtimes}
    subjects = (
        *(Subject(entry.runtime, network) for entry in stage.runtimes),
        *(Subject(runtime, dense) for runtime in references),
    )
    with (
        tempfile.TemporaryDirectory(prefix="prunebench-") as root,
        using_threads(threads),
        gauge(subjects, _timed_inputs(stage, data), threads) as memory,
    ):
        deployments = Deployments(Path(root), dense)
        rows: dict[str, Deployed] = {}
        for entry in stage.runtimes:
            try:
                rows[entry.label] = deployments.of(entry.runtime, network, folder)
            except Unsupported as reason:
                found.notes[f"{RUNTIME}{entry.label}"] = str(reason)
                continue
            _describe(entry, rows[entry.label], network, data, found)
        _weigh(rows, network, deployments, memory, found)
        _time(stage, rows, deployments, data, found)
    return found


def _describe(entry: RuntimeEntry, row: Deployed, network: FinishedNetwork, data: Data, found: Found) -> None:
    """Add all that is not timed of a network in a runtime."""
    figures = {**difference(row, network, data, entry.label), **metrics_of(row, data), "size_bytes": float(row.size)}
    figures["exportable"] = float(bool(entry.runtime.reading))
    found.figures.update({f"{RUNTIME}{entry.label}/{name}": value for name, value in figures.items()})
    if row.program.note:
        found.notes[f"{RUNTIME}{entry.label}/kernels"] = row.program.note
    if network.zeros >= FEW_ZEROS and not entry.runtime.skips_zeros(network):
        found.notes[f"{RUNTIME}{entry.label}/zeros"] = NO_KERNEL


def _weigh(
    rows: dict[str, Deployed], network: FinishedNetwork, deployments: Deployments, memory: MemoryGauge, found: Found
) -> None:
    """Add the memory of all networks in all runtimes, where it can be measured."""
    for label, row in rows.items():
        own = memory.of(Subject(row.runtime, network), row.folder)
        reference = deployments.memory_of_dense(row.runtime.dense(), memory)
        given = {"peak_memory_bytes": own, "peak_memory_bytes_dense": reference}
        found.figures.update(
            {f"{RUNTIME}{label}/{name}": float(size) for name, size in given.items() if size is not None}
        )


def _time(stage: Measure, rows: dict[str, Deployed], deployments: Deployments, data: Data, found: Found) -> None:
    """Add the latencies of all networks in all runtimes, measured alternately, for each batch size."""
    beside = {
        label: {
            "": row,
            "_dense": deployments.of_dense(row.runtime.dense()),
            "_int8": deployments.of_dense(row.runtime.int8()),
        }
        for label, row in rows.items()
    }
    for label, some in beside.items():
        found.figures[f"{RUNTIME}{label}/threads"] = stage.latency.threads
        found.figures[f"{RUNTIME}{label}/eight_bit"] = float(rows[label].runtime.int8() == rows[label].runtime)
        if (reference := some["_dense"]) is not None:
            found.figures[f"{RUNTIME}{label}/size_bytes_dense"] = reference.size
    programs = {id(one): one for some in beside.values() for one in some.values() if one is not None}
    busy = BusyWatch()
    for batch in stage.latency.batch_sizes:
        inputs = first_inputs(data, batch)
        timed = interleaved({key: (one.program.run, one.placed(inputs)) for key, one in programs.items()})
        for label, some in beside.items():
            for ending, one in some.items():
                if one is not None:
                    median, spread = timed[id(one)]
                    name = f"{RUNTIME}{label}/latency_ms{ending}"
                    found.figures.update({f"{name}/{batch}": median, f"{name}_iqr/{batch}": spread})
    if remark := busy.remark():
        found.notes.update({f"{RUNTIME}{label}/load": remark for label in rows})


def difference(row: Deployed, network: FinishedNetwork, data: Data, label: str) -> dict[str, float]:
    """How far a program's outputs are from torch's. Raises PrunebenchError if they are another network's."""
    inputs = as_floats(first_inputs(data, min(COMPARED, len(data.test))), torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        expected, actual = network.module(inputs).float(), row.run(inputs)
    if actual.shape != expected.shape:
        raise PrunebenchError(
            f"runtime {label!r} returns outputs of shape {tuple(actual.shape)}, and torch {tuple(expected.shape)}"
        )
    largest, scale = float((actual - expected).abs().max()), float(expected.abs().max())
    limit = row.runtime.tolerance
    relative = largest / scale if scale else 0.0 if not largest else math.inf
    if not largest <= limit * scale + 1e-6:  # true for NaN
        raise PrunebenchError(
            f"runtime {label!r}: an output differs from torch's by {largest:.3g}, the largest of which is {scale:.3g}, "
            f"and {limit:g} of that is the limit: this is not the network that was trained, so it is not measured"
        )
    return {"difference": largest, "difference_relative": relative if math.isfinite(relative) else 0.0}


def metrics_of(row: Deployed, data: Data) -> dict[str, float]:
    """Loss and metrics of a program on the test set."""
    figures = evaluate(_AsModule(row), data, 0)
    return {name.removeprefix("test_"): value for name, value in figures.items() if name.startswith("test_")}


class _AsModule(nn.Module):
    def __init__(self, row: Deployed) -> None:
        super().__init__()
        self.row = row

    def forward(self, inputs: Inputs) -> torch.Tensor:
        return self.row.run(inputs)


def _timed_inputs(stage: Measure, data: Data) -> Inputs:
    """Those of the smallest passes, on the CPU."""
    return as_floats(first_inputs(data, min(stage.latency.batch_sizes)), torch.device("cpu"), torch.float32)


def first_inputs(data: Data, count: int) -> Inputs:
    """Inputs of the first test examples, again from the first on if there are not so many."""
    index = torch.arange(count, device=data.test.targets.device) % len(data.test)
    return data.examples(data.test, index)[0]


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_installed(runtimes: Iterable[Runtime]) -> None:
    """Raise PrunebenchError for a runtime whose packages are not installed, with the command that does."""
    for runtime in runtimes:
        for module, command in runtime.requires.items():
            if importlib.util.find_spec(module) is None:
                raise PrunebenchError(
                    f"runtime {runtime.name!r} needs {module}, which is not installed: {command}; "
                    "or leave it out of `runtimes`"
                )


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Context in which torch uses so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class BusyWatch:
    """How many cores other processes use from now on, where the system tells."""

    def __init__(self) -> None:
        self._begun = self._now()

    def remark(self) -> str:
        """A sentence, if other processes used more than OTHERS cores; else nothing."""
        ended = self._now()
        if self._begun is None or ended is None:
            return ""
        seconds, busy, own = (after - before for before, after in zip(self._begun, ended, strict=True))
        others = (busy - own) / seconds if seconds > 0 else 0.0
        if others <= OTHERS:
            return ""
        # Long passes are interrupted more often than short ones, so that ratios are off too.
        return (
            f"other processes used {others:.1f} of {os.cpu_count()} cores meanwhile: times and their ratios may be far "
            "off, so measure again on a quiet machine (`--measure-again`)"
        )

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds: the clock, all that the machine's cores were busy, and this process."""
        try:
            fields: list[Any] = Path("/proc/stat").read_text("ascii").partition("\n")[0].split()[1:]
            ticks = [int(one) for one in fields[:8]]
            busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return None
        return time.perf_counter(), busy, time.process_time()
