"""Magnitude pruning within each layer, the baseline of post-training methods."""

import torch

import prunebench


class MagnitudeLayerwise(prunebench.LayerwiseMethod):
    """Train, then remove the smallest weights of each layer; the others keep their values."""

    name = "magnitude-layerwise"
    version = 1
    reference = "Han et al. 2015, arXiv:1506.02626; as the baseline of Frantar & Alistarh 2023, arXiv:2301.00774"

    def layer_scores(self, layer: prunebench.CalibratedLayer) -> torch.Tensor:
        return layer.weight.abs()

    def prune_layer(self, layer: prunebench.CalibratedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        return layer.keep_highest(layer.weight.abs()), layer.weight


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [MagnitudeLayerwise]
