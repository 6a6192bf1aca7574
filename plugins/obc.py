"""ExactOBS: the optimal brain surgeon, output by output."""

from typing import Annotated

import torch
from annotated_types import Gt
from typing_extensions import Doc

import prunebench

CHUNK = 2**24
"""Numbers in the inverses that are in memory at once: 128 MiB."""


class OBC(prunebench.LayerwiseMethod):
    """Train, then remove weights one by one, each time the one that costs least, and let all others make up for it.

    With H the damped second moments of the inputs of an output, without those removed before, removing w_j costs
    w_j² / [H⁻¹]_jj. The costs of all outputs of a layer are compared to decide how many weights each of them loses. It
    takes inputs³ operations for each output: for small layers, and as a measure for faster methods.
    """

    name = "obc"
    version = 1
    reference = "Frantar & Alistarh 2022, arXiv:2208.11580"

    damping: Annotated[float, Gt(0), Doc("added to the diagonal of H, relative to its mean")] = 0.01

    def layer_flops(self, outputs: int, inputs: int, tokens: int) -> float:
        return 2 * tokens * inputs**2 + 2 * inputs**3 + 3 * outputs * inputs**3

    def prune_layer(self, layer: prunebench.CalibratedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(layer.damped(self.damping)))
        rows = torch.split(layer.weight, max(1, CHUNK // len(inverse) ** 2))
        orders, costs = zip(*(_eliminated(part, inverse, layer) for part in rows), strict=True)
        # The first steps of each output cost least: no step counts as cheaper than one that it needs before it.
        ranks = torch.cat(costs).cummax(1).values.flatten().argsort(stable=True).argsort().double()
        scores = torch.full_like(layer.weight, layer.weight.numel())
        scores.scatter_(1, torch.cat(orders), ranks.view(len(scores), -1))
        mask = layer.keep_highest(scores)
        # What all the steps together make of the kept weights is the least-squares solution.
        return mask, layer.reconstructed(mask, self.damping)


def _eliminated(
    weight: torch.Tensor, inverse: torch.Tensor, layer: prunebench.CalibratedLayer
) -> tuple[torch.Tensor, torch.Tensor]:
    """The order in which the weights of some outputs are removed, and what each step costs: (outputs, steps) each.

    With a structure a group is closed when enough of it is removed.
    """
    rows, weight, inverses = torch.arange(len(weight)), weight.clone(), inverse.repeat(len(weight), 1, 1)
    is_open, order, costs = torch.ones_like(weight, dtype=torch.bool), [], []
    for _ in range(_steps(layer)):
        diagonals = inverses.diagonal(dim1=1, dim2=2)
        scores = torch.where(layer.norms > 0, weight.square() / diagonals, 0.0)  # unused inputs cost nothing
        chosen = scores.masked_fill(~is_open, torch.inf).argmin(1)
        order.append(chosen)
        costs.append(scores[rows, chosen])
        columns, pivots = inverses[rows, :, chosen], diagonals[rows, chosen].clone()
        weight -= columns * (weight[rows, chosen] / pivots)[:, None]
        inverses -= columns[:, :, None] * columns[:, None, :] / pivots[:, None, None]
        weight[rows, chosen] = 0.0
        inverses[rows, chosen, chosen] = 1.0  # it would be 0, and is divided by
        is_open[rows, chosen] = False
        if layer.structure is not None:
            groups = is_open.view(len(is_open), -1, layer.structure.m)
            groups &= groups.sum(2, keepdim=True) > layer.structure.n
    return torch.stack(order, 1), torch.stack(costs, 1)


def _steps(layer: prunebench.CalibratedLayer) -> int:
    """How many weights of an output may have to be removed."""
    inputs = len(layer.norms)
    return inputs if layer.structure is None else inputs - inputs // layer.structure.m * layer.structure.n


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [OBC]
