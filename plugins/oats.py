"""OATS: a sparse and a low-rank part of each weight."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import Unreachable


class OATS(prunebench.LayerwiseMethod):
    """Train, then approximate each weight by a sparse matrix S and a product of low rank L R, in turn.

    Columns are scaled by the norms of their inputs first, so that the sum of squares is near the error of the outputs.
    The network multiplies by S, R and L; all three count as weights that are kept.
    """

    name = "oats"
    version = 1
    reference = "Zhang & Papyan 2024, arXiv:2409.13652"
    low_rank = True
    presets = {
        "paper": prunebench.Preset(
            "Zhang & Papyan 2024: 128 calibration examples, 80 iterations, 30 % of what is kept in the factors",
            {"rank_share": 0.3},
        )
    }

    rank_share: Annotated[float, Interval(ge=0, lt=1), Doc("of the kept weights, those in the low-rank factors")] = 0.25
    iterations: Annotated[int, Ge(1), Doc("how often the two parts are found in turn")] = 80

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        """With a structure, which S has, the target is that of both parts together."""
        stages = super().stages(trial)
        if self.structure is None:
            yield from stages
            return
        density = self.structure.density / (1 - self.rank_share)
        if abs(density - trial.density) > 1e-3:
            n, m = self.structure.n, self.structure.m
            raise Unreachable(
                f"{n}:{m} and a rank_share of {self.rank_share:g} make a sparsity of {1 - density:.4g}, not "
                f"{1 - trial.density:.4g}"
            )
        for stage in stages:
            if isinstance(stage, prunebench.PruneLayerwise):
                stage = replace(stage, density=self.structure.density)
            yield stage

    def layer_flops(self, outputs: int, inputs: int, tokens: int) -> float:
        smaller, most = min(outputs, inputs), self._rank(outputs, inputs, outputs * inputs)
        eigenvectors = 2 * outputs * inputs * smaller + 9 * smaller**3
        return self.iterations * (eigenvectors + 4 * outputs * inputs * most)

    def prune_layer(self, layer: prunebench.CalibratedLayer) -> tuple[torch.Tensor, ...]:
        scale = layer.norms
        scaled, (outputs, inputs) = layer.weight * scale, layer.weight.shape
        kept = layer.keep if layer.structure is None else layer.keep / (1 - self.rank_share)
        rank = self._rank(outputs, inputs, kept)
        keep = layer.keep - rank * (outputs + inputs)
        sparse = torch.zeros_like(scaled)
        for _ in range(self.iterations if rank else 1):
            left, right = leading(scaled - sparse, rank)
            rest = scaled - left @ right
            mask = layer.keep_highest(rest.abs(), by_row=True, keep=keep)
            sparse = rest.masked_fill(~mask, 0.0)
        # An input that is never used has no scale: its kept weights stay as they are.
        used = scale > 0
        inverse = torch.where(used, 1 / scale, 0.0)
        return mask, torch.where(used, sparse * inverse, layer.weight), left, right * inverse

    def _rank(self, outputs: int, inputs: int, kept: float) -> int:
        """The rank at which the factors have their share of the kept weights, rounded down."""
        return int(self.rank_share * kept / (outputs + inputs))


def leading(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two factors whose product is the nearest matrix of a rank.

    They are found by the eigenvectors of the smaller Gram matrix, which is faster than singular values.
    """
    if len(matrix) <= matrix.shape[1]:
        vectors = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, len(matrix) - rank :]
        return vectors, vectors.T @ matrix
    right, left = leading(matrix.T, rank)
    return left.T, right.T


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [OATS]
