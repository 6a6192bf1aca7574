"""Descriptions of dense networks: their prunable weights with sizes, and the FLOPs of one example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    import torch

Count = TypeVar("Count", int, "torch.Tensor")

Flops: TypeAlias = "float | torch.Tensor"
"""A number of FLOPs, or a scalar tensor on a device whose value is not read."""


@dataclass(frozen=True)
class Layer:
    """A prunable weight."""

    name: str
    shape: tuple[int, ...]
    flops: float
    """FLOPs of all multiplications by the weight in the dense forward pass of one example."""
    used: bool = True
    """Whether a forward pass uses the weight."""
    input_dim: int = 1
    """Dimension of the weight for its inputs: 1, or 0 in a transposed convolution."""
    groups: int = 1
    """Number of groups of a convolution; inputs and outputs are connected within each group only."""
    layerwise: bool = True
    """Whether its inputs can be seen, so that it can be pruned layer by layer: the plain weight of linear layers or
    two-dimensional convolutions."""

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
    """Description of a dense network."""

    layers: tuple[Layer, ...]
    flops: float
    """FLOPs of the forward pass of one example, layers that are not prunable included."""
    parameters: int
    """Number of all parameters, biases and norms included."""
    output: str = ""
    """Name of the last prunable weight of the model, whether or not the task excludes it."""
    left_out: tuple[Layer, ...] = ()
    """Large matrices that `Model.prunable` does not include."""

    @property
    def size(self) -> int:
        """Number of prunable weights: the denominator of density and sparsity."""
        return sum(layer.size for layer in self.layers)

    @property
    def prunable_flops(self) -> float:
        """FLOPs of the multiplications by prunable weights in one example's forward pass."""
        return sum(layer.flops for layer in self.layers)

    def flops_at(self, kept: Mapping[str, Count]) -> Count | float:
        """Forward FLOPs of one example without multiplications by zero.

        Args:
            kept: number of weights that are kept in each layer, as a number or a scalar float64 tensor; layers that are
                not named are dense.
        """
        pruned = ((layer, layer.size - kept[layer.name]) for layer in self.layers if layer.name in kept)
        # Divide numbers, not tensors: a division on a GPU can give another last bit than on a CPU.
        skipped = sum(layer.flops / layer.size * count for layer, count in pruned)
        return self.flops - skipped
