"""What curves and costs are made of: looks of methods, points, scales and marks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunebench.api.objectives import Metric
from prunebench.leaderboard.metrics import is_percentage, metric_of
from prunebench.leaderboard.plots.style import CONFIG, FAINT, INK, Spec, listed, rounded
from prunebench.leaderboard.tables.sections import Row, Section, deviating, percent, spread

COLORS = 8
"""Series of the style sheet: Okabe and Ito's colours, and three of Tol's, which differ for any colour vision. On paper
marker and line differ too."""
CROSS = (
    "M-0.7,-0.35L-0.35,-0.7L0,-0.35L0.35,-0.7L0.7,-0.35L0.35,0L0.7,0.35L0.35,0.7L0,0.35L-0.35,0.7L-0.7,0.35L-0.35,0Z"
)
HEXAGON = "M0.8,0L0.4,0.7L-0.4,0.7L-0.8,0L-0.4,-0.7L0.4,-0.7Z"
TRIANGLES = ("triangle-up", "triangle-down", "triangle-left", "triangle-right")
SHAPES = ("circle", "square", TRIANGLES[0], "diamond", TRIANGLES[1], "cross", CROSS, *TRIANGLES[2:], HEXAGON)
DASHES = ([1, 0], [7, 4], [7, 3, 2, 3], [2, 3])
COLLAPSE = 0.3
"""Methods this far apart, as a share of the best possible value, are on an axis that is logarithmic in the error."""
LEAST_ERROR = 1e-4
"""Of the best possible value: an error on such an axis is not below it."""
ACCURACIES = (0, 10, 30, 50, 70, 80, 85, 90, 93, 95, 96, 97, 98, 98.5, 99, 99.3, 99.5, 99.7, 99.9)
"""Percent at which such an axis has a tick."""
STEPS = tuple(float(f"{step}e{decade}") for decade in range(-6, 13) for step in (1, 2, 5))
"""Values at which a logarithmic axis has a tick."""
CROWD = 10
"""Of more methods than this an SVG has a panel each."""
EVERY = "every sparsity"


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


PERCENT = 100.0
LOGARITHMIC = " (logarithmic in the error)"


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


# Methods and their points


def is_plotted(section: Section) -> bool:
    """Whether there is anything to plot."""
    return any(drawn(rows) for rows in section.methods.values())


def drawn(rows: Mapping[float, Row], column: str = "metric_mean") -> list[Row]:
    """The rows that have a place in a plot, by sparsity."""
    return [row for _, row in sorted(rows.items()) if row[column] is not None and density(row) > 0]


def density(row: Row) -> float:
    """Share of the weights that is kept: as counted, or as asked for where it was not counted."""
    return 1.0 - float(row["target_sparsity"] if row["sparsity"] is None else row["sparsity"])


def looks(section: Section) -> list[Spec]:
    """The methods by rank, with colour, shape and line; a method keeps its look when the ranking changes."""
    places = {label: place for place, label in enumerate(sorted(section.methods))}
    return [
        {
            "method": label,
            "color": places[label] % COLORS,
            "shape": SHAPES[places[label] % len(SHAPES)],
            "dash": DASHES[places[label] // COLORS % len(DASHES)],
        }
        for label in section.methods
        if drawn(section.methods[label])
    ]


def points(section: Section, measure: Measure) -> list[Spec]:
    """A point for each row that has one, with what is said of it."""
    return [
        point(row, measure) | {"level": section.sparsities.index(row["target_sparsity"])}
        for look in looks(section)
        for row in drawn(section.methods[look["method"]], measure.column)
    ]


def point(row: Row, measure: Measure) -> Spec:
    early, metric = row["early_stop_step"] is not None, metric_of(row)
    there = deviating(row, "early_stop_metric", metric.factor, metric.decimals)
    words = {
        "method": row["method"],
        "target": f"{percent(row['target_sparsity'])} %",
        "sparsity": "" if row["sparsity"] is None else f"{100 * row['sparsity']:.2f} %",
        metric.label: f"{spread(row, 0)} {metric.unit}".rstrip(),
        "above dense": "" if row["difference"] is None else _above_dense(row["difference"], metric),
        "training cost": f"{row['training_cost']:.3g}×" if row["training_cost"] is not None else "",
        "early stop": deviating(row, "early_stop_step", 1, 0) if early else "",
        f"{metric.label} there": f"{there} {metric.unit}".rstrip() if early else "",
        "ticket": row["ticket"] or "",
        "seeds": f"{row['n']}",
        "status": row["status"],
    }
    place = {
        "density": rounded(density(row), 8),
        "cost": row["training_cost"],
        "center": measure.of(row),
        "low": measure.of(row, -1),
        "high": measure.of(row, +1),
        "merit": measure.sign * measure.of(row),
        "complete": row["status"] == "done",
        "told": f"{row['method']} at {words['target']}: {words[measure.subject]}",
    }
    return {name: words[name] for name in measure.fields} | place


def _above_dense(difference: float, metric: Metric) -> str:
    unit = "points" if is_percentage(metric) else metric.unit
    return f"{metric.factor * difference:+.{metric.decimals}f} {unit}".rstrip()


def of_dense(section: Section, measure: Measure) -> Row | None:
    """The row of the dense network, where it has this figure."""
    return next((row for row in section.controls[:1] if row[measure.column] is not None), None)


# Channels


def by_method(section: Section, look: str) -> Spec:
    """The channel that encodes the method, without a legend: the page has one for all plots."""
    methods = looks(section)
    return {
        "field": "method",
        "type": "nominal",
        "scale": {
            "domain": [one["method"] for one in methods],
            "range": [f"var(--series-{one[look]})" if look == "color" else one[look] for one in methods],
        },
        "legend": None,
    }


def lit(plain: float, behind: float, before: float | None = None) -> Spec:
    """Opacity: a method that is pointed at in the legend is shown before the others.

    Args:
        plain: while none is.
        behind: of the others.
        before: of the method; as `plain` otherwise.
    """
    return {
        "condition": [
            {"test": "lit === ''", "value": plain},
            {"test": "lit === datum.method", "value": before or plain},
        ],
        "value": behind,
    }


# Layers


def dotted(**changes: Any) -> Spec:
    return {"type": "rule", "strokeDash": [2, 3], "strokeWidth": 1.5, "color": FAINT, **changes}


def dense_layers(section: Section, measure: Measure) -> list[Spec]:
    """The dense network as a horizontal line, with its band."""
    row = of_dense(section, measure)
    if row is None:
        return []
    band = {"mark": {"type": "rect", "color": INK, "opacity": 0.09}, "encoding": measure.between}
    line = {
        "mark": dotted(color=INK),
        "encoding": {
            "y": measure.encoding(),
            "tooltip": listed(*measure.fields),
            "description": {"field": "told"},
        },
    }
    values = [point(row, measure)]
    return [{"data": {"values": values}, "transform": measure.placed, **layer} for layer in (band, line)]


def line_layer(across: Spec, measure: Measure, paint: Spec, **mark: Any) -> Spec:
    """The means of a method, joined by sparsity."""
    order = {"field": "density", "sort": "descending"}
    return {
        "mark": {"type": "line", "strokeWidth": 2, **mark},
        "encoding": {"x": across, "y": measure.encoding(), "order": order, **paint},
    }


def point_layer(across: Spec, measure: Measure, paint: Spec, **mark: Any) -> Spec:
    """A mark for each row, hollow where seeds are missing."""
    return {
        "mark": {"type": "point", "filled": True, "size": 70, "strokeWidth": 1.8, "cursor": "pointer", **mark},
        "encoding": {
            "x": across,
            "y": measure.encoding(),
            "fillOpacity": {"condition": {"test": "datum.complete", "value": 1}, "value": 0},
            "tooltip": listed(*measure.fields),
            "description": {"field": "told", "type": "nominal"},
            **paint,
        },
    }


def chart(section: Section, measure: Measure, values: Sequence[Spec], title: str, layers: Sequence[Spec]) -> Spec:
    """The layers as a plot of a page, with a legend of those methods that it has."""
    methods, there = looks(section), {value["method"] for value in values}
    return {
        "description": f"{title}: {section.title}. The tables of this task have the same figures.",
        "width": "container",
        "height": 380,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": 4,
        "data": {"values": list(values)},
        "params": [
            {"name": "picked", "value": {"level": -1, "logarithmic": False}},
            {"name": "shown", "value": [one["method"] for one in methods]},
            {"name": "lit", "value": ""},
        ],
        "transform": [{"filter": "indexof(shown, datum.method) >= 0"}, *measure.placed],
        "layer": [*dense_layers(section, measure), *layers],
        "config": CONFIG,
        "usermeta": {"title": title, "methods": [one for one in methods if one["method"] in there]},
    }


def explained(section: Section, measure: Measure, values: Iterable[Spec]) -> list[str]:
    """What an SVG says of its lines and marks, where it has them."""
    row = of_dense(section, measure)
    dense = f"dotted: {row['method']}" if row else ""
    return [dense, "" if all(value["complete"] for value in values) else "hollow: seeds are missing"]
