"""Initial weights as the papers' own code draws them, for the models that are built here."""

from typing import Literal

from torch import nn

Scales = Literal["one", "uniform"]
LAYERS = (nn.Conv2d, nn.Linear)


def glorot_normal(module: nn.Module) -> None:
    """Glorot & Bengio 2010: every weight normal, with variance 2 / (fan-in + fan-out); biases 0."""
    for layer in module.modules():
        if isinstance(layer, LAYERS):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def kaiming_normal(module: nn.Module) -> None:
    """He et al. 2015: every weight normal, with variance 2 / fan-in; biases 0. Norms keep their 1 and 0."""
    for layer in module.modules():
        if isinstance(layer, LAYERS):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def batchnorm_scales(module: nn.Module, scales: Scales) -> None:
    """The scales of BatchNorm: 1, or drawn from U(0, 1), which scores at initialization depend on."""
    if scales == "uniform":
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight)
