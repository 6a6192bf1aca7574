"""Pruning by the alternating direction method of multipliers, with a gradual mask."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from typing_extensions import Doc

import prunebench


class ADMM(prunebench.LayerwiseMethod):
    """Train, then alternate between weights whose outputs are right and weights that are sparse, for each layer.

    Inputs are scaled to norm 1, and weights by the norms. In the first `gradual` steps the mask keeps the largest of
    W + U, with a sparsity that rises along a cubic; after that it is fixed, and only the weights move.
    """

    name = "admm"
    version = 1
    reference = "Boža 2024, arXiv:2401.02938"
    presets = {"paper": prunebench.Preset("Boža 2024: 20 steps, a gradual mask in the first 15, damping 0.1")}

    steps: Annotated[int, Ge(1), Doc("of the alternation")] = 20
    gradual: Annotated[int, Ge(1), Doc("steps in which the mask changes")] = 15
    damping: Annotated[float, Gt(0), Doc("added to the diagonal of the scaled moments, relative to its mean")] = 0.1

    def __post_init__(self) -> None:
        if self.gradual > self.steps:
            raise ValueError(f"the mask changes in {self.gradual} steps, and there are {self.steps}")

    def layer_flops(self, outputs: int, inputs: int, tokens: int) -> float:
        return 2 * tokens * inputs**2 + inputs**3 + 2 * (self.steps + 1) * outputs * inputs**2

    def prune_layer(self, layer: prunebench.CalibratedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        norms = layer.norms + 1e-8
        moments = layer.damped(self.damping, layer.moments / norms / norms[:, None])
        weight = layer.weight * norms
        target, identity = weight @ moments, torch.eye(len(moments), dtype=moments.dtype, device=moments.device)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments + identity))
        dual, mask = torch.zeros_like(weight), torch.ones_like(weight, dtype=torch.bool)
        for step in range(1, self.steps + 1):
            if step <= self.gradual:
                mask = _mask(layer, (weight + dual).abs(), step / self.gradual)
            sparse = (weight + dual) * mask
            dual += weight - sparse
            weight = (target + sparse - dual) @ inverse
        return mask, (weight + dual) * mask / norms


def _mask(layer: prunebench.CalibratedLayer, scores: torch.Tensor, share: float) -> torch.Tensor:
    """The mask after a share of the gradual steps; the last one is the target, of exact counts.

    With a structure, the N highest of a group are kept in all steps, and the lowest of the others go first.
    """
    final = layer.keep_highest(scores)
    if share == 1:
        return final
    removed = round((1 - (1 - share) ** 3) * (scores.numel() - layer.keep))
    order = torch.argsort(torch.where(final, torch.inf, scores).flatten(), stable=True)
    mask = torch.ones_like(final)
    mask.view(-1)[order[:removed]] = False
    return mask


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [ADMM]
