"""The metrics of a task as the board needs them: in its rows, as words, and what a small difference is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from prunebench.api.objectives import ACCURACY, TOP5, Metric
from prunebench.records.results import Result

Objective = tuple[Metric, ...]
"""The metrics of a task, the primary one first."""

MARGIN = 0.01
"""What is a small difference: one point of a percentage, 1 % of any other metric."""


def objective_of(results: Iterable[Result]) -> Objective:
    """The metrics that the newest done result declares, or has, if it is from before there were objectives."""
    done = [result for result in results if result.status == "done"]
    if not done:
        return (ACCURACY,)
    newest = max(done, key=lambda result: (result.finished, result.trial))
    declared = {metric.name for metric in newest.objective}
    added = [TOP5] if TOP5.name not in declared and any(TOP5.name in result.metrics for result in done) else []
    return (*newest.objective, *added)


def as_text(objective: Objective) -> str:
    """The metrics as a cell of a table."""
    return json.dumps([asdict(metric) for metric in objective])


@lru_cache(maxsize=256)
def from_text(text: str | None) -> Objective:
    """The metrics that such a cell describes."""
    return tuple(Metric(**values) for values in json.loads(text)) if text else (ACCURACY,)


def metric_of(row: Mapping[str, Any]) -> Metric:
    """The primary metric of a row."""
    return from_text(row.get("objective"))[0]


def is_percentage(metric: Metric) -> bool:
    return metric.unit == "%"


def margin(metric: Metric, best: float) -> float:
    """How far behind the best mean a small difference is, as stored."""
    return MARGIN if is_percentage(metric) else MARGIN * abs(best)


def margin_words(metric: Metric) -> str:
    return "one point" if is_percentage(metric) else f"{MARGIN:.0%} of it"


def title(metric: Metric) -> str:
    """Its name with its unit: `accuracy %`, `perplexity`."""
    return f"{metric.label} {metric.unit}".rstrip()


def difference_title(metric: Metric) -> str:
    """Of a column of differences to the dense network."""
    return "points above dense" if is_percentage(metric) else f"above dense {metric.unit}".rstrip()


def worded(metric: Metric) -> str:
    """What a caption says of its values: `accuracy in percent`, `perplexity (lower is better)`."""
    unit = " in percent" if is_percentage(metric) else f" in {metric.unit}" if metric.unit else ""
    return f"{metric.label}{unit}" + (" (lower is better)" if metric.direction == "lower" else "")
