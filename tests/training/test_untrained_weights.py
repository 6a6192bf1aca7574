"""Weights that get no gradient, because the model froze them or never calls their layer: every method works on them,
masks hold, and nothing else moves them."""

import pytest
import torch
from torch import nn

import prunebench
from prunebench import Initialize, Prune, Train
from prunebench.api.errors import PrunebenchError
from prunebench.api.tasks import Optimizer
from prunebench.execution.performing import perform
from prunebench.network.description import describe
from prunebench.plan.planning import protocol, resolve

FROZEN, UNUSED, TRAINED = "frozen.weight", "unused.weight", "trained.weight"
SGD = Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=0.1)
ADAMW = Optimizer(name="adamw", lr=0.01, weight_decay=1.0)
LAMB = Optimizer(name="lamb", lr=0.01, weight_decay=0.1)


class Gapped(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.frozen, self.unused = nn.Linear(inputs, 16), nn.Linear(16, 16)
        self.trained, self.out = nn.Linear(16, 16), nn.Linear(16, classes)
        self.frozen.requires_grad_(False)

    def forward(self, inputs):
        return self.out(self.trained(self.frozen(inputs.flatten(1)).relu()).relu())


class WithGaps(prunebench.Model):
    """A frozen layer, one that is never called, and two that are trained."""

    name = "with-gaps"

    def build(self, shape, classes):
        return Gapped(shape[0] * shape[1] * shape[2], classes)


class AllFrozen(prunebench.Model):
    """Nothing in it is trained."""

    name = "all-frozen"

    def build(self, shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes)).requires_grad_(False)


class Backward(prunebench.Method):
    """Takes gradients as many authors do, without `scoring.gradients`."""

    name = "backward"

    def scores(self, scoring):
        ((inputs, labels),) = scoring.batches(1, 32)
        nn.functional.cross_entropy(scoring.model(inputs), labels).backward()
        weights = scoring.weights
        found = {n: w.grad if n != UNUSED else torch.zeros_like(w) for n, w in weights.items()}
        return {name: (weights[name] * gradient).abs() for name, gradient in found.items()}

    def stages(self, trial):
        yield Initialize()
        yield Prune(by=self, density=trial.density)
        yield Train()


METHODS = [
    ("magnitude", {}),
    ("magnitude-init", {}),
    ("random", {}),
    ("snip", {}),
    ("snip", {"bn_mode": "train", "iterations": 3}),
    ("grasp", {}),
    ("synflow", {"iterations": 5}),
    ("imp", {}),
    ("lr-rewinding", {}),
    ("gradual", {"interval": "4it"}),
    ("static", {}),
    ("set", {"interval": "4it"}),
    ("rigl", {"interval": "4it"}),
    ("snfs", {"interval": "4it"}),
    ("ste", {}),
    ("edge-popup", {}),
    ("edge-popup", {"weights": "kaiming-normal", "scaled": True}),
    ("nm", {"n": 2, "m": 4}),
    ("sr-ste", {"n": 2, "m": 4}),
]


def check_untrained(chain):
    """Frozen weights have their first values or are pruned; all masks hold."""
    first, end = next(iter(chain.states.values())), chain.end
    assert end.masks.keys() == {FROZEN, UNUSED, TRAINED, "out.weight"}
    for name, mask in end.masks.items():
        assert not end.parameters[name][~mask].any(), name
    for name in (FROZEN, UNUSED):
        assert torch.equal(end.parameters[name], first.parameters[name] * end.masks[name]), name
    assert torch.equal(end.parameters["frozen.bias"], first.parameters["frozen.bias"])
    layers = describe(chain.context.trial.task).layers
    assert sum(int(mask.sum()) for mask in end.masks.values()) == round(0.5 * sum(layer.size for layer in layers))


