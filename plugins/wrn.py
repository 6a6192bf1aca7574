"""Wide residual networks."""

from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import nn
from torch.nn.functional import relu
from typing_extensions import Doc

import prunebench

from .initialization import kaiming_normal

Dropout = Annotated[float, Interval(ge=0, lt=1), Doc("between the two convolutions of a block")]


class Block(nn.Module):
    """BatchNorm before each of two 3x3 convolutions; a 1x1 convolution for a shortcut where the shape changes."""

    def __init__(self, before: int, after: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if stride != 1 or before != after else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        active = relu(self.bn1(inputs))
        inner: torch.Tensor = self.conv2(self.dropout(relu(self.bn2(self.conv1(active)))))
        return inner + (inputs if self.shortcut is None else self.shortcut(active))


class Net(nn.Module):
    """A convolution, three groups of blocks, BatchNorm, and a linear layer on averages."""

    def __init__(self, channels: int, blocks: int, width: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        groups, before = list[nn.Module](), 16
        for after, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
            first = Block(before, after, stride, dropout)
            groups.append(nn.Sequential(first, *(Block(after, after, 1, dropout) for _ in range(blocks - 1))))
            before = after
        self.groups = nn.Sequential(*groups)
        self.bn = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = relu(self.bn(self.groups(self.conv(inputs))))
        logits: torch.Tensor = self.fc(features.mean((2, 3)))
        return logits


class WRN(prunebench.Model):
    """A wide residual network of 6n + 4 layers on 16, 32 and 64 times `width` channels."""

    name = "wrn"
    version = 1
    reference = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"

    depth: Annotated[int, Ge(10), Doc("layers: 10, 16, 22, 28, ...")] = 28
    width: Annotated[int, Ge(1), Doc("factor on the channels")] = 10
    dropout: Dropout = 0.0

    def __post_init__(self) -> None:
        if self.depth % 6 != 4:
            raise ValueError(f"{self.depth} is not a depth of these networks: 10, 16, 22, 28, ...")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        net = Net(shape[0], (self.depth - 4) // 6, self.width, self.dropout, classes)
        kaiming_normal(net)
        return net


class WRN222(prunebench.Model):
    """The wide residual network of 22 layers and width 2: 1,076,912 weights on CIFAR-10."""

    name = "wrn-22-2"
    version = 1
    reference = "Zagoruyko & Komodakis 2016, arXiv:1605.07146; of this size in Evci et al. 2020, arXiv:1911.11134"

    dropout: Dropout = 0.0

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return WRN(depth=22, width=2, dropout=self.dropout).build(shape, classes)


@prunebench.hookimpl
def register_models() -> list[type[prunebench.Model]]:
    return [WRN, WRN222]
