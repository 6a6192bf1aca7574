"""Accuracy against sparsity and against cost, and early stopping against sparsity, as Vega-Lite specifications."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prunebench.leaderboard.plots.curves import (
    ACCURACIES,
    COLLAPSE,
    CROWD,
    LEAST_ERROR,
    LINES,
    MARKERS,
    PALETTE,
    density,
    looks,
)
from prunebench.leaderboard.plots.interactive_style import CONFIG, FAINT, INK, Spec, control, rounded, told
from prunebench.leaderboard.tables.evidence import deviating
from prunebench.leaderboard.tables.sections import Row, Section, percent, spread

HEIGHT = 380
CROSS = (
    "M-0.7,-0.35L-0.35,-0.7L0,-0.35L0.35,-0.7L0.7,-0.35L0.35,0L0.7,0.35L0.35,0.7L0,0.35L-0.35,0.7L-0.7,0.35L-0.35,0Z"
)
HEXAGON = "M0.8,0L0.4,0.7L-0.4,0.7L-0.8,0L-0.4,-0.7L0.4,-0.7Z"
TRIANGLES = ("triangle-up", "triangle-down", "triangle-left", "triangle-right")
SHAPES = ("circle", "square", TRIANGLES[0], "diamond", TRIANGLES[1], "cross", CROSS, *TRIANGLES[2:], HEXAGON)
"""Those of the SVG, in the order of its MARKERS."""
DASHES = ([1, 0], [7, 4], [7, 3, 2, 3], [2, 3])
EVERY = "every sparsity"
PERCENT = 100.0
DEPTHS = [rounded(-math.log10(max(PERCENT - accuracy, LEAST_ERROR))) for accuracy in reversed(ACCURACIES)]
"""Accuracies that an axis has marks at which is logarithmic in the error, the best first: it keeps its label."""
SAID = ("method", "target", "sparsity", "accuracy", "above dense", "training cost", "seeds", "status")
SAID_EARLY = ("method", "target", "sparsity", "early stop", "accuracy there", "ticket", "seeds", "status")


@dataclass(frozen=True)
class Heights:
    """What a plot shows upwards: a figure of the rows, and how it is scaled."""

    figure: str
    deviation: str
    scale: float
    most: float
    title: str
    note: str = ""
    """What the title adds on the scale."""

    def of(self, row: Row, deviations: int = 0) -> float:
        """The figure of a row, or what is so many deviations from it."""
        value = self.scale * (row[self.figure] + deviations * (row[self.deviation] or 0.0))
        return rounded(min(max(value, 0.0), self.most), 8)

    def collapse(self, rows: Sequence[Row]) -> bool:
        """Whether some methods are so far below others that the axis is logarithmic in the error, as in the SVG."""
        found = [row[self.figure] for row in rows if row[self.figure] is not None]
        return self.most == PERCENT and bool(found) and max(found) - min(found) >= COLLAPSE

    def encoding(self, field: str = "at") -> Spec:
        axis: Spec = {"title": self.title + self.note}
        if self.most == PERCENT:
            axis |= {
                "values": {"expr": f"picked.logarithmic ? {json.dumps(DEPTHS)} : null"},
                "labelExpr": "format(picked.logarithmic ? 100 - pow(10, -datum.value) : datum.value, '.4~g')",
            }
        else:
            axis |= {"tickMinStep": 1, "format": ",d"}
        scale = {"zero": False, "nice": False, "padding": 8}
        return {"field": field, "type": "quantitative", "scale": scale, "axis": axis}

    @property
    def between(self) -> Spec:
        return {"y": self.encoding("least"), "y2": {"field": "most"}}


_DEPTH = "picked.logarithmic ? -log(max(100 - datum.{0}, {1})) / LN10 : datum.{0}"
PLACED = [
    {"calculate": _DEPTH.format(name, LEAST_ERROR), "as": place}
    for name, place in (("center", "at"), ("low", "least"), ("high", "most"))
]
"""Where a figure stands on the axis."""


ACCURACY = Heights("accuracy_mean", "accuracy_std", 100.0, PERCENT, "test accuracy, %")
EARLY_STOP = Heights("early_stop_step", "early_stop_step_std", 1.0, math.inf, "iteration of early stopping")
EARLY_ACCURACY = Heights(
    "early_stop_accuracy", "early_stop_accuracy_std", 100.0, PERCENT, "test accuracy at early stopping, %"
)


def accuracy_specification(section: Section) -> Spec:
    """Test accuracy against sparsity: means, and bands of one sample standard deviation."""
    return _against_sparsity(section, ACCURACY, "Test accuracy against sparsity", SAID)


def early_stop_specification(section: Section) -> Spec:
    """The iteration of the lowest validation loss against sparsity."""
    return _against_sparsity(section, EARLY_STOP, "Iteration of early stopping against sparsity", SAID_EARLY)


def early_accuracy_specification(section: Section) -> Spec:
    """Test accuracy at that iteration against sparsity."""
    title = "Test accuracy at early stopping against sparsity"
    return _against_sparsity(section, EARLY_ACCURACY, title, SAID_EARLY)


def cost_specification(section: Section) -> Spec:
    """Test accuracy against training cost, as a multiple of one dense training; of one sparsity the Pareto front."""
    points = [point for point in _points(section, ACCURACY, SAID) if point["cost"]]
    options, chosen = _choices(section, points)
    noted = any(option["value"]["logarithmic"] for option in options)
    heights = replace(ACCURACY, note="; logarithmic in the error where methods collapse" if noted else "")
    across = _costs(points)
    reach = {
        "mark": {"type": "rule", "strokeWidth": 2.5},
        "encoding": {"x": across, **heights.between, **_color(section), "opacity": _lit(0.35, 0.05)},
    }
    once = {"data": {"values": [{"cost": 1}]}, "mark": _dotted(), "encoding": {"x": across}}
    below = [once, _front(across, heights), reach, _lines(section, across, heights)]
    marks = _marks(section, across, heights, SAID)
    spec = _specification(section, heights, points, "Test accuracy against training cost", below, marks)
    spec["params"][0]["value"] = options[chosen]["value"]
    spec["transform"].append({"filter": "picked.level < 0 || datum.level === picked.level"})
    spec["usermeta"]["controls"] = control("picked", "sparsity", options, chosen)
    spec["usermeta"]["caption"] = (
        f"Test accuracy against training cost: {section.title}. Grey, at one sparsity: the Pareto front of the methods "
        "shown, those that none beats at no more cost. Bars: one sample standard deviation. Dotted: the dense network, "
        "and its cost. The tables of this part have the same figures."
    )
    return spec


def _choices(section: Section, points: Sequence[Mapping[str, Any]]) -> tuple[list[Spec], int]:
    """The sparsities to choose from, and the number of the highest at which most methods have a point."""
    counts = Counter(point["level"] for point in points)
    options: list[Spec] = []
    for level, sparsity in enumerate(section.sparsities):
        rows = [*section.controls[:1], *(row for row in section.rows if row["target_sparsity"] == sparsity)]
        value = {"level": level, "logarithmic": ACCURACY.collapse(rows)}
        if counts[level]:
            options.append({"text": f"{percent(sparsity)} %", "value": value})
    found = [counts[option["value"]["level"]] for option in options]
    chosen = max(range(len(found)), key=lambda index: (found[index], index), default=0)
    every = {"level": -1, "logarithmic": ACCURACY.collapse(section.rows)}
    return [*options, {"text": EVERY, "value": every}], chosen


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


# Points


def _points(section: Section, heights: Heights, said: Sequence[str]) -> list[dict[str, Any]]:
    return [
        _point(row, heights, said) | {"level": section.sparsities.index(sparsity)}
        for label in looks(section)
        for sparsity, row in sorted(section.methods[label].items())
        if row[heights.figure] is not None and density(row) > 0
    ]


def _point(row: Row, heights: Heights, said: Sequence[str]) -> dict[str, Any]:
    early = row["early_stop_step"] is not None
    words = {
        "method": row["method"],
        "target": f"{percent(row['target_sparsity'])} %",
        "sparsity": "" if row["sparsity"] is None else f"{100 * row['sparsity']:.2f} %",
        "accuracy": f"{spread(row, 2)} %",
        "above dense": "" if row["difference"] is None else f"{100 * row['difference']:+.2f} points",
        "training cost": f"{row['training_cost']:.3g}×" if row["training_cost"] is not None else "",
        "early stop": deviating(row, "early_stop_step", 1, 0) if early else "",
        "accuracy there": f"{deviating(row, 'early_stop_accuracy', 100, 2)} %" if early else "",
        "ticket": row["ticket"] or "",
        "seeds": f"{row['n']}",
        "status": row["status"],
    }
    figure = {"accuracy_mean": "accuracy", "early_stop_step": "early stop"}.get(heights.figure, "accuracy there")
    place = {
        "density": rounded(density(row), 8),
        "cost": row["training_cost"],
        "center": heights.of(row),
        "low": heights.of(row, -1),
        "high": heights.of(row, +1),
        "complete": row["status"] == "done",
        "told": f"{row['method']} at {words['target']}: {words[figure]}",
    }
    return {name: words[name] for name in said} | place


# Scales


def _sparsities(section: Section, points: Sequence[Mapping[str, Any]]) -> Spec:
    """Logarithmic in the share that is kept, labelled with the sparsities asked for; the highest keep their labels."""
    asked = sorted(1 - sparsity for sparsity in section.sparsities if sparsity < 1)
    found = [*asked, *(point["density"] for point in points)]
    axis = {
        "title": "sparsity, %",
        "values": [rounded(one, 8) for one in asked],
        "labelExpr": "format(100 * (1 - datum.value), '.5~g')",
        "grid": False,
    }
    scale = {"type": "log", "domain": [min(found) / 1.15, max(found) * 1.15], "reverse": True, "nice": False}
    return {"field": "density", "type": "quantitative", "scale": scale, "axis": axis}


def _costs(points: Sequence[Mapping[str, Any]]) -> Spec:
    costs = [1.0, *(point["cost"] for point in points)]
    decades = range(math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs))) + 1)
    axis = {
        "title": "training cost, in dense trainings",
        "labelExpr": "format(datum.value, '~g') + '×'",
        "values": [float(f"{step}e{decade}") for decade in decades for step in (1, 2, 5)],
        "grid": False,
    }
    scale = {"type": "log", "domain": [min(costs) / 1.4, max(costs) * 1.4], "nice": False}
    return {"field": "cost", "type": "quantitative", "scale": scale, "axis": axis}


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


def _lit(plain: float, behind: float, before: float | None = None) -> Spec:
    """Opacity: a method that is pointed at in the legend comes before the others.

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


