"""VGG with BatchNorm, for small images."""

from collections import OrderedDict
from typing import Annotated, ClassVar

from annotated_types import Gt
from torch import nn
from typing_extensions import Doc

import prunebench

from .initialization import Scales, batchnorm_scales, kaiming_normal

CHANNELS = (64, 128, 256, 512, 512)


class VGG(prunebench.Model):
    """3x3 convolutions with BatchNorm, a pooling between groups of them, and one linear layer on averages."""

    reference = "Simonyan & Zisserman 2015, arXiv:1409.1556; for CIFAR as in Frankle et al. 2020, arXiv:1912.05671"
    repeats: ClassVar[tuple[int, ...]]
    """Convolutions in each of the five groups."""

    width: Annotated[float, Gt(0), Doc("factor on the channels 64, ..., 512")] = 1.0
    bn_scale: Annotated[Scales, Doc("scales of BatchNorm at the start: 1, or from U(0, 1), as in open_lth")] = (
        prunebench.added_later("one")
    )

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        layers, before = OrderedDict[str, nn.Module](), shape[0]
        for group, (channels, repeat) in enumerate(zip(CHANNELS, self.repeats, strict=True), 1):
            after = max(1, round(self.width * channels))
            for name in "abcd"[:repeat]:
                layers[f"conv{group}{name}"] = nn.Conv2d(before, after, 3, padding=1, bias=False)
                layers[f"bn{group}{name}"] = nn.BatchNorm2d(after)
                layers[f"relu{group}{name}"] = nn.ReLU()
                before = after
            layers[f"pool{group}"] = nn.MaxPool2d(2) if group < len(CHANNELS) else nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(before, classes)
        net = nn.Sequential(layers)
        kaiming_normal(net)
        batchnorm_scales(net, self.bn_scale)
        return net


class VGG11(VGG):
    """VGG-11 with BatchNorm and one linear layer: 9,222,848 weights on CIFAR-10."""

    name = "vgg11"
    version = 1
    repeats = (1, 1, 2, 2, 2)


class VGG16(VGG):
    """VGG-16 with BatchNorm and one linear layer: 14,715,584 weights on CIFAR-10."""

    name = "vgg16"
    version = 1
    repeats = (2, 2, 3, 3, 3)


class VGG19(VGG):
    """VGG-19 with BatchNorm and one linear layer: 20,024,000 weights on CIFAR-10."""

    name = "vgg19"
    version = 1
    repeats = (2, 2, 4, 4, 4)


@prunebench.hookimpl
def register_models() -> list[type[prunebench.Model]]:
    return [VGG11, VGG16, VGG19]
