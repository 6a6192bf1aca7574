"""Whole blocks are removed: those that change what passes through them least."""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import nn
from torch.nn.functional import cosine_similarity
from typing_extensions import Doc

import prunebench


class ShortGPT(prunebench.StructuredMethod):
    """Train, remove the residual blocks whose outputs are most like their inputs, fine-tune.

    The score is the block influence: 1 minus the cosine between what enters and what leaves a block, the mean over all
    tokens, or over all pixels, of some training examples in evaluation mode.
    """

    name = "shortgpt"
    version = 1
    reference = "Men et al. 2024, ShortGPT: Layers in Large Language Models are More Redundant, arXiv:2403.03853"
    whole_blocks = True
    exempt = {
        "inversion": "it needs a network of several residual blocks",
        "seeds": "of few blocks, the one that changes its inputs the least may be the same for every seed",
    }

    examples: Annotated[int, Ge(1), Doc("training examples that pass through the network")] = 128

    def channel_scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        influences: dict[str, list[torch.Tensor]] = {path: [] for group in scoring.groups for path in group.blocks}
        with scoring.mode("eval") as model, torch.no_grad():
            hooks = [
                model.get_submodule(path).register_forward_hook(_notes(found), with_kwargs=True)
                for path, found in influences.items()
            ]
            for inputs, _ in scoring.batches(-(-self.examples // BATCH), min(BATCH, self.examples)):
                model(inputs)
            for hook in hooks:
                hook.remove()
        means = {path: torch.cat(found).mean() for path, found in influences.items()}
        return {group.name: torch.stack([means[path] for path in group.blocks]) for group in scoring.groups}

    def scoring_flops(self, network: prunebench.Network, density: float) -> float:
        return network.flops * self.examples


BATCH = 16


def influence(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """1 minus the cosine of each token, along the last dimension, or of each pixel, along the channels of images."""
    dim = 1 if before.dim() == 4 else -1
    return 1 - cosine_similarity(before.double(), after.double(), dim=dim)


def _notes(found: list[torch.Tensor]) -> Callable[..., None]:
    def note(block: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        before = inputs[0] if inputs else next(iter(named.values()))
        found.append(influence(before, output).flatten())

    return note


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [ShortGPT]
