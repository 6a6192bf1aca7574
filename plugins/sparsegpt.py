"""SparseGPT: one-shot pruning with compensation, column by column."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from typing_extensions import Doc

import prunebench


class SparseGPT(prunebench.LayerwiseMethod):
    """Train, then prune the columns of each layer from left to right, and let later columns make up for it.

    With H the damped second moments of the inputs and U the upper Cholesky factor of its inverse, the error of removing
    w from column j is w² / U_jj². The weights to remove are chosen in blocks of columns, from the weights as earlier
    columns have changed them.
    """

    name = "sparsegpt"
    version = 1
    reference = "Frantar & Alistarh 2023, arXiv:2301.00774"

    columns: Annotated[int, Ge(1), Doc("columns in a block in which weights are compared, without a structure")] = 128
    damping: Annotated[float, Gt(0), Doc("added to the diagonal of H, relative to its mean")] = 0.01

    def layer_flops(self, outputs: int, inputs: int, tokens: int) -> float:
        return 2 * tokens * inputs**2 + 4 / 3 * inputs**3 + outputs * inputs**2

    def prune_layer(self, layer: prunebench.CalibratedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        weight, mask = layer.weight.clone(), torch.ones_like(layer.weight, dtype=torch.bool)
        factor, inputs = inverse_factor(layer.damped(self.damping)), weight.shape[1]
        size = self.columns if layer.structure is None else layer.structure.m
        for start in range(0, inputs, size):
            stop = min(start + size, inputs)
            columns, corner = weight[:, start:stop], factor[start:stop, start:stop]
            mask[:, start:stop] = _chosen(layer, columns.abs() / corner.diagonal(), start, stop)
            errors = torch.zeros_like(columns)
            for place in range(stop - start):
                errors[:, place] = columns[:, place].masked_fill(mask[:, start + place], 0.0) / corner[place, place]
                columns[:, place:] -= errors[:, place, None] * corner[place, place:]
            weight[:, stop:] -= errors @ factor[start:stop, stop:]
        return mask, weight


def inverse_factor(damped: torch.Tensor) -> torch.Tensor:
    """The upper triangular U with Uᵀ U = H⁻¹, where H is the damped second moments.

    U_jj² is entry j of the diagonal of the inverse of H without the inputs before j, which are fixed by then.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def _chosen(layer: prunebench.CalibratedLayer, scores: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    """The mask of a block of columns: N of every M, or its share of the layer's weights, over all outputs together."""
    # The damping gives an input that is never used a small score: it has none, as in the authors' code.
    scores = torch.where(layer.norms[start:stop] > 0, scores, 0.0)
    kept = torch.zeros_like(scores, dtype=torch.bool)
    if layer.structure is not None:
        order = torch.argsort(scores, dim=1, descending=True, stable=True)
        return kept.scatter(1, order[:, : layer.structure.n], True)
    inputs = len(layer.norms)
    # Rounded so that all blocks together keep exactly as many as they should.
    count = round(layer.keep * stop / inputs) - round(layer.keep * start / inputs)
    order = torch.argsort(scores.flatten(), descending=True, stable=True)
    kept.view(-1)[order[:count]] = True
    return kept


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [SparseGPT]
