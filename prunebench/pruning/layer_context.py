"""The context that is passed to `Method.prune_layer`: a layer's weight as a matrix, and the moments of its inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from prunebench.api.errors import PrunebenchError
from prunebench.api.stages import Structure
from prunebench.pruning.masks import top


@dataclass(frozen=True)
class LayerContext:
    """A layer, or one group of a grouped convolution; see `prunebench.CalibratedLayer`."""

    name: str
    weight: torch.Tensor
    """The dense weight, float64, of shape (outputs, inputs)."""
    moments: torch.Tensor
    """The mean of x xᵀ over the inputs x, float64, of shape (inputs, inputs)."""
    means: torch.Tensor
    """The mean of x, of shape (inputs,)."""
    tokens: int
    keep: int
    """The number of weights to keep."""
    structure: Structure | None = None
    places: int = 1
    """Of a convolution's kernel; each has one input of every channel."""

    @property
    def channels(self) -> int:
        """The number of input channels."""
        return len(self.moments) // self.places

    @property
    def norms(self) -> torch.Tensor:
        """The root of the mean square of each input, of shape (inputs,)."""
        return self.moments.diagonal().sqrt()

    def keep_highest(self, scores: torch.Tensor, by_row: bool = False, keep: int | None = None) -> torch.Tensor:
        """The mask that keeps exactly `keep` weights, those with the highest scores; the first among equals.

        Args:
            scores: finite, of shape (outputs, inputs).
            by_row: compare only the weights of the same output. Where `keep` is not divisible by the number of outputs,
                those whose next score is the highest keep one more.
            keep: another number of weights, such as low-rank factors leave.

        Raises PrunebenchError for scores of another shape, or that are not all finite.
        """
        if scores.shape != self.weight.shape or not bool(scores.isfinite().all()):
            raise PrunebenchError(
                f"the scores of {self.name!r} must be finite and of shape {tuple(self.weight.shape)}, and are of shape "
                f"{tuple(scores.shape)}"
            )
        if self.structure is not None:
            groups = scores.view(len(scores), -1, self.structure.m)
            return (_ranks(groups) < self.structure.n).flatten(1)
        count = self.keep if keep is None else keep
        if by_row:
            return _highest_by_row(scores, count)
        return top(scores.flatten(), count).view_as(scores)

    def damped(self, damping: float, moments: torch.Tensor | None = None) -> torch.Tensor:
        """The moments, or another matrix, with `damping` times the mean of the diagonal added to the diagonal.

        Of zeros it is the identity.
        """
        damped = (self.moments if moments is None else moments).clone()
        mean = damped.diagonal().mean()
        damped.diagonal().add_(torch.where(mean > 0, damping * mean, 1.0))
        return damped

    def reconstructed(self, mask: torch.Tensor, damping: float = 0.01) -> torch.Tensor:
        """The weights under a mask whose outputs are nearest to those of the dense weight, by damped least squares.

        For each output, with the second moments M and the weights w: the w' on the support S that minimizes
        (w - w') (M + d I) (w - w')ᵀ, which is w'_S = (M + d I)_SS⁻¹ ((M + d I) w)_S.

        Args:
            damping: d relative to the mean of M's diagonal. A layer whose inputs are all 0 keeps its weights.
        """
        metric = self.damped(damping)
        targets = self.weight @ metric
        found = torch.zeros_like(self.weight)
        for row, kept in enumerate(mask):
            if bool(kept.any()):
                factor = torch.linalg.cholesky(metric[kept][:, kept])
                found[row, kept] = torch.cholesky_solve(targets[row, kept, None], factor)[:, 0]
        return found

    def error(self, weight: torch.Tensor, moments: torch.Tensor) -> float:
        """The mean squared error of the outputs, added over them, if `weight` takes the place of the dense weight.

        Args:
            moments: second moments of the inputs on which it is measured.
        """
        change = self.weight - weight
        return float(((change @ moments) * change).sum().clamp(min=0.0))


def _ranks(scores: torch.Tensor) -> torch.Tensor:
    """The rank of each score along the last dimension: 0 for the highest, the first among equals first."""
    order: torch.Tensor = torch.argsort(scores, dim=-1, descending=True, stable=True)
    return torch.argsort(order, dim=-1)


def _highest_by_row(scores: torch.Tensor, keep: int) -> torch.Tensor:
    each, more = divmod(keep, len(scores))
    ranks = _ranks(scores)
    mask = ranks < each
    if more:
        following = scores[ranks == each]  # one of each row, in the order of the rows
        mask |= (ranks == each) & top(following, more)[:, None]
    return mask
