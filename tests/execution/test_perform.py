"""What each stage does to a state."""

from dataclasses import dataclass
from itertools import combinations

import pytest
import torch

import prunebench
from prunebench import Prune, Reinitialize, Rewind, Shuffle, Stage, Structure, Train
from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.tasks import Optimizer
from prunebench.execution.performing import final_figures, perform
from prunebench.plan.planning import Node
from prunebench.training.trial_context import TrialContext, fresh_model

SIZE = 36 + 144 + 72 + 24
"""Prunable weights of the tiny convolutional network."""


@pytest.fixture
def task(tiny):
    """With BatchNorm, momentum, and more than one step."""
    return tiny.task(tiny.Conv(), steps=10, evaluate_every="4it")


@pytest.fixture
def half(tiny):
    return Prune(by=tiny.ByChance(), density=0.5)


class Watching(prunebench.Method):
    """Scores by a rule, and notes what it is lent."""

    name = "watching"
    rule: str = "magnitude"
    seen = []  # a log, and no parameter

    def scores(self, scoring):
        weights = {name: weight.detach().clone() for name, weight in scoring.weights.items()}
        self.seen.append((scoring, weights, dict(scoring.masks)))
        if self.rule == "destroy":
            scoring.model.double()
            with torch.no_grad():
                for tensor in (*scoring.model.parameters(), *scoring.model.buffers(), *scoring.masks.values()):
                    tensor.zero_()
        return {name: weight.abs() for name, weight in weights.items()}

    def scoring_flops(self, network, density):
        return 1000 * density


class ByPlace(prunebench.Method):
    """The same scores for layers of one shape."""

    name = "by-place"

    def scores(self, scoring):
        return {layer.name: torch.arange(layer.size).view(layer.shape) for layer in scoring.layers}


@pytest.fixture
def seen():
    Watching.seen.clear()
    return Watching.seen


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def kept(state):
    return sum(int(mask.sum()) for mask in state.masks.values())


# --- Initialize


def test_fresh_weights_depend_on_the_seed_and_the_model_alone(tiny, run_stages, task):
    torch.manual_seed(1)
    first = run_stages(task).end
    torch.manual_seed(2)
    again = run_stages(tiny.task(tiny.Conv(), steps=3, batch_size=5, optimizer=Optimizer(name="adam", lr=1.0))).end
    assert same(first.parameters, again.parameters)
    assert not same(first.parameters, run_stages(task, seed=1).end.parameters)


