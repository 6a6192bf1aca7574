"""Low-rank factors beside the weight of a layer: its outputs are those of the weight plus those of the factors."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from prunebench.api.errors import CutError

CHILD = "low_rank"
"""The submodule of such a layer that is the factors: first the one for the inputs, then the one for the outputs."""
FACTORS = ("0", "1")


def factor_names(weight: str) -> tuple[str, str]:
    """The parameters of the factors beside a weight: for its inputs, and for its outputs."""
    path = weight.rpartition(".")[0]
    prefix = f"{path}." if path else ""
    first, second = (f"{prefix}{CHILD}.{factor}.weight" for factor in FACTORS)
    return first, second


def add_factors(module: nn.Module, weight: str, rank: int) -> None:
    """Add factors to each linear layer or two-dimensional convolution that uses a weight.

    Args:
        rank: the number of inputs of the second factor, for each group of a convolution.

    Raises CutError where there is no such layer, or one that has factors, and for a rank that is none.
    """
    value = dict(module.named_parameters()).get(weight)
    layers = [one for one in module.modules() if isinstance(one, (nn.Linear, nn.Conv2d)) and one.weight is value]
    if not layers or CHILD in layers[0]._modules or not 1 <= rank <= min(layers[0].weight.flatten(1).shape):
        raise CutError(f"there can be no factors of rank {rank} beside {weight!r} in this network")
    factors = _factors(layers[0], rank)
    for layer in layers:
        layer.add_module(CHILD, factors)
        layer.register_forward_hook(_add)


def _factors(layer: nn.Linear | nn.Conv2d, rank: int) -> nn.Module:
    settings: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype, "bias": False}
    if isinstance(layer, nn.Linear):
        return nn.Sequential(
            nn.Linear(layer.in_features, rank, **settings), nn.Linear(rank, layer.out_features, **settings)
        )
    inner: Any = nn.Conv2d(
        layer.in_channels,
        rank * layer.groups,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        layer.groups,
        padding_mode=layer.padding_mode,
        **settings,
    )
    return nn.Sequential(inner, nn.Conv2d(rank * layer.groups, layer.out_channels, 1, groups=layer.groups, **settings))


def _add(layer: Any, inputs: tuple[torch.Tensor, ...], outputs: torch.Tensor) -> torch.Tensor:
    added: torch.Tensor = layer.low_rank(inputs[0])
    return outputs + added


class WithFactors(nn.Module):
    """A layer and its factors side by side, as they are delivered: without a hook, so that any exporter sees both."""

    def __init__(self, layer: Any, factors: Any) -> None:
        super().__init__()
        self.layer, self.low_rank = layer, factors

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(inputs) + self.low_rank(inputs)
        return outputs

    @property
    def weight(self) -> torch.Tensor:
        """Of linear layers the sum of both: torch's fused layers read it, and do not call the layer."""
        inner, outer = self.low_rank
        found: torch.Tensor = self.layer.weight + outer.weight @ inner.weight
        return found

    @property
    def bias(self) -> torch.Tensor | None:
        found: torch.Tensor | None = self.layer.bias
        return found


def without_hooks(module: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    """The module with `WithFactors` in place of layers with factors; changes the module itself.

    Returns the new name of each parameter that has another one now.
    """
    found = [path for path, layer in module.named_modules(remove_duplicate=False) if CHILD in layer._modules]
    named: dict[str, str] = {}
    made: dict[nn.Module, WithFactors] = {}
    for path in found:
        layer = module.get_submodule(path)
        if layer not in made and not isinstance(layer, WithFactors):
            made[layer] = WithFactors(layer, layer._modules[CHILD])
    for layer in made:
        del layer._modules[CHILD]
        for key, hook in list(layer._forward_hooks.items()):
            if hook is _add:
                del layer._forward_hooks[key]
    for path in found:
        layer = module.get_submodule(path)
        prefix = f"{path}." if path else ""
        own = dict(layer._parameters)
        named |= {f"{prefix}{name}": f"{prefix}layer.{name}" for name, one in own.items() if one is not None}
        if path:
            module.set_submodule(path, made[layer])
        else:
            module = made[layer]
    return module, named
