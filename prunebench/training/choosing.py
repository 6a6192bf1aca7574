"""The choice among candidates by what the validation split says of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from prunebench.training.cost import Cost
from prunebench.training.state import State

Figures = Callable[[State], Mapping[str, float]]


def best_of(names: Sequence[str], states: Sequence[State], figures: Figures, metric: str, sign: int) -> State:
    """The state of the best candidate, with the cost of all of them; the first one of several that are equal.

    Args:
        names: of the candidates.
        states: their last states, then those that a chain has in common with chains before it, whose cost counts once.
        figures: of a state; only that of `metric` on the validation split is read.
        sign: 1 if more is better, -1 if less is.
    """
    ends, common = states[: len(names)], states[len(names) :]
    scores = [figures(state)[f"validation_{metric}"] for state in ends]
    best = max(range(len(ends)), key=lambda place: (_merit(scores[place], sign), -place))
    cost = Cost()
    for state in ends:
        cost += state.cost
    for state in common:
        cost -= state.cost
    tuned = {"chosen": best, "scores": dict(zip(names, scores, strict=True))}
    return ends[best].changed(cost=cost, tuned=tuned)


def _merit(score: float, sign: int) -> float:
    """What is not a number is worse than any number."""
    return sign * score if math.isfinite(score) else -math.inf
