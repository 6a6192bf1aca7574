"""Low-rank factors under a mask, small enough to follow by hand."""

import pytest
import torch

from prunebench import Initialize, Prune, PruneLayerwise, Train
from prunebench.api.errors import PrunebenchError
from prunebench.network.description import describe
from prunebench.plan.planning import resolve

WEIGHTS = {"a": [[2.0, 0.0, 1.0], [0.0, 3.0, 4.0]]}


@pytest.fixture
def adapting(method, training_of):
    """A training of a pruned layer, its updater, and B = (1, 2)ᵀ and A = (3, 4, 5) in the place of what is drawn."""

    def make(weights=WEIGHTS, **parameters):
        training = training_of(weights, step=0)
        updater = method("masklora", **{"rank": 1, **parameters}).updater(None)
        updater.begin(training)
        return training, updater

    return make


def given(training, left=((1.0,), (2.0,)), right=((3.0, 4.0, 5.0),)):
    training.memory["left/a"].copy_(torch.tensor(left))
    training.memory["right/a"].copy_(torch.tensor(right))


def test_the_product_is_merged_under_the_mask(adapting):
    """W + 2 * (3 4 5; 6 8 10) where the mask keeps: what is pruned stays exactly 0, and W is there again afterwards."""
    training, updater = adapting(scaling=2.0)
    given(training)
    updater.apply_masks(training)
    assert training.weights["a"].tolist() == [[8.0, 0.0, 11.0], [0.0, 19.0, 24.0]]
    updater.restore_dense(training)
    assert training.weights["a"].tolist() == WEIGHTS["a"]


def test_training_begins_with_the_pruned_network(adapting):
    training, updater = adapting()
    assert training.memory["right/a"].abs().sum() > 0
    updater.apply_masks(training)
    assert training.weights["a"].tolist() == WEIGHTS["a"]


def test_the_first_step_follows_the_gradients_through_the_mask(adapting):
    """G under the mask is (1 0 -1; 0 -2 1): dB = 2 G Aᵀ = 2 (3 - 5, -8 + 5), dA = 2 Bᵀ G = 2 (1, -4, -1 + 2).

    A first step of Adam is the learning rate against the sign.
    """
    training, updater = adapting(factor_lr=0.5)
    given(training)
    training.weights["a"].grad = torch.tensor([[1.0, 100.0, -1.0], [100.0, -2.0, 1.0]])
    assert updater.after_backward(training)
    assert training.memory["left-mean/a"].tolist() == [[pytest.approx(-0.4)], [pytest.approx(-0.6)]]
    assert training.memory["right-mean/a"].tolist() == [pytest.approx([0.2, -0.8, 0.2])]
    assert training.memory["left/a"].flatten().tolist() == pytest.approx([1.5, 2.5], rel=1e-5)
    assert training.memory["right/a"].flatten().tolist() == pytest.approx([2.5, 4.5, 4.5], rel=1e-5)


def test_the_gradients_of_the_factors_are_those_of_finite_differences(adapting):
    """Of a loss that is not linear in the merged weights: Σ target * tanh(weight)."""
    torch.manual_seed(0)
    mask = torch.rand(4, 5) < 0.6
    training, updater = adapting({"a": (torch.randn(4, 5) * mask).tolist()}, rank=2, scaling=1.5)
    target = torch.randn(4, 5)
    training.memory["left/a"].copy_(torch.randn(4, 2))

    def loss():
        updater.apply_masks(training)
        found = (target * training.weights["a"].detach().double().tanh()).sum()
        updater.restore_dense(training)
        return float(found)

    def slope(factor, place, step=1e-3):
        values = []
        for sign in (1, -1):
            training.memory[factor][place] += sign * step
            values.append(loss())
            training.memory[factor][place] -= sign * step
        return (values[0] - values[1]) / (2 * step)

    expected = {
        factor: [slope(factor, divmod(one, value.shape[1])) for one in range(value.numel())]
        for factor, value in ((name, training.memory[name]) for name in ("left/a", "right/a"))
    }
    updater.apply_masks(training)
    training.weights["a"].grad = target / training.weights["a"].detach().cosh().square()
    updater.restore_dense(training)
    updater.after_backward(training)
    for factor, slopes in expected.items():
        mean = training.memory[factor.replace("/", "-mean/")].flatten() / 0.1  # of one step
        assert mean.tolist() == pytest.approx(slopes, abs=2e-3)


