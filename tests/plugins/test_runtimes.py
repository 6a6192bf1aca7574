"""The built-in runtimes: programs that are read from files and agree with torch, and sentences where there are none."""

import io
import pickle
import re
import zipfile
from importlib.util import find_spec
from itertools import pairwise

import pytest
import torch
from prunebench_plugins.csr import SparseLinear
from prunebench_plugins.semi_structured import is_2to4
from torch import nn

from prunebench.api.components import Input
from prunebench.api.errors import PrunebenchError, Unsupported
from prunebench.network.delivery import FinishedNetwork

FLOAT = {"torch": {}, "torch-export": {}, "onnxruntime": {}, "openvino": {}}
INT8 = {
    "torch-int8": {},
    "torch-int8-dynamic": {"activations": "dynamic"},
    "onnxruntime-int8": {"precision": "int8"},
    "onnxruntime-dynamic": {"precision": "int8", "activations": "dynamic"},
    "openvino-int8": {"precision": "int8"},
    "openvino-transformer": {"precision": "int8", "transformer": True},
}
IMAGES = (Input((1, 6, 6)),)


@pytest.fixture(scope="module")
def runtime(built_in):
    """A runtime by its name, or its label above."""

    def make(label, **parameters):
        name = next(name for name in ("torch-int8", "torch-export", *FLOAT, label) if label.startswith(name))
        one = built_in("runtime", label if label in (*FLOAT, "csr", "torch-2to4") else name, **parameters)
        for module in one.requires:
            if find_spec(module) is None:
                pytest.skip(f"{module} is not installed")
        return one

    return make


@pytest.fixture(scope="module")
def network_of(tiny):
    """A network of the tests with random statistics, as runtimes are given it."""
    known = []  # exporting it to ONNX takes seconds

    def make(module=None, inputs=IMAGES, zeros=0.0):
        if module is None and known:
            return known[0]
        found = made(module, inputs, zeros)
        if module is None:
            known.append(found)
        return found

    def made(module, inputs, zeros):
        torch.manual_seed(0)
        module = module or tiny.Conv().build((1, 6, 6), 3)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2.0)

        def batches(count, size):
            generator = torch.Generator().manual_seed(1)
            for _ in range(count):
                yield torch.randn((size, *inputs[0].shape), generator=generator)

        return FinishedNetwork(module.eval(), inputs, zeros, 1, batches)

    return make


@torch.no_grad()
def outputs_of(network, program, count):
    inputs = torch.randn((count, *network.inputs[0].shape), generator=torch.Generator().manual_seed(count))
    return network.module(inputs), program.run(inputs)


@pytest.mark.parametrize("label", FLOAT)
def test_a_float32_program_agrees_with_torch_for_any_batch_size(runtime, network_of, tmp_path, label):
    network = network_of()
    program = runtime(label).deploy(network, tmp_path)
    for count in (1, 2, 5):
        expected, found = outputs_of(network, program, count)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert [path for path in tmp_path.iterdir() if path.is_file()]


@pytest.mark.parametrize("label", INT8)
def test_an_int8_program_rounds_and_is_about_the_network(runtime, network_of, tmp_path, label):
    network = network_of(nn.Sequential(nn.Flatten(), nn.Linear(36, 640), nn.ReLU(), nn.Linear(640, 3)))
    program = runtime(label, **INT8[label]).deploy(network, tmp_path)
    for count in (1, 7):
        expected, found = outputs_of(network, program, count)
        # Processors without instructions for 8-bit sums round more: 0.11 was seen on one, and 0.05 on others.
        assert 0 < (found - expected).abs().max() < 0.2 * expected.abs().max()
    assert "INT8" in program.note
    # A byte for each of the weights, and what describes the network.
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2.5 * 640 * (36 + 3)


@pytest.mark.parametrize("label", ["onnxruntime-int8", "openvino-int8", "torch-int8"])
def test_the_ranges_are_those_of_training_examples(runtime, network_of, tmp_path, label):
    network = network_of()
    asked = []
    given = FinishedNetwork(
        network.module, network.inputs, 0.0, 1, lambda *how: asked.append(how) or network.batches(*how)
    )
    runtime(label, **INT8[label], batches=3, batch_size=16).deploy(given, tmp_path)
    assert asked == [(3, 16)]


