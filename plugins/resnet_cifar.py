"""The ResNets for small images: 20, 32, 56 and 110 layers."""

from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import nn
from torch.nn.functional import relu
from typing_extensions import Doc

import prunebench

from .initialization import Scales, batchnorm_scales, kaiming_normal


class Block(nn.Module):
    """Two 3x3 convolutions with BatchNorm, and a shortcut: of 1x1 convolutions where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inner = relu(self.bn1(self.conv1(inputs)))
        return relu(self.bn2(self.conv2(inner)) + self.shortcut(inputs))


class Net(nn.Module):
    """A convolution, three stages of blocks, and a linear layer on averages."""

    def __init__(self, channels: int, widths: tuple[int, ...], blocks: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        stages = []
        for number, (before, after) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            first = Block(before, after, 1 if number == 0 else 2)
            stages.append(nn.Sequential(first, *(Block(after, after, 1) for _ in range(blocks - 1))))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.stages(relu(self.bn(self.conv(inputs))))
        logits: torch.Tensor = self.fc(features.mean((2, 3)))
        return logits


class ResNet(prunebench.Model):
    """A residual network of 6n + 2 layers on 16, 32 and 64 channels."""

    reference = "He et al. 2016, arXiv:1512.03385; shortcuts are 1x1 convolutions where the shape changes"
    depth: ClassVar[int]

    width: Annotated[float, Gt(0), Doc("factor on the channels 16, 32, 64; 0.25 for a quarter of them")] = 1.0
    bn_scale: Annotated[Scales, Doc("scales of BatchNorm at the start: 1, or from U(0, 1), as in open_lth")] = (
        prunebench.added_later("one")
    )

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        widths = tuple(max(1, round(self.width * channels)) for channels in (16, 32, 64))
        net = Net(shape[0], widths, (self.depth - 2) // 6, classes)
        kaiming_normal(net)
        batchnorm_scales(net, self.bn_scale)
        return net


class ResNet20(ResNet):
    """The residual network of 20 layers for small images: 270,896 weights on CIFAR-10."""

    name = "resnet20"
    version = 1
    depth = 20


class ResNet32(ResNet):
    """The residual network of 32 layers for small images: 464,432 weights on CIFAR-10."""

    name = "resnet32"
    version = 1
    depth = 32


class ResNet56(ResNet):
    """The residual network of 56 layers for small images: 851,504 weights on CIFAR-10."""

    name = "resnet56"
    version = 1
    depth = 56


class ResNet110(ResNet):
    """The residual network of 110 layers for small images: 1,722,416 weights on CIFAR-10."""

    name = "resnet110"
    version = 1
    depth = 110


@prunebench.hookimpl
def register_models() -> list[type[prunebench.Model]]:
    return [ResNet20, ResNet32, ResNet56, ResNet110]
