"""Sparse and low-rank parts in a chain: what is counted, stored, trained, delivered, and refused."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import prunebench
from prunebench import (
    Cut,
    Deploy,
    Prune,
    PruneLayerwise,
    Reconstruct,
    Reinitialize,
    Rewind,
    Shuffle,
    Train,
)
from prunebench.api.errors import PluginError, Unreachable
from prunebench.pruning.layerwise import Calibration
from prunebench.pruning.low_rank import factor_names
from prunebench.pruning.moments import as_matrix
from prunebench.store.state_files import rest_of, shapes_of
from prunebench.training.state import from_tensors, to_tensors
from tests.training.test_state import assert_same


class Halves(prunebench.LayerwiseMethod):
    """A factor for the mean of each output's weights, and the largest of the rest; notes its layers."""

    name = "halves"
    low_rank = True
    wrong: str = ""

    def prune_layer(self, layer):
        SEEN.append(layer)
        mask, rest, left, right = halves(layer)
        if self.wrong == "count":
            mask = layer.keep_highest(rest.abs())
        if self.wrong == "shape":
            right = right[:, :-1]
        if self.wrong == "finite":
            left = left * float("nan")
        return (mask, rest) if self.wrong == "two" else (mask, rest, left, right)


SEEN = []


def halves(layer):
    """The mask, what is left beside the factors, and the factors; none in a layer with too few weights for them."""
    outputs, inputs = layer.weight.shape
    rank = 1 if layer.keep > outputs + inputs else 0
    left = layer.weight.mean(1, keepdim=True)[:, :rank]
    right = torch.ones(1, inputs, dtype=torch.float64)[:rank]
    rest = layer.weight - left @ right
    return layer.keep_highest(rest.abs(), keep=layer.keep - rank * (outputs + inputs)), rest, left, right


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


@pytest.fixture(params=["mlp", "conv"])
def task(tiny, request):
    model = tiny.MLP(hidden=(12, 8)) if request.param == "mlp" else tiny.Conv()
    return tiny.task(model, steps=6)


PRUNED = PruneLayerwise(by=Halves(), density=0.6, examples=30)