@pytest.mark.parametrize(
    ("label", "own"), [("onnxruntime", {"activations": "dynamic"}), ("openvino", {"transformer": True})]
)
def test_the_dense_network_in_int8_is_quantized_as_the_parameters_say(runtime, label, own):
    assert runtime(label, **own).int8() == runtime(label, precision="int8", **own)
    assert runtime(label, **own).int8() != runtime(label, precision="int8")


@pytest.mark.parametrize("label", [*FLOAT, *INT8])
def test_what_is_compared_with_a_program_is_dense_in_float32_and_in_int8(runtime, label):
    one = runtime(label, **(INT8 | FLOAT)[label])
    assert one.dense().title in FLOAT
    assert one.dense().tolerance == 1e-3
    assert one.int8() is None or "int8" in one.int8().title
    assert one.tolerance == (1e-3 if label in FLOAT else 1.0)


@pytest.mark.parametrize("label", ["torch-export", "torch-int8", "onnxruntime", "openvino", "onnxruntime-int8"])
def test_a_program_is_read_back_from_its_folder(runtime, network_of, tmp_path, label):
    network, one = network_of(), runtime(label, **INT8.get(label, {}))
    programs = one.deploy(network, tmp_path), one.load(tmp_path, 1)
    expected, found = (outputs_of(network, program, 3)[1] for program in programs)
    assert found.equal(expected)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["torch-export", "torch-int8", "onnxruntime", "openvino"])
