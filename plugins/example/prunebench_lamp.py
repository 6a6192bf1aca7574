"""LAMP: layer-adaptive magnitude-based pruning."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge
from typing_extensions import Doc

import prunebench


class LAMP(prunebench.Method):
    """Train, prune by magnitude relative to the larger weights of the layer, fine-tune.

    The score of a weight is its square divided by the sum of the squares of all weights of its layer that are not
    smaller. The largest weight of a layer has the score 1, so no layer is pruned completely.
    """

    name = "lamp"
    family = "after training"
    reference = "Lee et al. 2021, arXiv:2010.07611"

    finetune: Annotated[prunebench.Time, Doc("length of each fine-tuning, such as 10ep; 0 for none")] = "25%"
    rounds: Annotated[int, Ge(1), Doc("number of times to prune and fine-tune, by equal shares")] = 1

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        return {name: lamp(weight.detach()) for name, weight in scoring.weights.items()}

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train()
        for done in range(1, self.rounds + 1):
            yield prunebench.Prune(by=self, density=trial.density ** (done / self.rounds))
            yield prunebench.Train(until=f"+{self.finetune}")


def lamp(weight: torch.Tensor) -> torch.Tensor:
    """The scores of a layer, in double precision because neighbouring scores differ little. Zeros score 0."""
    squares = weight.flatten().double().square()
    ascending, order = squares.sort(stable=True)
    not_smaller = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.where(ascending > 0, ascending / not_smaller, 0.0)
    return torch.empty_like(scores).scatter(0, order, scores).view(weight.shape)


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [LAMP]
