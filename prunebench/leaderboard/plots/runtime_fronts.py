"""The primary metric in each runtime against measured latency, or the size of the files, with the front there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prunebench.leaderboard.metrics import metric_of
from prunebench.leaderboard.plots.labels import haloed, with_legend
from prunebench.leaderboard.plots.marks import by_method
from prunebench.leaderboard.plots.runtimes import Measured, batches, front, labels, measured
from prunebench.leaderboard.plots.style import CONFIG, FAINT, INK, Spec, listed, of_card, rounded
from prunebench.leaderboard.tables.sections import Section, percent

COLUMNS = 3
"""Panels beside each other."""
WIDTH, HEIGHT, SPACING = 190, 150, 20
FIELDS = ("runtime", "method", "target", "metric", "latency", "dense / this", "FLOPs", "size", "memory")
NOTES = (
    "a panel for each runtime",
    "line: the front, rows that no other one beats there",
    "in the colour of text: the dense network",
)
PADDING = 16
"""Pixels of a panel above its highest point, and below its lowest."""
TEXT, BELOW, ABOVE = 9, 11, -8
"""Pixels of a name: its size, and how far it is from its point."""


@dataclass(frozen=True)
class Axis:
    """What is drawn from left to right."""

    file: str
    """What the plot's file ends with."""
    words: str
    """In the title, behind the metric and `against`."""
    unit: str
    """Below the panels, with the number of examples for `{}`."""
    of: Callable[[Measured], float | None]


LATENCY = Axis("-runtimes", "measured latency", "milliseconds for {}", lambda one: one.latency)
SIZE = Axis("-sizes", "the size of its files", "kB", lambda one: _scaled(one.get("size_bytes"), 1e-3))
AXES = (LATENCY, SIZE)


def title(section: Section, axis: Axis = LATENCY) -> str:
    return f"Test {section.metric.label} against {axis.words}"


def fronts(section: Section, axis: Axis = LATENCY) -> Spec | None:
    """A panel for each runtime, of passes with the first number of examples; None where nothing was measured."""
    panels = [panel for label in labels(section) if (panel := _panel(section, label, axis))]
    if not panels:
        return None
    plots = {"concat": panels, "columns": COLUMNS, "spacing": {"row": 16, "column": SPACING}}
    methods = {value["method"] for panel in panels for value in panel["data"]["values"]}
    width = min(COLUMNS, len(panels)) * (WIDTH + SPACING)
    return with_legend(section, plots, methods, width, lines=False) | {
        "description": f"{title(section, axis)}: {section.title}. The tables of runtimes have the same figures.",
        "padding": 4,
        "config": CONFIG,
        "usermeta": {
            "title": title(section, axis),
            "caption": f"{title(section, axis)}: {section.title}; {'; '.join(NOTES)}.",
            "wide": True,
        },
    }


def fronts_card(section: Section, axis: Axis = LATENCY) -> Spec | None:
    """The same as an SVG."""
    spec = fronts(section, axis)
    return spec and of_card(spec, f"{section.title}: {title(section, axis).lower()}", *NOTES)


def _panel(section: Section, label: str, axis: Axis) -> Spec | None:
    sizes = batches(section, label)
    rows = measured(section, label, sizes[0]) if sizes else []
    best = front(rows, axis.of)
    order = {id(one): place for place, one in enumerate(best)}
    values = [
        _value(one, axis, order.get(id(one), -1)) for one in rows if axis.of(one) is not None and one.metric is not None
    ]
    if not values:
        return None
    middle = math.sqrt(min(one["x"] for one in values) * max(one["x"] for one in values))
    values = [
        value | {"left": value["x"] <= middle, "name": value["name"] * named} for value, named in _with_room(values)
    ]
    words = axis.unit.format(f"{sizes[0]} example{'s' * (sizes[0] > 1)}")
    across = {
        "field": "x",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 20},
        "axis": _axis(words),
    }
    metric = section.metric
    high = {
        "field": "y",
        "type": "quantitative",
        "scale": {"zero": False, "padding": PADDING},
        "axis": {"title": f"{metric.label} there {metric.unit}".rstrip()},
    }
    return {
        "title": {"text": label, "fontSize": 11, "offset": 4, "frame": "group"},
        "width": WIDTH,
        "height": HEIGHT,
        "data": {"values": values},
        "layer": [_line(across, high), _points(section, across, high), _dense(across, high), *_names(across, high)],
    }


