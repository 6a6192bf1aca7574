"""GraSP: by hand, against finite differences of the gradient flow, and with the right end of the ranking."""

from math import log

import numpy as np
import pytest
import torch
from prunebench_plugins import grasp
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.init import xavier_normal_

import prunebench
from prunebench import Initialize, Prune, Train
from prunebench.pruning.masks import keep_highest
from prunebench.pruning.scoring import ScoringContext


class Pair(prunebench.Dataset):
    """One example, (1, 2), of class 0 of two."""

    name = "pair"
    mean = (0.0,)
    std = (1.0,)

    def facts(self):
        return prunebench.DataFacts(shape=(1, 1, 2), classes=2, train=1, test=1)

    def load(self, root):
        inputs, labels = np.array([[[[1, 2]]]], dtype=np.uint8), np.array([0])
        return prunebench.Arrays(inputs, labels, inputs, labels)


@pytest.fixture
def conv(tiny, scoring_of):
    """The tiny convolutional network in a scoring context."""

    def make():
        torch.manual_seed(0)
        module = tiny.Conv().build((1, 6, 6), 3)
        for layer in module:
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2.0)
        return scoring_of(module, (1, 6, 6), tiny.task(), purpose="grasp")

    return make


def gradient_flow(module, names, batches, temperature):
    """g.g of the batches' summed losses, in double precision."""
    weights = [dict(module.named_parameters())[name] for name in names]
    loss = sum(cross_entropy(module(inputs.double()) / temperature, labels) for inputs, labels in batches)
    return sum((gradient**2).sum() for gradient in torch.autograd.grad(loss, weights)).item()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_score_of_four_weights_is_weight_times_hessian_times_gradient(tiny, method, scoring_of, temperature):
    # Logits T ln 3 and 0, so probabilities p = 3/4 and q = 1/4. With x = (1, 2) the gradient is (-q x, q x) / T, and
    # g.g = 2 q^2 |x|^2 / T^2. Half of its gradient, as dq = -p q / T, is 2 p q^2 |x|^2 / T^3 = 15/32 / T^3 of (-x, x).
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    module[1].weight.data = torch.tensor([[temperature * log(3) - 1.0, 0.5], [2.0, -1.0]])
    grasp = method("grasp", temperature=temperature)
    scores = grasp.scores(scoring_of(module, (1, 1, 2), tiny.task(dataset=Pair())))
    weight, product = module[1].weight.detach(), torch.tensor([[-1.0, -2.0], [1.0, 2.0]]) * 15 / 32 / temperature**3
    assert torch.allclose(scores["1.weight"], weight * product)


@pytest.mark.parametrize("bn_mode", ["train", "eval"])
@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_removing_a_weight_changes_the_gradient_flow_by_minus_twice_its_score(
    conv, method, bn_mode, batches, temperature
):
    grasp = method("grasp", bn_mode=bn_mode, batches=batches, batch_size=15, temperature=temperature)
    scoring = conv()
    scores = grasp.scores(scoring)
    drawn, names = list(scoring.batches(batches, 15, balanced=True)), list(scores)
    module = conv().model.double().train(bn_mode == "train")
    for name in names:
        weight = dict(module.named_parameters())[name]
        for place in scores[name].flatten().abs().topk(3).indices.tolist():
            whole, flows = weight.data.view(-1)[place].item(), []
            for share in (1 - 1e-4, 1 + 1e-4):  # a little of it removed, a little added
                weight.data.view(-1)[place] = whole * share
                flows.append(gradient_flow(module, names, drawn, temperature))
            weight.data.view(-1)[place] = whole
            removed = (flows[0] - flows[1]) / 2e-4
            assert removed == pytest.approx(-2 * scores[name].flatten()[place].item(), rel=2e-2)


def test_what_it_removes_raises_the_gradient_flow_and_the_other_end_lowers_it(conv, method):
    grasp = method("grasp", batch_size=60)
    scoring = conv()
    scores, drawn = grasp.scores(scoring), list(scoring.batches(1, 60, balanced=True))
    flows = []
    for sign in (1, 0, -1):
        masks = keep_highest(
            {name: sign * score for name, score in scores.items()}, scoring.masks, scoring.layers, 0.98, "global"
        )
        module = conv().model.double().train()
        for name, weight in module.named_parameters():
            weight.data.mul_(masks.get(name, torch.ones(())) if sign else 1)
        flows.append(gradient_flow(module, list(scores), drawn, 200.0))
    right, dense, wrong = flows
    assert right > dense > wrong


def test_the_sign_of_a_score_counts(conv, method):
    scoring = conv()
    scores = method("grasp", batch_size=60).scores(scoring)
    kept = {}
    for way, change in {"right": lambda s: s, "wrong": lambda s: -s, "size": torch.abs}.items():
        changed = {name: change(score) for name, score in scores.items()}
        masks = keep_highest(changed, scoring.masks, scoring.layers, 0.3, "global")
        kept[way] = torch.cat([mask.flatten() for mask in masks.values()])
    assert not (kept["right"] & kept["wrong"]).any()
    assert (kept["right"] & kept["size"]).sum() < 0.9 * kept["right"].sum()
    assert any((score < 0).any() for score in scores.values())


