"""Edge-popup, on weights small enough to follow by hand."""

from math import sqrt

import pytest
import torch
from torch.nn.functional import cross_entropy

from prunebench import Initialize, Train
from prunebench.api.tasks import Optimizer


@pytest.fixture
def popup(method, training_of):
    """A training of one layer that was drawn as `weights`, with these scores, and its updater."""

    def make(weights, scores, density=0.5, **parameters):
        training = training_of({"a": weights}, momentum={"a": [[9.0] * len(weights[0])]})
        training.trains_dense = True
        updater = method("edge-popup", **parameters).updater(density)
        updater.begin(training)
        with torch.no_grad():
            training.weights["a"].copy_(torch.tensor(scores))
        return training, updater

    return make


def test_the_weights_of_the_largest_scores_are_used_with_the_drawn_signs(popup):
    training, updater = popup([[0.1, -0.2, 0.3, -0.4]], [[0.5, -2.0, 1.0, 0.1]])
    size = sqrt(2 / 4)
    updater.apply_masks(training)
    assert training.weights["a"].detach().flatten().tolist() == pytest.approx([0.0, -size, size, 0.0])
    updater.restore_dense(training)
    assert torch.equal(training.weights["a"], torch.tensor([[0.5, -2.0, 1.0, 0.1]]))


def test_density_is_what_is_kept(popup):
    training, updater = popup([[1.0] * 4], [[1.0, 2.0, 3.0, 4.0]], density=0.25)
    updater.apply_masks(training)
    assert training.masks["a"].tolist() == [[False, False, False, True]]


def test_scaled_weights_make_up_for_the_pruned_ones(popup):
    training, _ = popup([[1.0, -1.0, 1.0, 1.0]], [[1.0] * 4], density=0.25, scaled=True)
    assert training.memory["frozen/a"].flatten().tolist() == pytest.approx([sqrt(2), -sqrt(2), sqrt(2), sqrt(2)])


def test_a_score_moves_by_gradient_times_weight_whether_its_weight_is_used_or_not(popup):
    training, updater = popup([[0.1, -0.2, 0.3, -0.4]], [[0.5, -2.0, 1.0, 0.1]])
    updater.apply_masks(training)
    training.weights["a"].grad = torch.tensor([[1.0, 1.0, 2.0, 2.0]])
    updater.restore_dense(training)
    assert not updater.after_backward(training)
    size = sqrt(2 / 4)
    # gradient * weight, and the sign of the score, since it is its size that counts
    expected = [size, size, 2 * size, -2 * size]
    assert training.weights["a"].grad.flatten().tolist() == pytest.approx(expected)
    training.make_step(None)
    # Nothing is left of the momentum that weights had before.
    moved = [0.5 - 0.1 * size, -2.0 - 0.1 * size, 1.0 - 0.2 * size, 0.1 + 0.2 * size]
    assert training.weights["a"].detach().flatten().tolist() == pytest.approx(moved)


def test_a_step_costs_two_sparse_passes_and_a_dense_one(popup):
    training, updater = popup([[0.1, -0.2, 0.3, -0.4]], [[0.5, -2.0, 1.0, 0.1]], density=0.25)
    updater.apply_masks(training)
    assert updater.flops(training) == 2 * 10 + 40


@pytest.mark.parametrize("weights", ["signed-constant", "kaiming-normal"])
@pytest.mark.parametrize("optimizer", [None, Optimizer(name="adamw", lr=0.05, weight_decay=1.0)])
def test_the_weights_are_the_same_bits_before_and_after_and_those_in_use_are_among_them(
    tiny, method, run_stages, weights, optimizer
):
    rule = method("edge-popup", weights=weights)
    task = tiny.task(tiny.Conv(), steps=14, **({"optimizer": optimizer} if optimizer else {}))
    chain = run_stages(task, *(Train(until, by=rule, density=0.5) for until in ("1it", "9it", "end")))
    first = chain.after(Train, 0).memory
    for which in range(3):
        state = chain.after(Train, which)
        for name, mask in state.masks.items():
            assert torch.equal(state.memory[f"frozen/{name}"], first[f"frozen/{name}"])
            assert torch.equal(state.parameters[name][mask], first[f"frozen/{name}"][mask])
            assert not state.parameters[name][~mask].any()
    assert any(not torch.equal(first[name], chain.end.memory[name]) for name in first if name.startswith("scores/"))


