"""The device that each thing an optimizer remembers goes back to; what it then is, tests/test_training.py guards."""

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from prunebench.training.optimizer_state import optimizer_tensors, restore_optimizer


def parameters(device):
    return {name: nn.Parameter(torch.ones(2, device=device)) for name in ("a", "b")}


def make(name, owned):
    return create_optimizer_v2(list(owned.values()), opt=name, lr=0.1)


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("novograd", {"exp_avg": "meta", "exp_avg_sq": "meta", "step": None}),  # a tensor of no dimension
        ("adamw", {"exp_avg": "meta", "exp_avg_sq": "meta", "step": "cpu"}),
    ],
)
def test_all_but_step_counters_goes_back_to_the_weights_device(name, devices):
    here = parameters("cpu")
    optimizer = make(name, here)
    sum(parameter.sum() for parameter in here.values()).backward()
    optimizer.step()
    there = parameters("meta")
    restored = make(name, there)
    restore_optimizer(restored, there, optimizer_tensors(optimizer, here))
    for parameter in there.values():
        found = restored.state[parameter]
        assert {kind: value.device.type if torch.is_tensor(value) else None for kind, value in found.items()} == devices
