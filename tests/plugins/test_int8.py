"""INT8 deployment: real integer kernels, about the same accuracy, a quarter of the bytes."""

import pytest
import torch
from torch import nn

import prunebench
from prunebench import Deploy, Prune, Train, session, tracking
from prunebench.api.errors import PrunebenchError
from prunebench.execution.performing import measured
from prunebench.plan.planning import make_plan
from tests import runs

QUANTIZED = "torch.ao.nn"


def kinds(module):
    """The classes of a network's layers that torch's quantization made."""
    return [type(layer).__name__ for layer in module.modules() if type(layer).__module__.startswith(QUANTIZED)]


@pytest.fixture
def context(scoring_of):
    """A trained-looking network as it is passed to a method."""

    def make(task):
        torch.manual_seed(0)
        module = task.model.build((1, 6, 6), 3).eval()
        with torch.no_grad():
            for layer in module.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.running_mean.normal_()
                    layer.running_var.uniform_(0.5, 2.0)
        return scoring_of(module, (1, 6, 6), task)

    return make


@pytest.mark.parametrize("architecture", ["MLP", "Conv"])
def test_static_layers_are_integers_with_a_scale_for_each_output(tiny, method, context, data_of, architecture):
    task = tiny.task(getattr(tiny, architecture)())
    scoring = context(task)
    data = data_of(task)
    inputs = data.normalized(data.test.inputs)
    with torch.no_grad():
        expected = scoring.model(inputs)
        deployed = method("int8", batches=2, batch_size=20).deploy(scoring)
        found = deployed.model(inputs)
    assert deployed.device.type == "cpu"
    assert deployed.notes == {"kernels": f"INT8 of {torch.backends.quantized.engine}, on the CPU, static activations"}
    layers = [layer for layer in deployed.model.modules() if callable(getattr(layer, "weight", None))]
    assert len(layers) == {"MLP": 2, "Conv": 4}[architecture]
    for layer in layers:
        weight = layer.weight()
        assert weight.dtype == torch.qint8
        assert weight.qscheme() == torch.per_channel_affine
        assert len(weight.q_per_channel_scales()) == weight.shape[0]
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in deployed.model.modules())
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_pruned_weights_are_zero_as_integers_too(tiny, method, context):
    scoring = context(tiny.task())
    with torch.no_grad():
        scoring.model[1].weight[:, ::2] = 0
    deployed = method("int8").deploy(scoring)
    first = next(layer for layer in deployed.model.modules() if callable(getattr(layer, "weight", None)))
    assert not first.weight().int_repr()[:, ::2].any()
    assert not first.weight().q_per_channel_zero_points().any()


def test_dynamic_activations_leave_convolutions_alone_and_say_so(tiny, method, context):
    deployed = method("int8", activations="dynamic").deploy(context(tiny.task(tiny.Conv())))
    assert kinds(deployed.model).count("Linear") == 1
    assert sum(isinstance(layer, nn.Conv2d) for layer in deployed.model.modules()) == 3
    assert deployed.notes["convolutions"] == "not applicable: with dynamic activations they stay float32"
    assert "convolutions" not in method("int8", activations="dynamic").deploy(context(tiny.task())).notes


class Branching(prunebench.Model):
    """Looks at its inputs before it decides, which no tracer can follow."""

    name = "branching"

    def build(self, shape, classes):
        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(36, classes)

            def forward(self, inputs):
                flat = inputs.flatten(1)
                return self.layer(flat if flat.is_meta or flat.sum() > 0 else -flat)

        return Network()


def test_a_network_that_cannot_be_traced_is_an_error_that_names_the_way_out(tiny, method, context):
    task = tiny.task(Branching())
    with pytest.raises(PrunebenchError, match=r"^not applicable: static INT8 needs .* try activations: dynamic$"):
        method("int8").deploy(context(task))
    assert kinds(method("int8", activations="dynamic").deploy(context(task)).model).count("Linear") == 1


def test_a_torch_without_kernels_is_an_error(tiny, method, context, monkeypatch):
    monkeypatch.setattr("prunebench_plugins.int8.find_spec", lambda name: None)
    with pytest.raises(PrunebenchError, match=r"^not applicable: this torch has no INT8 kernels"):
        method("int8").deploy(context(tiny.task()))


def test_alone_it_is_skipped_with_the_way_to_use_it(tiny, method):
    (planned,) = make_plan([tiny.trial(method("int8"))], {}).trials
    assert planned.skipped == "int8 prunes nothing: put it behind other stages, as in `- deploy: {by: int8}`"


def test_after_pruning_accuracy_stays_and_the_file_shrinks(tiny, method, run_stages, digits_task):
    prune = Prune(by=method("magnitude"), density=0.2)
    chain = run_stages(digits_task(), Train(), prune, Train("+2ep"), Deploy(by=method("int8")))
    figures, _ = measured(chain.nodes[-1].stage, chain.end, chain.context)
    assert figures["test_accuracy"] == pytest.approx(chain.accuracy, abs=0.02)
    assert figures["test_loss"] != measured(Train(), chain.end, chain.context)[0]["test_loss"]
    # Of 7,400 weights one in five as a byte, and a bit for each; then scales, biases and names.
    assert 7400 / 5 + 7400 / 8 < figures["size_bytes"] < 7400 / 5 + 7400 / 8 + 4500
    assert figures["size_bytes_dense"] == pytest.approx(4 * 7510, abs=500)
    assert 0 < figures["latency_ms"] < 100
    assert figures["latency_ms_dense"] > 0


SUITE = """
name: deployed
tasks:
  - label: tiny
    dataset: digits
    model: {name: mlp, hidden: [12]}
    recipe: {epochs: 2, batch_size: 100, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
methods:
  - label: magnitude-int8
    stages: [initialize, train, {prune: {by: magnitude}}, {train: {until: +1ep}}, {deploy: {by: int8}}]
  - label: two-four-hardware
    sparsities: [0.5]
    stages:
      - initialize
      - train
      - prune: {by: magnitude, structure: {n: 2, m: 4}}
      - deploy: {by: nm}
  - {name: nm, label: two-four, n: 2, m: 4, sparsities: [0.5], finetune: 1ep}
  - {name: nm, label: nowhere, n: 1, m: 4}
sparsities: [0.8]
seeds: 1
"""


@pytest.mark.slow
def test_a_suite_says_it_of_any_chain_and_rows_have_the_deployed_figures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = session.load_suite(runs.write_suite(tmp_path, SUITE))
    outcome = session.run_suite(loaded, workers=1)
    assert outcome.counts == {"done": 4, "skipped": 1}
    results = {result.method: result for result in tracking.read_results(suite="deployed")}
    quantized, hardware = results["magnitude-int8"], results["two-four-hardware"]
    assert quantized.metrics["latency_ms"] > 0
    assert quantized.metrics["size_bytes"] < quantized.metrics["size_bytes_dense"]
    assert quantized.metrics["sparsity"] == pytest.approx(0.8, abs=1e-3)
    assert quantized.provenance["note.kernels"].startswith("INT8 of ")
    assert hardware.metrics["accuracy"] > 0.1
    assert "latency_ms" not in hardware.metrics
    assert hardware.provenance["note.latency_ms"].startswith("not applicable: 2:4 needs an NVIDIA GPU")
    assert results["nowhere"].reason == "1:4 has a sparsity of 0.75 and no other"
    assert results["two-four"].metrics["sparsity"] == 0.5
