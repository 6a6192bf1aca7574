"""SynFlow: by hand, its conservation law, and why it takes a hundred rounds."""

import pytest
import torch
from torch import nn

from prunebench import Initialize, Prune, Train
from prunebench.pruning.masks import keep_highest


@pytest.fixture
def scores_of(method, scoring_of):
    """The scores of a module; any look at data fails."""
    return lambda module, shape=(2,): method("synflow").scores(scoring_of(module, shape))


def chain_of(first, second, relu=True):
    """One input, two hidden units, one output: four weights."""
    module = nn.Sequential(
        nn.Linear(1, 2, bias=False), nn.ReLU() if relu else nn.Identity(), nn.Linear(2, 1, bias=False)
    )
    module[0].weight.data = torch.tensor(first).view(2, 1)
    module[2].weight.data = torch.tensor(second).view(1, 2)
    return module


@pytest.mark.parametrize("relu", [True, False])
def test_the_score_of_four_weights_is_the_flow_through_each(scores_of, relu):
    scores = scores_of(chain_of([2.0, -3.0], [-5.0, 0.5], relu), (1,))
    assert scores["0.weight"].tolist() == [[10.0], [1.5]]
    assert scores["2.weight"].tolist() == [[10.0, 1.5]]


def test_a_pruned_weight_lets_nothing_through_its_path(scores_of):
    scores = scores_of(chain_of([2.0, -3.0], [0.0, 0.5]), (1,))
    assert scores["0.weight"].tolist() == [[0.0], [1.5]]
    assert scores["2.weight"].tolist() == [[0.0, 1.5]]


