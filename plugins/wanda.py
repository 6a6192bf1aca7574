"""Wanda: pruning by weights and activations."""

from typing import Annotated

import torch
from typing_extensions import Doc

import prunebench


class Wanda(prunebench.LayerwiseMethod):
    """Train, then remove from each output the weights with the smallest |w| * norm of the input.

    The weights of an output are compared with each other only, and those that are kept keep their values.
    """

    name = "wanda"
    version = 1
    reference = "Sun et al. 2024, arXiv:2306.11695"
    presets = {
        "paper": prunebench.Preset("Sun et al. 2024: 128 calibration examples, the same sparsity in every output"),
        "owl": prunebench.Preset(
            "Yin et al. 2024, arXiv:2310.05175: more weights in blocks with more outliers",
            {"allocation": {"multiple": 5.0, "spread": 0.08}},
        ),
    }

    cumulative: Annotated[
        bool,
        Doc("the code's variant: compare the share of its output's score that a weight and all smaller ones hold"),
    ] = False

    def prune_layer(self, layer: prunebench.CalibratedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        scores = layer.weight.abs() * layer.norms
        if self.cumulative and layer.structure is None:
            return layer.keep_highest(_shares(scores)), layer.weight
        return layer.keep_highest(scores, by_row=True), layer.weight


def _shares(scores: torch.Tensor) -> torch.Tensor:
    """Of each score, the share of its row's sum that it makes up together with all smaller ones.

    The reference removes from each row the longest run of smallest scores whose share is at most alpha, and searches
    the alpha of the wanted sparsity: the lowest shares of all rows are removed.
    """
    ascending, order = torch.sort(scores, dim=1, stable=True)
    shares = ascending.cumsum(1) / ascending.sum(1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
    return torch.empty_like(scores).scatter(1, order, shares)


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Wanda]
