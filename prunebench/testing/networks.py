"""The small networks that a method is tried on, each with something that methods often get wrong."""

from __future__ import annotations

from math import prod

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, gelu, linear, scaled_dot_product_attention
from torch.nn.utils.parametrizations import weight_norm

from prunebench.api.components import Interface, Model


class MLP(Model):
    """Three linear layers: 6,720 weights. Their inputs are divisible by 16."""

    name = "mlp"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(prod(shape), 32),
            nn.ReLU(),
            nn.Linear(32, 16),
            nn.ReLU(),
            nn.Linear(16, classes),
        )


class Conv(Model):
    """Ordinary, grouped and depthwise convolutions, each with BatchNorm, and a linear layer: 1,288 weights."""

    name = "conv"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(
            _normalized(nn.Conv2d(shape[0], 8, 3, padding=1, bias=False)),
            _normalized(nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4, bias=False)),
            _normalized(nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)),
            _normalized(nn.Conv2d(16, 32, 1)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, classes),
        )


def _normalized(convolution: nn.Conv2d) -> nn.Module:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())


class ViT(Model):
    """A vision transformer of two blocks, on patches of 4x4 pixels: 4,928 weights."""

    name = "vit"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return Transformer(shape, classes)


class Transformer(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int, patch: int = 4, width: int = 16) -> None:
        super().__init__()
        channels, height, breadth = shape
        self.patch = patch
        self.embedding = nn.Linear(channels * patch * patch, width)
        self.position = nn.Parameter(0.02 * torch.randn((height // patch) * (breadth // patch), width))
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = inputs.shape
        grid = inputs.reshape(count, channels, height // self.patch, self.patch, width // self.patch, self.patch)
        patches = grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        tokens = self.embedding(patches) + self.position
        logits: torch.Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits


class Block(nn.Module):
    def __init__(self, width: int, heads: int = 2, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        count, number, _ = tokens.shape
        parts = self.qkv(self.norm1(tokens)).reshape(count, number, 3, self.heads, -1)  # of any number of heads
        parts = parts.permute(2, 0, 3, 1, 4)  # query, key and value
        mixed = (
            scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=self.causal).transpose(1, 2).flatten(2)
        )
        tokens = tokens + self.out(mixed)
        inner: torch.Tensor = self.down(gelu(self.up(self.norm2(tokens))))
        return tokens + inner


class Gaps(Model):
    """Layers without a gradient: one frozen, one never called, one in a branch that begins at 0; 8,192 weights.

    Scores by gradient are 0 there. A method must go on all the same.
    """

    name = "gaps"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, height, breadth = shape
        return WithGaps(channels * (height // 2) * (breadth // 2), classes)


class WithGaps(nn.Module):
    def __init__(self, inputs: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.frozen = nn.Linear(inputs, width).requires_grad_(False)
        self.inner, self.norm = nn.Linear(width, width, bias=False), nn.BatchNorm1d(width)
        nn.init.zeros_(self.norm.weight)  # as in many residual networks: the block begins as the identity
        self.unused = nn.Linear(width, width)
        self.last = nn.Linear(width, 4 * width)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = self.frozen(avg_pool2d(inputs, 2).flatten(1)).relu()
        features = features + self.norm(self.inner(features))
        logits: torch.Tensor = self.head(self.last(features).relu())
        return logits


class Shared(Model):
    """A weight that two layers share, one that only a function uses, and one behind weight norm: 8,320 weights."""

    name = "shared"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return Sharing(prod(shape), classes)


class Sharing(nn.Module):
    def __init__(self, inputs: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Linear(inputs, width, bias=False)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.normalized = weight_norm(nn.Linear(width, width))
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = linear(inputs.flatten(1), self.embedding.weight).relu()
        hidden = self.second(self.first(hidden).relu()).relu()
        logits: torch.Tensor = self.head(self.normalized(hidden).relu())
        return logits


class Language(Model):
    """A causal transformer with an embedding and a tied output layer: 8,192 weights, of its block alone."""

    name = "language"

    def build_for(self, interface: Interface) -> nn.Module:
        return Decoder(interface.inputs[0].vocabulary, interface.shape[0])

    def prunable(self, module: nn.Module) -> list[str]:
        return [name for name, weight in module.named_parameters() if weight.dim() == 2 and name.startswith("block.")]


class Decoder(nn.Module):
    def __init__(self, vocabulary: int, length: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.block, self.norm = Block(width, causal=True), nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.norm(self.block(self.embedding(tokens) + self.positions)))
        return logits


class Regression(Model):
    """Three linear layers and one output: 1,040 weights."""

    name = "regression"

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(prod(shape), 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, outputs)
        )


NETWORKS: tuple[Model, ...] = (MLP(), Conv(), ViT(), Gaps(), Shared(), Language(), Regression())
"""In the order in which a report shows them."""
