"""What static, SET, SNFS and RigL share: a random mask to begin with, and dropping and growing weights in training.

Once t optimizer steps are made, t a multiple of the interval and below the end, every layer drops the
floor(f(t) * kept) weights that are smallest, and as many grow in places that are not kept; those just dropped are
candidates too. What is dropped and grown again keeps its value and the optimizer's memory, what is new starts at zero,
or at random if `grow_init` says so.
"""

from collections.abc import Iterator, Sequence
from math import cos, floor, pi
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import Unreachable

from .random import Random

Masks = dict[str, torch.Tensor]


class SparseTraining(prunebench.Method):
    """Training that is sparse from its first step on, under a random mask with exact counts."""

    allocation: Annotated[
        Literal["erk", "er", "uniform", "uniform-first-dense"],
        Doc("how the kept weights are shared out; uniform-first-dense: the first layer whole, the others evenly"),
    ] = "erk"

    def begun(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        """The initialization, and the random mask; raises Unreachable where that cannot have the density."""
        if self.allocation == "uniform-first-dense":
            check_first_dense([layer.size for layer in trial.network.layers], trial.density)
        yield prunebench.Initialize()
        yield self.random_mask(trial.density)

    def random_mask(self, density: float) -> prunebench.Prune:
        if self.allocation == "uniform-first-dense":
            return prunebench.Prune(by=FirstDense(density=density), density=density)
        return prunebench.Prune(by=Random(allocation=self.allocation), density=density, allocation=self.allocation)


class FirstDense(prunebench.Method):
    """Random scores of which a global draw keeps the whole first layer, and the same share of every other one."""

    name = "first-dense"
    version = 1
    exempt = Random.exempt
    density: float

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        check_first_dense([layer.size for layer in scoring.layers], self.density)
        first, generator = scoring.layers[0], scoring.generator
        # Ranks, spread evenly between 0 and 1 in each layer.
        ranks = {one: torch.randperm(one.size, generator=generator, dtype=torch.float64) for one in scoring.layers}
        scores = {layer.name: rank.add(0.5).div(layer.size).view(layer.shape) for layer, rank in ranks.items()}
        scores[first.name] += 1
        return scores


def check_first_dense(sizes: Sequence[int], density: float) -> None:
    """Raise Unreachable if the first of several layers alone has more weights than the density allows."""
    share = sizes[0] / sum(sizes)
    if len(sizes) > 1 and share >= density:
        raise Unreachable(f"with the first layer dense, the density is above {share:.4g}, not {density:g}")


class DropGrow(SparseTraining):
    """Sparse training that moves connections; a subclass says where they grow."""

    family = "during training"

    interval: Annotated[prunebench.Time, Doc("time between mask updates")] = "100it"
    until: Annotated[prunebench.Time, Doc("when mask updates end")] = "75%"
    fraction: Annotated[float, Gt(0), Le(1), Doc("share of a layer's kept weights that an update moves at first")] = 0.3
    decay: Annotated[Literal["cosine", "constant"], Doc("cosine: that share falls to 0 by the end")] = "cosine"
    grow_init: Annotated[
        Literal["zeros", "normal"],
        Doc("new weights are 0, or drawn with mean 0 and the standard deviation of the kept weights of their layer"),
    ] = prunebench.added_later("zeros")

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield from self.begun(trial)
        yield prunebench.Train(by=self)

    def share(self, training: prunebench.Training, steps_made: int) -> float:
        """f(t): the share of the kept weights to move after `steps_made` steps; 0 if no update is due."""
        interval, end = max(1, training.step_of(self.interval)), training.step_of(self.until)
        if steps_made % interval or not 0 < steps_made < end:
            return 0.0
        return self.fraction * (0.5 + 0.5 * cos(pi * steps_made / end) if self.decay == "cosine" else 1.0)


class Rewiring(prunebench.Updater):
    """Moves connections by the rule of a method; a subclass calls `rewire` and says where they grow."""

    def __init__(self, rule: DropGrow) -> None:
        self.rule = rule

    def rewire(self, training: prunebench.Training, steps_made: int) -> bool:
        """Update the masks if that is due after `steps_made` steps; whether it was."""
        share = self.rule.share(training, steps_made)
        if share:
            kept = {name: dropped(training.weights[name], mask, share) for name, mask in _trained(training).items()}
            scores, counts = self.scores(training), self.growth(training, kept)
            moved = {name: grown(mask, scores[name], counts[name]) for name, mask in kept.items()}
            new = {name: mask & ~training.masks[name] for name, mask in moved.items()}
            training.set_masks({**training.masks, **moved})
            if self.rule.grow_init == "normal":
                _draw(training, new)
        return share > 0

    def scores(self, training: prunebench.Training) -> dict[str, torch.Tensor]:
        """How much each connection is wanted."""
        raise NotImplementedError

    def growth(self, training: prunebench.Training, kept: Masks) -> dict[str, int]:
        """How many connections each layer grows: as many as it dropped."""
        return {name: int(training.masks[name].sum() - mask.sum()) for name, mask in kept.items()}


@torch.no_grad()
def _draw(training: prunebench.Training, new: Masks) -> None:
    """Give new weights random values; those that were dropped and grown again are not new."""
    for name, mask in new.items():
        weight = training.weights[name]
        drawn = torch.randn(weight.shape, generator=training.generator(f"grow/{name}")).to(weight)
        old = weight[training.masks[name] & ~mask]
        deviation = old.std(correction=0) if len(old) else weight.new_zeros(())
        weight.copy_(torch.where(mask, drawn * deviation, weight))


def _trained(training: prunebench.Training) -> Masks:
    """The masks of the weights that are trained: those with a gradient in this step, if any weight has one.

    In a frozen layer, and in one that was not called, connections stay: a new one would be 0 and never be trained.
    """
    weights = training.weights
    reached = {name: mask for name, mask in training.masks.items() if weights[name].grad is not None}
    return reached or {name: mask for name, mask in training.masks.items() if weights[name].requires_grad}


def dropped(weight: torch.Tensor, mask: torch.Tensor, share: float) -> torch.Tensor:
    """The mask without that share of its weights, rounded down: the smallest ones."""
    kept = int(mask.sum())
    return highest(torch.where(mask, weight.detach().abs(), -1.0), kept - floor(share * kept))


def grown(mask: torch.Tensor, scores: torch.Tensor, count: int) -> torch.Tensor:
    """The mask with `count` more weights: those that score highest among all that it does not keep."""
    return mask | highest(torch.where(mask, -torch.inf, scores), count)


def highest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """A mask of the `count` highest; among equals the first."""
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[scores.flatten().argsort(descending=True, stable=True)[:count]] = True
    return mask.view(scores.shape)


def dense_gradient(weight: torch.nn.Parameter) -> torch.Tensor:
    """The gradient that the backward pass left, zero for a weight that took no part in it."""
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
