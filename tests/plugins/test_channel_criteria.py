"""Scores of channels computed by hand: two neurons of two weights, and a layer that reads them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import prunebench
from prunebench.api.errors import Unreachable
from prunebench.network.groups import find_groups


def lent(scoring_of, module, task=None):
    found = scoring_of(module, (2,), task)
    return replace(found, groups=find_groups(module, found.inputs, [layer.name for layer in found.layers]).found)


@pytest.fixture
def module():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[3.0, -4.0], [1.0, 2.0], [0.0, 1.0]]))
        module[1].weight.copy_(torch.tensor([2.0, -0.5, 1.0]))
        module[3].weight.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]]))
    return module


@pytest.fixture
def scoring(scoring_of, module):
    return lent(scoring_of, module)


def scored(method, scoring):
    (scores,) = method.channel_scores(scoring).values()
    return scores.tolist()


def test_slimming_compares_the_scales_of_batchnorm(method, scoring):
    assert scored(method("slimming"), scoring) == [2.0, 0.5, 1.0]


def test_channels_without_batchnorm_are_removed_last_by_slimming(method, scoring_of, module):
    longer = nn.Sequential(*module, nn.ReLU(), nn.Linear(2, 2))
    scores = method("slimming").channel_scores(lent(scoring_of, longer))
    assert scores["0.weight"].tolist() == [2.0, 0.5, 1.0]
    assert scores["3.weight"].tolist() == [3.0, 3.0]


def test_slimming_says_that_there_is_no_batchnorm(method, scoring_of):
    plain = lent(scoring_of, nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    with pytest.raises(Unreachable, match="no channel of this network has one"):
        method("slimming").channel_scores(plain)


def test_slimming_trains_with_its_penalty_until_the_recipe_ends(method, tiny):
    def penalized(one):
        stages = one.stages(tiny.trial(one))
        return [stage.by is not None for stage in stages if isinstance(stage, prunebench.Train)]

    assert penalized(method("slimming")) == [True, False]
    assert penalized(method("slimming", penalty=0)) == [False, False]
    assert penalized(method("slimming", rewind_to="50%", rounds=2)) == [True, True, False, False]


def test_the_penalty_pulls_scales_to_zero(method, module):
    class Training:
        model = module

    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert method("slimming", penalty=0.25).updater(None).after_backward(Training()) is False
    assert module[1].weight.grad.tolist() == [0.25, -0.25, 0.25]
    assert not module[0].weight.grad.any()


def test_the_norm_of_a_group_is_the_mean_over_its_layers_relative_to_its_mean(method, scoring):
    norms = [(25 + 1 + 4) / 3, (5 + 5 + 0.25) / 3, (1 + 9 + 1) / 3]
    mean = sum(norms) / 3
    assert scored(method("group-norm"), scoring) == pytest.approx([norm / mean for norm in norms])


def test_lamp_divides_by_what_is_not_smaller(method, scoring):
    assert scored(method("lamp-channels"), scoring) == pytest.approx([1.0, 5 / 30, 1 / 31])


@pytest.fixture
def slopes(monkeypatch):
    """Two gradients of the first layer."""
    of_batches = [
        {"0.weight": torch.tensor([[1.0, 1.0], [0.0, 1.0], [5.0, 1.0]])},
        {"0.weight": torch.tensor([[1.0, 0.0], [2.0, -1.0], [0.0, 0.0]])},
    ]
    name = "prunebench_plugins.channel_criteria.gradients"
    monkeypatch.setattr(name, lambda scoring, count, size: of_batches[:count])


def test_taylor_squares_the_sum_over_the_filter(method, scoring, slopes):
    expected = [((3 - 4) ** 2 + 3**2) / 2, (2**2 + (2 - 2) ** 2) / 2, (1**2 + 0) / 2]
    assert scored(method("taylor-channels", batches=2), scoring) == pytest.approx(expected)


def test_obd_sums_the_squares_over_the_filter(method, scoring, slopes):
    expected = [(9 + 16 + 9) / 4, (4 + 4 + 4) / 4, 1 / 4]
    assert scored(method("obd-channels", batches=2), scoring) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["taylor-channels", "obd-channels"])
def test_the_cost_of_gradients_is_that_of_their_examples(method, name):
    class Network:
        flops = 10.0

    assert method(name, batches=2, batch_size=4).scoring_flops(Network(), 1.0) == 3 * 10 * 8


def test_depgraph_pulls_weak_channels_up_to_sixteen_times_as_much(method, scoring, module):
    class Training:
        model, parameters, groups = module, dict(module.named_parameters()), scoring.groups

    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    sizes = [(30 / 3) ** 0.5, (10.25 / 3) ** 0.5, (11 / 3) ** 0.5]
    pulls = [1, 16, 2 ** (4 * (sizes[0] - sizes[2]) / (sizes[0] - sizes[1]))]
    assert method("depgraph", penalty=0.5).updater(None).after_backward(Training()) is False
    for channel, pull in enumerate(pulls):
        rows = module[0].weight.grad[channel], module[1].weight.grad[channel], module[3].weight.grad[:, channel]
        values = module[0].weight[channel], module[1].weight[channel], module[3].weight[:, channel]
        for row, value in zip(rows, values, strict=True):
            torch.testing.assert_close(row, 1 + 0.5 * pull * value.detach())
    assert module[0].bias.grad.tolist() == [1, 1, 1]


def test_channels_of_equal_size_are_pulled_equally(method, scoring, module):
    class Training:
        model, parameters, groups = module, dict(module.named_parameters()), scoring.groups

    for parameter in module.parameters():
        torch.nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    method("depgraph", penalty=0.5).updater(None).after_backward(Training())
    assert module[0].weight.grad.unique().tolist() == [0.5]


def test_depgraph_scores_as_group_norm_and_trains_with_its_penalty_first(method, scoring, tiny):
    assert scored(method("depgraph"), scoring) == scored(method("group-norm"), scoring)
    stages = method("depgraph").stages(tiny.trial(method("depgraph")))
    assert [stage.by is not None for stage in stages if isinstance(stage, prunebench.Train)] == [True, False]


def test_a_training_knows_the_groups_of_its_network(method, run_stages, tiny):
    seen = []

    class Watch(prunebench.StructuredMethod):
        name = "watch"

        def channel_scores(self, scoring):
            return {group.name: torch.arange(group.size).float() for group in scoring.groups}

        def updater(self, density):
            class Watching(prunebench.Updater):
                def after_step(self, training):
                    seen.append([(group.name, group.size) for group in training.groups])

            return Watching()

    watch = Watch()
    half = prunebench.Cut(by=watch, density=0.5)
    run_stages(tiny.task(steps=2), prunebench.Train(by=watch), half, prunebench.Train(until="+1it", by=watch))
    assert seen[0] == seen[1]
    assert [name for name, _ in seen[2]] == [name for name, _ in seen[0]]
    assert sum(size for _, size in seen[2]) < sum(size for _, size in seen[0])


class Sum(nn.Module):
    """Two layers that add up to two hidden units, and one that reads them."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.out = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        with torch.no_grad():
            self.one.weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 6.0]]))
            self.other.weight.copy_(torch.tensor([[1.0, 0.0], [90.0, 2.0]]))

    def forward(self, inputs):
        return self.out(torch.relu(self.one(inputs) + self.other(inputs)))


