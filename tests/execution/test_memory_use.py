"""The memory of a network in a runtime: that of the weights and activations, in a process that runs nothing else."""

import mmap
import tempfile
from pathlib import Path

import pytest
import torch
from prunebench_plugins.csr import Csr
from prunebench_plugins.torch_runtimes import Torch, TorchExport
from torch import nn

from prunebench import Program, Runtime
from prunebench.api.components import Input
from prunebench.execution.measuring import memory_use
from prunebench.execution.measuring.memory_use import Subject, can_be_measured, gauge
from prunebench.execution.processes.memory import keep_freed
from prunebench.network.delivery import FinishedNetwork

pytestmark = pytest.mark.skipif(not can_be_measured(), reason="the system does not tell peaks of memory")
INPUTS = torch.ones(1, 8)
MB = 1e6


class Bytes(Runtime):
    """Reads and holds so many megabytes, takes more of them while it runs, and frees more while it reads."""

    name = "bytes"
    held: int = 0
    running: int = 0
    reading_takes: int = 0
    device: str = "cpu"
    breaks: bool = False

    def deploy(self, network, folder):
        (folder / "model").write_bytes(b"1")
        return Program(run=lambda inputs: inputs)

    def load(self, folder, threads):
        assert (folder / "model").read_bytes() == b"1"
        if self.breaks:
            raise ValueError("it does not run here")
        _filled(self.reading_takes)
        held = _filled(self.held)

        def run(inputs):
            more = _filled(self.running)
            return inputs + len(held) - len(held) + len(more) - len(more)

        return Program(run=run, device=self.device)


def _filled(megabytes):
    """Anonymous memory that is written to."""
    block = mmap.mmap(-1, max(1, int(megabytes * MB)))
    for start in range(0, len(block), mmap.PAGESIZE):
        block[start] = 1
    return block


def finished(model):
    return FinishedNetwork(model.eval(), (Input(shape=(8,)),), 0.0, 1, lambda count, size: iter(()))


def linear(outputs, zeros=0.0):
    layer = nn.Linear(8000, outputs)
    with torch.no_grad():
        layer.weight[torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(0)) < zeros] = 0
    return nn.Sequential(nn.Linear(8, 8000), layer)


@pytest.fixture
def memory_of(tmp_path):
    """Megabytes of runtimes with a network, each measured alone."""

    def measured(*subjects):
        with gauge(subjects, INPUTS, 1) as memory:
            return [_of(memory, subject, Path(tempfile.mkdtemp(dir=tmp_path))) for subject in subjects]

    return measured


def _of(memory, subject, folder: Path):
    subject.runtime.deploy(subject.network, folder)
    found = memory.of(subject, folder)
    return None if found is None else found / MB


def test_it_is_what_is_held_and_taken_in_a_pass_and_not_what_reading_has_freed(memory_of):
    network = finished(nn.Linear(8, 8))
    kinds = ({}, {"held": 40}, {"held": 40, "running": 20}, {"reading_takes": 80})
    nothing, held, running, reading = memory_of(*(Subject(Bytes(**one), network) for one in kinds))
    assert nothing < 5
    assert held - nothing == pytest.approx(40, abs=2)
    assert running - nothing == pytest.approx(60, abs=2)
    assert reading - nothing == pytest.approx(0, abs=2)


def test_weights_are_counted_in_runtimes_that_read_files_and_in_those_that_are_deployed_again(memory_of):
    small, large, sparse = finished(linear(100)), finished(linear(1100)), finished(linear(1100, zeros=0.95))
    for runtime in (Torch(), TorchExport()):
        few, many = memory_of(Subject(runtime, small), Subject(runtime, large))
        assert many - few == pytest.approx(4 * 8000 * 1000 / MB, rel=0.1)
    dense, skipping = memory_of(Subject(Torch(), large), Subject(Csr(), sparse))
    # 5 % of the weights, each a number and a column, instead of all
    assert dense - skipping == pytest.approx(4 * 8000 * 1100 * (1 - 2 * 0.05) / MB, abs=10)


def test_memory_that_the_worker_keeps_hides_nothing(memory_of):
    keep_freed()
    del (block := [torch.ones(10_000_000)])[:]
    few, many = memory_of(*(Subject(Torch(), finished(linear(outputs))) for outputs in (100, 1100)))
    assert not block
    assert many - few == pytest.approx(32, rel=0.1)


def test_it_is_unknown_on_another_device_and_where_the_program_does_not_run(memory_of):
    network = finished(nn.Linear(8, 8))
    assert memory_of(Subject(Bytes(device="cuda"), network), Subject(Bytes(breaks=True), network)) == [None, None]


def test_it_is_unknown_where_the_system_does_not_tell(memory_of, monkeypatch):
    monkeypatch.setattr(memory_use, "can_be_measured", lambda: False)
    assert memory_of(Subject(Bytes(), finished(nn.Linear(8, 8)))) == [None]