# Marks


def _against_sparsity(section: Section, heights: Heights, title: str, said: Sequence[str]) -> Spec:
    logarithmic = heights.collapse(section.rows)
    heights = replace(heights, note=" (logarithmic in the error)" if logarithmic else "")
    points = _points(section, heights, said)
    across = _sparsities(section, points)
    plain = 0.14 if len(looks(section)) <= CROWD else 0.05
    bounds = {"x": across, **heights.between, **_color(section), "opacity": _lit(plain, 0.0, 0.22)}
    below = [{"mark": {"type": "area"}, "encoding": bounds}, _lines(section, across, heights)]
    spec = _specification(section, heights, points, title, below, _marks(section, across, heights, said))
    spec["params"][0]["value"] = {"level": -1, "logarithmic": logarithmic}
    return spec


def _specification(
    section: Section,
    heights: Heights,
    points: Sequence[Mapping[str, Any]],
    title: str,
    below: Sequence[Spec],
    marks: Spec,
) -> Spec:
    methods = looked_up(section)
    there = {point["method"] for point in points}
    return {
        "description": f"{title}: {section.title}. The tables of this task have the same figures.",
        "width": "container",
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": 4,
        "data": {"values": points},
        "params": [
            {"name": "picked", "value": {"level": -1, "logarithmic": False}},
            {"name": "shown", "value": [one["method"] for one in methods]},
            {"name": "lit", "value": ""},
        ],
        "transform": [{"filter": "indexof(shown, datum.method) >= 0"}, *PLACED],
        "layer": [*_dense(section, heights), *below, marks],
        "config": CONFIG,
        "usermeta": {
            "title": title,
            "caption": f"{title}: {section.title}. Bands: one sample standard deviation. Dotted: the dense network. "
            "The tables of this part have the same figures.",
            "methods": [one for one in methods if one["method"] in there],
        },
    }


