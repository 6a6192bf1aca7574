"""CHITA: pruning all layers together by sparse regression on gradients."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from typing_extensions import Doc

import prunebench

from .local_loss import LocalLoss, by_layer, highest, joined, magnitudes, scores_of, weights_of

DOUBLINGS = 5
"""Of a step along the gradient, beyond the length at which the first weights change sides."""
MINIMA = 8
"""How often the search goes on from the minimum for its mask, at most: each costs as much as many steps."""


class CHITA(prunebench.Method):
    """Train, then minimize a quadratic model of the loss over all networks with so many weights.

    The model is ‖A (w - w₀)‖² / 2n + ridge/2 ‖w - w₀‖² with the gradients of n mini-batches as the rows of A. Steps
    along its gradient that keep so many weights (iterative hard thresholding) lead from the largest weights to a better
    mask. When no step lowers the model's loss, the weights become the minimum for the mask, and when none does from
    there, that is the result. With several `rounds` the model is made anew at some densities between.
    """

    name = "chita"
    family = "after training"
    version = 1
    reference = "Benbaki et al. 2023, arXiv:2302.14623"
    presets = {
        "paper": prunebench.Preset("Benbaki et al. 2023: 1,000 gradients of single examples", {"gradients": 1000}),
        "chita++": prunebench.Preset(
            "Benbaki et al. 2023: the multi-stage form, in 15 stages", {"gradients": 1000, "rounds": 15}
        ),
    }

    gradients: Annotated[
        int, Ge(1), Doc("mini-batches whose gradients are used; memory: 4 bytes each for a weight")
    ] = 256
    batch_size: Annotated[int, Ge(1), Doc("examples in each")] = 1
    ridge: Annotated[float, Gt(0), Doc("of the model: keeps weights near their trained values")] = 1e-3
    steps: Annotated[int, Ge(1), Doc("along the gradient, at most")] = 100
    rounds: Annotated[int, Ge(1), Doc("prunings; each computes new gradients, and the density falls geometrically")] = 1
    finetune: Annotated[prunebench.Time, Doc("fine-tune for so long at the last learning rate, such as 10ep")] = 0

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        loss = LocalLoss.of(scoring, self.gradients, self.batch_size, self.ridge)
        scoring.memory["rows"] = loss.rows
        return scores_of(selected(loss, highest(magnitudes(scoring), scoring.keep), self.steps), scoring)

    def compensate(self, scoring: prunebench.Scoring, masks: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        loss = LocalLoss(scoring.memory["rows"], weights_of(scoring), self.ridge)
        return by_layer(loss.minimum(joined({name: masks[name] for name in scoring.weights})), scoring.weights)

    def scoring_flops(self, network: prunebench.Network, density: float) -> float:
        # A step takes the gradient and a loss for each length; a minimum takes n² operations for each kept weight.
        each = 2 * self.gradients * network.size
        passes = 3 * network.flops * self.gradients * self.batch_size
        return passes + each * self.steps * (4 + DOUBLINGS) + (MINIMA + 3) * each * self.gradients

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train()
        yield prunebench.Prune(by=self, density=trial.density, rounds=self.rounds)
        yield prunebench.Train(until=f"+{self.finetune}")


def selected(loss: LocalLoss, begun: torch.Tensor, steps: int) -> torch.Tensor:
    """The mask of as many weights that iterative hard thresholding leads to from another one, unless that is better."""
    weight, kept, is_minimum, solved = loss.dense * begun, begun, False, 0
    for _ in range(steps):
        found = _stepped(loss, weight, kept)
        if found is not None:
            weight, kept = found
            is_minimum = False
        elif is_minimum or solved == MINIMA:
            break
        else:
            weight, is_minimum, solved = loss.minimum(kept), True, solved + 1
    return min((begun, kept), key=lambda mask: loss.value(loss.minimum(mask)))


def _stepped(loss: LocalLoss, weight: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The weights and the mask after a step along the gradient that changes the mask, if it lowers the loss.

    Weights are in units of their own curvatures: z = w √F_ii. The shortest such step is doubled while the loss falls.
    """
    units = (loss.squares / len(loss.rows) + loss.ridge).sqrt()
    gradient, scaled, keep = loss.gradient(weight) / units, weight * units, int(kept.sum())
    found, lowest, length = None, loss.value(weight), _first_change(scaled, gradient, kept)
    for doubling in range(DOUBLINGS + 1 if length < torch.inf else 0):
        moved = scaled - 2**doubling * length * gradient
        mask = highest(moved.abs(), keep)
        tried = moved * mask / units
        value = loss.value(tried)
        if not value < lowest * (1 - 1e-7):
            break
        found, lowest = (tried, mask), value
    return found


def _first_change(weight: torch.Tensor, gradient: torch.Tensor, kept: torch.Tensor) -> float:
    """The length of a step along the gradient after which one of the kept weights is not among the largest any more."""
    if bool(kept.all()) or not bool(kept.any()):
        return torch.inf
    size, slope = weight[kept].abs(), gradient[kept] * weight[kept].sign()
    gaining = gradient[~kept].abs().max() + slope  # of the fastest of the others on this one, for each unit of length
    lengths = torch.where((gaining > 0) & (size > 0), size / gaining, torch.inf)
    return float(lengths.min()) * (1 + 1e-4)


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [CHITA]
