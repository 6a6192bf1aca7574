"""The results of a row: all seeds of a method at a target sparsity of a task."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prunebench.api.objectives import Metric
from prunebench.leaderboard.selection import MEASURED, Selection, grouped
from prunebench.leaderboard.statistics import Difference, difference, mean, pairing_is_narrower
from prunebench.records.results import AS_GIVEN, CHOICE, Result, early_stop_name

Figure = Callable[[Mapping[str, float]], float | None]


@dataclass(frozen=True)
class Cell:
    """The results of one row, by seed, and the seeds that it should have."""

    suite: str
    task: str
    method: str
    sparsity: float
    results: Mapping[int, Result]
    seeds: tuple[int, ...]

    @property
    def place(self) -> tuple[str, str, str, float]:
        return (self.suite, self.task, self.method, self.sparsity)

    @cached_property
    def done(self) -> list[Result]:
        return [result for _, result in sorted(self.results.items()) if result.status == "done"]

    @property
    def control(self) -> bool:
        """Whether this is the dense network; only that one is asked for at sparsity 0."""
        return any(result.control for result in self.results.values()) if self.results else self.sparsity == 0

    @property
    def as_given(self) -> bool:
        """Whether this is the dense network as it was given, without training."""
        return any(AS_GIVEN in result.provenance for result in self.results.values())

    @property
    def complete(self) -> bool:
        return bool(self.done) and len(self.done) == len(self.seeds)

    @property
    def status(self) -> str:
        if self.done:
            return "done" if self.complete else f"incomplete ({len(self.done)} of {len(self.seeds)})"
        outcomes = {result.status for result in self.results.values()}
        if not outcomes:
            return "missing"
        return f"{'failed' if 'failed' in outcomes else 'skipped'}: {self.reason}"

    @property
    def reason(self) -> str:
        """Why seeds are not done: once if it is the same for all, otherwise seed by seed."""
        reasons = {seed: self._reason(seed) for seed in self.seeds if self._reason(seed)}
        if len(reasons) == len(self.seeds) and len(set(reasons.values())) == 1:
            return next(iter(reasons.values())).partition(": ")[2]
        return "; ".join(f"seed {seed} {reason}" for seed, reason in reasons.items())

    def _reason(self, seed: int) -> str:
        if seed not in self.results:
            return "missing"
        result = self.results[seed]
        return (
            ""
            if result.status == "done"
            else f"{result.status}: {' '.join(result.reason.split()) or 'no reason given'}"
        )

    def mean(self, figure: Figure) -> float | None:
        values = [figure(result.metrics) for result in self.done]
        return mean([value for value in values if value is not None])

    def by_seed(self, metric: str) -> dict[int, float]:
        """A finite figure by seed."""
        found = {result.seed: result.metrics.get(metric, math.nan) for result in self.done}
        return {seed: value for seed, value in found.items() if math.isfinite(value)}

    def said(self, name: str) -> str:
        """What the provenance of its results has under a name, each once."""
        return _said(self.done, name)

    def said_of_any(self, name: str) -> str:
        """The same of all results, whether they are done or not."""
        return _said(self.results.values(), name)

    def largest(self, metric: str) -> float | None:
        return max((result.metrics[metric] for result in self.done if metric in result.metrics), default=None)


def _said(results: Iterable[Result], name: str) -> str:
    return " / ".join(sorted({result.provenance[name] for result in results if name in result.provenance}))


def cells_of(selection: Selection) -> list[Cell]:
    """The rows of a selection, sorted by suite, task, method and sparsity."""
    groups = grouped(selection.results, lambda result: (result.suite, result.task, result.method, result.sparsity))
    seeds = _seeds(selection)
    return [
        Cell(*place, {result.seed: result for result in groups.get(place, [])}, tuple(sorted(seeds[place])))
        for place in sorted(seeds)
    ]


def _seeds(selection: Selection) -> Mapping[tuple[str, str, str, float], set[int]]:
    """By row the seeds that it should have."""
    if selection.expected is None:
        tasks = grouped(selection.results, lambda result: (result.suite, result.task))
        all_of = {task: {result.seed for result in some} for task, some in tasks.items()}
        return {(r.suite, r.task, r.method, r.sparsity): all_of[r.suite, r.task] for r in selection.results}
    suite = min((result.suite for result in selection.results), default="")
    seeds: dict[tuple[str, str, str, float], set[int]] = defaultdict(set)
    for task, method, sparsity, seed in selection.expected:
        seeds[suite, task, method, sparsity].add(seed)
    return seeds


@dataclass(frozen=True)
class Reference:
    """The dense network of a task, and the metrics whose differences from it are paired by seed."""

    dense: Cell | None
    paired: frozenset[str]

    def difference(self, cell: Cell, metric: str) -> Difference | None:
        if self.dense is None or cell.control:
            return None
        return difference(cell.by_seed(metric), self.dense.by_seed(metric), paired=metric in self.paired)


def reference_of(task: tuple[str, str], cells: Sequence[Cell], metric: Metric) -> Reference:
    """What the rows of a task, given by suite and label, are compared with.

    The dense network is its control that was trained; where there are several, the first by label.
    """
    some = [cell for cell in cells if (cell.suite, cell.task) == task]
    dense = next((cell for cell in some if cell.control and not cell.as_given), None)
    if dense is None:
        return Reference(None, frozenset())
    pruned = [cell for cell in some if not cell.control]
    names = (metric.name, "early_stop_step", early_stop_name(metric))
    values = {name: [(cell.by_seed(name), dense.by_seed(name)) for cell in pruned] for name in names}
    return Reference(dense, frozenset(name for name, both in values.items() if pairing_is_narrower(both)))


def identical_methods(cells: Sequence[Cell]) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """By suite, task and method all methods of the task with exactly the same results, where there are several.

    Methods can share them for a reason: on a network without convolutions `random` with ER and with ERK allocation are
    one method, and so is a static mask of the same densities.
    """
    methods: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        if not cell.control:
            methods[cell.suite, cell.task, cell.method].append(cell)
    groups: dict[Any, list[tuple[str, str, str]]] = defaultdict(list)
    for key, some in methods.items():
        if all(cell.complete for cell in some):
            groups[key[:2], frozenset(map(_outcome, some))].append(key)
    shared = [keys for keys in groups.values() if len(keys) > 1]
    return {key: tuple(sorted(method for _, _, method in keys)) for keys in shared for key in keys}


def _outcome(cell: Cell) -> tuple[Any, ...]:
    """What methods with the same results agree on: all that is not measured with a clock, of every seed."""
    found = {name for result in cell.done for name in result.metrics}
    names = sorted(name for name in found if not name.startswith(MEASURED) and name not in CHOICE)
    figures = [(result.seed, *(result.metrics.get(name) for name in names)) for result in cell.done]
    return (cell.sparsity, *names, *figures)


def of_metric(name: str) -> Figure:
    """The figure of this name."""
    return lambda metrics: metrics.get(name)


def ratio_of(above: str, below: str) -> Figure:
    """One figure divided by another."""

    def ratio(metrics: Mapping[str, float]) -> float | None:
        return metrics[above] / metrics[below] if above in metrics and metrics.get(below) else None

    return ratio
