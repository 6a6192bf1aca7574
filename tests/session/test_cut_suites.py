"""Suites that remove channels, heads and blocks, through the commands that read a finished trial."""

import pytest
import torch
from prunebench_plugins.resnet_cifar import ResNet20

import prunebench
from tests import runs

pytestmark = pytest.mark.slow
SUITE = """
name: tiny
tasks:
  - label: tiny
    dataset: digits
    model: {name: resnet20, width: 0.25}
    recipe: {epochs: 2, batch_size: 64, optimizer: {name: sgd, lr: 0.05, momentum: 0.9}}
sparsities: [0.3]
reductions: {by: macs, of: [1.5]}
seeds: 1
methods:
  - {name: l2-filters, rounds: 2, align: 2, exclude: ['^conv'], finetune: 1ep}
  - {name: shortgpt, finetune: 1ep}
"""
LEFT = str(1 - 1 / 1.5)[:8]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the suite has run in one go."""
    return ran(tmp_path_factory.mktemp("finished"))


def ran(folder, *options):
    runs.write_suite(folder, SUITE)
    done = run(folder, "run", "tiny.yaml", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(folder, *command):
    return runs.prunebench(*command, cwd=folder)


def row(method):
    return f"tiny/{method}/{LEFT}"


@pytest.mark.parametrize("method", ["l2-filters", "shortgpt"])
def test_a_row_is_verified(finished, method):
    done = run(finished, "verify", "tiny.yaml", row(method))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reproduced, equal" in done.stdout


@pytest.mark.parametrize("method", ["l2-filters"])
def test_the_small_network_is_exported_and_read_again_as_onnx_and_as_a_state_dict(finished, method):
    runtime = pytest.importorskip("onnxruntime")
    for kind, name in (("onnx", "small.onnx"), ("state-dict", "small.safetensors")):
        path = finished / f"{method}-{name}"
        done = run(finished, "export", "tiny.yaml", f"{row(method)}/0", "--format", kind, "--output", str(path))
        assert done.returncode == 0, done.stdout + done.stderr
    whole = ResNet20(width=0.25).build((1, 8, 8), 10)
    parameters = sum(value.numel() for value in whole.parameters())
    network = prunebench.load_network(whole, str(finished / f"{method}-small.safetensors")).eval()
    assert sum(value.numel() for value in network.parameters()) < 0.8 * parameters
    session = runtime.InferenceSession(str(finished / f"{method}-small.onnx"))
    inputs = torch.randn(3, 1, 8, 8)
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(inputs).detach(), rtol=1e-4, atol=1e-4)
