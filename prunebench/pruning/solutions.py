"""What is made of one layer: by a method, or by least squares under a mask; and the check of what a method returns."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from prunebench.api.errors import PluginError, PrunebenchError
from prunebench.api.methods import Method
from prunebench.api.stages import Structure
from prunebench.pruning.layer_context import LayerContext
from prunebench.pruning.permutation import channel_order, columns_of, permuted, search_flops

DAMPING = 0.01
"""Of the reconstruction that belongs to a pruning."""

Factors = tuple[torch.Tensor, torch.Tensor]
"""Two matrices whose product is added to a weight, of shapes (outputs, rank) and (rank, inputs)."""


@dataclass(frozen=True)
class Solution:
    """What is made of a layer."""

    mask: torch.Tensor
    weight: torch.Tensor
    flops: float = 0.0
    """What that took, beside the passes through the network."""
    factors: Factors | None = None

    @property
    def matrix(self) -> torch.Tensor:
        """What makes the layer's outputs of its inputs."""
        return self.weight if self.factors is None else self.weight + self.factors[0] @ self.factors[1]

    def rounded(self, dtype: torch.dtype) -> Solution:
        """The same in float64, with the values that are left in a type."""
        factors = None if self.factors is None else (_rounded(self.factors[0], dtype), _rounded(self.factors[1], dtype))
        return replace(self, weight=_rounded(self.weight, dtype), factors=factors)


Solver = Callable[[LayerContext], Solution]


def _rounded(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return values.to(dtype).double()


def checked(layer: LayerContext, solution: Solution) -> Solution:
    """The solution with a weight that is zero where it is pruned. Raises PluginError for what is none."""
    mask, weight, shape = solution.mask, solution.weight, tuple(layer.weight.shape)
    if mask.dtype != torch.bool or tuple(mask.shape) != shape or tuple(weight.shape) != shape:
        raise PluginError(
            f"the mask of {layer.name!r} must be bool and of shape {shape}, and the weight of that shape; they are "
            f"{mask.dtype} of {tuple(mask.shape)}, and {weight.dtype} of {tuple(weight.shape)}"
        )
    _check_factors(layer, solution.factors)
    kept = int(mask.sum())
    if layer.structure is None:  # a structure is that of the weight alone
        kept += sum(one.numel() for one in solution.factors or ())
    if kept != layer.keep:
        raise PluginError(f"{kept} weights of {layer.name!r} are kept, and not {layer.keep}")
    changed = weight.double().masked_fill(~mask, 0.0)
    if not all(bool(one.isfinite().all()) for one in (changed, *(solution.factors or ()))):
        raise PluginError(f"the new weights of {layer.name!r} are not all finite")
    return replace(solution, weight=changed)


def _check_factors(layer: LayerContext, factors: Factors | None) -> None:
    if factors is None:
        return
    (outputs, inputs), shapes = layer.weight.shape, [tuple(one.shape) for one in factors]
    rank = shapes[1][0] if len(shapes[1]) == 2 else -1
    if shapes != [(outputs, rank), (rank, inputs)] or not 0 <= rank <= min(outputs, inputs):
        raise PluginError(
            f"the factors of {layer.name!r} must be of shapes ({outputs}, rank) and (rank, {inputs}), with a rank of "
            f"at most {min(outputs, inputs)}, and are of shapes {shapes[0]} and {shapes[1]}"
        )


def by_method(method: Method, reconstruct: bool) -> Solver:
    """Prunes a layer by a method, and reconstructs what is kept if that is wanted."""

    def solve(layer: LayerContext) -> Solution:
        if layer.structure is not None and layer.structure.permuted:
            found = _pruned_permuted(method, layer, layer.structure)
        else:
            found = _pruned(method, layer)
        flops = found.flops + method.layer_flops(len(layer.weight), len(layer.moments), layer.tokens)
        if not reconstruct:
            return replace(found, flops=flops)
        rest = layer
        if found.factors is not None:  # the kept weights make up for what the factors leave
            _check_factors(layer, found.factors)
            rest = replace(layer, weight=layer.weight - found.factors[0] @ found.factors[1])
        again = reconstructed(rest, found.mask, DAMPING)
        return replace(again, flops=flops + again.flops, factors=found.factors)

    return solve


def _pruned_permuted(method: Method, layer: LayerContext, structure: Structure) -> Solution:
    """What a method finds with the channels in a better order, and the cost of that order.

    Masks and weights are in the order of the layer. Raises PluginError for scores that are none.
    """
    scores = method.layer_scores(layer)
    if scores.shape != layer.weight.shape or not bool((scores.isfinite() & (scores >= 0)).all()):
        raise PluginError(
            f"layer_scores of method {method.name!r} must be finite, not negative, and of shape "
            f"{tuple(layer.weight.shape)}"
        )
    by_channel = scores.reshape(-1, layer.channels)  # a row for each output and place of the kernel
    columns = columns_of(channel_order(by_channel, structure), len(layer.moments))
    back = torch.argsort(columns)
    found = _pruned(method, permuted(layer, columns))
    checked(layer, found)  # of the right shapes, before their columns are moved
    factors = found.factors and (found.factors[0], found.factors[1][:, back])
    flops = search_flops(len(by_channel), layer.channels, structure)
    return Solution(found.mask[:, back], found.weight[:, back], flops, factors)


def _pruned(method: Method, layer: LayerContext) -> Solution:
    """What a method returns. Raises PluginError unless that is two or four tensors, PrunebenchError with its name."""
    try:
        found = method.prune_layer(layer)
    except PrunebenchError as error:
        raise type(error)(f"method {method.name!r}: {error}") from None
    length = 4 if method.low_rank else 2
    if not (isinstance(found, tuple) and len(found) == length and all(isinstance(one, torch.Tensor) for one in found)):
        what = "a mask, a weight and two factors" if method.low_rank else "a mask and a weight"
        raise PluginError(
            f"prune_layer of method {method.name!r} must return {what}, and returned {reprlib.repr(found)}"
        )
    mask, weight, *factors = found
    return Solution(mask, weight, factors=(factors[0].double(), factors[1].double()) if factors else None)


def reconstructed(layer: LayerContext, mask: torch.Tensor, damping: float) -> Solution:
    """The least-squares solution of a layer under a mask; each output costs a Cholesky factorization."""
    inputs, kept = len(layer.moments), mask.sum(1).double()
    flops = 2 * layer.tokens * inputs**2 + 2 * len(mask) * inputs**2 + float((kept**3 / 3 + 2 * kept**2).sum())
    return Solution(mask, layer.reconstructed(mask, damping), flops)
