"""CBS, the combinatorial brain surgeon: choosing weights whose removals cancel each other out."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from typing_extensions import Doc

import prunebench

from .local_loss import LocalLoss, by_layer, highest, joined, magnitudes, scores_of, weights_of

LARGEST = 256
"""Examples in a batch in which nothing but the loss is computed, at most."""


class CBS(prunebench.Method):
    """Train, then search for the weights that are removed together at the lowest cost, and let the others make up.

    With F the empirical Fisher information, removing the set R costs w_R F w_Rᵀ. The search begins at the best of some
    magnitude prunings, each within random parts of the network, and swaps pairs of weights. The correction is the
    minimum for all removals together.
    """

    name = "cbs"
    family = "after training"
    version = 2  # since 2 the starts are compared on the examples of the gradients and no more
    reference = "Yu et al. 2022, arXiv:2203.04466"
    presets = {
        "paper": prunebench.Preset("Yu et al. 2022: 1,000 gradients of single examples", {"gradients": 1000}),
    }

    gradients: Annotated[
        int, Ge(1), Doc("mini-batches whose gradients are used; memory: 4 bytes each for a weight")
    ] = 256
    batch_size: Annotated[int, Ge(1), Doc("examples in each")] = 1
    damping: Annotated[float, Gt(0), Doc("added to the diagonal of F for the correction")] = 1e-3
    starts: Annotated[int, Ge(0), Doc("random magnitude prunings to begin with; 0 for the plain one")] = 50
    passes: Annotated[int, Ge(0), Doc("of swaps over all weights, at most; 0 for no search")] = 100
    tolerance: Annotated[float, Ge(0), Doc("a swap lowers the cost by at least so much")] = 1e-4
    reach: Annotated[int, Ge(1), Doc("weights to both sides of its rank that a removed weight is compared with")] = 10
    failures: Annotated[int, Ge(0), Doc("removed weights without a swap in a pass, at most")] = 20
    update: Annotated[bool, Doc("let the kept weights make up for the removed ones")] = True
    finetune: Annotated[prunebench.Time, Doc("fine-tune for so long at the last learning rate, such as 10ep")] = 0

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        kept = self._start(scoring)
        loss = LocalLoss.of(scoring, self.gradients, self.batch_size, self.damping)
        scoring.memory["rows"] = loss.rows
        search = Swaps(loss, ~kept, joined(scoring.masks))
        for _ in range(self.passes):
            if not search.swap(self.tolerance, self.reach, self.failures):
                break
        return scores_of(~search.removed, scoring)

    def compensate(self, scoring: prunebench.Scoring, masks: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if not self.update:
            return {}
        loss = LocalLoss(scoring.memory["rows"], weights_of(scoring), self.damping)
        return by_layer(loss.minimum(joined({name: masks[name] for name in scoring.weights})), scoring.weights)

    def scoring_flops(self, network: prunebench.Network, density: float) -> float:
        examples, each = self.gradients * self.batch_size, 2 * self.gradients * network.size
        starting = network.flops * examples * (self.starts + 1 if self.starts else 0)
        return 3 * network.flops * examples + starting + 3 * each * self.passes + each * self.gradients * self.update

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train()
        yield prunebench.Prune(by=self, density=trial.density)
        yield prunebench.Train(until=f"+{self.finetune}")

    def _start(self, scoring: prunebench.Scoring) -> torch.Tensor:
        """The mask with the lowest loss among those of plain and of random magnitude pruning."""
        sizes, generator = magnitudes(scoring).cpu(), scoring.generator
        masks = [highest(sizes, scoring.keep)]
        masks += [in_random_parts(sizes, scoring.keep, generator) for _ in range(self.starts)]
        if len(masks) == 1:
            return masks[0].to(scoring.device)
        losses = [self._loss(scoring, mask.to(scoring.device)) for mask in masks]
        return masks[losses.index(min(losses))].to(scoring.device)

    @torch.no_grad()
    def _loss(self, scoring: prunebench.Scoring, kept: torch.Tensor) -> float:
        """The mean loss of the network under a mask, over the examples of the gradients."""
        weights = scoring.weights
        dense = {name: weight.clone() for name, weight in weights.items()}
        for name, mask in by_layer(kept, weights).items():
            weights[name].mul_(mask)
        total, seen = 0.0, 0
        with scoring.mode("eval") as model:
            for inputs, targets in scoring.batches(*_batches(self.gradients * self.batch_size)):
                total += float(scoring.loss(model(inputs), targets)) * len(targets)
                seen += len(targets)
        for name, weight in weights.items():
            weight.copy_(dense[name])
        return total / seen


def _batches(examples: int) -> tuple[int, int]:
    """The number of batches, and the size of each, in which so many examples go through the network."""
    count = -(-examples // LARGEST)
    return count, -(-examples // count)


class Swaps:
    """Local search: removed weights are swapped with kept ones where that lowers the cost ‖A_R w_R‖² / n."""

    def __init__(self, loss: LocalLoss, removed: torch.Tensor, may_be_kept: torch.Tensor) -> None:
        self.removed = removed
        self._loss, self._candidates = loss, may_be_kept
        self._squares = loss.squares * loss.dense.square()  # ‖a_i w_i‖² for the columns a_i of A
        self._sum = loss.product(loss.dense * removed)  # A_R w_R

    @property
    def cost(self) -> float:
        return float(self._sum.square().mean())

    def swap(self, tolerance: float, reach: int, failures: int) -> int:
        """Go through the removed weights from the one that costs most, and swap each with a kept one of similar rank.

        Args:
            tolerance: a swap lowers the cost by at least so much, and by more than nothing.
            reach: how far from the rank of a removed weight the ranks of the kept ones are that it is compared with.
            failures: how many removed weights may fail to be swapped.

        Returns the number of swaps.
        """
        along = 2 * self._loss.dense * self._loss.transposed(self._sum)
        inside = _lowest_first(self._squares - along, self.removed & self._candidates)
        outside = _lowest_first(self._squares + along, ~self.removed)
        is_free, swaps, failed = torch.ones_like(outside, dtype=torch.bool), 0, 0
        for rank, chosen in enumerate(inside.tolist()):
            near = slice(max(0, rank - reach), rank + reach + 1)
            if failed > failures or not bool(is_free[near].any()):
                break
            changes = self._changes(chosen, outside[near]).masked_fill(~is_free[near], torch.inf)
            best = int(changes.argmin())
            if -float(changes[best]) > max(tolerance, 1e-9 * self.cost):
                self._exchange(chosen, int(outside[near][best]))
                is_free[near.start + best] = False
                swaps += 1
            else:
                failed += 1
        return swaps

    def _changes(self, back: int, out: torch.Tensor) -> torch.Tensor:
        """What the cost changes by if one removed weight is put back for each of some kept ones."""
        after = (self._sum - self._columns(back))[:, None] + self._columns(out)
        return after.square().mean(0) - self._sum.square().mean()

    def _exchange(self, back: int, out: int) -> None:
        self._sum = self._sum - self._columns(back) + self._columns(out)
        self.removed[back], self.removed[out] = False, True

    def _columns(self, places: int | torch.Tensor) -> torch.Tensor:
        """a_i w_i of a weight, or of some as columns."""
        return self._loss.rows[:, places].double() * self._loss.dense[places]


def _lowest_first(values: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """The places of some values in their order."""
    places = among.nonzero().flatten()
    return places[values[places].argsort(stable=True)]


def in_random_parts(sizes: torch.Tensor, keep: int, generator: torch.Generator) -> torch.Tensor:
    """The mask of the largest of each of about √N random parts of N weights; each part keeps the same share.

    Args:
        sizes: of the weights; what is below 0 is in no part.
    """
    places = (sizes >= 0).nonzero().flatten()
    places = places[torch.randperm(len(places), generator=generator)]
    parts, kept = max(1, int(len(places) ** 0.5)), torch.zeros_like(sizes, dtype=torch.bool)
    for number, part in enumerate(torch.tensor_split(places, parts)):
        count = keep * (number + 1) // parts - keep * number // parts
        kept[part[highest(sizes[part], count)]] = True
    return kept


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [CBS]