def merged(chain, state):
    """The weights of a state with the products of the factors added, as matrices by group."""
    modules = dict(chain.context.model.named_modules())
    found = {}
    for name in state.masks:
        layer = modules[name.rpartition(".")[0]]
        found[name] = as_matrix(state.parameters[name].double(), layer)
        if name in state.cut.factors:
            inner, outer = (state.parameters[factor].double() for factor in state.cut.factors[name])
            groups = getattr(layer, "groups", 1)
            inner = inner.reshape(groups, len(inner) // groups, inner.shape[1], -1).mT.flatten(2)
            found[name] = found[name] + outer.reshape(groups, -1, inner.shape[1]) @ inner
    return found


def test_both_parts_are_those_of_the_method_and_what_they_hold_is_counted(run_stages, task):
    chain = run_stages(task, Train(), PRUNED)
    end, network = chain.end, chain.context.network
    groups = {name: list(matrices) for name, matrices in merged(chain, end).items()}
    for layer in SEEN:
        mask, weight, left, right = halves(layer)
        torch.testing.assert_close(groups[layer.name].pop(0), weight * mask + left @ right, rtol=1e-5, atol=1e-6)
    kept = end.kept()
    assert sum(kept.values()) == round(0.6 * network.size)
    assert any(end.cut.ranks)
    for name, rank in end.cut.ranks:
        factors = sum(end.parameters[one].numel() for one in factor_names(name))
        assert kept[name] == int(end.masks[name].sum()) + factors
        assert end.nonzero()[name] == int(end.masks[name].sum())
        assert rank == 1
    # A pass multiplies by each number of the factors as often as by a weight of their layer.
    with FlopCounterMode(display=False) as counter:
        chain.context.loaded(end).eval()(torch.zeros(1, 1, 6, 6))
    zeros = sum(layer.flops * (1 - end.nonzero()[layer.name] / layer.size) for layer in network.layers)
    assert network.flops_at(kept) == pytest.approx(counter.get_total_flops() - zeros)
    assert chain.context.network_at(end.cut) == network


def test_later_layers_are_pruned_on_what_the_factors_of_earlier_ones_add(tiny, run_stages):
    chain = run_stages(tiny.task(tiny.MLP(hidden=(12, 8)), steps=6), Train(), PRUNED)
    first, second = SEEN[:2]
    values = merged(chain, chain.end)["1.weight"][0]
    assert bool((values - chain.end.parameters["1.weight"]).abs().max() > 1e-3)
    data = chain.context.data
    order = Calibration.drawn(data, chain.context.trial.seed, 30)
    inputs, _ = data.examples(data.train, order.examples)
    reaching = torch.relu(inputs.flatten(1).double() @ values.T + chain.end.parameters["1.bias"].double())
    torch.testing.assert_close(second.moments, reaching.T @ reaching / 30, rtol=1e-5, atol=1e-6)
    assert first.name == "1.weight"


def test_errors_are_those_of_both_parts(run_stages, tiny):
    """The output error of a layer is that of the matrix that both make, on the held-out examples."""
    chain = run_stages(tiny.task(tiny.MLP(hidden=(12, 8)), steps=6), Train(), PRUNED)
    data = chain.context.data
    drawn = Calibration.drawn(data, chain.context.trial.seed, 30)
    inputs = data.examples(data.train, drawn.held_out)[0].flatten(1).double()
    dense = chain.after(Train).parameters["1.weight"].double()
    outputs, change = inputs @ dense.T, inputs @ (merged(chain, chain.end)["1.weight"][0] - dense).T
    assert chain.end.layer_errors["1.weight"] == pytest.approx(float(change.square().sum() / outputs.square().sum()))


def test_a_state_is_written_and_read_with_its_factors(run_stages, task):
    end = run_stages(task, Train(), PRUNED).end
    again = from_tensors(to_tensors(end), json.loads(json.dumps(shapes_of(end))), json.loads(json.dumps(rest_of(end))))
    assert_same(again, end)
    assert again.cut == end.cut


def test_fine_tuning_trains_the_factors_keeps_zeros_and_costs_what_both_parts_do(run_stages, task):
    chain = run_stages(task, Train(), PRUNED, Train(until="+3it"))
    before, after = chain.after(PruneLayerwise), chain.end
    for name, mask in after.masks.items():
        assert torch.equal(mask, before.masks[name])
        assert not bool(after.parameters[name][~mask].any())
    for name, _ in after.cut.ranks:
        for factor in factor_names(name):
            assert not torch.equal(after.parameters[factor], before.parameters[factor])
    assert after.kept() == before.kept()
    flops = chain.context.network.flops_at(before.kept())
    examples = 3 * task.recipe.batch_size
    assert after.cost.training_flops - before.cost.training_flops <= 3 * flops * examples
    assert after.cost.training_flops - before.cost.training_flops > 0.8 * 3 * flops * examples


def test_the_sparse_engine_trains_both_parts_too(run_stages, tiny):
    ends = []
    for engine in ("dense", "sparse"):
        task = tiny.task(tiny.MLP(hidden=(24, 12)), steps=6, engine=engine)
        ends.append(run_stages(task, Train(), PruneLayerwise(by=Halves(), density=0.3), Train(until="+3it")).end)
    dense, sparse = ends
    assert any(dense.cut.ranks)
    assert sparse.cost.training_flops == pytest.approx(dense.cost.training_flops)
    for name, value in dense.parameters.items():
        torch.testing.assert_close(sparse.parameters[name], value, rtol=1e-4, atol=1e-5)


def test_a_training_in_pieces_has_the_same_bits(run_stages, task):
    stages = (Train(), PRUNED, Train(until="+4it"))
    whole = run_stages(task, *stages).end
    pieces = run_stages(
        task,
        *stages,
        hand_on=lambda state: from_tensors(
            to_tensors(state), json.loads(json.dumps(shapes_of(state))), json.loads(json.dumps(rest_of(state)))
        ),
    ).end
    for name, value in whole.parameters.items():
        assert torch.equal(value, pieces.parameters[name])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("count", r"of '.*weight' are kept, and not"),
        ("shape", r"the factors of '.*weight' must be of shapes \(\d+, rank\) and \(rank, \d+\)"),
        ("finite", r"the new weights of '.*weight' are not all finite"),
        ("two", "prune_layer of method 'halves' must return a mask, a weight and two factors"),
    ],
)
def test_what_are_no_factors_is_named(run_stages, tiny, wrong, message):
    stage = PruneLayerwise(by=Halves(wrong=wrong), density=0.6)
    with pytest.raises(PluginError, match=message):
        run_stages(tiny.task(tiny.MLP(hidden=(12,)), steps=2), stage)


@pytest.mark.parametrize(
    "stage",
    [
        lambda method: Prune(by=method("magnitude"), density=0.2),
        lambda method: Reconstruct(),
        lambda method: Reinitialize(),
        lambda method: Shuffle(),
        lambda method: Rewind(to=0),
        lambda method: Cut(by=method("l1-filters"), density=0.5),
        lambda method: Train(by=method("set"), density=0.2, until="+3it"),
    ],
)
def test_what_would_prune_or_take_back_weights_cannot_follow(run_stages, tiny, method, stage):
    with pytest.raises(Unreachable, match="cannot follow method 'halves', whose low-rank factors stay beside"):
        run_stages(tiny.task(tiny.MLP(hidden=(12,)), steps=4), Train(), PRUNED, stage(method))


def test_the_learning_rate_can_be_rewound_and_adapters_trained(run_stages, tiny, method):
    stages = (Train(), PRUNED, Rewind(to=0, weights=False), Train(), Train(by=method("masklora"), until="+3it"))
    chain = run_stages(tiny.task(tiny.MLP(hidden=(12,)), steps=4), *stages)
    for name, mask in chain.end.masks.items():
        assert not bool(chain.end.parameters[name][~mask].any())


def test_a_network_with_factors_is_quantized(run_stages, tiny, method):
    chain = run_stages(tiny.task(tiny.MLP(hidden=(12,)), steps=4), Train(), PRUNED, Deploy(by=method("int8")))
    assert chain.end.cut.ranks