@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=lambda one: one.name)
@pytest.mark.parametrize(("name", "parameters"), METHODS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_method_leaves_frozen_weights_at_their_values(tiny, method, run_chain, name, parameters, optimizer):
    task = tiny.task(WithGaps(), optimizer=optimizer, clip_norm=1.0)
    chain = run_chain(tiny.trial(method(name, **parameters), task=task))
    end, first = chain.end, next(iter(chain.states.values()))
    if name == "edge-popup":  # which draws what it trains the scores of, but not what the model has frozen
        assert torch.equal(end.parameters[FROZEN], first.parameters[FROZEN] * end.masks[FROZEN])
        assert torch.equal(end.parameters["frozen.bias"], first.parameters["frozen.bias"])
    else:
        check_untrained(chain)
        assert not torch.equal(chain.end.parameters[TRAINED], first.parameters[TRAINED] * chain.end.masks[TRAINED])


@pytest.mark.parametrize("name", ["sgd", "lamb", "adafactor", "lion", "nadamw", "madgrad", "lars", "adan", "adopt"])
def test_weight_decay_of_no_optimizer_moves_them(tiny, method, run_chain, name):
    optimizer = Optimizer(name=name, lr=0.01, weight_decay=0.5)
    task = tiny.task(WithGaps(), optimizer=optimizer)
    check_untrained(run_chain(tiny.trial(method("magnitude", finetune="4it"), task=task)))


@pytest.mark.parametrize("name", ["snip", "synflow", "grasp"])
def test_scores_by_gradient_are_0_in_them_and_in_no_other_layer(tiny, method, context_of, name):
    found = scores_of(tiny, method(name), context_of)
    assert {layer for layer, score in found.items() if not score.any()} == {FROZEN, UNUSED}


def test_a_method_that_calls_backward_itself_has_a_gradient_of_0_in_a_frozen_layer(tiny, context_of):
    found = scores_of(tiny, Backward(), context_of)
    assert {layer for layer, score in found.items() if not score.any()} == {FROZEN, UNUSED}


def scores_of(tiny, by, context_of):
    """The scores that a method gives in a pruning."""
    found = {}

    class Listening(type(by)):
        def scores(self, scoring):
            found.update(by.scores(scoring))
            assert not scoring.model.frozen.bias.requires_grad
            return found

    listening = Listening()
    trial = tiny.trial(tiny.Chained(chain=(Initialize(), Prune(by=listening, density=0.9))), task=tiny.task(WithGaps()))
    state, context = None, context_of(trial)
    for node in resolve(trial, protocol(trial.task, "test")):
        state = perform(node, state, None, context)
    return found


def test_gradients_are_those_of_torch_where_there_are_any(scoring_of):
    torch.manual_seed(0)
    module = Gapped(36, 3)
    scoring = scoring_of(module, (1, 6, 6))
    loss = module(torch.rand(5, 1, 6, 6)).square().sum()
    expected = torch.autograd.grad(loss, [module.trained.weight, module.out.weight], retain_graph=True)
    found = scoring.gradients(loss)
    assert torch.equal(found[TRAINED], expected[0])
    assert torch.equal(found["out.weight"], expected[1])
    assert not found[FROZEN].any()
    assert not found[UNUSED].any()
    assert found[FROZEN].shape == module.frozen.weight.shape


def test_the_gradients_of_a_scalar_that_depends_on_no_weight_are_0(scoring_of):
    scoring = scoring_of(Gapped(36, 3), (1, 6, 6))
    assert not any(gradient.any() for gradient in scoring.gradients(torch.tensor(1.0)).values())


@pytest.mark.parametrize("name", ["set", "rigl", "snfs"])
def test_connections_move_where_weights_are_trained_and_nowhere_else(tiny, method, run_chain, name):
    chain = run_chain(tiny.trial(method(name, interval="4it", fraction=0.5), 0.8, task=tiny.task(WithGaps())))
    before, after = chain.before(Train).masks, chain.end.masks
    assert [layer for layer in after if torch.equal(before[layer], after[layer])] == [FROZEN, UNUSED]


def test_a_network_of_which_nothing_is_trained_is_refused(tiny):
    with pytest.raises(PrunebenchError, match="'all-frozen' has no parameter to train"):
        describe(tiny.task(AllFrozen()))


def test_the_dense_network_trains_and_keeps_what_is_frozen(tiny, method, run_chain):
    chain = run_chain(tiny.trial(method("dense"), 0.0, task=tiny.task(WithGaps(), optimizer=SGD)))
    first = next(iter(chain.states.values()))
    for name in ("frozen.weight", "frozen.bias", "unused.weight"):
        assert torch.equal(chain.end.parameters[name], first.parameters[name])
