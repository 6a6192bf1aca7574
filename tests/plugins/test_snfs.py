"""SNFS: weights grow where the momentum is largest, in the layers whose momentum is largest."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prunebench_plugins.snfs import shared_out

from prunebench import Train

OFTEN = {"interval": "10it", "fraction": 0.5, "decay": "constant"}
WEIGHTS = {"a": [0.5, -0.1, 0.0, 0.3, 0.0, -0.4, 0.0, 0.0]}


@pytest.fixture
def stepped(method, training_of):
    """The training after a step whose momentum is already there."""

    def step(weights, means, step=9, **changes):
        training = training_of(weights, step=step, **changes)
        training.memory = {name: torch.tensor(mean) for name, mean in means.items()}
        method("snfs", **OFTEN).updater(None).after_step(training)
        return training

    return step


def test_the_momentum_is_a_running_mean_of_the_dense_gradient(method, training_of):
    training = training_of(WEIGHTS, gradients={"a": [1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, -4.0]})
    updater = method("snfs", momentum=0.75).updater(None)
    updater.begin(training)
    assert training.memory["a"].tolist() == [0] * 8
    assert not updater.after_backward(training)
    assert training.memory["a"].tolist() == pytest.approx([0.25, 0, 0.5, 0, 0, 0, 0, -1])
    training.weights["a"].grad = torch.tensor([0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    updater.after_backward(training)
    assert training.memory["a"].tolist() == pytest.approx([0.1875, 0.25, 0.875, 0, 0, 0, 0, -0.75])


def test_the_loop_hands_over_gradients_that_no_mask_or_clipping_has_touched(tiny, method, run_stages):
    rule = method("snfs", momentum=0.0)
    chain = run_stages(tiny.task(clip_norm=1e-6), rule.random_mask(0.2), Train("1it", by=rule))
    module = chain.module
    module.load_state_dict(chain.before(Train).parameters)
    inputs, labels = chain.context.data.batch(0, "train", 0)
    torch.nn.functional.cross_entropy(module(inputs), labels).backward()
    for name, mean in chain.end.memory.items():
        assert torch.allclose(mean, module.get_parameter(name).grad, rtol=1e-5)
        assert mean[~chain.end.masks[name]].any()


def test_the_largest_momentum_grows_also_where_nothing_was_just_dropped(stepped):
    training = stepped(WEIGHTS, {"a": [9.0, 0.1, 1.0, 0.2, -3.0, 9.0, 2.0, 0.0]}, momentum={"a": [1.0] * 8})
    assert training.masks["a"].tolist() == [True, False, False, False, True, True, True, False]
    assert training.weights["a"].tolist() == pytest.approx([0.5, 0, 0, 0, 0, -0.4, 0, 0])
    assert training.optimizer.state[training.weights["a"]]["momentum_buffer"].tolist() == [1, 0, 0, 0, 0, 1, 0, 0]
    assert training.memory["a"][4] == -3  # its own momentum goes on


def test_what_is_dropped_may_grow_again_and_keeps_its_value(stepped):
    training = stepped(WEIGHTS, {"a": [0.0, 5.0, 1.0, 0.2, -3.0, 0.0, 2.0, 0.0]})
    assert training.masks["a"].tolist() == [True, True, False, False, True, True, False, False]
    assert training.weights["a"].tolist() == pytest.approx([0.5, -0.1, 0, 0, 0, -0.4, 0, 0])


@pytest.mark.parametrize("step", [0, 8, 10, 14, 19])
def test_other_steps_leave_the_mask_alone(stepped, step):
    training = stepped(WEIGHTS, {"a": [0.0, 5.0, 1.0, 0.2, -3.0, 0.0, 2.0, 0.0]}, step=step)
    assert training.masks["a"].tolist() == [weight != 0 for weight in WEIGHTS["a"]]


def test_layers_grow_in_proportion_to_the_mean_momentum_of_what_they_kept(stepped):
    weights = {"a": [0.1, 0.2, 0.3, 0.4, 0, 0, 0, 0], "b": [1.0, 2.0, 3.0, 4.0, 0, 0, 0, 0]}
    # Means over the four kept: 3 and 1; what lies at pruned places counts for nothing. Four are dropped, 3 : 1 grow.
    means = {"a": [-6.0, 2.0, 3.0, 1.0, 5.0, 4.0, 0, 0], "b": [1.0, -1.0, 0.0, 2.0, 0, 99.0, 99.0, 0]}
    training = stepped(weights, means)
    assert training.masks["a"].int().tolist() == [1, 0, 1, 1, 1, 1, 0, 0]
    assert training.masks["b"].int().tolist() == [0, 0, 1, 1, 0, 1, 0, 0]


def test_a_full_layer_leaves_the_rest_to_the_others(stepped):
    weights = {"a": [0.1, 0.2, 0.3, 0.4], "b": [1.0, 2.0, 3.0, 4.0, 0, 0, 0, 0]}
    training = stepped(weights, {"a": [9.0, 9.0, 9.0, 9.0], "b": [0.1, 0.2, 0, 0, 0, 0.3, 0, 0]})
    assert training.masks["a"].all()
    assert training.masks["b"].int().tolist() == [0, 1, 1, 1, 0, 1, 0, 0]


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_training_that_has_diverged_is_left_to_be_reported(stepped, broken):
    training = stepped(WEIGHTS, {"a": [broken] * 8})
    assert int(training.masks["a"].sum()) == 4


@pytest.mark.parametrize(
    ("total", "weights", "room", "expected"),
    [
        (4, {"a": 3.0, "b": 1.0}, {"a": 9, "b": 9}, {"a": 3, "b": 1}),
        (9, {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 9, "b": 9, "c": 9}, {"a": 4, "b": 3, "c": 2}),  # 4.5, 2.7, 1.8
        (10, {"a": 8.0, "b": 1.0, "c": 1.0}, {"a": 4, "b": 9, "c": 9}, {"a": 4, "b": 3, "c": 3}),
        (6, {"a": 1.0, "b": 0.0, "c": 0.0}, {"a": 2, "b": 9, "c": 9}, {"a": 2, "b": 2, "c": 2}),
        (3, {"a": 0.0, "b": 0.0}, {"a": 9, "b": 9}, {"a": 2, "b": 1}),
        (5, {"a": 1.0, "b": 9.0}, {"a": 3, "b": 2}, {"a": 3, "b": 2}),
        (0, {"a": 1.0, "b": 9.0}, {"a": 3, "b": 0}, {"a": 0, "b": 0}),
    ],
)
def test_shares_by_hand(total, weights, room, expected):
    assert shared_out(total, weights, room) == expected


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**6)), min_size=1, max_size=12),
    st.floats(0, 1),
)
def test_the_total_is_exact_and_no_layer_overfull(layers, portion):
    weights = {str(index): weight for index, (weight, _) in enumerate(layers)}
    room = {str(index): places for index, (_, places) in enumerate(layers)}
    total = int(portion * sum(room.values()))
    found = shared_out(total, weights, room)
    assert sum(found.values()) == total
    assert found.keys() == room.keys()
    assert all(0 <= found[name] <= room[name] for name in room)


def test_weights_move_between_layers_in_a_training(tiny, method, run_stages):
    rule = method("snfs", interval="4it", fraction=0.5)
    chain = run_stages(tiny.task(tiny.MLP(hidden=(12, 8))), rule.random_mask(0.3), Train(by=rule))
    begun, ended = (
        {name: int(mask.sum()) for name, mask in state.masks.items()} for state in (chain.before(Train), chain.end)
    )
    assert begun != ended
    assert sum(begun.values()) == sum(ended.values())


def test_every_step_costs_two_sparse_passes_and_a_dense_one(tiny, method, run_stages):
    rule = method("snfs", interval="end")
    chain = run_stages(tiny.task(), rule.random_mask(0.25), Train(by=rule))
    assert chain.end.cost.training_flops == pytest.approx((2 * 2 * 117 + 2 * 468) * 300)


def test_the_presets_are_parameters(method):
    assert all(method("snfs", **preset.values) and preset.source for preset in method("snfs").presets.values())
