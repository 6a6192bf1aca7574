"""SR-STE, on weights small enough to follow by hand."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from prunebench import Initialize, Structure, Train
from prunebench.api.tasks import Optimizer
from prunebench.plan.planning import make_plan


@pytest.fixture
def groups(method, training_of):
    """A training of one layer of these dense weights, and its updater."""

    def make(weights, **parameters):
        training = training_of({"a": weights}, momentum={})
        training.trains_dense = True
        return training, method("sr-ste", **parameters).updater(0.5)

    return make


def test_a_pass_uses_two_of_every_four(groups):
    training, updater = groups([[4.0, -3.0, 2.0, -1.0, 1.0, 2.0, -3.0, 4.0]])
    updater.apply_masks(training)
    assert training.weights["a"].detach().tolist() == [[4.0, -3.0, 0.0, 0.0, 0.0, 0.0, -3.0, 4.0]]
    updater.restore_dense(training)
    assert training.weights["a"].detach().tolist() == [[4.0, -3.0, 2.0, -1.0, 1.0, 2.0, -3.0, 4.0]]


def test_masked_weights_decay_besides_their_gradient_and_used_ones_do_not(groups):
    training, updater = groups([[4.0, -3.0, 2.0, -1.0]], decay=0.5)
    updater.apply_masks(training)
    training.weights["a"].grad = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    updater.restore_dense(training)
    assert not updater.after_backward(training)
    # 1 + 0.5 * 2 and 1 + 0.5 * -1
    assert training.weights["a"].grad.tolist() == [[1.0, 1.0, 2.0, 0.5]]
    training.make_step(None)
    assert training.weights["a"].detach().flatten().tolist() == pytest.approx([3.9, -3.1, 1.8, -1.05])


def test_the_decay_of_the_paper_is_the_default(method):
    assert method("sr-ste").decay == 2e-4
    assert (method("sr-ste").n, method("sr-ste").m) == (2, 4)


def test_one_step_of_a_network_is_gradient_and_decay(tiny, method, run_stages):
    task = tiny.task(tiny.MLP(hidden=(8,)), optimizer=Optimizer(name="sgd", lr=0.05), steps=1)
    chain = run_stages(task, Train(by=method("sr-ste", decay=0.3), density=0.5))
    dense = chain.after(Initialize).parameters
    masks = {}
    for name in ("1.weight", "4.weight"):
        groups = dense[name].abs().view(-1, 4)
        masks[name] = (groups >= groups.sort(dim=1).values[:, 2:3]).view(dense[name].shape)
    module = task.model.build((1, 6, 6), 3)
    module.load_state_dict({name: value * masks.get(name, 1) for name, value in dense.items()})
    inputs, labels = chain.context.data.batch(0, "train", 0)
    cross_entropy(module(inputs), labels).backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    for name, mask in masks.items():
        expected = dense[name] - 0.05 * (gradients[name] + 0.3 * ~mask * dense[name])
        assert torch.allclose(chain.end.memory[f"dense/{name}"], expected, atol=1e-7)


def test_decay_keeps_masks_from_changing(tiny, method, run_stages):
    task = tiny.task(tiny.MLP(hidden=(16,)), steps=40)

    def flips(decay):
        rule = method("sr-ste", decay=decay)
        chain = run_stages(task, Train("20it", by=rule), Train(by=rule))
        before, after = chain.after(Train, 0).masks, chain.end.masks
        return sum(int((before[name] != after[name]).sum()) for name in before)

    assert flips(0.5) < flips(0.0)


def test_a_step_costs_two_sparse_passes_and_a_dense_one(groups):
    training, updater = groups([[4.0, -3.0, 2.0, -1.0]], n=1)
    updater.apply_masks(training)
    assert updater.flops(training) == 2 * 10 + 40


def test_a_layer_with_undivided_inputs_is_dense_throughout(groups):
    training, updater = groups([[4.0, -3.0, 2.0]])
    updater.apply_masks(training)
    assert training.weights["a"].detach().tolist() == [[4.0, -3.0, 2.0]]
    assert training.masks["a"].all()


def test_a_sparsity_that_is_not_its_own_is_skipped_with_the_one_that_is(tiny, method):
    task = tiny.task(tiny.MLP(hidden=(16,)))
    trials = [tiny.trial(method("sr-ste"), sparsity=sparsity, task=task) for sparsity in (0.5, 0.9)]
    trials.append(tiny.trial(method("sr-ste", n=1), sparsity=0.5, task=task))
    assert [planned.skipped for planned in make_plan(trials, {}).trials] == [
        "",
        "2:4 has a sparsity of 0.5 and no other",
        "1:4 has a sparsity of 0.75 and no other",
    ]


def test_more_than_all_is_no_choice(method):
    with pytest.raises(ValueError, match="5:4 keeps more than all weights"):
        method("sr-ste", n=5)
    assert str(Structure(2, 4)) == "2:4"


def test_its_chain_is_one_training(tiny, method):
    rule = method("sr-ste")
    trial = tiny.trial(rule, sparsity=0.5, task=tiny.task(tiny.MLP(hidden=(16,))))
    assert list(rule.stages(trial)) == [Initialize(), Train(by=rule, density=0.5)]


@pytest.mark.slow
def test_it_learns_the_digits_at_one_weight_of_four(tiny, method, run_chain, digits_task):
    task = digits_task(hidden=(300, 100), epochs=20)
    chain = run_chain(tiny.trial(method("sr-ste", n=1), sparsity=0.75, task=task))
    assert chain.accuracy > 0.9
    assert all((mask.view(-1, 4).sum(1) == 1).all() for mask in chain.end.masks.values())
