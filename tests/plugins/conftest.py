"""A training stopped between two steps, and a layer to prune, with every number in them chosen by hand."""

import pytest
import torch
from torch import nn

from prunebench.api.layers import Layer, Network
from prunebench.api.tasks import Optimizer
from prunebench.pruning.layer_context import LayerContext
from prunebench.training.state import State
from prunebench.training.training_context import TrainingContext
from prunebench.training.trial_context import Outline, TrialContext

FLOPS = 10.0
"""Of a weight in a forward pass."""


@pytest.fixture
def training_of(tiny):
    """A training by momentum in step `step` of 20; pass each layer's weights, and what belongs to them, by its name.

    A weight that is written as 0 is pruned, unless `masks` say otherwise; every weight costs 10 FLOPs.
    """

    def make(weights, gradients=None, momentum=None, masks=None, step=10):
        values = {name: torch.tensor(value) for name, value in weights.items()}
        model = nn.ParameterDict({name: nn.Parameter(torch.zeros_like(value)) for name, value in values.items()})
        layers = tuple(Layer(name, tuple(value.shape), FLOPS * value.numel()) for name, value in values.items())
        size = sum(value.numel() for value in values.values())
        network = Network(layers, FLOPS * size, size)
        state = State(
            step=step,
            parameters=values,
            buffers={},
            masks={name: torch.tensor(mask).bool() for name, mask in (masks or weights).items()},
            optimizer={f"momentum_buffer/{name}": torch.tensor(value) for name, value in (momentum or {}).items()},
        )
        task = tiny.task(optimizer=Optimizer(name="sgd", lr=0.1, momentum=0.9))
        context = TrialContext(tiny.trial(tiny.ByChance(), task=task), torch.device("cpu"), lambda: None, network)
        outline = Outline.of(model.named_parameters(), model.named_buffers())
        vars(context)["_built"] = lambda cut: (model, outline)  # in place of the one that the task names
        training = TrainingContext(context, state)
        for name, gradient in (gradients or {}).items():
            training.weights[name].grad = torch.tensor(gradient)
        return training

    return make


@pytest.fixture
def layer_of():
    """A layer as a layerwise method is passed it; without moments, its inputs are independent and of norm 1."""

    def make(weight, moments=None, keep=None, structure=None, means=None):
        weight = torch.as_tensor(weight, dtype=torch.float64)
        inputs = weight.shape[1]
        moments = torch.eye(inputs) if moments is None else torch.as_tensor(moments)
        means = torch.zeros(inputs) if means is None else torch.as_tensor(means)
        if structure is not None:
            keep = weight.numel() * structure.n // structure.m
        return LayerContext("layer", weight, moments.double(), means.double(), 10, keep, structure)

    return make


@pytest.fixture
def random_layer(layer_of):
    """A layer of correlated inputs of different norms, by its seed."""

    def make(seed, outputs=6, inputs=16, keep=None, structure=None, tokens=200):
        generator = torch.Generator().manual_seed(seed)
        mixing = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64) / inputs**0.5
        mixing = (mixing + torch.eye(inputs)) * torch.randn(inputs, generator=generator, dtype=torch.float64).exp()
        seen = torch.randn(tokens, inputs, generator=generator, dtype=torch.float64) @ mixing
        weight = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64)
        keep = outputs * inputs // 2 if keep is None else keep
        return layer_of(weight, seen.T @ seen / tokens, keep, structure, seen.mean(0))

    return make


@pytest.fixture
def output_error(random_layer):
    """The mean relative output error of a method over some random layers, on the inputs that it is calibrated on."""

    def measure(method, seeds=range(8), **layers):
        found = []
        for seed in seeds:
            layer = random_layer(seed, **layers)
            mask, weight = method.prune_layer(layer)
            found.append(layer.error(weight * mask, layer.moments) / layer.error(0 * weight, layer.moments))
        return sum(found) / len(found)

    return measure
