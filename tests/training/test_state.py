"""What goes to disk and comes back is bit for bit what it was."""

from dataclasses import asdict, replace

import pytest
import torch

import prunebench
from prunebench.data.seeds import generator
from prunebench.execution.worker import write_state
from prunebench.pruning.choices import Choice
from prunebench.store.entries import Store
from prunebench.store.state_files import read_state
from prunebench.training.cost import Cost
from prunebench.training.state import State, from_tensors, to_tensors

TENSORS = ("parameters", "buffers", "optimizer", "masks", "memory")


def rest_of(state):
    """The fields that are not tensors, as a record holds them."""
    names = State.__dataclass_fields__.keys() - TENSORS
    plain = {name: getattr(state, name) for name in names}
    costs = {"cost": asdict(state.cost), "unbooked": asdict(state.unbooked), "choice": asdict(state.choice)}
    return plain | costs | {"history": list(state.history)}


def round_trip(state):
    shapes = {name: list(mask.shape) for name, mask in state.masks.items()}
    return from_tensors(to_tensors(state), shapes, rest_of(state))


def assert_same(one, other):
    """Equal in every field, every tensor in its type, its shape and its bits (but for the sign of zeros)."""
    for field in TENSORS:
        first, second = getattr(one, field), getattr(other, field)
        assert first.keys() == second.keys()
        for name in first:
            assert (first[name].dtype, first[name].shape) == (second[name].dtype, second[name].shape), name
            assert torch.equal(first[name], second[name]), name
    assert rest_of(one) == rest_of(other)


@pytest.fixture
def masked():
    """A state of one pruned layer and one dense one, with an optimizer's memory and a BatchNorm's buffers."""
    mask = torch.rand(3, 7, 5, generator=generator("mask")) < 0.2
    weight = torch.randn(3, 7, 5, generator=generator("weight")) * mask
    return State(
        step=11,
        parameters={"0.weight": weight, "0.bias": torch.randn(3), "1.weight": torch.randn(4, 3)},
        buffers={"1.running_mean": torch.randn(4), "1.num_batches_tracked": torch.tensor(2**40 + 1)},
        masks={"0.weight": mask},
        optimizer={
            "momentum_buffer/0.weight": torch.randn(3, 7, 5) * mask,
            "momentum_buffer/0.bias": torch.randn(3),
            "step/0.weight": torch.tensor(11.0),
        },
        memory={"moments/0.weight": torch.randn(3, 7, 5), "round": torch.tensor(3)},
        trajectory="abc",
        cost=Cost(training_flops=1e20 + 1, scoring_flops=0.1, steps=11, examples=170, wall_seconds=0.1),
        choice=Choice(zero=3, candidates=105, tied=2, kept=20, unscored=("0.weight",)),
        history=({"step": 7.0, "test_accuracy": 1 / 3},),
        loss_sum=0.1 + 0.2,
        loss_steps=4,
    )


def test_a_state_comes_back_as_it_was(masked):
    assert_same(round_trip(masked), masked)


def test_a_pruned_tensor_is_written_as_its_kept_values_only(masked):
    kept = int(masked.masks["0.weight"].sum())
    files = to_tensors(masked)
    sizes = {part: sorted(tensor.numel() for tensor in tensors.values()) for part, tensors in files.items()}
    assert 0 < kept < 40
    assert sizes["weights"] == sorted([kept, 3, 12, 4, 1])
    assert sizes["optimizer"] == sorted([kept, 3, 1])
    assert sizes["masks"] == [14]


def test_what_is_remembered_of_pruned_weights_is_kept(masked):
    momentum = torch.randn(3, 7, 5)
    state = masked.changed(optimizer={"momentum_buffer/0.weight": momentum})
    assert torch.equal(round_trip(state).optimizer["momentum_buffer/0.weight"], momentum)