def test_a_step_costs_no_gradients_of_frozen_weights(adapting):
    """4 of 6 weights of a are kept, b is dense: 2 * (40 + 20) forward and to the inputs, 40 for the gradients of a,

    and 6 * 1 * 6 for the products of the factors, once for the examples of a step.
    """
    training, updater = adapting({**WEIGHTS, "b": [[1.0, 1.0]]})
    assert "weight/b" not in training.memory
    assert updater.flops(training) == 2 * (40 + 20) + 40 + 36 / training.batch_size


def test_a_network_that_is_not_pruned_is_refused(adapting):
    with pytest.raises(PrunebenchError, match="prune the network first"):
        adapting({"a": [[1.0, 2.0]]})


@pytest.fixture
def chains(tiny, run_chain, method):
    task = tiny.task(tiny.MLP(hidden=(12,)), steps=20)

    def run(name, **parameters):
        return run_chain(tiny.trial(method(name, **parameters), sparsity=0.8, task=task))

    return run


def test_zeros_stay_and_all_but_the_pruned_layers_is_frozen(chains):
    end = chains("masklora", finetune="10it", rank=2, factor_lr=0.01)
    before, after = end.after(PruneLayerwise), end.end
    for name, value in after.parameters.items():
        if name in before.masks:
            assert torch.equal(after.masks[name], before.masks[name])
            assert not bool(value[~after.masks[name]].any())
            assert bool((value != before.parameters[name]).any())
        else:
            assert torch.equal(value, before.parameters[name])
    layers = describe(end.context.trial.task).layers
    assert sum(after.kept().values()) == round(0.2 * sum(layer.size for layer in layers))
    assert loss(end, after) < loss(end, before)


@torch.no_grad()
def loss(chain, state):
    """On the training examples."""
    data = chain.context.data
    inputs, targets = data.examples(data.train, torch.arange(len(data.train)))
    return float(torch.nn.functional.cross_entropy(chain.context.loaded(state).eval()(inputs), targets))


def test_what_is_added_to_a_layer_under_the_mask_has_the_rank_that_was_asked_for(chains):
    end = chains("masklora", finetune="10it", rank=2, factor_lr=0.01).end
    for name, base in ((key.removeprefix("weight/"), value) for key, value in end.memory.items() if "weight/" in key):
        product = end.memory[f"left/{name}"] @ end.memory[f"right/{name}"]
        assert torch.linalg.matrix_rank(product) == 2
        expected = base + torch.where(end.masks[name], 2.0 * product.view_as(base), 0.0)
        assert torch.allclose(end.parameters[name], expected, atol=1e-6)


def test_the_selection_is_that_of_wanda_and_stored_once_for_both(tiny, method):
    task = tiny.task(tiny.MLP(hidden=(12,)), steps=20)
    keys = [
        {type(node.stage): node.key for node in resolve(tiny.trial(method(name), sparsity=0.8, task=task), "0" * 32)}
        for name in ("wanda", "masklora")
    ]
    assert keys[0][PruneLayerwise] == keys[1][PruneLayerwise]
    assert keys[0][Initialize] == keys[1][Initialize]


def test_any_pruning_of_a_pipeline_can_be_followed(tiny, run_stages, method):
    stages = (Train(), Prune(by=method("magnitude"), density=0.3), Train(by=method("masklora"), until="+5it"))
    end = run_stages(tiny.task(tiny.Conv(), steps=8), *stages).end
    for name, mask in end.masks.items():
        assert not bool(end.parameters[name][~mask].any())