def _lines(section: Section, across: Spec, heights: Heights) -> Spec:
    return {
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {
            "x": across,
            "y": heights.encoding(),
            "order": {"field": "density", "sort": "descending"},
            **_color(section),
            "strokeDash": _scale("method", looked_up(section), "dash"),
            "opacity": _lit(1.0, 0.12),
        },
    }


def _marks(section: Section, across: Spec, heights: Heights, said: Sequence[str]) -> Spec:
    return {
        "mark": {"type": "point", "filled": True, "size": 70, "strokeWidth": 1.8, "cursor": "pointer"},
        "encoding": {
            "x": across,
            "y": heights.encoding(),
            **_color(section),
            "shape": _scale("method", looked_up(section), "shape"),
            "fillOpacity": {"condition": {"test": "datum.complete", "value": 1}, "value": 0},
            "opacity": _lit(1.0, 0.12),
            "tooltip": told(*said),
            "description": {"field": "told", "type": "nominal"},
        },
    }


def _front(across: Spec, heights: Heights) -> Spec:
    """The complete rows of one sparsity that none beats at no more cost: steps, as between them nothing is known."""
    order = [{"field": "cost"}, {"field": "center", "order": "descending"}, {"field": "method"}]
    return {
        "transform": [
            {"filter": "picked.level >= 0 && datum.complete"},
            {"window": [{"op": "max", "field": "center", "as": "best"}], "sort": order},
            {"window": [{"op": "lag", "field": "best", "as": "before"}], "sort": order},
            {"filter": "!isValid(datum.before) || datum.center > datum.before"},
        ],
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 6, "opacity": 0.35, "color": FAINT},
        "encoding": {"x": across, "y": heights.encoding(), "order": {"field": "cost"}},
    }


def _dense(section: Section, heights: Heights) -> list[Spec]:
    """The dense network as a horizontal line, with its band."""
    rows = [row for row in section.controls[:1] if row[heights.figure] is not None]
    if not rows:
        return []
    said = SAID if heights.figure == "accuracy_mean" else SAID_EARLY
    point = _point(rows[0], heights, said)
    band = {"mark": {"type": "rect", "color": INK, "opacity": 0.09}, "encoding": heights.between}
    line = {
        "mark": _dotted() | {"color": INK},
        "encoding": {"y": heights.encoding(), "tooltip": told(*said), "description": {"field": "told"}},
    }
    return [{"data": {"values": [point]}, "transform": PLACED, **layer} for layer in (band, line)]


def _dotted() -> Spec:
    return {"type": "rule", "strokeDash": [2, 3], "strokeWidth": 1.5, "color": FAINT}
