"""A dense network as a plan sees it: its prunable weights, their sizes, and the FLOPs of one example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    import torch

Count = TypeVar("Count", int, "torch.Tensor")

Flops: TypeAlias = "float | torch.Tensor"
"""A number of FLOPs, or a tensor of it on a device that is not waited for; arithmetic with both is the same."""


@dataclass(frozen=True)
class Layer:
    """A prunable weight."""

    name: str
    shape: tuple[int, ...]
    flops: float
    """Of all multiplications by it in the dense forward pass of one example."""
    used: bool = True
    """Whether a forward pass reads it at all."""
    input_dim: int = 1
    """The dimension of the weight along which its inputs are: 0 in a transposed convolution."""
    groups: int = 1
    """Of a convolution: its inputs and outputs are connected within each group only."""

    @property
    def inputs(self) -> int:
        """Inputs (features or channels) that each output is connected to."""
        return self.shape[1] if self.input_dim else self.shape[0] // self.groups

    @property
    def outputs(self) -> int:
        """Outputs (features or channels) of all groups."""
        return self.shape[0] if self.input_dim else self.shape[1] * self.groups

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Network:
    """A dense network."""

    layers: tuple[Layer, ...]
    flops: float
    """Of one example's forward pass, layers that are not prunable included."""
    parameters: int
    """All of them: biases and norms too."""
    output: str = ""
    """Name of the model's last prunable weight, whether or not the task leaves it alone."""
    left_out: tuple[Layer, ...] = ()
    """Large matrices that the model does not let be pruned."""

    @property
    def size(self) -> int:
        """Number of prunable weights: the denominator of density and sparsity."""
        return sum(layer.size for layer in self.layers)

    @property
    def prunable_flops(self) -> float:
        """FLOPs of the multiplications by prunable weights in one example's forward pass."""
        return sum(layer.flops for layer in self.layers)

    def flops_at(self, kept: Mapping[str, Count]) -> Count | float:
        """Forward FLOPs of one example when zeros are skipped.

        Args:
            kept: number of weights kept in each layer, each a number or a float64 tensor of one; a layer that is not
                named is dense.
        """
        pruned = ((layer, layer.size - kept[layer.name]) for layer in self.layers if layer.name in kept)
        # A number over a number: a GPU divides a tensor by one with another last bit than a CPU.
        skipped = sum(layer.flops / layer.size * count for layer, count in pruned)
        return self.flops - skipped
