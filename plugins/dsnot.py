"""DSnoT: masks that are repaired without training."""

from typing import Annotated

import torch
from annotated_types import Ge
from typing_extensions import Doc

import prunebench


class DSnoT(prunebench.LayerwiseMethod):
    """Train, prune as Wanda does, then swap weights of an output until the mean of its error is near 0.

    A removed weight adds w * mean of its input to the error. Each cycle brings back the weight that lowers the error
    most for the variance of its input, and removes the weight with the lowest score of Wanda that lowers it too. An
    output is done when its error is small, when its sign changes, or when a swap would make it larger.
    """

    name = "dsnot"
    version = 1
    reference = "Zhang et al. 2024, arXiv:2310.08915"

    cycles: Annotated[int, Ge(0), Doc("swaps in each output, at most")] = 50
    threshold: Annotated[float, Ge(0), Doc("the error at which an output is done")] = 0.1

    def prune_layer(self, layer: prunebench.CalibratedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        scores = layer.weight.abs() * layer.norms
        mask = layer.keep_highest(scores, by_row=True)
        given = layer.weight * layer.means
        errors = (given * ~mask).sum(1)
        variances = (layer.norms.square() - layer.means.square()).clamp(min=torch.finfo(scores.dtype).tiny)
        sign, active = errors.sign(), errors.abs() > self.threshold
        for _ in range(self.cycles):
            gain = sign[:, None] * given  # how much the error falls if the weight comes back
            grown, can_grow = _first(-gain / variances, ~mask)
            candidates = mask & (gain < 0)
            if layer.structure is not None:
                places = torch.arange(mask.shape[1], device=mask.device) // layer.structure.m
                candidates &= places == places[grown][:, None]
            pruned, can_prune = _first(scores, candidates)
            rows = torch.arange(len(mask), device=mask.device)
            after = errors + given[rows, pruned] - given[rows, grown]
            active &= can_grow & can_prune & (after.abs() < errors.abs())
            mask[rows[active], grown[active]] = True
            mask[rows[active], pruned[active]] = False
            errors = torch.where(active, after, errors)
            active &= (errors.abs() > self.threshold) & (errors.sign() == sign)
        return mask, layer.weight


def _first(values: torch.Tensor, among: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The place of the lowest value of each row among some, and whether there is one."""
    return values.masked_fill(~among, torch.inf).argmin(1), among.any(1)


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [DSnoT]