def test_signed_constants_have_the_drawn_signs_and_the_size_of_kaiming_normal(tiny, method, run_stages):
    chain = run_stages(tiny.task(tiny.Conv(), steps=1), Train(by=method("edge-popup"), density=0.5))
    drawn = chain.after(Initialize).parameters
    for name, fan_in in (("0.weight", 9), ("3.weight", 18), ("6.weight", 9), ("11.weight", 8)):
        frozen = chain.end.memory[f"frozen/{name}"]
        assert torch.equal(frozen.sign(), drawn[name].sign())
        assert torch.allclose(frozen.abs(), torch.tensor(sqrt(2 / fan_in)))


def test_normal_weights_are_a_draw_of_their_own(tiny, method, run_stages):
    def frozen(seed):
        rule = method("edge-popup", weights="kaiming-normal")
        chain = run_stages(tiny.task(tiny.MLP(hidden=(100,)), steps=1), Train(by=rule, density=0.5), seed=seed)
        return chain.end.memory["frozen/1.weight"]

    assert torch.equal(frozen(0), frozen(0))
    assert not torch.equal(frozen(0), frozen(1))
    assert float(frozen(0).std()) == pytest.approx(sqrt(2 / 36), rel=0.05)


def test_only_scores_are_trained(tiny, method, run_stages):
    chain = run_stages(tiny.task(tiny.Conv(biased=True)), Train(by=method("edge-popup"), density=0.5))
    for name, value in chain.end.parameters.items():
        if name not in chain.end.masks:
            is_norm = name in ("1.weight", "4.weight", "7.weight")
            assert torch.equal(value, torch.full_like(value, 1.0 if is_norm else 0.0)), name
    assert chain.end.buffers["1.running_mean"].any()


def test_the_gradient_of_the_scores_is_that_of_a_mask_that_is_passed_straight_through(tiny, method, run_stages):
    task = tiny.task(tiny.MLP(hidden=(8,), bias=False), optimizer=Optimizer(name="sgd", lr=0.05), steps=1)
    rule = method("edge-popup")
    chain = run_stages(task, Train(by=rule, density=0.5))
    still = run_stages(
        tiny.task(tiny.MLP(hidden=(8,), bias=False), optimizer=Optimizer(name="sgd", lr=1e-30), steps=1),
        Train(by=rule, density=0.5),
    )
    module = task.model.build((1, 6, 6), 3)
    inputs, labels = chain.context.data.batch(0, "train", 0)
    before, after, gates = still.end, chain.end, {}
    for name, mask in before.masks.items():
        scores = before.memory[f"scores/{name}"].requires_grad_()
        # Straight through: the forward value is the mask, the gradient that of |score|.
        gates[name] = before.memory[f"frozen/{name}"] * (mask + scores.abs() - scores.abs().detach())
    cross_entropy(torch.func.functional_call(module, gates, (inputs,)), labels).backward()
    for name in before.masks:
        scores = before.memory[f"scores/{name}"]
        assert scores.grad[~before.masks[name]].any()
        assert torch.allclose(after.memory[f"scores/{name}"], scores.detach() - 0.05 * scores.grad, atol=1e-6)


def test_its_chain_is_one_training(tiny, method):
    rule = method("edge-popup")
    assert list(rule.stages(tiny.trial(rule, sparsity=0.7))) == [Initialize(), Train(by=rule, density=0.3)]


@pytest.mark.slow
def test_it_finds_a_subnetwork_for_the_digits_and_the_lowest_scores_do_not(tiny, method, run_chain, digits_task):
    task = digits_task(hidden=(300, 100), epochs=20)
    chain = run_chain(tiny.trial(method("edge-popup"), sparsity=0.5, task=task))
    assert chain.accuracy > 0.85
    worst = {
        name: chain.end.memory[f"frozen/{name}"] * ~mask for name, mask in chain.end.masks.items()
    }  # as many weights: the other half
    module = chain.module
    module.load_state_dict(chain.end.parameters | chain.end.buffers | worst)
    data = chain.context.data
    with torch.no_grad():
        right = module(data.normalized(data.test.inputs)).argmax(1) == data.test.targets
    assert float(right.double().mean()) < 0.5
