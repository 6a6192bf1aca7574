"""Descriptions of dense networks: their prunable weights with sizes, and the FLOPs of one example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

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

    def unlike(self, shapes: Mapping[str, tuple[int, ...]], where: str) -> str:
        """Why the masks of another network do not fit this one, in words; nothing where they do.

        Two layers are the same if they have the same name and shape. The last layer may differ if another is the same.

        Args:
            shapes: of the other network's prunable layers, by name.
            where: what the messages call the other network, such as `in the ticket`.
        """
        own = {layer.name: layer.shape for layer in self.layers}
        wrong = [
            f"{name} is {_shaped(shapes.get(name))} {where} and {_shaped(own.get(name))} here"
            for name in {**shapes, **own}
            if shapes.get(name) != own.get(name) and name != self.output
        ]
        if not wrong and not any(shapes.get(name) == shape for name, shape in own.items()):
            return f"no layer is the same {where} and here"
        return "; ".join(wrong)

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


def _shaped(shape: tuple[int, ...] | None) -> str:
    return "not prunable" if shape is None else "×".join(map(str, shape))


@dataclass(frozen=True)
class Part:
    """What belongs to the channels of a `Group` in one tensor of the network."""

    tensor: str
    """Name of the parameter or buffer."""
    dim: int
    """The dimension that the channels are along."""
    role: Literal["output", "input", "scale", "other"]
    """What the tensor does with the channels:

    - `output`: the weight of a layer that computes them, each channel a filter, a neuron, or a head.
    - `input`: the weight of a layer that reads them.
    - `scale`: the factors of BatchNorm.
    - `other`: biases, and the statistics of BatchNorm.
    """
    indices: tuple[tuple[int, ...], ...]
    """For each channel its indices along the dimension, equally many: several in a linear layer behind a flattened
    image, or for the queries, keys and values of a head. A tensor of a block has all of them for that block, and none
    for the others."""

    def of(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The numbers of each channel in a dict of tensors by name, such as weights or gradients.

        Returns:
            a tensor of shape (channels, numbers of one channel).
        """
        import torch

        value = tensors[self.tensor].movedim(self.dim, 0)
        places = torch.tensor(self.indices, device=value.device)
        return value[places.flatten()].reshape(len(self.indices), -1)


@dataclass(frozen=True)
class Group:
    """Channels, attention heads or blocks that can be removed one by one, each from all tensors that it belongs to.

    A channel of a residual network is in the outputs of every layer that adds to it, in BatchNorm, and in the inputs of
    every layer that reads it; removing it from one of them only would break the network.
    """

    name: str
    """Name of the first weight that computes the channels; of blocks that of the list that they are in."""
    kind: Literal["channels", "heads", "blocks"]
    parts: tuple[Part, ...]
    attention: str = ""
    """Name of the module with the heads."""
    blocks: tuple[str, ...] = ()
    """Names of the modules that are blocks."""
    linear: bool = False
    """Whether all layers that compute the channels are fully connected."""

    @property
    def consists_of(self) -> Literal["heads", "columns", "channels", "blocks"]:
        """What a method's `groups` call it: columns are channels that fully connected layers compute."""
        return "columns" if self.kind == "channels" and self.linear else self.kind

    @property
    def size(self) -> int:
        """Number of channels, heads or blocks."""
        return len(self.parts[0].indices)

    @property
    def outputs(self) -> tuple[Part, ...]:
        """The weights that compute the channels; the first is the one that the group is named after."""
        return self._parts("output")

    @property
    def inputs(self) -> tuple[Part, ...]:
        """The weights that read the channels."""
        return self._parts("input")

    @property
    def scales(self) -> tuple[Part, ...]:
        """The scales of BatchNorm."""
        return self._parts("scale")

    def _parts(self, role: str) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.role == role)
