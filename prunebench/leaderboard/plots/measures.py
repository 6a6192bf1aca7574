"""The vertical axis of a plot: the primary metric, at the end or at early stopping, or the iteration of that."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prunebench.api.objectives import Metric
from prunebench.leaderboard.plots.style import Spec, rounded
from prunebench.leaderboard.tables.sections import Row, Section

COLLAPSE = 0.3
"""Methods this far apart, as a share of the best possible value, are on an axis that is logarithmic in the error."""
LEAST_ERROR = 1e-4
"""Of the best possible value: an error on such an axis is not below it."""
ACCURACIES = (0, 10, 30, 50, 70, 80, 85, 90, 93, 95, 96, 97, 98, 98.5, 99, 99.3, 99.5, 99.7, 99.9)
"""Percent at which such an axis has a tick."""
STEPS = tuple(float(f"{step}e{decade}") for decade in range(-6, 13) for step in (1, 2, 5))
"""Values at which a logarithmic axis has a tick."""
PERCENT = 100.0
LOGARITHMIC = " (logarithmic in the error)"


@dataclass(frozen=True)
class Axis:
    """How values, as they are shown, become heights: as they are, by their logarithm, or by that of their error."""

    best: float | None = None
    """The best possible value, to which an error is the distance, if the axis can be logarithmic in the error."""
    logarithmic: bool = False
    whole: bool = False
    """Whether values are integers."""

    def height(self, value: float, collapsed: bool) -> float:
        """Where a value is on the axis.

        Args:
            collapsed: whether the axis is logarithmic in the error now.
        """
        if self.logarithmic:
            return math.log10(value)
        if self.best is not None and collapsed:
            return -math.log10(max(self.best - value, LEAST_ERROR * self.best))
        return value

    def expression(self, value: str, collapsed: str) -> str:
        """The same in Vega's language."""
        if self.logarithmic:
            return f"log({value}) / LN10"
        if self.best is None:
            return value
        least = LEAST_ERROR * self.best
        return f"{collapsed} ? -log(max({self.best:g} - {value}, {least:g})) / LN10 : {value}"

    def ticks(self, title: str, collapsed: str, every: int) -> Spec:
        """The axis in Vega-Lite, with a label for each so many-th tick of a logarithmic one."""
        if self.logarithmic:
            places = [rounded(math.log10(value)) for value in STEPS]
            return {"title": title, "values": places[::every], "labelExpr": "format(pow(10, datum.value), '.4~g')"}
        if self.whole:
            return {"title": title, "tickMinStep": 1, "format": ",d"}
        if self.best is None:
            return {"title": title}
        values = ACCURACIES if self.best == PERCENT else [self.best - step * self.best for step in STEPS[::-1]]
        places = [rounded(self.height(value, True)) for value in reversed(values) if self.best - value > 0]
        return {
            "title": title,
            "values": {"expr": f"{collapsed} ? {json.dumps(places[::every])} : null"},
            "labelExpr": f"{collapsed} ? format({self.best:g} - pow(10, -datum.value), '.4~g') : "
            f"datum.value > {self.best:g} ? '' : format(datum.value, '.4~g')",
        }


@dataclass(frozen=True)
class Measure:
    """A column of the rows as the vertical axis of a plot."""

    column: str
    deviation: str
    scale: float
    """What values are multiplied by to be shown."""
    title: str
    heading: str
    """Of its plot against sparsity."""
    fields: tuple[str, ...]
    """Of a point's tooltip."""
    subject: str
    """That of them which a point is named by."""
    axis: Axis
    sign: int = 1
    """1 if higher values are better, -1 if lower ones are."""
    collapsed: str = "picked.logarithmic"
    """Whether the axis is logarithmic in the error, as an expression."""
    every: int = 1
    """Of a logarithmic axis each so many-th tick is shown."""

    def of(self, row: Row, deviations: int = 0) -> float:
        """The value of a row, or what is so many deviations from it."""
        center = self.scale * row[self.column]
        value = center + deviations * self.scale * (row[self.deviation] or 0.0)
        if self.axis.logarithmic:
            value = max(value, center / 10, 1e-300)  # a band may reach below 0, where there is no logarithm
        if self.axis.whole or self.axis.best == PERCENT:
            value = max(value, 0.0)
        return rounded(value if self.axis.best is None else min(value, self.axis.best), 8)

    def collapse(self, rows: Iterable[Row]) -> bool:
        """Whether some methods are so far below others that the axis is to be logarithmic in the error."""
        found = [self.scale * row[self.column] for row in rows if row[self.column] is not None]
        return self.axis.best is not None and bool(found) and max(found) - min(found) >= COLLAPSE * self.axis.best

    def note(self, rows: Iterable[Row]) -> str:
        """What the title of an axis adds of its scale."""
        return " (logarithmic)" if self.axis.logarithmic else LOGARITHMIC if self.collapse(rows) else ""

    def height(self, value: float, collapsed: bool) -> float:
        return self.axis.height(value, collapsed)

    def encoding(self, field: str = "at", **scale: Any) -> Spec:
        """The vertical place of what `placed` has computed."""
        scale = {"zero": False, "nice": False, "padding": 8} | scale
        axis = self.axis.ticks(self.title, self.collapsed, self.every)
        return {"field": field, "type": "quantitative", "scale": scale, "axis": axis}

    @property
    def between(self) -> Spec:
        """From a deviation below to a deviation above."""
        return {"y": self.encoding("least"), "y2": {"field": "most"}}

    @property
    def placed(self) -> list[Spec]:
        """The transforms that say where mean and deviations are on the axis."""
        places = (("center", "at"), ("low", "least"), ("high", "most"))
        return [
            {"calculate": self.axis.expression(f"datum.{name}", self.collapsed), "as": place} for name, place in places
        ]


def primary(section: Section) -> Measure:
    """The primary metric at the end of training."""
    metric = section.metric
    fields = ("method", "target", "sparsity", metric.label, "above dense", "training cost", "seeds", "status")
    return Measure(
        "metric_mean",
        "metric_std",
        metric.factor,
        axis_title(metric),
        f"Test {metric.label} against sparsity",
        fields,
        metric.label,
        _axis_of(metric),
        metric.sign,
    )


def early_primary(section: Section) -> Measure:
    """The primary metric at the iteration of early stopping."""
    metric = section.metric
    return Measure(
        "early_stop_metric",
        "early_stop_metric_std",
        metric.factor,
        axis_title(metric, " at early stopping"),
        f"Test {metric.label} at early stopping against sparsity",
        _early_fields(metric),
        f"{metric.label} there",
        _axis_of(metric),
        metric.sign,
    )


def early_stop(section: Section) -> Measure:
    """The iteration of early stopping."""
    title = "iteration of early stopping"
    return Measure(
        "early_stop_step",
        "early_stop_step_std",
        1.0,
        title,
        f"{title.capitalize()} against sparsity",
        _early_fields(section.metric),
        "early stop",
        Axis(whole=True),
        -1,
    )


def axis_title(metric: Metric, where: str = "") -> str:
    return f"test {metric.label}{where}" + (f", {metric.unit}" if metric.unit else "")


def _early_fields(metric: Metric) -> tuple[str, ...]:
    return ("method", "target", "sparsity", "early stop", f"{metric.label} there", "ticket", "seeds", "status")


def _axis_of(metric: Metric) -> Axis:
    if metric.scale == "log":
        return Axis(logarithmic=True)
    known = metric.direction == "higher" and metric.best is not None and metric.best > 0
    return Axis(best=metric.factor * metric.best if known and metric.best else None)
