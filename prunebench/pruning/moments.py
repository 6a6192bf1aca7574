"""Second moments of the inputs of layers, added up while a network runs; the inputs themselves are not kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad, unfold

Module = nn.Linear | nn.Conv2d
CHUNK = 2**22
"""Numbers of unfolded inputs in memory at once: 32 MiB in float64, or those of one example if they are more."""


class Moments:
    """Sums of x xᵀ and of x over the inputs that a layer sees, for each of its groups, in float64.

    The inputs of an output are ordered as `as_matrix` orders its weights.
    """

    def __init__(self, groups: int, inputs: int, device: torch.device, diagonal: bool = False) -> None:
        shape = (groups, inputs) if diagonal else (groups, inputs, inputs)
        self._diagonal = diagonal
        self._products = torch.zeros(shape, dtype=torch.float64, device=device)
        self._sums = torch.zeros(groups, inputs, dtype=torch.float64, device=device)
        self.tokens = 0

    def add(self, inputs: torch.Tensor) -> None:
        """Add some inputs, of shape (groups, tokens, inputs)."""
        exact = inputs.double()
        if self._diagonal:
            self._products += exact.square().sum(1)
        else:
            self._products.baddbmm_(exact.mT, exact)
        self._sums += exact.sum(1)
        self.tokens += inputs.shape[1]

    @property
    def second(self) -> torch.Tensor:
        """The mean of x xᵀ, of shape (groups, inputs, inputs); of the squares alone where only these are kept.

        It is 0 in a layer that no input has reached.
        """
        return self._products / max(1, self.tokens)

    @property
    def means(self) -> torch.Tensor:
        """The mean of x, of shape (groups, inputs)."""
        return self._sums / max(1, self.tokens)


@contextmanager
def gathered(modules: Mapping[str, Iterable[Module]], diagonal: bool = False) -> Iterator[dict[str, Moments]]:
    """The moments of the inputs that reach some layers while networks run inside, by the names of their weights.

    Args:
        modules: by the name of a weight, the layers that use it.
        diagonal: only the squares of the inputs.
    """
    found: dict[str, Moments] = {}
    handles = []
    for name, layers in modules.items():
        for layer in layers:
            groups, _, inputs = as_matrix(layer.weight, layer).shape
            found.setdefault(name, Moments(groups, inputs, layer.weight.device, diagonal))
            handles.append(layer.register_forward_pre_hook(_adding(found[name])))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _adding(moments: Moments) -> Any:
    def hook(layer: Module, args: tuple[torch.Tensor, ...]) -> None:
        for part in _inputs(layer, args[0].detach()):
            moments.add(part)

    return hook


def _inputs(layer: Module, inputs: torch.Tensor) -> Iterator[torch.Tensor]:
    """The input vectors of a layer, of shape (groups, tokens, inputs), in parts that are small enough."""
    if isinstance(layer, nn.Linear):
        vectors = inputs.reshape(-1, layer.in_features)
        yield from (part[None] for part in torch.split(vectors, max(1, CHUNK // layer.in_features)))
        return
    batch = inputs if inputs.dim() == 4 else inputs[None]
    kind = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = pad(batch, layer._reversed_padding_repeated_twice, mode=kind)
    places = prod(_places(layer, padded))
    size = max(1, CHUNK // (places * layer.in_channels * prod(layer.kernel_size)))
    for part in torch.split(padded, size):
        # (examples, channels * kernel, places of the output), the kernel's places varying fastest
        columns = unfold(part, layer.kernel_size, layer.dilation, stride=layer.stride)
        split = columns.view(len(part), layer.groups, layer.in_channels // layer.groups, -1, places)
        yield split.permute(1, 0, 4, 3, 2).reshape(layer.groups, len(part) * places, -1)


def _places(layer: nn.Conv2d, padded: torch.Tensor) -> tuple[int, int]:
    """Height and width of the output for padded inputs."""
    height, width = (
        (size - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, dilation, stride in zip(
            padded.shape[2:], layer.kernel_size, layer.dilation, layer.stride, strict=True
        )
    )
    return height, width


def layers_of(module: nn.Module, name: str) -> list[Module]:
    """The linear layers and two-dimensional convolutions that use a weight."""
    weight = module.get_parameter(name)
    return [layer for layer in module.modules() if isinstance(layer, Module) and layer.weight is weight]


def as_matrix(weight: torch.Tensor, layer: Module) -> torch.Tensor:
    """A weight of shape (groups, outputs, inputs): of a convolution the channels at each place of the kernel."""
    if isinstance(layer, nn.Linear):
        return weight[None]
    split = weight.reshape(layer.groups, weight.shape[0] // layer.groups, weight.shape[1], -1)
    return split.mT.reshape(layer.groups, weight.shape[0] // layer.groups, -1)


def as_weight(matrix: torch.Tensor, layer: Module) -> torch.Tensor:
    """The weight of a layer of which `as_matrix` made this matrix."""
    if isinstance(layer, nn.Linear):
        return matrix[0]
    outputs, channels = layer.weight.shape[:2]
    split = matrix.reshape(layer.groups, outputs // layer.groups, -1, channels)
    return split.mT.reshape(layer.weight.shape)
