"""The loss near the trained weights as a quadratic function of all prunable weights, without its Hessian matrix.

With A the gradients of n mini-batches as rows and w₀ the trained weights it is ‖A (w - w₀)‖² / 2n + ridge/2 ‖w - w₀‖²:
the Hessian is the empirical Fisher information AᵀA / n plus the ridge. `chita` and `cbs` minimize it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

import prunebench

from .obd import gradients

CHUNK = 2**22
"""Numbers of A that are in float64 at once: 32 MiB."""


@dataclass(frozen=True)
class LocalLoss:
    """The quadratic function; weights are one vector of float64, layer after layer."""

    rows: torch.Tensor
    """A, float32, of shape (n, weights); its columns are 0 for weights that are pruned already."""
    dense: torch.Tensor
    """w₀, float64, of shape (weights,)."""
    ridge: float

    @classmethod
    def of(cls, scoring: prunebench.Scoring, count: int, size: int, ridge: float) -> "LocalLoss":
        """At the present weights, from the gradients of some mini-batches of training examples."""
        dense, keeps = weights_of(scoring), joined(scoring.masks)
        rows, seen = torch.empty(count, len(dense), device=dense.device), 0
        for gradient in gradients(scoring, count, size):
            rows[seen] = joined(gradient) * keeps
            seen += 1
        return cls(rows[:seen], dense, ridge)

    @cached_property
    def target(self) -> torch.Tensor:
        """A w₀, of shape (n,)."""
        return self.product(self.dense)

    def product(self, weight: torch.Tensor) -> torch.Tensor:
        """A times a vector of all weights, of shape (n,); takes the time of those that are not 0."""
        total = weight.new_zeros(len(self.rows))
        for places, columns in self._columns(weight != 0):
            total += columns @ weight[places]
        return total

    def transposed(self, values: torch.Tensor) -> torch.Tensor:
        """Aᵀ times a vector of n numbers, of shape (weights,)."""
        return torch.cat([columns.T @ values for _, columns in self._columns(torch.ones_like(self.dense).bool())])

    @cached_property
    def squares(self) -> torch.Tensor:
        """‖a‖² of each column a of A, of shape (weights,)."""
        return torch.cat([columns.square().sum(0) for _, columns in self._columns(torch.ones_like(self.dense).bool())])

    def value(self, weight: torch.Tensor) -> float:
        error, change = self.product(weight) - self.target, weight - self.dense
        return float(error.square().mean() + self.ridge * change.square().sum()) / 2

    def gradient(self, weight: torch.Tensor) -> torch.Tensor:
        error = self.product(weight) - self.target
        return self.transposed(error) / len(self.rows) + self.ridge * (weight - self.dense)

    def minimum(self, kept: torch.Tensor) -> torch.Tensor:
        """The weights of the lowest value among those that are zero outside of a mask S.

        With R the rest it is w₀ + A_Sᵀ (A_S A_Sᵀ + n ridge)⁻¹ A_R w₀ on S: n equations for any number of weights.
        """
        system = self.ridge * len(self.rows) * torch.eye(len(self.rows)).to(self.dense)
        for _, columns in self._columns(kept):
            system += columns @ columns.T
        removed = self.product(self.dense * ~kept)
        solved = torch.cholesky_solve(removed[:, None], torch.linalg.cholesky(system))[:, 0]
        found = torch.zeros_like(self.dense)
        for places, columns in self._columns(kept):
            found[places] = self.dense[places] + columns.T @ solved
        return found

    def _columns(self, among: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The columns of some weights, in float64 and a few at a time, and which they are."""
        for places in torch.split(among.nonzero().flatten(), max(1, CHUNK // len(self.rows))):
            yield places, self.rows[:, places].double()


def joined(values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The values of all layers in one vector."""
    return torch.cat([value.flatten() for value in values.values()])


def weights_of(scoring: prunebench.Scoring) -> torch.Tensor:
    """All weights in one vector, float64."""
    return joined({name: weight.detach() for name, weight in scoring.weights.items()}).double()


def by_layer(values: torch.Tensor, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A vector of all weights cut into tensors of the shapes of the layers."""
    parts = torch.split(values, [one.numel() for one in like.values()])
    return {name: part.view(one.shape) for part, (name, one) in zip(parts, like.items(), strict=True)}


def highest(scores: torch.Tensor, keep: int) -> torch.Tensor:
    """The mask of the highest of some scores; the first among equals."""
    order = torch.argsort(scores, descending=True, stable=True)
    return torch.zeros_like(scores, dtype=torch.bool).index_fill(0, order[:keep], True)


def magnitudes(scoring: prunebench.Scoring) -> torch.Tensor:
    """|w| of all weights in one vector, float64; below 0 for what is pruned already."""
    return torch.where(joined(scoring.masks), weights_of(scoring).abs(), -1.0)


def scores_of(kept: torch.Tensor, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
    """Scores by layer that a mask follows from: |w|, and for its weights above those of all others."""
    sizes = magnitudes(scoring)
    return by_layer(sizes + kept * (sizes.max() + 1), scoring.weights)
