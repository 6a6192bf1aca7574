"""SNIP: by hand, against its definition, and inverted."""

from math import log

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import prunebench
from prunebench import Initialize, Prune, Train


class Pair(prunebench.Dataset):
    """One example, (1, 2) of class 0, to train on."""

    name = "pair"
    mean = (0.0,)
    std = (1.0,)

    def facts(self):
        return prunebench.DataFacts(shape=(1, 1, 2), classes=2, train=1, test=1)

    def load(self, root):
        inputs, labels = np.array([[[[1, 2]]]], dtype=np.uint8), np.array([0])
        return prunebench.Arrays(inputs, labels, inputs, labels)


def test_the_score_of_four_weights_is_weight_times_gradient(tiny, method, scoring_of):
    # Logits ln 3 and 0, so probabilities 3/4 and 1/4, and a gradient of (-1/4, 1/4) times the inputs (1, 2).
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    module[1].weight.data = torch.tensor([[log(3) - 1.0, 0.5], [2.0, -1.0]])
    scores = method("snip").scores(scoring_of(module, (1, 1, 2), tiny.task(dataset=Pair())))
    expected = torch.tensor([[(log(3) - 1.0) / 4, 0.25], [0.5, 0.5]])
    assert torch.allclose(scores["1.weight"], expected)


def by_definition(scoring, batches, mode):
    """|dL/dc| at c = 1, where every weight is multiplied by its own c."""
    module = scoring.model.train(mode == "train")
    weights = {name: weight.detach() for name, weight in scoring.weights.items()}
    switches = {name: torch.ones_like(weight, requires_grad=True) for name, weight in weights.items()}
    losses = []
    for inputs, labels in batches:
        logits = functional_call(module, {name: weights[name] * switches[name] for name in weights}, inputs)
        losses.append(cross_entropy(logits, labels))
    gradients = torch.autograd.grad(sum(losses) / len(losses), list(switches.values()))
    return {name: gradient.abs() for name, gradient in zip(switches, gradients, strict=True)}


@pytest.fixture
def conv(tiny, scoring_of):
    """The tiny convolutional network with statistics of its own in BatchNorm, in a scoring context."""

    def make():
        torch.manual_seed(0)
        module = tiny.Conv().build((1, 6, 6), 3)
        for layer in module:
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2.0)
        return scoring_of(module, (1, 6, 6), tiny.task(), purpose="snip")

    return make


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
@pytest.mark.parametrize("parameters", [(1, 16, False), (3, 9, False), (2, 9, True)])
def test_the_score_is_the_gradient_of_a_switch_on_each_weight(method, conv, bn_mode, parameters):
    batches, size, balanced = parameters
    snip = method("snip", batches=batches, batch_size=size, balanced=balanced, bn_mode=bn_mode)
    scores = snip.scores(conv())
    expected = by_definition(conv(), list(conv().batches(batches, size, balanced)), bn_mode)
    assert scores.keys() == expected.keys()
    assert all(torch.allclose(scores[name], expected[name], atol=1e-7, rtol=1e-4) for name in scores)
    assert all(score.any() for score in scores.values())


def test_the_mode_of_batch_norm_moves_the_scores(method, conv):
    one, other = (method("snip", bn_mode=mode, batch_size=16).scores(conv()) for mode in ("eval", "train"))
    assert not any(torch.allclose(one[name], other[name], rtol=0.1) for name in one)


def test_balancing_and_more_batches_move_the_scores(method, conv):
    ways = [{}, {"batches": 2}, {"balanced": True}, {"batch_size": 10}]
    scores = [method("snip", **{"batch_size": 9, **way}).scores(conv())["3.weight"] for way in ways]
    assert all(not torch.equal(one, scores[0]) for one in scores[1:])


def test_what_is_pruned_has_no_score_and_does_not_carry_the_others(tiny, method, scoring_of):
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    module[1].weight.data = torch.tensor([[log(3), 0.0], [0.0, 0.0]])
    scores = method("snip").scores(scoring_of(module, (1, 1, 2), tiny.task(dataset=Pair())))
    assert torch.allclose(scores["1.weight"], torch.tensor([[log(3) / 4, 0.0], [0.0, 0.0]]))