def _with_room(values: Sequence[Spec]) -> list[tuple[Spec, bool]]:
    """Each point, and whether its name is written: of the front, both ends first, where no other name is beside it."""
    lowest, highest = min(one["y"] for one in values), max(one["y"] for one in values)
    pixels = (HEIGHT - 2 * PADDING) / (highest - lowest or 1.0)

    def line(one: Spec) -> float:
        return float(one["y"] * pixels - (BELOW if one["first"] else ABOVE))

    front = sorted((one for one in values if one["front"]), key=lambda one: one["x"])
    named: list[Spec] = []
    for one in [*front[:1], *front[-1:], *front[1:-1]]:
        if one in named or all(abs(line(one) - line(other)) >= TEXT + 1 for other in named):
            named.append(one)
    return [(one, one in named) for one in values]


def _axis(words: str) -> Spec:
    return {"title": words, "format": "~g", "labelOverlap": "greedy", "tickCount": 4}


def _value(one: Measured, axis: Axis, place: int) -> Spec:
    """A point.

    Args:
        place: in the front, from 0 on; -1 behind it.
    """
    metric, ratio, theory = metric_of(one.row), one.timed("speedup"), one.row["speedup"]
    size, memory = _scaled(one.get("size_bytes"), 1e-3), _scaled(one.get("peak_memory_bytes"), 1e-6)
    value, target = metric.factor * (one.metric or 0.0), f"{percent(one.row['target_sparsity'])} %"
    return {
        "runtime": one.label,
        "method": one.row["method"],
        "target": target,
        "metric": f"{value:.{metric.decimals}f} {metric.unit}".rstrip(),
        "latency": f"{one.latency:.3g} ms",
        "dense / this": "" if ratio is None else f"{ratio:.2f}×",
        "FLOPs": "" if theory is None else f"{theory:.3g}×",
        "size": "" if size is None else f"{size:,.1f} kB",
        "memory": "" if memory is None else f"{memory:.1f} MB",
        "x": rounded(axis.of(one) or 0.0),
        "y": rounded(value, 8),
        "name": one.row["method"] if one.row["control"] else f"{one.row['method']} {target}",
        "control": bool(one.row["control"]),
        "front": place >= 0,
        "first": place == 0,
    }


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _line(across: Spec, high: Spec) -> Spec:
    """Steps, as between two rows nothing is known."""
    return {
        "transform": [{"filter": "datum.front"}],
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.5, "color": FAINT},
        "encoding": {"x": across, "y": high, "order": {"field": "x"}},
    }


def _points(section: Section, across: Spec, high: Spec) -> Spec:
    color, shape = by_method(section, "color"), by_method(section, "shape")
    return {
        "transform": [{"filter": "!datum.control"}],
        "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
        "encoding": {"x": across, "y": high, "color": color, "shape": shape, "tooltip": listed(*FIELDS)},
    }


def _dense(across: Spec, high: Spec) -> Spec:
    return {
        "transform": [{"filter": "datum.control"}],
        "mark": {"type": "point", "filled": True, "shape": "square", "size": 60, "color": INK, "opacity": 1},
        "encoding": {"x": across, "y": high, "tooltip": listed(*FIELDS)},
    }


def _names(across: Spec, high: Spec) -> list[Spec]:
    """The names of the front's rows, within the panel: above their points, and the first below it."""
    mark = {
        "baseline": "alphabetic",
        "fontSize": TEXT,
        "color": INK,
        "align": {"expr": "datum.left ? 'left' : 'right'"},
        "dx": {"expr": "datum.left ? -3 : 3"},
        "dy": {"expr": f"datum.first ? {BELOW} : {ABOVE}"},
    }
    return haloed([{"filter": "datum.front"}], {"x": across, "y": high, "text": {"field": "name"}}, **mark)
