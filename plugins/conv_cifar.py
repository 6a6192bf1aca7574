"""Conv-2, Conv-4 and Conv-6, the small networks of the lottery ticket paper."""

from collections import OrderedDict
from typing import Annotated, ClassVar

from annotated_types import Interval
from torch import nn
from typing_extensions import Doc

import prunebench

from .initialization import glorot_normal


class Conv(prunebench.Model):
    """Pairs of 3x3 convolutions, each with a pooling, and three linear layers; no BatchNorm."""

    reference = "Frankle & Carbin 2019, arXiv:1803.03635; Glorot normal"
    widths: ClassVar[tuple[int, ...]]
    """Channels of each pair."""

    dropout: Annotated[float, Interval(ge=0, lt=1), Doc("after each hidden linear layer; 0.5 in the paper")] = 0.0

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, height, width = shape
        layers = OrderedDict[str, nn.Module]()
        for number, filters in enumerate(self.widths, 1):
            for half in "ab":
                layers[f"conv{number}{half}"] = nn.Conv2d(channels, filters, 3, padding=1)
                layers[f"relu{number}{half}"] = nn.ReLU()
                channels = filters
            layers[f"pool{number}"] = nn.MaxPool2d(2)
            height, width = height // 2, width // 2
        layers["flatten"] = nn.Flatten()
        units = channels * height * width
        for number in (1, 2):
            layers[f"fc{number}"] = nn.Linear(units, 256)
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"dropout{number}"] = nn.Dropout(self.dropout)
            units = 256
        layers["output"] = nn.Linear(units, classes)
        net = nn.Sequential(layers)
        glorot_normal(net)
        return net


class Conv2(Conv):
    """Two 3x3 convolutions of 64 channels, and three linear layers: 4,300,992 weights on CIFAR-10."""

    name = "conv-2"
    version = 1
    widths = (64,)


class Conv4(Conv):
    """Four 3x3 convolutions of up to 128 channels, and three linear layers: 2,425,024 weights on CIFAR-10."""

    name = "conv-4"
    version = 1
    widths = (64, 128)


class Conv6(Conv):
    """Six 3x3 convolutions of up to 256 channels, and three linear layers: 2,261,184 weights on CIFAR-10."""

    name = "conv-6"
    version = 1
    widths = (64, 128, 256)


@prunebench.hookimpl
def register_models() -> list[type[prunebench.Model]]:
    return [Conv2, Conv4, Conv6]
