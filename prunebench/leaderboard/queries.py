"""Rows that satisfy conditions such as `training_cost<=1.2, sparsity>=0.9`, sorted by a column, the best first."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from prunebench.api.errors import BoardError
from prunebench.api.objectives import Metric
from prunebench.leaderboard.metrics import from_text
from prunebench.leaderboard.reported import STATUS
from prunebench.messages.suggestions import near

SHORT = {
    "cost": "training_cost",
    "size": "size_bytes",
    "latency": "latency_ms",
    "seconds": "wall_seconds",
    "flops": "inference_flops",
}
"""Short names of columns."""
DESCENDING = ("target_sparsity", "sparsity", "speedup", "compression", "latency_ratio", "n", "pairs", "difference")
"""Columns whose highest value is the best; of all others but metrics it is the lowest."""
SAME_SPARSITY = 5e-4
"""Counted sparsities differ from those asked for by the rounding to whole weights; it stays below this."""
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|==|!=|<|>|=)\s*([^\s<>=!].*?)\s*")


@dataclass(frozen=True)
class Condition:
    """A comparison of a column with a number."""

    column: str
    comparison: str
    number: float

    def holds(self, frame: pd.DataFrame) -> Any:
        """For each row whether it has the figure and satisfies the condition."""
        values = frame[self.column].astype(float)
        limit = self.number
        if self.column == "sparsity":
            values = (values / SAME_SPARSITY).round()
            limit = round(limit / SAME_SPARSITY)
        return COMPARISONS[self.comparison](values, limit) & values.notna()


def numeric_names(frame: pd.DataFrame) -> dict[str, str]:
    """The columns of numbers by the names that conditions may use: their own, short ones, and those of the metrics."""
    own = {str(name): str(name) for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name])}
    own.pop("control", None)
    own.pop("told_apart", None)
    metrics = {metric.name: "metric_mean" for metric in _primary(frame)}
    return own | {short: name for short, name in SHORT.items() if name in own} | metrics


def parse_conditions(text: str, frame: pd.DataFrame) -> list[Condition]:
    """The conditions of a text, separated by commas. Raises BoardError, which names the part that is wrong."""
    return [_parsed(part, numeric_names(frame)) for part in text.split(",")]


def _parsed(part: str, names: Mapping[str, str]) -> Condition:
    found = _CONDITION.fullmatch(part)
    if found is None:
        raise BoardError(
            f"--where: {part.strip()!r} is not a name, a comparison and a number, such as training_cost<=1.2; "
            f"comparisons are {' '.join(COMPARISONS)}, and conditions are separated by commas"
        )
    name, comparison, number = found.groups()
    if name not in names:
        raise BoardError(f"--where: a board has no column of numbers {name!r}{near(name, sorted(names))}")
    percent = number.endswith("%")
    try:
        value = float(number.removesuffix("%"))
    except ValueError:
        raise BoardError(f"--where: {number!r} in {part.strip()!r} is not a number") from None
    return Condition(names[name], comparison, value / 100 if percent else value)


def query(frame: pd.DataFrame, where: str | None = None, sort: str | None = None) -> pd.DataFrame:
    """The rows that satisfy all conditions, sorted by a column, the best first and rows without a value last.

    Reported rows are left out, as they are not ranked.

    Args:
        frame: the rows, from `table`.
        where: conditions, such as `training_cost<=1.2, sparsity>=0.9`; the names are those of columns of numbers, of
            metrics, and `cost`, `size`, `latency`, `seconds` and `flops`.
        sort: such a name; with a minus before it the worst come first.

    Raises BoardError for a condition or name that is not understood.
    """
    found = frame[frame["status"] != STATUS]
    for condition in parse_conditions(where, frame) if where else ():
        found = found[condition.holds(found)]
    if not sort:
        return found
    names, name = numeric_names(frame), sort.removeprefix("-")
    if name not in names:
        raise BoardError(f"--sort: a board has no column of numbers {name!r}{near(name, sorted(names))}")
    descending = _is_descending(names[name], _primary(frame)) != sort.startswith("-")
    return found.sort_values(names[name], ascending=not descending, kind="stable", na_position="last")


def named_columns(frame: pd.DataFrame, where: str | None = None, sort: str | None = None) -> tuple[str, ...]:
    """The columns that conditions and order are about."""
    conditions = parse_conditions(where, frame) if where else []
    order = [numeric_names(frame)[sort.removeprefix("-")]] if sort else []
    return (*(condition.column for condition in conditions), *order)


def _primary(frame: pd.DataFrame) -> Sequence[Metric]:
    return list(dict.fromkeys(from_text(text)[0] for text in frame["objective"]))


def _is_descending(column: str, metrics: Sequence[Metric]) -> bool:
    if column != "metric_mean":
        return column in DESCENDING
    if len({metric.direction for metric in metrics}) > 1:
        raise BoardError(
            "--sort: the tasks of this board have metrics of different directions; choose one with --where"
        )
    return any(metric.direction == "higher" for metric in metrics)
