"""The primary metric in each runtime against measured latency, with the front of the rows there."""

from __future__ import annotations

from prunebench.leaderboard.metrics import metric_of
from prunebench.leaderboard.plots.marks import by_method
from prunebench.leaderboard.plots.runtimes import Measured, batches, front, labels, measured
from prunebench.leaderboard.plots.style import CONFIG, FAINT, INK, LEGEND, Spec, listed, of_card, of_svg, rounded
from prunebench.leaderboard.tables.sections import Section, percent

COLUMNS = 3
"""Panels beside each other."""
WIDTH, HEIGHT = 190, 150
FIELDS = ("runtime", "method", "target", "metric", "latency", "dense / this", "size")
NOTES = "a panel for each runtime", "line: the front, rows that none beats in time", "black: the dense network"


def title(section: Section) -> str:
    return f"Test {section.metric.label} against measured latency"


def fronts(section: Section) -> Spec | None:
    """A panel for each runtime, of passes with the first number of examples; None where nothing was measured."""
    panels = [panel for label in labels(section) if (panel := _panel(section, label))]
    if not panels:
        return None
    return {
        "description": f"{title(section)}: {section.title}. The tables of runtimes have the same figures.",
        "padding": 4,
        "concat": panels,
        "columns": COLUMNS,
        "spacing": {"row": 16, "column": 20},
        "config": CONFIG,
        "usermeta": {
            "title": title(section),
            "caption": f"{title(section)}: {section.title}; {'; '.join(NOTES)}.",
            "wide": True,
        },
    }


def fronts_card(section: Section) -> Spec | None:
    """The same as an SVG, with a legend."""
    spec = fronts(section)
    if spec is None:
        return None
    spec = spec | {"concat": of_svg(spec["concat"], LEGEND | {"orient": "bottom", "columns": COLUMNS})}
    return of_card(spec, f"{section.title}: {title(section).lower()}", *NOTES)


def _panel(section: Section, label: str) -> Spec | None:
    sizes = batches(section, label)
    rows = measured(section, label, sizes[0]) if sizes else []
    best = {id(one) for one in front(rows)}
    values = [_value(one, id(one) in best) for one in rows if one.latency is not None and one.metric is not None]
    if not values:
        return None
    words = f"milliseconds for {sizes[0]} example{'s' * (sizes[0] > 1)}"
    across = {"field": "x", "type": "quantitative", "scale": {"type": "log", "padding": 12}, "axis": _axis(words)}
    metric = section.metric
    high = {
        "field": "y",
        "type": "quantitative",
        "scale": {"zero": False, "padding": 12},
        "axis": {"title": f"{metric.label} there {metric.unit}".rstrip()},
    }
    return {
        "title": {"text": label, "fontSize": 11, "offset": 4, "frame": "group"},
        "width": WIDTH,
        "height": HEIGHT,
        "data": {"values": values},
        "layer": [_line(across, high), _points(section, across, high), _dense(across, high)],
    }


def _axis(words: str) -> Spec:
    return {"title": words, "format": ".2~g", "labelOverlap": "greedy", "tickCount": 4}


def _value(one: Measured, in_front: bool) -> Spec:
    metric, ratio, size = metric_of(one.row), one.timed("speedup"), one.get("size_bytes")
    value = metric.factor * (one.metric or 0.0)
    return {
        "runtime": one.label,
        "method": one.row["method"],
        "target": f"{percent(one.row['target_sparsity'])} %",
        "metric": f"{value:.{metric.decimals}f} {metric.unit}".rstrip(),
        "latency": f"{one.latency:.3g} ms",
        "dense / this": "" if ratio is None else f"{ratio:.2f}×",
        "size": "" if size is None else f"{size / 1000:,.1f} kB",
        "x": rounded(one.latency or 0.0),
        "y": rounded(value, 8),
        "control": bool(one.row["control"]),
        "front": in_front,
    }


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
        "mark": {"type": "point", "filled": True, "size": 60},
        "encoding": {"x": across, "y": high, "color": color, "shape": shape, "tooltip": listed(*FIELDS)},
    }


def _dense(across: Spec, high: Spec) -> Spec:
    return {
        "transform": [{"filter": "datum.control"}],
        "mark": {"type": "point", "filled": True, "shape": "square", "size": 60, "color": INK},
        "encoding": {"x": across, "y": high, "tooltip": listed(*FIELDS)},
    }