def test_it_prunes_what_it_scores_lowest(tiny, method, run_stages, scoring_of):
    task = tiny.task(tiny.Conv())
    grasp = method("grasp", batch_size=60)
    chain = run_stages(task, Prune(by=grasp, density=0.3))
    module = task.model.build((1, 6, 6), 3)
    module.load_state_dict(chain.after(Initialize).parameters | chain.after(Initialize).buffers)
    scores = grasp.scores(scoring_of(module, (1, 6, 6), task, purpose="grasp"))
    kept = torch.cat([scores[name][mask] for name, mask in chain.end.masks.items()])
    removed = torch.cat([scores[name][~mask] for name, mask in chain.end.masks.items()])
    assert kept.min() > removed.max()


@pytest.mark.parametrize(
    "way", [{"temperature": 1.0}, {"bn_mode": "eval"}, {"balanced": False}, {"batches": 2}, {"batch_size": 9}]
)
def test_every_parameter_moves_the_scores(method, conv, way):
    plain, other = (method("grasp", **{"batch_size": 18, **values}).scores(conv()) for values in ({}, way))
    for name in plain:
        ranks = [scores[name].flatten().argsort() for scores in (plain, other)]
        assert not torch.equal(*ranks)


def test_examples_are_balanced_over_the_classes(conv, method, monkeypatch):
    calls = []
    monkeypatch.setattr(ScoringContext, "batches", lambda self, *how: calls.append(how) or conv_batches(self, *how))
    method("grasp").scores(conv())
    assert calls == [(1, 100, True)]


conv_batches = ScoringContext.batches


def test_only_linear_layers_are_redrawn_and_only_in_the_copy(tiny, method, conv, run_stages):
    scoring, redrawing = conv(), method("grasp", batch_size=16, reinit_linear=True)
    before = {name: weight.detach().clone() for name, weight in scoring.weights.items()}
    redrawing.scores(scoring)
    changed = {name for name, weight in scoring.weights.items() if not torch.equal(weight, before[name])}
    assert changed == {"11.weight"}
    chain = run_stages(tiny.task(tiny.Conv()), Prune(by=redrawing, density=0.5))
    start, end = chain.after(Initialize), chain.end
    assert all(torch.equal(end.parameters[name], start.parameters[name] * mask) for name, mask in end.masks.items())


def test_a_redrawn_layer_keeps_what_is_pruned_at_zero():
    weight, mask = torch.nn.Parameter(torch.ones(6, 8)), torch.rand(6, 8) < 0.5
    grasp._redraw({"w": weight}, {"w": mask}, torch.Generator().manual_seed(0))
    expected = xavier_normal_(torch.empty(6, 8), generator=torch.Generator().manual_seed(0))
    assert torch.equal(weight.detach(), expected * mask)
    grasp._redraw({"w": weight}, {}, torch.Generator().manual_seed(0))
    assert torch.equal(weight.detach(), expected)


def test_scoring_leaves_the_network_as_it_was(tiny, method, run_stages):
    task = tiny.task(tiny.Conv())
    fresh = run_stages(task).end
    scored = run_stages(task, Prune(by=method("grasp"), density=0.5)).end
    assert all(torch.equal(value, scored.buffers[name]) for name, value in fresh.buffers.items())


def test_scoring_costs_nine_forward_passes_an_example(tiny, method, run_stages):
    cost = run_stages(tiny.task(), Prune(by=method("grasp", batches=2, batch_size=10), density=0.25)).end.cost
    assert cost.scoring_flops == 9 * 2 * 468 * 20
    assert cost.steps == 0


def test_its_chain_scores_at_initialization_and_trains(tiny, method):
    grasp = method("grasp")
    stages = list(grasp.stages(tiny.trial(grasp, sparsity=0.9)))
    assert stages == [Initialize(), Prune(by=grasp, density=0.1), Train()]


def test_presets_are_values_that_it_accepts(registry):
    cls, _ = registry.find("method", "grasp")
    made = {name: cls(**preset.values) for name, preset in cls.presets.items()}
    assert made["paper"] == cls()
    assert (cls().temperature, cls().batches * cls().batch_size, cls().balanced, cls().bn_mode) == (
        200,
        100,
        True,
        "train",
    )
    assert (made["repository"].batches, made["repository"].batch_size, made["repository"].reinit_linear) == (
        2,
        50,
        True,
    )
    assert (made["synflow-repository"].balanced, made["synflow-repository"].bn_mode) == (False, "eval")
    assert all(preset.source for preset in cls.presets.values())