def test_where_layers_add_up_the_filters_are_those_of_the_first_and_gradients_count_in_all(
    method, scoring_of, monkeypatch
):
    """Before it is squared: (3 - 4 + 2)² and (6 - 4)²."""
    slopes = {"one.weight": torch.ones(2, 2), "other.weight": torch.tensor([[2.0, 5.0], [0.0, -2.0]])}
    monkeypatch.setattr("prunebench_plugins.channel_criteria.gradients", lambda scoring, count, size: [slopes])
    scoring = lent(scoring_of, Sum())
    assert scored(method("l1-filters"), scoring) == [7.0, 6.0]
    assert scored(method("taylor-channels", batches=1), scoring) == [1.0, 4.0]
    assert scored(method("obd-channels", batches=1), scoring) == [(9 + 16 + 4) / 2, (36 + 16) / 2]


class Gated(nn.Module):
    """Three hidden units, and gates that multiply them before they are read."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(2, 3), nn.Linear(3, 2)
        self.gates: torch.Tensor | float = torch.ones(3, requires_grad=True)

    def forward(self, inputs):
        return self.out(torch.tanh(self.hidden(inputs)) * self.gates)


def test_the_importance_of_a_head_is_the_gradient_of_its_gate(method, scoring_of, monkeypatch):
    torch.manual_seed(0)
    module = Gated()
    losses = [module(torch.randn(1, 2)).square().sum() for _ in range(5)]
    by_gates = [torch.autograd.grad(loss, module.gates, retain_graph=True)[0].abs() for loss in losses]
    names, values = zip(*module.named_parameters(), strict=True)
    by_weights = [dict(zip(names, torch.autograd.grad(loss, values), strict=True)) for loss in losses]
    monkeypatch.setattr("prunebench_plugins.channel_criteria.gradients", lambda scoring, count, size: by_weights)
    module.gates = 1.0  # no weight, so that a hidden unit can be removed
    expected = torch.stack(by_gates).double().mean(0)
    scores = scored(method("head-importance", batches=5), lent(scoring_of, module))
    assert scores == pytest.approx((expected / expected.square().mean().sqrt()).tolist(), rel=1e-5)


def test_the_importance_of_heads_is_that_of_single_examples(method):
    class Network:
        flops = 10.0

    assert method("head-importance", batches=7).scoring_flops(Network(), 1.0) == 3 * 10 * 7
