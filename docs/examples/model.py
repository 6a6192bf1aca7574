"""A model: a torch module for images of any size."""

from typing import Annotated

from annotated_types import Ge
from torch import nn
from typing_extensions import Doc

import prunebench


class Small(prunebench.Model):
    """Two convolutions with BatchNorm, global average pooling, and a linear layer."""

    name = "small-conv"

    width: Annotated[int, Ge(1), Doc("channels of the first convolution")] = 8

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(shape[0], self.width, 3, padding=1, bias=False),
            nn.BatchNorm2d(self.width),
            nn.ReLU(),
            nn.Conv2d(self.width, 2 * self.width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * self.width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * self.width, classes),
        )


@prunebench.hookimpl
def register_models():
    return [Small]