def test_the_flow_is_that_of_ones(scores_of):
    module = nn.Linear(2, 2, bias=False)
    module.weight.data = torch.tensor([[1.0, -2.0], [-3.0, 4.0]])
    assert scores_of(module)["weight"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def deep(bias):
    torch.manual_seed(0)
    layers = [nn.Flatten()]
    for inner, outer in ((36, 20), (20, 30), (30, 10), (10, 3)):
        layers += [nn.Linear(inner, outer, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def test_without_biases_every_layer_carries_the_whole_flow(scores_of):
    sums = [score.sum().item() for score in scores_of(deep(bias=False), (1, 6, 6)).values()]
    assert len(sums) == 4
    assert sums == pytest.approx([sums[0]] * 4, rel=1e-12)


def test_a_layer_carries_the_flow_but_what_its_own_and_later_biases_add(scores_of):
    module = deep(bias=True)
    found = {name: score.sum().item() for name, score in scores_of(module, (1, 6, 6)).items()}
    absolute = deep(bias=True).double()
    for parameter in absolute.parameters():
        parameter.data.abs_()
    flow = absolute(torch.ones(1, 1, 6, 6, dtype=torch.float64)).sum()
    flow.backward()
    layers = [layer for layer in absolute if isinstance(layer, nn.Linear)]
    added = [(layer.bias * layer.bias.grad).sum().item() for layer in layers]
    expected = [flow.item() - sum(added[position:]) for position in range(4)]
    assert list(found.values()) == pytest.approx(expected, rel=1e-9)
    assert expected == sorted(expected)


def test_batch_norm_is_in_inference_mode(tiny, scores_of):
    # Normalization of the one input by itself would make the flow blind to what comes before.
    torch.manual_seed(0)
    for training in (True, False):
        module = tiny.Conv().build((1, 6, 6), 3)
        for layer in module:
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2.0)
        absolute = tiny.Conv().build((1, 6, 6), 3)
        absolute.load_state_dict(module.state_dict())
        absolute.double().eval()
        for tensor in (*absolute.parameters(), *absolute.buffers()):
            tensor.data.abs_()
        absolute(torch.ones(1, 1, 6, 6, dtype=torch.float64)).sum().backward()
        weights = dict(absolute.named_parameters())
        scores = scores_of(module.train(training), (1, 6, 6))
        assert all(torch.allclose(score, weights[name] * weights[name].grad) for name, score in scores.items())


def test_a_network_with_batch_norm_on_vectors_can_be_scored(scores_of):
    # In training mode BatchNorm refuses a single example.
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).train()
    assert all(score.all() for score in scores_of(module).values())


def test_dropout_is_off(scores_of):
    module = nn.Sequential(nn.Linear(2, 50, bias=False), nn.Dropout(0.9), nn.Linear(50, 2, bias=False)).train()
    assert all(score.all() for score in scores_of(module).values())


def test_deep_networks_do_not_overflow(scores_of):
    layers = [nn.Linear(2, 2, bias=False) for _ in range(40)]
    for layer in layers:
        layer.weight.data.fill_(100.0)
    scores = scores_of(nn.Sequential(*layers))
    assert all(torch.isfinite(score).all() and score.all() for score in scores.values())
    assert scores["0.weight"].dtype == torch.float64


def test_no_data_is_looked_at_and_the_seed_of_the_data_order_is_nothing_to_it(tiny, method, run_stages):
    synflow = Prune(by=method("synflow"), density=0.2, rounds=5)
    plain = run_stages(tiny.task(), synflow).end.masks
    other = run_stages(tiny.task(dataset=tiny.Blobs(draw=1)), synflow).end.masks
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_the_network_that_was_scored_keeps_its_signs_and_its_precision(tiny, method, run_stages):
    task = tiny.task(tiny.Conv(biased=True))
    chain = run_stages(task, Prune(by=method("synflow"), density=0.5, rounds=3))
    start, end = chain.after(Initialize), chain.end
    for name, value in start.parameters.items():
        mask = end.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(end.parameters[name], value * mask)
    assert all(torch.equal(value, end.buffers[name]) for name, value in start.buffers.items())
    assert {value.dtype for value in end.parameters.values()} == {torch.float32}


def test_its_chain_prunes_in_a_hundred_rounds_and_trains(tiny, method):
    synflow = method("synflow")
    stages = list(synflow.stages(tiny.trial(synflow, sparsity=0.99)))
    assert stages == [Initialize(), Prune(by=synflow, density=0.01, rounds=100), Train()]


def test_one_round_empties_layers_where_a_hundred_do_not(tiny, method, run_stages):
    # The same flow through 3 to 30 weights and through 10,800: in one round the large layer goes first, and whole.
    task = tiny.task(tiny.MLP(hidden=(300, 10, 10), bias=False))
    counts = {
        rounds: list(run_stages(task, Prune(by=method("synflow"), density=0.005, rounds=rounds)).end.kept().values())
        for rounds in (1, 100)
    }
    assert sum(counts[1]) == sum(counts[100]) == round(0.005 * (10_800 + 3000 + 100 + 30))
    assert 0 in counts[1]
    assert min(counts[100]) > 1


def test_a_hundred_rounds_keep_whole_paths(tiny, method, run_stages, scores_of):
    task = tiny.task(tiny.MLP(hidden=(300, 10, 10), bias=False))
    chain = run_stages(task, Prune(by=method("synflow"), density=0.005, rounds=100))
    scores = scores_of(chain.module, (1, 6, 6))
    assert all((scores[name][mask] > 0).any() for name, mask in chain.end.masks.items())


def test_scores_rank_over_all_layers(scores_of, scoring_of):
    module = chain_of([2.0, -3.0], [-5.0, 0.5])
    scoring = scoring_of(module, (1,))
    masks = keep_highest(scores_of(module, (1,)), scoring.masks, scoring.layers, 0.5, "global")
    assert masks["0.weight"].tolist() == [[True], [False]]
    assert masks["2.weight"].tolist() == [[True, False]]


def test_scoring_costs_one_example_a_round(tiny, method, run_stages):
    cost = run_stages(tiny.task(), Prune(by=method("synflow"), density=0.25, rounds=10)).end.cost
    assert cost.scoring_flops == pytest.approx(10 * 3 * 2 * 468)


def test_keeping_the_lowest_instead_ruins_the_digits(tiny, method, run_chain, digits_task):
    right, wrong = (
        run_chain(tiny.trial(method("synflow"), sparsity=0.9, task=digits_task(), invert=invert)).accuracy
        for invert in (False, True)
    )
    assert right > 0.75
    assert wrong < 0.3


def test_presets_are_values_that_it_accepts(registry):
    cls, _ = registry.find("method", "synflow")
    assert cls(**cls.presets["paper"].values).iterations == cls().iterations == 100
    assert cls(**cls.presets["one-shot"].values).iterations == 1


class Called(nn.Module):
    """An activation that is a function, as many authors write it."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, inputs):
        return self.function(inputs)


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU6(),
        nn.ReLU6(inplace=True),
        nn.Hardtanh(),
        nn.Tanh(),
        nn.Softsign(),
        Called(torch.tanh),
        Called(torch.Tensor.tanh),
        Called(nn.functional.relu6),
        Called(lambda inputs: nn.functional.relu6(input=inputs)),
    ],
    ids=repr,
)
def test_a_bounded_activation_stops_no_flow(scores_of, activation):
    # Through the first unit flows 2000 * 5, far beyond where any of these saturates.
    module = chain_of([2000.0, -3.0], [-5.0, 0.5])
    module[1] = activation
    scores = scores_of(module, (1,))
    assert scores["0.weight"].tolist() == [[10000.0], [1.5]]
    assert scores["2.weight"].tolist() == [[10000.0, 1.5]]


class Gated(nn.Module):
    def __init__(self, gate):
        super().__init__()
        self.inner, self.control, self.gate = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False), gate
        nn.init.constant_(self.inner.weight, 2.0)
        nn.init.constant_(self.control.weight, 50.0)

    def forward(self, inputs):
        return self.inner(inputs) * self.gate(self.control(inputs))


@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Hardsigmoid()], ids=repr)
def test_an_open_gate_lets_the_flow_through_and_its_own_weights_have_none(scores_of, gate):
    scores = scores_of(Gated(gate), (1,))
    assert scores["inner.weight"].item() == pytest.approx(2.0)
    assert scores["control.weight"].item() == pytest.approx(0.0, abs=1e-15)


def test_buffers_that_are_no_numbers_are_left_alone(scores_of):
    module = chain_of([2.0, -3.0], [-5.0, 0.5])
    module.register_buffer("mask", torch.tensor([True, False]))
    assert scores_of(module, (1,))["2.weight"].tolist() == [[10.0, 1.5]]
