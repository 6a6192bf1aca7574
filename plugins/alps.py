"""ALPS: an ADMM whose penalty rises until the mask stays the same."""

from dataclasses import dataclass, field
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from typing_extensions import Doc

import prunebench


class ALPS(prunebench.LayerwiseMethod):
    """Train, then for each layer alternate between exact outputs and exact sparsity, under a penalty that rises.

    The penalty rises fast while many weights change sides, and slowly when few do; when none does, the kept weights
    become the least-squares solution for the mask.
    """

    name = "alps"
    version = 1
    reference = "Meng et al. 2024, arXiv:2406.07831"

    steps: Annotated[int, Ge(1), Doc("of the alternation, at most")] = 300
    penalty: Annotated[float, Gt(0), Doc("to begin with")] = 0.1
    damping: Annotated[float, Gt(0), Doc("added to the diagonal of the moments, relative to its mean")] = 0.01

    def layer_flops(self, outputs: int, inputs: int, tokens: int) -> float:
        # The eigenvalues, two products a step if all are needed, and the least squares with all weights kept at most.
        return 2 * tokens * inputs**2 + 9 * inputs**3 + 4 * self.steps * outputs * inputs**2 + outputs * inputs**3 / 3

    def prune_layer(self, layer: prunebench.CalibratedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        moments = layer.damped(self.damping)
        norms = moments.diagonal().sqrt()
        values, vectors = torch.linalg.eigh(moments / norms / norms[:, None])
        dense = layer.weight * norms * (layer.norms > 0)  # the damping gives unused inputs a norm: they have none
        target = dense @ vectors * values @ vectors.T
        sparse, dual, weight = dense, torch.zeros_like(dense), dense
        before, penalty = layer.keep_highest(dense.abs()), _Penalty(self.penalty, layer.keep)
        for step in range(1, self.steps + 1):
            rho = penalty.value
            weight = (target - dual + rho * sparse) @ vectors / (values + rho) @ vectors.T
            mask = layer.keep_highest((weight + dual / rho).abs())
            sparse = (weight + dual / rho) * mask
            dual = dual + rho * (weight - sparse)
            if step % 3 == 0:
                again = penalty.update(int((mask & ~before).sum()))
                if penalty.is_settled:
                    break
                before = mask
                if again:
                    sparse, dual = dense, torch.zeros_like(dense)
        mask = layer.keep_highest(weight.abs())
        return mask, layer.reconstructed(mask, self.damping)


@dataclass
class _Penalty:
    """The penalty, and how it follows the number of weights that changed sides in three steps."""

    value: float
    keep: int
    is_raised: bool = field(default=False)
    is_settled: bool = field(default=False)

    def update(self, changed: int) -> bool:
        """Change the penalty; returns whether it was too high from the beginning, so that all begins again."""
        share = changed / max(1, self.keep)
        if share <= 0.005 and not self.is_raised and self.value > 1e-6:
            self.value /= 5
            return True
        if changed == 0:
            self.is_settled = True
        else:
            self.value *= 1.3 if share > 0.1 else 1.2 if share > 0.005 else 1.1
            self.is_raised = True
        return False


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [ALPS]
