"""A small transformer for sequences of tokens, as in GPT-2."""

from collections.abc import Sequence
from math import prod
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from typing_extensions import Doc

import prunebench


class GPT(prunebench.Model):
    """A decoder-only transformer with learned positions, LayerNorm before each part, and a tied output layer.

    Outputs for each position are those of a language model: a position sees itself and what comes before it. A vector
    of outputs is made from the mean over all positions, each of which then sees the whole sequence; token 0 is padding.

    Prunable are the linear layers of the blocks: queries, keys and values, the output of attention, and the two of the
    MLP. Embeddings, norms and the output layer stay dense and are no part of the sparsity.
    """

    name = "gpt"
    version = 1
    reference = "Radford et al. 2019, Language Models are Unsupervised Multitask Learners"

    width: Annotated[int, Ge(1), Doc("of the embedding and of every block; a multiple of `heads`")] = 64
    depth: Annotated[int, Ge(1), Doc("number of blocks")] = 2
    heads: Annotated[int, Ge(1), Doc("attention heads of each block")] = 4
    dropout: Annotated[float, Interval(ge=0, lt=1), Doc("of embeddings, and of what each part of a block adds")] = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} is not a multiple of {self.heads} heads")

    def build_for(self, interface: prunebench.Interface) -> nn.Module:
        given, *more = interface.inputs
        if more or not given.vocabulary:
            raise ValueError(f"the model takes one sequence of tokens, and not {interface.inputs}")
        models_language = interface.outputs == (*given.shape, given.vocabulary)
        if not models_language and len(interface.outputs) != 1:
            raise ValueError(f"the model returns {given.vocabulary} logits for each position or one vector, and not "
                             f"outputs of shape {interface.outputs}")  # fmt: skip
        return Transformer(self, given.vocabulary, prod(given.shape), None if models_language else interface.outputs[0])

    def prunable(self, module: nn.Module) -> Sequence[str]:
        matrices = (name for name, parameter in module.named_parameters() if parameter.dim() == 2)
        return [name for name in matrices if name.startswith("blocks.")]


class Transformer(nn.Module):
    """Tokens of shape (N, length) to logits of shape (N, length, vocabulary), or to vectors of shape (N, outputs)."""

    def __init__(self, model: GPT, vocabulary: int, length: int, outputs: int | None) -> None:
        super().__init__()
        self.causal = outputs is None
        self.embedding = nn.Embedding(vocabulary, model.width)
        self.positions = nn.Parameter(torch.empty(length, model.width))
        self.dropout = nn.Dropout(model.dropout)
        self.blocks = nn.ModuleList(Block(model, self.causal) for _ in range(model.depth))
        self.norm = nn.LayerNorm(model.width)
        self.head = nn.Linear(model.width, outputs or vocabulary, bias=not self.causal)
        self._draw(model.depth)
        if self.causal:
            self.head.weight = self.embedding.weight

    @torch.no_grad()
    def _draw(self, depth: int) -> None:
        """The initialization of GPT-2: what is added to the residual stream is smaller the more blocks there are."""
        nn.init.normal_(self.positions, std=0.02)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif name.endswith(("out.weight", "down.weight")):
                nn.init.normal_(parameter, std=0.02 / (2 * depth) ** 0.5)
            elif parameter.dim() == 2 and name != "positions":
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(self.embedding(tokens) + self.positions[: tokens.shape[1]])
        for block in self.blocks:
            hidden = block(hidden)
        hidden = self.norm(hidden)
        if not self.causal:
            kept = (tokens != 0).to(hidden.dtype)[..., None]
            hidden = (hidden * kept).sum(1) / kept.sum(1).clamp(min=1)
        outputs: torch.Tensor = self.head(hidden)
        return outputs


class Block(nn.Module):
    """Attention and an MLP, each added to what it is given."""

    def __init__(self, model: GPT, causal: bool) -> None:
        super().__init__()
        width = model.width
        self.heads, self.causal = model.heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.dropout(self.out(self.attended(self.norm1(hidden))))
        added: torch.Tensor = self.dropout(self.down(gelu(self.up(self.norm2(hidden)))))
        return hidden + added

    def attended(self, hidden: torch.Tensor) -> torch.Tensor:
        count, length, _ = hidden.shape
        parts = self.qkv(hidden).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=self.causal)
        joined: torch.Tensor = mixed.transpose(1, 2).flatten(2)
        return joined


@prunebench.hookimpl
def register_models() -> list[type[prunebench.Model]]:
    return [GPT]