@pytest.mark.parametrize("harm", ["empty", "cut", "text", "gone"])
def test_a_damaged_file_is_one_sentence(runtime, network_of, tmp_path, label, harm):
    one = runtime(label)
    one.deploy(network_of(), tmp_path)
    for path in list(tmp_path.iterdir()):
        content = path.read_bytes()
        changed = {"cut": content[: len(content) // 2], "text": b"no program at all" * 9}.get(harm, b"")
        path.write_bytes(changed)
        if harm == "gone":
            path.unlink()
    with pytest.raises(PrunebenchError) as caught:
        one.load(tmp_path, 1)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self):
        return (open, ("/nonexistent/bomb", "w"))


def test_a_program_with_a_pickle_is_refused_unread(runtime, network_of, tmp_path):
    one = runtime("torch-export")
    one.deploy(network_of(), tmp_path)
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sample = next(name for name in parts if name.endswith(".pt"))
    evil = io.BytesIO()
    torch.save({"x": Bomb()}, evil)
    config = next(name for name in parts if name.endswith("weights_config.json"))
    for changed in (
        parts | {sample: evil.getvalue()},
        parts | {"m/data/constants/opaque_obj_0": pickle.dumps(Bomb())},
        parts | {config: re.sub(rb'"use_pickle": ?false', b'"use_pickle": true', parts[config])},
    ):
        assert changed != parts
        with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
            for name, content in changed.items():
                archive.writestr(name, content)
        with pytest.raises(PrunebenchError, match=r"may run code|not only numbers"):
            one.load(tmp_path, 1)


class TwoInputs(nn.Module):
    """Words and a table, by name."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(11, 6), nn.Linear(6 * 4 + 5, 2)

    def forward(self, given):
        return self.out(torch.cat([self.embedding(given["words"]).flatten(1), given["table"]], 1))


@pytest.mark.parametrize("label", FLOAT)
def test_several_inputs_are_given_by_name(runtime, network_of, tmp_path, label):
    inputs = Input((4,), "tokens", 11, "words"), Input((5,), "features", name="table")
    network = network_of(TwoInputs(), inputs)
    batch = {"words": torch.randint(11, (3, 4)), "table": torch.randn(3, 5)}
    with torch.no_grad():
        expected = network.module(batch)
    found = runtime(label).deploy(network, tmp_path).run(batch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_int8_of_torch_says_that_it_takes_one_input(runtime, network_of, tmp_path):
    inputs = Input((4,), "tokens", 11, "words"), Input((5,), "features", name="table")
    with pytest.raises(Unsupported, match="one input"):
        runtime("torch-int8").deploy(network_of(TwoInputs(), inputs), tmp_path)


class Branches(nn.Module):
    """Looks at the values of its inputs, which no tracer can follow."""

    def forward(self, inputs):
        flat = inputs.flatten(1)
        return flat[:, :3] if float(flat.sum()) > 0 else flat[:, 3:6]


@pytest.mark.parametrize("label", ["torch-export", "onnxruntime", "openvino", "torch-int8"])
def test_a_network_that_cannot_be_traced_is_one_sentence(runtime, network_of, tmp_path, label):
    with pytest.raises(Unsupported) as caught:
        runtime(label).deploy(network_of(Branches()), tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


# --- sparse kernels


def pruned(share, *sizes):
    torch.manual_seed(0)
    layers = [nn.Flatten()]
    for before, after in pairwise(sizes):
        linear = nn.Linear(before, after)
        linear.weight.data[torch.rand_like(linear.weight) < share] = 0
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def test_a_sparse_layer_multiplies_only_what_is_left():
    layer = nn.Linear(4, 2)
    layer.weight.data = torch.tensor([[0.0, 2.0, 0.0, 0.0], [1.0, 0.0, 0.0, -1.0]])
    layer.bias.data = torch.tensor([10.0, 0.0])
    sparse = SparseLinear(layer)
    assert sparse.matrix.nnz == 3
    with torch.no_grad():
        assert sparse(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist() == [[14.0, -3.0]]
        assert sparse(torch.ones(2, 3, 4)).tolist() == [[[12.0, 0.0]] * 3] * 2


def test_sparse_rows_agree_with_torch_and_are_a_smaller_file(runtime, network_of, tmp_path):
    network = network_of(pruned(0.95, 36, 200, 3), zeros=0.95)
    csr = runtime("csr")
    program = csr.deploy(network, tmp_path)
    for count in (1, 4):
        expected, found = outputs_of(network, program, count)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert csr.skips_zeros(network)
    assert program.note == "sparse rows in 2 linear layers: 1, 3"
    assert (tmp_path / "model.safetensors").stat().st_size < 200 * 39 * 4 / 3


@pytest.mark.parametrize("module", [None, pruned(0.2, 36, 20, 3)], ids=["convolutions", "few zeros"])
def test_there_are_no_sparse_kernels_for_other_layers_or_for_few_zeros(runtime, network_of, tmp_path, module):
    with pytest.raises(Unsupported, match=r"no kernel: .* 50% of the weights are zero"):
        runtime("csr").deploy(network_of(module), tmp_path)


def test_the_attention_of_torch_stays_dense(runtime, network_of, tmp_path):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.out = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)
            for weight in (self.attention.out_proj.weight, self.out.weight):
                weight.data[:, ::2] = 0
                weight.data[0] = 0

        def forward(self, inputs):
            rows = inputs.flatten(1, 2)
            return self.out(self.attention(rows, rows, rows)[0].mean(1))

    network = network_of(Attention(), zeros=0.5)
    program = runtime("csr").deploy(network, tmp_path)
    expected, found = outputs_of(network, program, 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert program.note.endswith(": out")


# --- 2:4 on GPUs


def test_two_of_four_is_along_the_inputs():
    weight = torch.tensor([[1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0, 4.0]])
    assert is_2to4(weight)
    assert not is_2to4(torch.roll(weight, 1, 1) + weight)
    assert not is_2to4(torch.zeros(1, 6))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_two_of_four_has_no_kernels(runtime, network_of, tmp_path):
    with pytest.raises(Unsupported, match="no kernel: 2:4 sparsity has them on NVIDIA GPUs of the Ampere generation"):
        runtime("torch-2to4").deploy(network_of(), tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_two_of_four_runs_on_sparse_kernels(runtime, network_of, tmp_path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 3))
    module[1].weight.data.view(256, -1, 4)[:, :, 2:] = 0
    network = network_of(module, (Input((256,), "features"),), 0.5)
    program = runtime("torch-2to4").deploy(network, tmp_path)
    inputs = torch.randn(64, 256)
    with torch.no_grad():
        expected, found = module(inputs), program.run(inputs.half().cuda()).float().cpu()
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
    assert program.note == "2:4 kernels in 1"
