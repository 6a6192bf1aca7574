"""The plots of a leaderboard as Vega-Lite specifications, for a page with scripts; the SVGs show the same figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from prunebench.leaderboard.plots import (
    ACCURACIES,
    COLLAPSE,
    LEAST_ERROR,
    LINES,
    MARKERS,
    PALETTE,
    is_plotted,
    looks,
)
from prunebench.leaderboard.sections import Row, Section, percent, sections, spread

Spec = dict[str, Any]

HEIGHT = 380
CROSS = (
    "M-0.7,-0.35L-0.35,-0.7L0,-0.35L0.35,-0.7L0.7,-0.35L0.35,0L0.7,0.35L0.35,0.7L0,0.35L-0.35,0.7L-0.7,0.35L-0.35,0Z"
)
HEXAGON = "M0.8,0L0.4,0.7L-0.4,0.7L-0.8,0L-0.4,-0.7L0.4,-0.7Z"
TRIANGLES = ("triangle-up", "triangle-down", "triangle-left", "triangle-right")
SHAPES = ("circle", "square", TRIANGLES[0], "diamond", TRIANGLES[1], "cross", CROSS, *TRIANGLES[2:], HEXAGON)
"""Those of the SVG, in the order of its MARKERS."""
DASHES = ([1, 0], [7, 4], [7, 3, 2, 3], [2, 3])
INK, FAINT, GRID = "var(--ink)", "var(--faint)", "var(--grid)"
CONFIG: Spec = {
    "background": None,
    "font": "inherit",
    "view": {"stroke": None},
    "axis": {
        "domainColor": FAINT,
        "gridColor": GRID,
        "labelColor": INK,
        "labelFontSize": 12,
        "tickColor": FAINT,
        "titleColor": INK,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelOverlap": True,
    },
}


def specifications(frame: pd.DataFrame) -> dict[str, Spec]:
    """By the name of the file that shows the same without scripts."""
    found = {}
    for section in filter(is_plotted, sections(frame)):
        found[f"{section.file}.svg"] = accuracy_specification(section)
        found[f"{section.file}-cost.svg"] = cost_specification(section)
    return found


def accuracy_specification(section: Section) -> Spec:
    """Test accuracy against sparsity: means, and bands of one sample standard deviation."""
    densities = sorted({point["density"] for point in _points(section)})
    edges = [densities[0] / 1.15, densities[-1] * 1.15]
    axis = {"title": "sparsity, %", "values": densities, "labelExpr": "format(100 * (1 - datum.value), '.5~g')"}
    across = {
        "field": "density",
        "type": "quantitative",
        "scale": {"type": "log", "domain": edges, "reverse": True, "nice": False},
        "axis": axis | {"grid": False},
    }
    bounds = {"x": across, **_between(section), **_color(section)}
    band = {"mark": {"type": "area", "opacity": 0.14}, "encoding": bounds}
    return _specification(section, across, "Test accuracy against sparsity", [band])


def cost_specification(section: Section) -> Spec:
    """Test accuracy against training cost, as a multiple of one dense training."""
    costs = [1.0, *(point["cost"] for point in _points(section) if point["cost"])]
    decades = range(math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs))) + 1)
    axis = {
        "title": "training cost, in dense trainings",
        "labelExpr": "format(datum.value, '~g') + '×'",
        "values": [float(f"{step}e{decade}") for decade in decades for step in (1, 2, 5)],
    }
    across = {
        "field": "cost",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 24},
        "axis": axis | {"grid": False},
    }
    bounds = {"x": across, **_between(section), **_color(section)}
    reach = {"mark": {"type": "rule", "opacity": 0.35, "strokeWidth": 2.5}, "encoding": bounds}
    once = {"data": {"values": [{"cost": 1}]}, "mark": _dotted(), "encoding": {"x": {**across, "field": "cost"}}}
    return _specification(section, across, "Test accuracy against training cost", [once, reach])


def looked_up(section: Section) -> list[dict[str, Any]]:
    """The methods in the order of the ranking, each with the numbers of its colour, shape and line."""
    return [
        {
            "method": label,
            "color": PALETTE.index(look.color),
            "shape": SHAPES[MARKERS.index(look.marker)],
            "dash": DASHES[LINES.index(look.line)],
        }
        for label, look in looks(section).items()
    ]


def _specification(section: Section, across: Spec, title: str, below: Sequence[Spec]) -> Spec:
    methods = looked_up(section)
    points = [point for point in _points(section) if point.get(across["field"])]
    line = {
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {
            "x": across,
            "y": _upwards(section),
            "order": {"field": "density", "sort": "descending"},
            **_color(section),
            "strokeDash": _scale("method", methods, "dash"),
        },
    }
    marks = {
        "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "strokeWidth": 1.8, "cursor": "pointer"},
        "encoding": {
            "x": across,
            "y": _upwards(section),
            **_color(section),
            "shape": _scale("method", methods, "shape"),
            "fillOpacity": {"condition": {"test": "datum.complete", "value": 1}, "value": 0},
            "tooltip": [{"field": name, "type": "nominal"} for name in TOLD],
            "description": {"field": "told", "type": "nominal"},
        },
    }
    return {
        "description": f"{title}: {section.title}. The tables of this task have the same figures.",
        "width": "container",
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": 4,
        "data": {"values": points},
        "params": [{"name": "shown", "value": [one["method"] for one in methods]}],
        "transform": [{"filter": "indexof(shown, datum.method) >= 0"}],
        "layer": [*_dense(section), *below, line, marks],
        "config": CONFIG,
        "usermeta": {"methods": methods, "controls": [row["method"] for row in section.controls[:1]]},
    }


TOLD = ("method", "target", "sparsity", "accuracy", "above dense", "training cost", "seeds", "status")
"""What is said of a point that is pointed at."""


def _points(section: Section) -> list[dict[str, Any]]:
    return [
        _point(row, section)
        for label in looks(section)
        for _, row in sorted(section.methods[label].items())
        if row["accuracy_mean"] is not None and _density(row) > 0
    ]


def _density(row: Row) -> float:
    return 1.0 - float(row["target_sparsity"] if row["sparsity"] is None else row["sparsity"])


def _point(row: Row, section: Section) -> dict[str, Any]:
    center, reach = 100 * row["accuracy_mean"], 100 * (row["accuracy_std"] or 0.0)
    cost = f"{row['training_cost']:.3g}×" if row["training_cost"] is not None else ""
    said = {
        "method": row["method"],
        "target": f"{percent(row['target_sparsity'])} %",
        "sparsity": "" if row["sparsity"] is None else f"{100 * row['sparsity']:.2f} %",
        "accuracy": f"{spread(row, 2)} %",
        "above dense": "" if row["difference"] is None else f"{100 * row['difference']:+.2f} points",
        "training cost": cost,
        "seeds": f"{row['n']}",
        "status": row["status"],
    }
    place = {
        "density": _density(row),
        "cost": row["training_cost"],
        "at": _height(section, center),
        "low": _height(section, max(0.0, center - reach)),
        "high": _height(section, min(100.0, center + reach)),
        "complete": row["status"] == "done",
        "told": f"{row['method']} at {said['target']}: {said['accuracy']}",
    }
    return said | place


def _upwards(section: Section) -> Spec:
    """Accuracy; where methods collapse, logarithmic in the error, as in the SVG."""
    title, axis = "test accuracy, %", {}
    if _collapses(section):
        title += " (logarithmic in the error)"
        heights = [_height(section, tick) for tick in ACCURACIES]
        axis = {"values": heights, "labelExpr": "format(100 - pow(10, -datum.value), '.4~g')"}
    return {
        "field": "at",
        "type": "quantitative",
        "scale": {"zero": False, "nice": not axis, "padding": 8},
        "axis": {"title": title, **axis},
    }


def _collapses(section: Section) -> bool:
    accuracies = [row["accuracy_mean"] for row in section.rows if row["accuracy_mean"] is not None]
    return bool(max(accuracies) - min(accuracies) >= COLLAPSE)


def _height(section: Section, accuracy: float) -> float:
    """Where an accuracy in percent stands on the axis."""
    return -math.log10(max(100 - accuracy, LEAST_ERROR)) if _collapses(section) else accuracy


def _between(section: Section) -> Spec:
    return {"y": {**_upwards(section), "field": "low"}, "y2": {"field": "high"}}


def _dense(section: Section) -> list[Spec]:
    """The dense network as a horizontal line, with its band."""
    rows = [row for row in section.controls[:1] if row["accuracy_mean"] is not None]
    if not rows:
        return []
    point = _point(rows[0], section)
    upwards = _upwards(section)
    band = {"mark": {"type": "rect", "color": INK, "opacity": 0.09}, "encoding": _between(section)}
    told = [{"field": name, "type": "nominal"} for name in TOLD]
    line = {"mark": _dotted() | {"color": INK}, "encoding": {"y": upwards, "tooltip": told}}
    return [{"data": {"values": [point]}, **layer} for layer in (band, line)]


def _dotted() -> Spec:
    return {"type": "rule", "strokeDash": [2, 3], "strokeWidth": 1.5, "color": FAINT}


def _color(section: Section) -> Spec:
    methods = looked_up(section)
    colors = [{**one, "color": f"var(--series-{one['color']})"} for one in methods]
    return {"color": _scale("method", colors, "color")}


def _scale(field: str, methods: Sequence[Mapping[str, Any]], look: str) -> Spec:
    """A channel that says the method; the legend is the page's own."""
    domain = [one["method"] for one in methods]
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": domain, "range": [one[look] for one in methods]},
        "legend": None,
    }
