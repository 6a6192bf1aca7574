"""The best rows of a board, each with the trial that stands for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prunebench.leaderboard.metrics import metric_of
from prunebench.leaderboard.rows import table
from prunebench.leaderboard.selection import Selection
from prunebench.leaderboard.tables.sections import Row, sections, spread
from prunebench.leaderboard.tables.summary import best_row
from prunebench.records.results import Result


@dataclass(frozen=True)
class BestTrial:
    """A row with the best mean of its task and sparsity, and its trial with the median of the metric.

    Of an even number of seeds it is the lower one of the two in the middle.
    """

    row: Row
    result: Result

    @property
    def figures(self) -> str:
        """The row's mean and deviation as the board shows them, with the metric: accuracy 94.3 ± 0.2."""
        return f"{metric_of(self.row).label} {spread(self.row)}"


def best_trials(selection: Selection) -> Iterator[BestTrial]:
    """Of each task and sparsity with two complete rows or more."""
    for section in sections(table(selection)):
        for sparsity in section.sparsities:
            row = best_row(section, sparsity)
            if row is not None:
                yield BestTrial(row, _median([one for one in selection.results if _is_of(one, row)], row))


def _is_of(result: Result, row: Row) -> bool:
    place = (row["suite"], row["task"], row["method"], row["target_sparsity"])
    return (result.suite, result.task, result.method, result.sparsity) == place


def _median(results: list[Result], row: Row) -> Result:
    metric = metric_of(row)
    ranked = sorted(results, key=lambda one: (metric.sign * one.metrics[metric.name], one.seed))
    return ranked[(len(ranked) - 1) // 2]
