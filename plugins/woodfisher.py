"""WoodFisher and oBERT: the optimal brain surgeon with blocks of the Fisher information."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from typing_extensions import Doc

import prunebench

from .obd import OBD, gradients

CHUNK = 64
"""Gradients that are in memory at once."""


class WoodFisher(OBD):
    """Train, remove the weights with the lowest w² / (2 [F⁻¹]_ii), and let the others make up for them.

    F is the empirical Fisher information, damped, without what weights of different blocks have to do with each other;
    a block is some consecutive weights of a layer. The correction is the minimum for all removed weights of a block, or
    - F⁻¹ (w / diag F⁻¹) over the removed weights, which adds up that of each of them, as the authors do it.
    """

    name = "woodfisher"
    version = 1
    reference = "Singh & Alistarh 2020, arXiv:2004.14340; Kurtic et al. 2022 (oBERT), arXiv:2203.07259"
    presets = {
        "obert": prunebench.Preset(
            "Kurtic et al. 2022: blocks of 50, 1,024 gradients of mini-batches of 16, damping 1e-7",
            {"gradients": 1024, "batch_size": 16, "block": 50, "damping": 1e-7, "update": "each"},
        ),
    }

    block: Annotated[
        int, Ge(1), Doc("consecutive weights of a layer in a block; memory is so many float64 a weight")
    ] = 50
    damping: Annotated[float, Gt(0), Doc("added to the diagonal of F")] = 1e-5
    update: Annotated[
        Literal["each", "joint", "none"],
        Doc("joint: the minimum for all removals of a block; each: corrections of single removals are added up"),
    ] = "joint"

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        scoring.memory.update(self._fisher(scoring))
        return {name: self._scores(weight, scoring.memory[name]) for name, weight in scoring.weights.items()}

    def scoring_flops(self, network: prunebench.Network, density: float) -> float:
        inverses = network.size * (2 * self.gradients * self.block + 2 * self.block**2)
        return super().scoring_flops(network, density) + inverses

    def compensate(self, scoring: prunebench.Scoring, masks: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.update == "none":
            return {}
        correct = jointly if self.update == "joint" else one_by_one
        changed = {}
        for name, weight in scoring.weights.items():
            kept = in_blocks(masks[name].double(), self.block, fill=1.0) > 0
            blocks = correct(in_blocks(weight.detach().double(), self.block), kept, scoring.memory[name])
            changed[name] = whole(blocks, weight)
        return changed

    def _scores(self, weight: torch.Tensor, fisher: torch.Tensor) -> torch.Tensor:
        diagonals = torch.linalg.inv(fisher).diagonal(dim1=1, dim2=2)
        scores = in_blocks(weight.detach().double(), self.block).square() / (2 * diagonals)
        return whole(scores, weight)

    def _fisher(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        """The damped blocks of each layer, of shape (blocks, block, block)."""
        sums: dict[str, torch.Tensor] = {}
        waiting: list[dict[str, torch.Tensor]] = []
        count = 0
        for gradient in gradients(scoring, self.gradients, self.batch_size):
            count += 1
            waiting.append({name: value * scoring.masks[name] for name, value in gradient.items()})
            if len(waiting) == CHUNK:
                self._add(waiting, sums)
        self._add(waiting, sums)
        return {name: value / count + self.damping * torch.eye(self.block).to(value) for name, value in sums.items()}

    def _add(self, waiting: list[dict[str, torch.Tensor]], sums: dict[str, torch.Tensor]) -> None:
        """Add g gᵀ of some gradients to the sums, and forget the gradients."""
        for name in waiting[0] if waiting else ():
            stacked = torch.stack([in_blocks(one[name].double(), self.block) for one in waiting], 1)
            product = stacked.mT @ stacked
            sums[name] = sums[name] + product if name in sums else product
        waiting.clear()


def in_blocks(values: torch.Tensor, size: int, fill: float = 0.0) -> torch.Tensor:
    """The values of a layer in rows of a block each; the last row is filled up."""
    flat = values.flatten()
    return torch.nn.functional.pad(flat, (0, -len(flat) % size), value=fill).view(-1, size)


def whole(blocks: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The values of a layer that `in_blocks` cut into these blocks."""
    return blocks.flatten()[: weight.numel()].view(weight.shape)


def one_by_one(weight: torch.Tensor, kept: torch.Tensor, fisher: torch.Tensor) -> torch.Tensor:
    """The weights with the corrections of all single removals added up, zero where they are removed."""
    inverse: torch.Tensor = torch.linalg.inv(fisher)
    removed = torch.where(kept, 0.0, weight / inverse.diagonal(dim1=1, dim2=2))
    return (weight - (inverse @ removed[:, :, None])[:, :, 0]) * kept


def jointly(weight: torch.Tensor, kept: torch.Tensor, fisher: torch.Tensor) -> torch.Tensor:
    """The kept weights that minimize (w' - w) F (w' - w)ᵀ: they solve F_SS w'_S = (F w)_S."""
    target = (fisher @ weight[:, :, None])[:, :, 0] * kept
    system = fisher * (kept[:, :, None] & kept[:, None, :]) + torch.diag_embed((~kept).double())
    solved: torch.Tensor = torch.linalg.solve(system, target)
    return solved


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [WoodFisher]