def test_scores_see_neither_weight_decay_nor_label_smoothing_nor_augmentation(tiny, method, run_stages):
    snip = Prune(by=method("snip"), density=0.3)
    plain = run_stages(tiny.task(optimizer=tiny.Optimizer(name="sgd", lr=0.1)), snip).end.masks
    changed = {"label_smoothing": 0.5, "augmentation": ("crop",)}
    other = run_stages(
        tiny.task(optimizer=tiny.Optimizer(name="sgd", lr=0.1, weight_decay=0.5), **changed), snip
    ).end.masks
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_scores_see_training_examples_only(tiny, method, run_stages):
    task = tiny.task(validation=50)
    chain = run_stages(task, Prune(by=method("snip", batch_size=60), density=0.3))
    assert len(chain.context.data.train) == 10
    few = run_stages(task, Prune(by=method("snip", batch_size=10), density=0.3))
    assert all(torch.equal(mask, few.end.masks[name]) for name, mask in chain.end.masks.items())


def test_its_chain_scores_at_initialization_and_trains(tiny, method):
    snip = method("snip", iterations=7)
    stages = list(snip.stages(tiny.trial(snip, sparsity=0.9)))
    assert stages == [Initialize(), Prune(by=snip, density=0.1, allocation="global", rounds=7), Train()]


def test_iterations_score_again_and_move_the_mask(tiny, method, run_stages):
    once, often = (
        run_stages(tiny.task(), Prune(by=method("snip"), density=0.1, rounds=rounds)).end for rounds in (1, 10)
    )
    assert sum(once.kept().values()) == sum(often.kept().values()) == 47
    assert not torch.equal(once.masks["1.weight"], often.masks["1.weight"])


def test_scoring_costs_a_forward_and_a_backward_pass_an_example(tiny, method, run_stages):
    snip = method("snip", batches=2, batch_size=10)
    cost = run_stages(tiny.task(), Prune(by=snip, density=0.25, rounds=1)).end.cost
    assert cost.scoring_flops == 3 * 2 * 468 * 20
    assert cost.steps == 0


def test_scoring_leaves_the_network_as_it_was(tiny, method, run_stages):
    task = tiny.task(tiny.Conv())
    fresh = run_stages(task).end
    scored = run_stages(task, Prune(by=method("snip", bn_mode="train", batch_size=16), density=0.5)).end
    assert all(torch.equal(value, scored.buffers[name]) for name, value in fresh.buffers.items())
    assert all(
        torch.equal(fresh.parameters[name] * mask, scored.parameters[name]) for name, mask in scored.masks.items()
    )


def test_a_redrawn_copy_is_scored_and_the_old_weights_are_trained(tiny, method, run_stages):
    task = tiny.task()
    plain, redrawn = (Prune(by=method("snip", reinit_copy=copy), density=0.5) for copy in (False, True))
    one, other, again = (run_stages(task, stage).end for stage in (plain, redrawn, redrawn))
    start = run_stages(task).end
    assert all(torch.equal(again.masks[name], mask) for name, mask in other.masks.items())
    agreement = (one.masks["1.weight"] == other.masks["1.weight"]).float().mean()
    assert 0.4 < agreement < 0.65  # they know of the inputs alone: half agrees by chance
    assert all(torch.equal(other.parameters[name], start.parameters[name] * mask) for name, mask in other.masks.items())


def test_a_redrawn_copy_has_glorot_normal_weights_where_none_are_pruned(conv, method):
    scoring = conv()
    scoring.masks["3.weight"][0] = False
    method("snip", reinit_copy=True, batch_size=16).scores(scoring)
    weight = scoring.weights["3.weight"]
    assert not weight[0].any()
    assert weight[1:].std().item() == pytest.approx((2 / (2 * 9 + 8 * 9)) ** 0.5, rel=0.25)


def test_presets_are_values_that_it_accepts(registry):
    cls, _ = registry.find("method", "snip")
    assert cls.presets.keys() == {"paper", "repository", "synflow-repository", "iterative"}
    assert cls(**cls.presets["repository"].values).reinit_copy
    paper = cls(**cls.presets["paper"].values)
    assert (paper.batches, paper.batch_size, paper.bn_mode, paper.iterations) == (1, 128, "eval", 1)
    repository = cls(**cls.presets["synflow-repository"].values)
    assert (repository.batches * repository.batch_size, repository.balanced, repository.bn_mode) == (100, False, "eval")
    assert cls(**cls.presets["iterative"].values).iterations == 100
    assert all(preset.source for preset in cls.presets.values())


def test_keeping_the_lowest_instead_ruins_the_digits(tiny, method, run_chain, digits_task):
    right, wrong = (
        run_chain(tiny.trial(method("snip"), sparsity=0.9, task=digits_task(), invert=invert)).accuracy
        for invert in (False, True)
    )
    assert right > 0.75
    assert wrong < 0.3
