"""A training stopped between two steps, with every number in it chosen by hand."""

import pytest
import torch
from torch import nn

from prunebench.api.layers import Layer, Network
from prunebench.api.tasks import Optimizer
from prunebench.training.state import State
from prunebench.training.training_context import TrainingContext
from prunebench.training.trial_context import TrialContext

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
        vars(context)["model"] = model  # in place of the one that the task names
        training = TrainingContext(context, state)
        for name, gradient in (gradients or {}).items():
            training.weights[name].grad = torch.tensor(gradient)
        return training

    return make
