"""Sparsities that were written with too few digits to be shared.

Iterative methods pass 67.232 % on their way to higher sparsities. A trial at 67.2 % leaves that way one level earlier,
and one at 67.3 % adds a level: either needs a pruning and a training that no other trial shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from prunebench.api.stages import PRUNING
from prunebench.plan.planning import Node, Plan

TOLERANCE = 1e-3
"""Densities that differ by at most this much were most likely meant to be the same."""


@dataclass(frozen=True)
class NearSparsity:
    """A sparsity of a method that is almost one at which the way to higher sparsities prunes anyway."""

    method: str
    written: float
    passed: float
    """The sparsity on the way, to twelve digits."""
    steps: int
    """Optimizer steps of all seeds that the sparsity on the way would not need."""

    def __str__(self) -> str:
        return (
            f"{self.method}: sparsity {self.written:g} is almost {self.passed:g}, which the way to higher sparsities "
            f"passes; writing {self.passed!r} saves {self.steps:,} optimizer steps"
        )


def near_sparsities(plan: Plan) -> list[NearSparsity]:
    """The sparsities that are almost one that the same method passes, each once."""
    children = plan.children()
    found: dict[tuple[str, float, float], int] = {}
    for written, passed in _pairs(plan, children):
        trial = written.trial
        if trial.density == written.density and passed.trial.density != passed.density:
            key = (trial.entry.label, trial.sparsity, round(1 - passed.density, 12))
            found[key] = found.get(key, 0) + _steps(plan, children, written.key)
    return [NearSparsity(*key, steps) for key, steps in found.items()]


def _pairs(plan: Plan, children: Mapping[str, Sequence[str]]) -> Iterator[tuple[Node, Node]]:
    """Prunings with almost equal densities: two that follow the same stage, both ways round, or one after the other."""
    prunings = [node for node in plan.nodes.values() if isinstance(node.stage, PRUNING)]
    for node in prunings:
        beside = [plan.nodes[key] for key in children.get(node.parent or "", ()) if key != node.key]
        before = _pruning_before(plan, node)
        yield from ((node, one) for one in [*beside, *before] if _almost_equal(node, one))


def _pruning_before(plan: Plan, node: Node) -> list[Node]:
    """The last pruning on the way to a node; empty if there is none."""
    while node.parent is not None:
        node = plan.nodes[node.parent]
        if isinstance(node.stage, PRUNING):
            return [node]
    return []


def _almost_equal(one: Node, other: Node) -> bool:
    """Whether two stages are prunings that differ in nothing but a little density."""
    if not (isinstance(one.stage, PRUNING) and isinstance(other.stage, PRUNING)):
        return False
    return (
        abs(one.density - other.density) <= TOLERANCE and replace(one.stage, density=other.stage.density) == other.stage
    )


def _steps(plan: Plan, children: Mapping[str, Sequence[str]], key: str) -> int:
    """Of a node and all that follows it."""
    steps, waiting = 0, [key]
    while waiting:
        one = waiting.pop()
        steps += plan.nodes[one].steps
        waiting += children[one]
    return steps
