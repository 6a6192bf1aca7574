"""Every file of docs/examples is a plugin that does what its docstring says."""

from pathlib import Path

import pytest
import torch

from prunebench import session
from prunebench.api.runtimes import Measure
from prunebench.api.stages import Initialize, Prune, Rewind, Train
from prunebench.data.prepared import prepare
from prunebench.execution.performing import finished_network
from prunebench.network.description import describe
from prunebench.testing import conformance
from tests import runs

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def loaded():
    """The suite that uses all examples."""
    return session.load_suite(EXAMPLES / "suite.yaml", plugin_files=FILES)


@pytest.fixture(scope="module")
def chain_of(loaded, run_chain):
    """A method's chain at 80 % sparsity, performed."""
    found = {trial.entry.label: trial for trial in loaded.trials if trial.sparsity in (0, 0.8) and trial.seed == 0}
    return lambda label: run_chain(found[label])


def kept(chain, state=None):
    network = describe(chain.context.trial.task)
    return sum(int((state or chain.end).parameters[layer.name].count_nonzero()) for layer in network.layers)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_used_and_pointed_to(path, loaded):
    assert [cls for cls, plugin in loaded.registry.origins.items() if plugin.file == str(path.resolve())]
    assert f"](examples/{path.name})" in (EXAMPLES.parent / "add-a-method.md").read_text("utf-8")
    assert f"--plugin {path.name}" in (EXAMPLES / "suite.yaml").read_text("utf-8")


@pytest.mark.parametrize("label", ["relative", "midway", "early-ticket"])
def test_register_methods_brings_methods_that_reach_their_target_exactly(chain_of, label):
    chain = chain_of(label)
    assert kept(chain) == round(0.2 * describe(chain.context.trial.task).size)


def test_register_datasets_brings_a_data_set_that_can_be_learned(chain_of, loaded, tmp_path):
    dataset = loaded.suite.tasks[0].dataset
    assert dataset.facts().classes == 6
    prepare(dataset, None, tmp_path)  # raises for data that is not what its facts say
    assert chain_of("dense").accuracy > 0.8


def test_register_models_brings_a_model_whose_layers_can_be_pruned(loaded):
    network = describe(loaded.suite.tasks[0])
    assert [layer.shape for layer in network.layers] == [(4, 1, 3, 3), (8, 4, 3, 3), (6, 8)]


def test_register_objectives_brings_an_error_that_training_reduces(chain_of):
    first, *_, last = chain_of("dense").end.history
    assert last["test_brier"] == last["test_loss"] < min(0.4, first["test_brier"])
    assert last["test_accuracy"] == chain_of("dense").accuracy


def test_the_updater_prunes_in_the_middle_of_one_training(chain_of):
    chain = chain_of("midway")
    assert [type(node.stage) for node in chain.nodes] == [Initialize, Train, Measure]
    assert chain.end.step == chain.context.trial.task.clock.total


def test_the_chain_goes_back_to_the_initial_weights(chain_of):
    chain = chain_of("early-ticket")
    assert [type(node.stage) for node in chain.nodes] == [Initialize, Train, Prune, Rewind, Train, Measure]
    first, again = chain.states[chain.nodes[0].key], chain.after(Rewind)
    assert again.step == 0
    for name, mask in again.masks.items():
        assert again.parameters[name][mask].equal(first.parameters[name][mask])


@pytest.mark.slow
@pytest.mark.parametrize("label", ["relative", "midway", "early-ticket"])
def test_every_method_keeps_the_contract(loaded, label):
    report = conformance(loaded.registry.find("method", label)[0])
    assert report.ok, str(report)


def test_register_runtimes_brings_a_runtime_that_agrees_with_torch(chain_of, loaded, tmp_path):
    chain = chain_of("relative")
    network = finished_network(chain.end, chain.context)
    program = loaded.registry.find("runtime", "bfloat16")[0]().deploy(network, tmp_path)
    inputs = torch.randn(4, *network.inputs[0].shape)
    with torch.no_grad():
        expected = network.module(inputs)
    assert 0 < (program.run(inputs) - expected).abs().max() < 0.1 * expected.abs().max()
    weights = sum(value.numel() for value in network.module.state_dict().values())
    assert (tmp_path / "model.safetensors").stat().st_size < 2 * weights + 1500


def test_register_executors_brings_a_place_where_a_suite_runs(tmp_path):
    # One job only, because each job starts Python and imports torch.
    text = runs.SUITE.split("methods:")[0].replace("epochs: 2", "epochs: 1")
    runs.write_suite(tmp_path, text + "methods: [dense]\nsparsities: [0.5]\nseeds: 1\n")
    how = ["--plugin", EXAMPLES / "executor.py", "--executor", "launch", "--prefix", "env PASSED=on"]
    done = runs.prunebench("run", "tiny.yaml", *how, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 done, 0 cached, 0 failed" in done.stdout
    assert "1 at a time: env PASSED=on " in done.stderr
