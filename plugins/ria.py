"""RIA: relative importance and activations."""

from typing import Annotated

import torch
from annotated_types import Ge
from typing_extensions import Doc

import prunebench


class RIA(prunebench.LayerwiseMethod):
    """Train, then remove the weights that matter least to their output, to their input, and on small activations.

    The score of a weight is (|w| / the sum of its output's + |w| / the sum of its input's) * norm of the input ^ power.
    """

    name = "ria"
    version = 1
    reference = "Zhang et al. 2024 (ICLR), https://iclr.cc/virtual/2024/poster/18549"

    power: Annotated[float, Ge(0), Doc("of the norm of the input; 0 for weights alone")] = 0.5

    def layer_scores(self, layer: prunebench.CalibratedLayer) -> torch.Tensor:
        size, tiny = layer.weight.abs(), torch.finfo(layer.weight.dtype).tiny
        relative = size / size.sum(1, keepdim=True).clamp(min=tiny) + size / size.sum(0, keepdim=True).clamp(min=tiny)
        return relative * layer.norms**self.power

    def prune_layer(self, layer: prunebench.CalibratedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        return layer.keep_highest(self.layer_scores(layer)), layer.weight


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [RIA]
