"""Straight-through estimation, on weights small enough to follow by hand."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from prunebench import Initialize, Train
from prunebench.api.tasks import Optimizer


def values(training, name="a"):
    return training.weights[name].detach().tolist()


@pytest.fixture
def straight(method, training_of):
    """A training of these dense weights under straight-through masks, and its updater."""

    def make(density, *layers, **parameters):
        training = training_of({name: [list(row)] for name, row in zip("abc", layers, strict=False)}, momentum={})
        training.trains_dense = True
        updater = method("ste", **parameters).updater(density)
        updater.begin(training)
        return training, updater

    return make


def step(training, updater, **gradients):
    """A step in which the masked weights get these gradients."""
    updater.apply_masks(training)
    for name, gradient in gradients.items():
        training.weights[name].grad = torch.tensor([gradient])
    updater.restore_dense(training)
    assert not updater.after_backward(training)
    training.make_step(None)


def test_a_pass_uses_the_largest_weights_and_between_passes_all_are_there(straight):
    training, updater = straight(0.5, [4.0, -3.0, 2.0, -1.0])
    updater.apply_masks(training)
    assert values(training) == [[4.0, -3.0, 0.0, 0.0]]
    assert training.masks["a"].tolist() == [[True, True, False, False]]
    updater.restore_dense(training)
    assert values(training) == [[4.0, -3.0, 2.0, -1.0]]


def test_the_gradient_reaches_pruned_weights_which_may_then_take_a_place(straight):
    training, updater = straight(0.5, [4.0, -3.0, 2.0, -1.0])
    step(training, updater, a=[0.0, 0.0, -20.0, 10.0])  # at a learning rate of 0.1
    assert values(training) == [[4.0, -3.0, 4.0, -2.0]]
    updater.apply_masks(training)
    assert values(training) == [[4.0, 0.0, 4.0, 0.0]]


def test_the_optimizer_goes_on_moving_what_is_pruned(straight):
    training, updater = straight(0.5, [4.0, -3.0, 2.0, -1.0])
    step(training, updater, a=[1.0, 1.0, 1.0, 1.0])
    step(training, updater, a=[0.0, 0.0, 0.0, 0.0])
    # momentum 0.9: 0.1 * 1, then 0.1 * 0.9
    assert training.weights["a"].detach().flatten().tolist() == pytest.approx([3.81, -3.19, 1.81, -1.19])


@pytest.mark.parametrize(
    ("allocation", "kept"),
    [("uniform", ([1, 1, 0, 0], [1, 1, 0, 0])), ("global", ([0, 0, 0, 0], [1, 1, 1, 1])), ("erk", ([1, 1, 0, 0],) * 2)],
)
def test_the_largest_are_those_of_each_layer_or_of_all(straight, allocation, kept):
    training, updater = straight(0.5, [4.0, -3.0, 2.0, -1.0], [8.0, -7.0, 6.0, -5.0], allocation=allocation)
    updater.apply_masks(training)
    assert [training.masks[name][0].int().tolist() for name in "ab"] == list(kept)


def test_a_step_costs_two_sparse_passes_and_a_dense_one(straight):
    training, updater = straight(0.25, [4.0, -3.0, 2.0, -1.0])
    updater.apply_masks(training)
    assert updater.flops(training) == 2 * 10 + 40


def test_a_step_is_the_optimizers_on_the_dense_weights_with_the_sparse_networks_gradient(tiny, method, run_stages):
    task = tiny.task(optimizer=Optimizer(name="sgd", lr=0.05), steps=1)
    chain = run_stages(task, Train(by=method("ste"), density=0.25))
    dense, masks = chain.after(Initialize).parameters, {}
    for name in ("1.weight", "4.weight"):
        size = dense[name].abs()
        masks[name] = size >= size.flatten().sort(descending=True).values[size.numel() // 4 - 1]
    module = task.model.build((1, 6, 6), 3)
    module.load_state_dict({name: value * masks.get(name, 1) for name, value in dense.items()})
    inputs, labels = chain.context.data.batch(0, "train", 0)
    cross_entropy(module(inputs), labels).backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    for name, mask in masks.items():
        assert gradients[name][~mask].any()
        assert torch.allclose(chain.end.memory[f"dense/{name}"], dense[name] - 0.05 * gradients[name], atol=1e-7)
    assert torch.allclose(chain.end.parameters["1.bias"], dense["1.bias"] - 0.05 * gradients["1.bias"], atol=1e-7)


def test_its_chain_is_one_training(tiny, method):
    ste = method("ste")
    assert list(ste.stages(tiny.trial(ste, sparsity=0.9))) == [Initialize(), Train(by=ste, density=0.1)]


@pytest.mark.slow
def test_it_learns_the_digits_at_a_tenth_of_the_weights(tiny, method, run_chain, digits_task):
    task = digits_task(hidden=(300, 100), epochs=20)
    chain = run_chain(tiny.trial(method("ste"), sparsity=0.9, task=task))
    assert chain.accuracy > 0.9
    assert sum(chain.end.kept().values()) == 5020
