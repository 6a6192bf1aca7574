"""`plugins/deepsparse`: a runtime in a separate package.

DeepSparse needs older packages than this project's tests. An engine stands in for it, which refuses the same files.
"""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from prunebench.api.components import Input
from prunebench.api.errors import PrunebenchError, Unsupported
from prunebench.network.delivery import FinishedNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
FILE = Path(__file__).parents[2] / "plugins" / "deepsparse" / "prunebench_deepsparse.py"


class Engine:
    """One batch size, as DeepSparse's; it refuses files that are newer than DeepSparse reads."""

    def __init__(self, path, batch_size, num_cores):
        model = onnx.load(path)
        if model.ir_version > 9 or any(one.version > 19 for one in model.opset_import if not one.domain):
            raise RuntimeError("NM: error: Failed to load model\nmore")
        self.batch, self.cores = batch_size, num_cores
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(self, arrays):
        assert len(arrays[0]) == self.batch
        names = [one.name for one in self.session.get_inputs()]
        return self.session.run(None, dict(zip(names, arrays, strict=True)))


@pytest.fixture
def engines(monkeypatch):
    """Those that were compiled."""
    made = []

    def compile_model(path, batch_size, num_cores):
        made.append(Engine(path, batch_size, num_cores))
        return made[-1]

    monkeypatch.setitem(sys.modules, "deepsparse", SimpleNamespace(compile_model=compile_model))
    return made


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("prunebench_deepsparse", FILE)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.out = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.out(self.conv(inputs).relu().mean((2, 3)))


@pytest.fixture
def network():
    return FinishedNetwork(Net().eval(), (Input(shape=(1, 6, 6)),), 0.9, 2, lambda count, size: iter(()))


def test_outputs_are_torchs_at_any_batch_size_which_is_compiled_once(module, network, engines, tmp_path):
    program = module.DeepSparse().deploy(network, tmp_path)
    for batch in (1, 3, 3):
        inputs = torch.randn(batch, 1, 6, 6)
        with torch.no_grad():
            expected = network.module(inputs)
        assert torch.allclose(program.run(inputs), expected, atol=1e-6)
    assert [(one.batch, one.cores) for one in engines] == [(2, 2), (1, 2), (3, 2)]
    assert "ended" in program.note


def test_a_network_that_the_engine_refuses_is_unsupported(module, network, engines, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "older", lambda content: content)
    with pytest.raises(Unsupported, match=r"DeepSparse cannot run this network: NM: error: Failed to load model$"):
        module.DeepSparse().deploy(network, tmp_path)


def test_damaged_files_are_one_sentence(module, engines, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x00\x01damaged")
    with pytest.raises(PrunebenchError, match=r"model\.onnx cannot be read"):
        module.DeepSparse().load(tmp_path, 1)


def test_it_skips_zeros_and_runs_the_dense_network_itself(module, network):
    runtime = module.DeepSparse()
    assert runtime.skips_zeros(network)
    assert runtime.dense() is runtime
    assert runtime.int8() is None
