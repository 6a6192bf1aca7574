"""Two children of one state, and what lies between them."""

import pytest
import torch
from torch import nn

from prunebench import Initialize, Train
from prunebench.api.errors import Unreachable
from prunebench.execution.performing import final_figures
from prunebench.inspection.stability import STREAMS, child_node, errors_between, reestimate, stability
from prunebench.inspection.trials import Finished
from prunebench.training.metrics import evaluate
from prunebench.training.state import load

SHARES = tuple(point / 10 for point in range(11))


@pytest.fixture
def ticket(tiny, method, finished):
    """A rewound ticket, on a network with BatchNorm or without."""
    return lambda model: finished(
        tiny.trial(method("imp", iterative=False, rewind_to="3it"), task=tiny.task(model, steps=12))
    )


@pytest.mark.parametrize("model", ["MLP", "Conv"])
def test_a_network_with_itself_has_a_barrier_of_exactly_nothing(tiny, ticket, model):
    one = ticket(getattr(tiny, model)())
    errors, reestimated = errors_between(one, one.end, one.end, SHARES)
    assert len(set(errors)) == 1
    assert reestimated is (model == "Conv")


def test_the_children_begin_alike_and_end_apart_under_one_mask(tiny, ticket):
    one = ticket(tiny.MLP())
    notes = []
    found = stability(one, notes.append)
    assert (found.start, found.stop, len(found.errors)) == (3, 12, 11)
    assert found.same_masks
    assert found.barrier == pytest.approx(max(found.errors) - (found.errors[0] + found.errors[-1]) / 2)
    assert len(notes) == 3
    children = [one.store.record(child_node(one.last, stream).key) for stream in STREAMS]
    assert [child["figures"]["test_accuracy"] for child in children] == [
        pytest.approx(1 - found.errors[0]),
        pytest.approx(1 - found.errors[-1]),
    ]
    nodes = [child_node(one.last, stream) for stream in STREAMS]
    states = [with_nodes(one, *nodes).state(node.key) for node in nodes]
    assert not torch.equal(states[0].parameters["1.weight"], states[1].parameters["1.weight"])
    assert not torch.equal(states[0].parameters["1.weight"], one.end.parameters["1.weight"])
    assert all(torch.equal(states[0].masks[name], mask) for name, mask in one.end.masks.items())


def with_nodes(one, *nodes):
    return Finished(one.trial, nodes, one.store, one.prepared, one.protocol, one.context, one.registry)


def test_it_is_the_same_when_it_is_asked_again_and_trains_nothing_then(tiny, ticket):
    one, notes = ticket(tiny.MLP()), []
    first = stability(one)
    assert stability(one, notes.append) == first
    assert notes == ["measuring 11 points between them"]


def test_a_childs_key_is_that_of_a_chain_with_that_stream(tiny, run_stages):
    task = tiny.task(steps=4)
    plain, noisy = run_stages(task, Train()), run_stages(task, Train(stream="noise-1"))
    assert child_node(plain.nodes[-1], "noise-1").key == noisy.nodes[-1].key


def test_the_ends_are_measured_as_any_network_is(tiny, ticket):
    one = ticket(tiny.MLP())
    errors, _ = errors_between(one, one.end, one.end, (0.0,))
    assert errors == (1 - final_figures(one.end, one.context)["test_accuracy"],)


def test_statistics_of_batchnorm_are_the_mean_over_the_training_examples(tiny, ticket):
    one = ticket(tiny.Conv())
    model, data = one.context.model, one.context.data
    load(model, one.end)
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    inputs = data.normalized(data.train.inputs)
    with torch.no_grad():
        expected = model[0](inputs).mean((0, 2, 3))
    assert not torch.allclose(norm.running_mean, expected)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    reestimate(model, norms, data)
    assert torch.allclose(norm.running_mean, expected, atol=1e-5)
    assert [norm.momentum for norm in norms] == momenta
    assert not any(module.training for module in model.modules())
    assert 0 <= evaluate(model, data, 0)["test_accuracy"] <= 1


def test_what_trains_nothing_has_no_stability(tiny, finished):
    with pytest.raises(Unreachable, match="trains nothing"):
        stability(finished(tiny.trial(tiny.Chained(chain=(Initialize(),)))))