@pytest.mark.parametrize("length", [3, "kept"])
def test_a_vector_that_an_optimizer_keeps_for_a_pruned_matrix_comes_back(masked, length):
    rows = torch.randn(int(masked.masks["0.weight"].sum()) if length == "kept" else length)
    state = masked.changed(optimizer={"exp_avg_sq_row/0.weight": rows})
    assert_same(round_trip(state), state)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_layer_with_nothing_or_everything_left_comes_back(masked, share):
    mask = torch.full((3, 7, 5), share, dtype=torch.bool)
    state = masked.changed(masks={"0.weight": mask}, optimizer={})
    state = state.changed(parameters=masked.parameters | {"0.weight": torch.randn(3, 7, 5) * mask})
    assert_same(round_trip(state), state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_type_of_number_comes_back(masked, dtype):
    weight = masked.parameters["0.weight"].to(dtype)
    state = masked.changed(parameters=masked.parameters | {"0.weight": weight})
    assert_same(round_trip(state), state)


def test_what_comes_back_shares_no_memory_with_the_files(masked):
    files = to_tensors(masked)
    again = from_tensors(files, {"0.weight": [3, 7, 5]}, rest_of(masked))
    again.parameters["0.bias"].zero_()
    assert files["weights"]["parameter/0.bias"].any()


def test_kept_weights_are_counted_and_not_copied_from_the_mask(masked):
    weight = masked.parameters["0.weight"].clone()
    kept = masked.masks["0.weight"].nonzero()
    weight[tuple(kept[0])] = 0.0
    weight[tuple(kept[1])] = -0.0
    state = masked.changed(parameters=masked.parameters | {"0.weight": weight})
    assert state.kept() == {"0.weight": len(kept) - 2}


def test_a_weight_that_came_back_is_counted(masked):
    state = masked.changed(parameters=masked.parameters | {"0.weight": torch.ones(3, 7, 5)})
    assert state.kept() == {"0.weight": 105}


def test_a_change_leaves_the_state_that_it_was_made_from(masked):
    before = replace(masked)
    masked.changed(step=12, history=())
    assert masked == before


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("model", ["MLP", "Conv"])
def test_every_state_of_a_chain_comes_back_from_the_store(tiny, run_chain, tmp_path, model, optimizer):
    task = tiny.task(getattr(tiny, model)(), optimizer=tiny.Optimizer(name=optimizer, lr=0.01), steps=6)
    chain = run_chain(tiny.trial(tiny.ByChance(), sparsity=0.83, task=task))
    store = Store.open(tmp_path / "store")
    for node in chain.nodes:
        write_state(store, node, node.parent, chain.states[node.key], chain.context, 0.0, {})
        assert_same(read_state(store, node.key, chain.context), chain.states[node.key])
    assert [type(node.stage) for node in chain.nodes] == [prunebench.Initialize, prunebench.Prune, prunebench.Train]
    assert bool(chain.end.optimizer) == (optimizer == "adam")
    assert ("1.num_batches_tracked" in chain.end.buffers) == (model == "Conv")


def test_a_record_counts_layers_and_figures_from_the_weights(tiny, run_chain, tmp_path):
    chain = run_chain(tiny.trial(tiny.ByChance(), sparsity=0.75))
    store = Store.open(tmp_path / "store")
    write_state(store, chain.nodes[-1], None, chain.end, chain.context, 0.0, {})
    record = store.record(chain.nodes[-1].key)
    weights = {name: chain.end.parameters[name] for name in ("1.weight", "4.weight")}
    assert {one["name"]: one["kept"] for one in record["layers"]} == {
        name: int((weight != 0).sum()) for name, weight in weights.items()
    }
    assert {one["name"]: one["total"] for one in record["layers"]} == {"1.weight": 432, "4.weight": 36}
    assert record["figures"]["test_accuracy"] == pytest.approx(chain.accuracy)
    assert record["inference_flops"] == pytest.approx(2.0 * sum(one["kept"] for one in record["layers"]))
