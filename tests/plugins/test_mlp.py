"""Multilayer perceptrons."""

import pytest
import torch
from torch import nn

from prunebench.api.weights import prunable_by_default
from prunebench.network.description import describe


@pytest.fixture
def build(built_in):
    def make(shape=(1, 28, 28), classes=10, **parameters):
        torch.manual_seed(0)
        return built_in("model", "mlp", **parameters).build(shape, classes)

    return make


def linears(module):
    return [layer for layer in module if isinstance(layer, nn.Linear)]


def test_the_default_is_lenet_300_100(build):
    module = build()
    assert [tuple(layer.weight.shape) for layer in linears(module)] == [(300, 784), (100, 300), (10, 100)]
    assert sum(layer.weight.numel() for layer in linears(module)) == 266_200
    assert module(torch.zeros(5, 1, 28, 28)).shape == (5, 10)


def test_on_digits_it_has_50200_prunable_weights(digits_task):
    network = describe(digits_task(hidden=(300, 100)))
    assert (network.size, network.flops) == (50_200, 2 * 50_200)


def test_all_of_its_weights_may_be_pruned(build, built_in):
    module = build()
    names = built_in("model", "mlp").prunable(module)
    assert names == prunable_by_default(module)
    assert len(names) == 3


def test_widths_inputs_and_classes_are_free(build):
    module = build((3, 4, 5), 7, hidden=(8, 9))
    assert [tuple(layer.weight.shape) for layer in linears(module)] == [(8, 60), (9, 8), (7, 9)]


def test_relu_lies_between_the_layers_and_not_behind_the_last(build):
    kinds = [type(layer) for layer in build(hidden=(4, 4))]
    assert kinds == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


def test_glorot_normal_weights_have_their_variance_and_biases_are_zero(build):
    for layer in linears(build()):
        fan_out, fan_in = layer.weight.shape
        assert layer.weight.std().item() == pytest.approx((2 / (fan_in + fan_out)) ** 0.5, rel=0.05)
        # Normal and not uniform: a uniform draw of this variance ends at 1.73 deviations.
        assert layer.weight.abs().max() > 2.5 * layer.weight.std()
        assert not layer.bias.any()


def test_torchs_own_initialization_can_be_asked_for(build):
    for layer in linears(build(initialization="default")):
        assert layer.weight.abs().max() <= layer.weight.shape[1] ** -0.5
        assert layer.bias.any()