def test_a_fresh_state_has_buffers_and_no_mask_no_memory_and_no_cost(run_stages, task):
    state = run_stages(task).end
    assert (state.step, state.masks, state.optimizer, state.history) == (0, {}, {}, ())
    assert (state.cost.flops, state.cost.steps, state.cost.examples) == (0.0, 0, 0)
    assert state.buffers.keys() == {
        f"{layer}.{name}" for layer in (1, 4, 7) for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert state.buffers["1.num_batches_tracked"].dtype == torch.int64


def test_fresh_models_are_drawn_by_purpose(tiny, task):
    trial = tiny.trial(tiny.ByChance(), task=task)
    one, again, other = (dict(fresh_model(trial, name).named_parameters()) for name in ("a", "a", "b"))
    assert same(one, again)
    assert not same(one, other)


# --- Prune


def test_pruning_leaves_exactly_the_density_and_zeroes_the_rest(run_stages, task, half):
    chain = run_stages(task, Train(), half)
    before, after = chain.before(Prune), chain.end
    assert kept(after) == SIZE // 2
    assert after.masks.keys() == {"0.weight", "3.weight", "6.weight", "11.weight"}
    for name, value in before.parameters.items():
        mask = after.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(after.parameters[name], value * mask), name
    assert sum(after.kept().values()) == SIZE // 2
    assert same(before.buffers, after.buffers)


def test_pruning_zeroes_what_the_optimizer_remembers_of_the_pruned(run_stages, task, half):
    chain = run_stages(task, Train(), half)
    before, after = chain.before(Prune), chain.end
    assert before.optimizer.keys() == after.optimizer.keys()
    for key, value in before.optimizer.items():
        mask = after.masks.get(key.partition("/")[2], torch.ones_like(value, dtype=torch.bool))
        assert value.any()
        assert torch.equal(after.optimizer[key], value * mask), key


def test_pruning_keeps_the_step_and_begins_the_history_again(run_stages, task, half):
    chain = run_stages(task, Train("9it"), half)
    before, after = chain.before(Prune), chain.end
    assert (before.step, before.loss_steps, len(before.history)) == (9, 1, 2)
    assert (after.step, after.loss_steps, after.loss_sum, after.history) == (9, 0, 0.0, ())
    assert (after.cost.steps, after.cost.examples) == (before.cost.steps, before.cost.examples)


def test_pruning_keeps_the_highest_and_inverted_the_lowest(run_stages, task, seen):
    highest = run_stages(task, Prune(by=Watching(), density=0.25)).end
    lowest = run_stages(task, Prune(by=Watching(), density=0.25, invert=True)).end
    fresh = run_stages(task).end.parameters
    values = torch.cat([fresh[name].abs().flatten() for name in highest.masks]).sort().values
    assert [kept(highest), kept(lowest)] == [SIZE // 4] * 2
    for name in highest.masks:
        assert (fresh[name].abs()[highest.masks[name]] >= values[-SIZE // 4]).all()
        assert (fresh[name].abs()[lowest.masks[name]] <= values[SIZE // 4 - 1]).all()


@pytest.mark.parametrize("allocation", ["global", "uniform", "er", "erk"])
def test_pruning_shares_the_density_out_as_it_is_told(run_stages, task, seen, allocation):
    state = run_stages(task, Prune(by=Watching(), density=0.4, allocation=allocation)).end
    counts = {name: int(mask.sum()) for name, mask in state.masks.items()}
    assert sum(counts.values()) == round(0.4 * SIZE)
    if allocation == "uniform":
        assert list(counts.values()) == [14, 58, 29, 9]  # 14.4, 57.6, 28.8, 9.6 of 110
    if allocation == "er":
        # ratios 5/4, 10/16, 9/8, 11/24: e = 110 / (45 + 90 + 81 + 11), and nothing is denser than 1
        assert list(counts.values()) == [22, 44, 39, 5]  # 21.8, 43.6, 39.3, 5.3


def test_pruning_again_keeps_a_part_of_what_was_kept(run_stages, task, half, seen):
    chain = run_stages(task, half, Train(), Prune(by=Watching(), density=0.2))
    first, second = chain.after(Prune, 0).masks, chain.end.masks
    assert sum(int(mask.sum()) for mask in second.values()) == round(0.2 * SIZE)
    assert not any((second[name] & ~first[name]).any() for name in first)


def test_pruning_to_more_than_is_left_is_unreachable(tiny, run_stages, task, half):
    with pytest.raises(Unreachable, match=r"166 weights are to be kept in the network, .* left only 138"):
        run_stages(task, half, Prune(by=tiny.ByChance(), density=0.6))


def test_rounds_score_the_pruned_network_again_at_densities_that_fall_by_equal_shares(run_stages, task, seen):
    state = run_stages(task, Prune(by=Watching(), density=0.125, rounds=3)).end
    assert kept(state) == round(0.125 * SIZE)
    counts = [sum(int(mask.sum()) for mask in masks.values()) for _, _, masks in seen]
    assert counts == [SIZE, SIZE // 2, SIZE // 4]
    for _, weights, masks in seen:
        assert all(not weights[name][~mask].any() for name, mask in masks.items())
        assert all(weights[name][mask].all() for name, mask in masks.items())


def test_rounds_after_a_pruning_begin_at_its_density(tiny, run_stages, task, seen):
    run_stages(task, Prune(by=tiny.ByChance(), density=0.5), Prune(by=Watching(), density=0.125, rounds=2))
    assert [sum(int(mask.sum()) for mask in masks.values()) for *_, masks in seen] == [SIZE // 2, SIZE // 4]


@pytest.mark.parametrize(("rounds", "structure"), [(3, None), (1, Structure(1, 4))])
def test_scores_know_how_many_weights_are_kept_after_them(tiny, run_stages, rounds, structure):
    told, found = [], []

    class Told(tiny.ByChance):
        name = "told"

        def scores(self, scoring):
            told.append(scoring.keep)
            return super().scores(scoring)

        def compensate(self, scoring, masks):
            found.append(sum(int(mask.sum()) for mask in masks.values()))
            return {}

    run_stages(tiny.task(), Prune(by=Told(), density=0.25, rounds=rounds, structure=structure))
    assert told == found
    assert len(found) == rounds


def test_every_scoring_is_booked_at_the_density_that_it_saw(run_stages, task, seen):
    cost = run_stages(task, Prune(by=Watching(), density=0.25, rounds=2)).end.cost
    assert cost.scoring_flops == pytest.approx(1000 + 500)
    assert cost.training_flops == 0


def test_a_method_is_lent_a_copy_and_cannot_harm_the_network(run_stages, task, seen):
    harmless = run_stages(task, Train("5it"), Prune(by=Watching(), density=0.5), Train()).end
    destroyed = run_stages(task, Train("5it"), Prune(by=Watching(rule="destroy"), density=0.5), Train()).end
    for field in ("parameters", "buffers", "masks"):
        assert same(getattr(harmless, field), getattr(destroyed, field))


def test_a_method_is_lent_the_network_as_it_stands(run_stages, task, seen):
    chain = run_stages(task, Train("5it"), Prune(by=Watching(), density=0.5))
    scoring, weights, _ = seen[0]
    before = chain.before(Prune)
    assert same(weights, {name: before.parameters[name] for name in weights})
    assert same(dict(scoring.model.named_buffers()), before.buffers)
    assert (scoring.purpose, scoring.seed, scoring.input_shape) == ("watching", 0, (1, 6, 6))


def test_pruning_touches_no_data_that_it_does_not_need(tiny, task, half):
    trial = tiny.trial(tiny.ByChance(), task=task)

    def refuse():
        raise AssertionError("no data is needed")

    context = TrialContext(trial, torch.device("cpu"), refuse)
    node = Node("key", half, trial, None, None, 0, 0, 0.5)
    start = Node("key", prunebench.Initialize(), trial, None, None, 0, 0, 1.0)
    assert kept(perform(node, perform(start, None, None, context), None, context)) == SIZE // 2


# --- Rewind


@pytest.fixture
def rewound(run_stages, task, half):
    """A chain that trains to 4 and to 10, prunes, and rewinds so."""
    return lambda **ways: run_stages(task, Train("4it"), Train(), half, Rewind(**{"to": "4it", **ways}))


def test_rewinding_restores_the_survivors_and_the_batch_norm_buffers(rewound):
    chain = rewound()
    source, state = chain.after(Train, 0), chain.end
    assert state.step == 4
    assert same(state.masks, chain.after(Prune).masks)
    assert same(state.buffers, source.buffers)
    for name, value in source.parameters.items():
        mask = state.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(state.parameters[name], torch.where(mask, value, 0.0)), name
        assert not torch.equal(value * mask, chain.after(Prune).parameters[name])


def test_rewinding_begins_with_a_fresh_optimizer_and_history_and_keeps_the_cost(rewound):
    chain = rewound()
    before, state = chain.after(Prune), chain.end
    assert (state.optimizer, state.history, state.loss_sum, state.loss_steps) == ({}, (), 0.0, 0)
    assert (state.cost.steps, state.cost.examples) == (before.cost.steps, before.cost.examples) == (10, 60 * 2 + 32)


def test_rewinding_can_restore_the_optimizer_too(rewound):
    chain = rewound(optimizer=True)
    source, state = chain.after(Train, 0), chain.end
    assert state.optimizer.keys() == source.optimizer.keys()
    for key, value in source.optimizer.items():
        mask = state.masks.get(key.partition("/")[2], torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(state.optimizer[key], torch.where(mask, value, 0.0))


def test_rewinding_the_learning_rate_only_keeps_weights_buffers_and_momentum(rewound):
    chain = rewound(weights=False)
    before, state = chain.after(Prune), chain.end
    assert state.step == 4
    assert all(same(getattr(before, name), getattr(state, name)) for name in ("parameters", "buffers", "optimizer"))
    assert state.history == ()


def test_rewinding_to_the_start_restores_the_initialization(rewound):
    chain = rewound(to=0)
    start, state = chain.states[chain.nodes[0].key], chain.end
    assert state.step == 0
    assert same(state.buffers, start.buffers)
    assert all(
        torch.equal(state.parameters[name], torch.where(mask, start.parameters[name], 0.0))
        for name, mask in state.masks.items()
    )


def test_training_after_rewinding_sees_the_same_batches_at_the_same_rates(run_stages, task):
    chain = run_stages(task, Train(), Rewind(to=0), Train())
    once, twice = chain.after(Train, 0), chain.end
    assert all(same(getattr(once, name), getattr(twice, name)) for name in ("parameters", "buffers", "optimizer"))
    assert twice.cost.steps == 20


def test_training_after_rewinding_with_the_optimizer_goes_on_as_the_first_time(run_stages, task):
    chain = run_stages(task, Train("4it"), Train(), Rewind(to="4it", optimizer=True), Train())
    assert same(chain.after(Train, 1).parameters, chain.end.parameters)
    without = run_stages(task, Train("4it"), Train(), Rewind(to="4it"), Train())
    assert not same(without.end.parameters, chain.end.parameters)


# --- Reinitialize and Shuffle


def test_new_weights_come_under_the_same_mask(run_stages, task, half):
    chain = run_stages(task, Train(), half, Reinitialize())
    start, before, state = chain.states[chain.nodes[0].key], chain.after(Prune), chain.end
    assert same(before.masks, state.masks)
    assert (state.step, state.optimizer, state.history) == (0, {}, ())
    assert sum(state.kept().values()) == SIZE // 2
    for name, mask in state.masks.items():
        assert (state.parameters[name] != start.parameters[name])[mask].all()
        assert not state.parameters[name][~mask].any()
    assert same(state.buffers, start.buffers)
    assert state.cost.steps == 10


def test_new_weights_depend_on_the_seed_and_not_on_the_mask(tiny, run_stages, task, half):
    one = run_stages(task, half, Reinitialize()).end
    other = run_stages(task, Prune(by=tiny.ByChance(), density=0.9), Train(), Reinitialize()).end
    third = run_stages(task, half, Reinitialize(), seed=1).end
    common = one.masks["3.weight"] & other.masks["3.weight"]
    assert torch.equal(one.parameters["3.weight"][common], other.parameters["3.weight"][common])
    assert not torch.equal(one.parameters["11.bias"], third.parameters["11.bias"])


def test_each_draw_of_new_weights_has_others_for_the_same_ticket(run_stages, task, half):
    first, second, third = (run_stages(task, half, Reinitialize(draw=draw)).end for draw in (1, 2, 3))
    assert torch.equal(first.parameters["11.bias"], run_stages(task, half, Reinitialize()).end.parameters["11.bias"])
    assert same(first.masks, second.masks)
    for one, other in combinations((first, second, third), 2):
        assert not torch.equal(one.parameters["11.bias"], other.parameters["11.bias"])


def test_shuffling_moves_the_mask_within_layers_and_uncovers_the_weights_there(run_stages, task, half):
    chain = run_stages(task, Train(), half, Shuffle())
    dense, before, state = chain.before(Prune), chain.after(Prune), chain.end
    assert {name: int(mask.sum()) for name, mask in before.masks.items()} == {
        name: int(mask.sum()) for name, mask in state.masks.items()
    }
    for name, mask in state.masks.items():
        assert not torch.equal(mask, before.masks[name]), name
        assert torch.equal(state.parameters[name], torch.where(mask, dense.parameters[name], 0.0))
        momentum = dense.optimizer[f"momentum_buffer/{name}"]
        assert torch.equal(state.optimizer[f"momentum_buffer/{name}"], torch.where(mask, momentum, 0.0))
    assert sum(state.kept().values()) == SIZE // 2
    assert state.step == 10
    assert same(state.buffers, dense.buffers)


def test_layers_of_one_shape_are_shuffled_differently(tiny, run_stages):
    task = tiny.task(tiny.MLP(hidden=(12, 12, 12)))
    chain = run_stages(task, Prune(by=ByPlace(), density=0.5, allocation="uniform"), Shuffle())
    before, after = (
        [mask for mask in state.masks.values() if mask.shape == (12, 12)] for state in (chain.after(Prune), chain.end)
    )
    assert torch.equal(*before)
    assert not torch.equal(*after)


def test_shuffling_depends_on_the_seed(run_stages, task, half):
    one, again, other = (run_stages(task, half, Shuffle(), seed=seed).end.masks for seed in (0, 0, 1))
    assert same(one, again)
    assert not same(one, other)


# --- all of them


def test_every_stage_books_its_seconds(run_stages, task, half):
    chain = run_stages(task, Train("4it"), half, Rewind(to=0), Train("2it"))
    seconds = [chain.states[node.key].cost.wall_seconds for node in chain.nodes]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert len(set(seconds)) == len(seconds)


def test_a_stage_that_nobody_knows_is_an_error(tiny, context_of, run_stages, task):
    @dataclass(frozen=True)
    class Melt(Stage):
        pass

    trial, state = tiny.trial(tiny.ByChance(), task=task), run_stages(task).end
    with pytest.raises(PrunebenchError, match=r"Melt.* is not a stage that can be performed"):
        perform(Node("key", Melt(), trial, None, None, 0, 0, 1.0), state, state, context_of(trial))


def test_the_final_figures_are_the_last_evaluation_if_there_was_one_at_this_step(run_stages, task, context_of):
    chain = run_stages(task, Train(), Train("+1it"))
    at_end, after = chain.after(Train, 0), chain.end
    last = at_end.history[-1]
    assert final_figures(at_end, chain.context) == {name: last[name] for name in ("test_loss", "test_accuracy")}
    assert after.history[-1]["step"] == 10
    assert final_figures(after, chain.context)["test_accuracy"] == chain.accuracy
    assert final_figures(after, chain.context)["test_loss"] != last["test_loss"]


def test_the_final_figures_of_a_pruned_state_are_measured_on_the_pruned_network(run_stages, task, half):
    chain = run_stages(task, Train(), half)
    before = final_figures(chain.before(Prune), chain.context)
    after = final_figures(chain.end, chain.context)
    assert after["test_loss"] != before["test_loss"]
    assert after["test_accuracy"] == chain.accuracy
