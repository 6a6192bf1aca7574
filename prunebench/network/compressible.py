"""Which networks can be trained on their kept weights only: those whose prunable layers are plain linear layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from prunebench.api.components import Interface, Model
from prunebench.data import seeds
from prunebench.data.inputs import constant_inputs
from prunebench.network.modules import build


@functools.lru_cache(maxsize=64)
def why_not_compressible(model: Model, interface: Interface, names: tuple[str, ...]) -> str:
    """Why some weights of a network cannot be stored without what is pruned of them; empty if they can.

    Each must be the float32 weight of a linear layer that nothing else reads. What else the network does is its own
    affair.
    """
    for device in ("meta", "cpu"):  # a forward pass that looks at values does not run on the meta device
        with torch.device(device), seeds.seeded("compressible"), torch.no_grad():
            module = build(model, interface)
            if reason := _other_layer(module, names):
                return reason
            reason = _passes(module, interface) or _other_reader(module, interface, names)
            if not reason:
                return ""
    return reason


@functools.lru_cache(maxsize=64)
def draws_at_random(model: Model, interface: Interface) -> bool:
    """Whether a forward pass in training draws from torch's generator, as dropout does.

    Such draws go through a tensor in the order of its memory.
    """
    with torch.device("cpu"), seeds.seeded("compressible"), torch.no_grad():
        module = build(model, interface).train()
        before = torch.get_rng_state()
        module(constant_inputs(interface.inputs, 2, 0.0))
        return not torch.equal(before, torch.get_rng_state())


def _other_layer(module: nn.Module, names: tuple[str, ...]) -> str:
    parameters = dict(module.named_parameters())
    for name in names:
        weight = parameters[name]
        for layer in _owners(module, weight):
            plain = isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward
            if not plain or "forward" in vars(layer) or layer.weight is not weight:
                return f"{name!r} is in a {type(layer).__name__}, and only plain linear layers are supported"
        if weight.dtype != torch.float32:
            return f"{name!r} is of type {str(weight.dtype).removeprefix('torch.')}, and only float32 is supported"
    return ""


def _owners(module: nn.Module, weight: nn.Parameter) -> list[Any]:
    return [layer for layer in module.modules() if any(one is weight for one in layer._parameters.values())]


def _other_reader(module: nn.Module, interface: Interface, names: tuple[str, ...]) -> str:
    """Passes without the weight of a layer, whose outputs are laid out as those of the sparse engine are."""
    parameters = dict(module.named_parameters())
    for name in names:
        weight = parameters[name]
        owners = _owners(module, weight)
        for layer in owners:
            layer._parameters["weight"] = None
            layer.forward = _stand_in(layer)
        reason = _passes(module, interface)
        for layer in owners:
            layer._parameters["weight"] = weight
            del layer.forward
        if reason:
            return f"the network does not run with the outputs of {name!r} alone, without the weight itself: {reason}"
    return ""


def _stand_in(layer: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the name that nn.Linear has)
        if input.dtype != torch.float32:
            raise TypeError(f"its inputs are of type {str(input.dtype).removeprefix('torch.')}, not float32")
        examples = input.reshape(-1, layer.in_features).shape[0]
        return input.new_zeros(layer.out_features, examples).t().reshape(*input.shape[:-1], layer.out_features)

    return forward


def _passes(module: nn.Module, interface: Interface) -> str:
    """What is wrong with a forward pass in either mode, in one line; empty if nothing is."""
    try:
        for mode in (True, False):
            module.train(mode)(constant_inputs(interface.inputs, 2, 0.0))
    except Exception as error:  # of the model's own code
        return " ".join(str(error).split()) or type(error).__name__
    return ""
