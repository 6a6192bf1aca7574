"""A trial's end as a file: a ticket, a state dict, ONNX; each with the accuracy of its row."""

import json
from dataclasses import replace

import pytest
import safetensors
import safetensors.torch
import torch

from prunebench import Deploy, Initialize, Prune, Train, load_ticket
from prunebench.api.errors import PrunebenchError
from prunebench.inspection import FORMATS, export, ticket_of
from prunebench.suite.sections.pipelines import Pipeline


@pytest.fixture
def one_shot(tiny, method, digits_task, finished):
    """A ticket on digits, of a row with an accuracy that is not a round number."""
    task = digits_task(hidden=(30,), epochs=2)
    return finished(tiny.trial(method("imp", iterative=False), sparsity=0.8, task=task))


def accuracy_of(logits, data):
    return float((logits.argmax(1) == data.test.targets).double().mean())


def test_a_ticket_gives_the_accuracy_of_its_row(one_shot, tmp_path):
    export(one_shot, tmp_path / "t.safetensors")
    ticket = load_ticket(tmp_path / "t.safetensors")
    model = ticket.model()
    data = one_shot.context.data
    with torch.no_grad():
        accuracy = accuracy_of(model(data.normalized(data.test.inputs)), data)
    row = one_shot.result.metrics
    assert accuracy == row["accuracy"] == ticket.facts.figures["accuracy"]
    assert 0.2 < accuracy < 1
    again = ticket.evaluate(store=tmp_path / "other")
    assert (again["accuracy"], again["loss"]) == (row["accuracy"], row["loss"])
    assert ticket.sparsity == pytest.approx(row["sparsity"], abs=1e-12)
    assert ticket.facts.trial == "digits/mine/0.8/0"


def test_its_initial_weights_are_those_that_the_chain_began_with(tiny, one_shot, run_chain):
    ticket, chain = ticket_of(one_shot), run_chain(one_shot.trial)
    first = chain.after(Initialize)
    assert ticket.facts.initial_step == 0
    assert all(torch.equal(ticket.initial[name], value) for name, value in first.parameters.items())
    assert all(torch.equal(ticket.masks[name], mask) for name, mask in chain.end.masks.items())


def test_or_those_that_it_was_rewound_to(tiny, method, finished, run_chain):
    trial = tiny.trial(method("imp", iterative=False, rewind_to="3it"), task=tiny.task(tiny.Conv(), steps=6))
    chain = run_chain(trial)
    ticket, rewound = ticket_of(finished(trial, chain)), chain.after(Train, 0)
    assert ticket.facts.initial_step == rewound.step == 3
    values = rewound.parameters | rewound.buffers
    assert ticket.initial.keys() == values.keys()
    assert all(torch.equal(ticket.initial[name], value) for name, value in values.items())


def test_the_dense_network_is_a_ticket_without_masks(tiny, method, finished):
    ticket = ticket_of(finished(tiny.trial(method("dense"), sparsity=0.0, task=tiny.task(steps=2))))
    assert (ticket.masks, ticket.sparsity) == ({}, 0)


def test_a_delivered_trial_gives_the_network_from_before(tiny, method, finished):
    chain = (Initialize(), Prune(by=method("random"), density=0.5), Train(), Deploy())
    one = finished(tiny.trial(Pipeline(chain=chain), task=tiny.task(steps=7)))
    figures = ticket_of(one).facts.figures
    assert figures.keys() == {"accuracy", "loss"}
    assert figures["accuracy"] == one.end.history[-1]["test_accuracy"]


def test_a_state_dict_loads_into_the_model(one_shot, built_in, tmp_path):
    path = tmp_path / "d.safetensors"
    export(one_shot, path, "state-dict")
    model = built_in("model", "mlp", hidden=(30,)).build((1, 8, 8), 10)
    model.load_state_dict(safetensors.torch.load_file(path))
    data = one_shot.context.data
    with torch.no_grad():
        assert accuracy_of(model.eval()(data.normalized(data.test.inputs)), data) == one_shot.result.metrics["accuracy"]
    with safetensors.safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["prunebench"])
    assert (metadata["trial"], metadata["shape"], metadata["classes"]) == ("digits/mine/0.8/0", [1, 8, 8], 10)
    assert metadata["mean"] == list(one_shot.trial.task.dataset.mean)


@pytest.mark.parametrize("form", FORMATS[:2])
def test_exporting_twice_gives_the_same_bytes(one_shot, tmp_path, form):
    for name in ("one", "two"):
        export(one_shot, tmp_path / name, form)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "Conv"])
def test_onnx_computes_the_same_for_any_batch(tiny, method, finished, one_shot, tmp_path, model):
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    one = one_shot
    if model == "Conv":
        one = finished(tiny.trial(method("imp", iterative=False), task=tiny.task(tiny.Conv(), steps=6)))
    export(one, tmp_path / "m.onnx", "onnx")
    assert [path.name for path in tmp_path.glob("*onnx*")] == ["m.onnx"]
    written = onnx.load(tmp_path / "m.onnx")
    metadata = {entry.key: entry.value for entry in written.metadata_props}
    assert metadata["trial"] == str(one.trial)
    data, network = one.context.data, reference.ReferenceEvaluator(written)
    inputs = data.normalized(data.test.inputs)
    for batch in (inputs[:1], inputs):
        [logits] = network.run(None, {"input": batch.numpy()})
        assert logits.shape == (len(batch), one.trial.task.dataset.facts().classes)
    assert accuracy_of(torch.from_numpy(logits), data) == pytest.approx(one.result.metrics["accuracy"], abs=1e-12)


def test_without_onnx_it_says_what_to_install(one_shot, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PrunebenchError, match=r"pip install 'prunebench\[onnx\]'"):
        export(one_shot, tmp_path / "m.onnx", "onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_regression_says_how_its_inputs_and_outputs_are_scaled(tiny, built_in, finished, tmp_path):
    table, mlp = built_in("dataset", "tables", table="diabetes"), built_in("model", "mlp", hidden=(8,))
    task = replace(tiny.task(mlp, table, steps=60), objective=built_in("objective", "regression"))
    one = finished(tiny.trial(built_in("method", "dense"), sparsity=0.0, task=task))
    export(one, tmp_path / "a.safetensors", "state-dict")
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        said = json.loads(file.metadata()["prunebench"])
    model = mlp.build((10,), 1)
    model.load_state_dict(safetensors.torch.load_file(tmp_path / "a.safetensors"))
    loaded = table.load(None)
    inputs = (torch.tensor(loaded.test_inputs) - torch.tensor(said["mean"])) / torch.tensor(said["std"])
    with torch.no_grad():
        predicted = model(inputs)[:, 0].double() * said["target_std"] + said["target_mean"]
    error = (predicted - torch.tensor(loaded.test_labels)).square().mean().sqrt().item()
    assert error == pytest.approx(one.result.metrics["rmse"], rel=1e-5) == said["rmse"]
    assert error < 80  # the standard deviation of the targets is 77: they are not on another scale
