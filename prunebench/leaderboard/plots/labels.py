"""Names beside lines and points, moved apart where they would touch, and the legend of an SVG."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from prunebench.leaderboard.plots.marks import by_family, by_method, families, lit
from prunebench.leaderboard.plots.style import CARD, INK, Spec, wrapped
from prunebench.leaderboard.tables.sections import Section

SIZE, LETTER, WIDEST, LINE = 11, 5.8, 6.6, 13
"""Pixels of a name: its size, the width of a letter on average and in the wide fonts of some systems, and its line."""
GAP = 10
"""Pixels between a point and its name."""
ROOM = 190
"""Pixels beside a plot for names at most."""


def room(names: Collection[str]) -> int:
    """Pixels that these names take beside a plot."""
    return min(ROOM, round(GAP + WIDEST * max(map(len, names), default=0)))


def end_names(section: Section, height: int, width: str, view: str = "") -> list[Spec]:
    """The name of each method at the end of its line; beside the plot, where that is the highest sparsity.

    Args:
        height: of the plot.
        width: of the plot, as an expression; the param `room` is the width of the names beside it.
        view: the name of the plot, if it is a part of another one.
    """
    last = f"datum.level === {len(section.sparsities) - 1}"
    found: list[Spec] = [
        {"joinaggregate": [{"op": "max", "field": "level", "as": "end"}], "groupby": ["method"]},
        {"filter": "datum.level === datum.end"},
        *_placed("density", view),
        *_apart(height, ["level"]),
        {"calculate": f"{last} ? {width} + {GAP} : datum.across + {GAP}", "as": "start"},
    ]
    kept = {"type": "rule", "opacity": 0, "x": {"expr": width}, "x2": {"expr": f"{width} + room"}, "y": 0}
    limit = {"limit": {"expr": f"room - {GAP}"}}
    return [{"data": {"values": [{}]}, "mark": kept, "encoding": {}}, *_names(section, found, "left", -1, **limit)]


def point_names(section: Section, chosen: list[Spec], height: int, better: int, view: str = "") -> list[Spec]:
    """The names of a Pareto front's methods, to the left on the better side, where no point can be.

    Args:
        chosen: transforms that leave the points of the front.
        better: 1 if higher values are better, -1 if lower ones are.
    """
    found = [
        *chosen,
        *_placed("cost", view),
        *_apart(height, [], better),
        {"calculate": f"max(datum.across - 4, {LETTER} * length(datum.method))", "as": "start"},
    ]
    return _names(section, found, "right", LINE)


def _placed(across: str, view: str) -> list[Spec]:
    """Transforms that compute where a point is, in pixels."""
    name = f"{view}_" if view else ""
    return [
        {"calculate": f"scale('{name}x', datum.{across})", "as": "across"},
        {"calculate": f"scale('{name}y', datum.at)", "as": "down"},
    ]


def _apart(height: int, groups: list[str], better: int = 0) -> list[Spec]:
    """Transforms from where points are to `line`, where their names are: a line between two at least, in the plot.

    With d the place of each from above, less a line for each one that is higher, the running maximum of d moves names
    down only, its running minimum from below moves them up only, and their mean leaves crowded names in the middle.

    Args:
        better: 1 to move names up only, -1 down only, 0 for both.
    """
    order = {"sort": [{"field": "down"}, {"field": "method"}], "groupby": groups}
    shift = {1: "datum.least", -1: "datum.most", 0: "(datum.least + datum.most) / 2"}[better]
    return [
        {"window": [{"op": "row_number", "as": "place"}], **order},
        {"joinaggregate": [{"op": "count", "as": "count"}], "groupby": groups},
        {"calculate": f"min({LINE}, {height} / datum.count)", "as": "step"},
        {"calculate": f"datum.down - {better} * {GAP} - datum.place * datum.step", "as": "free"},
        {"window": [{"op": "max", "field": "free", "as": "most"}], "frame": [None, 0], **order},
        {"window": [{"op": "min", "field": "free", "as": "least"}], "frame": [0, None], **order},
        {
            "calculate": f"datum.place * datum.step + clamp({shift}, -datum.step, {height} - datum.count * datum.step)",
            "as": "line",
        },
    ]


def _names(section: Section, transform: list[Spec], align: str, near: int, **mark: Any) -> list[Spec]:
    """Names, with a line from the point to those that are not near it."""
    fill, faint = by_method(section, "ink"), {"opacity": lit(1.0, 0.12)}
    leader = {
        "transform": [*transform, {"filter": f"abs(datum.line - datum.down) > {near}"}],
        "mark": {"type": "rule", "strokeWidth": 0.8, "aria": False},
        "encoding": {
            "x": pixels("across"),
            "y": pixels("down"),
            "x2": {"field": "start"},
            "y2": {"field": "line"},
            "stroke": fill,
            "opacity": lit(0.6, 0.05),
        },
    }
    place = {"x": pixels("start"), "y": pixels("line"), "text": {"field": "method"}, **faint}
    return [leader, *haloed(transform, place | {"fill": fill}, align=align, dx=2 if align == "left" else 0, **mark)]


def haloed(transform: list[Spec], encoding: Spec, **mark: Any) -> list[Spec]:
    """Text that is legible on lines."""
    text = {"type": "text", "fontSize": SIZE, "baseline": "middle", "aria": False, **mark}
    plain = {name: channel for name, channel in encoding.items() if name != "fill"}
    halo = {"stroke": CARD, "strokeWidth": 3, "fill": CARD, "opacity": 0.7}
    return [
        {"transform": transform, "mark": text | halo, "encoding": plain},
        {"transform": transform, "mark": text, "encoding": encoding},
    ]


def pixels(field: str) -> Spec:
    return {"field": field, "type": "quantitative", "scale": None, "axis": None}


# The legend of an SVG

HEAD, SWATCH, SPACE, ROW = 126, 32, 16, 18
"""Pixels of the legend: for a family, of a method's line, between two methods, and between lines."""


def with_legend(
    section: Section, plot: Spec, methods: Collection[str], width: int, *, named: bool = True, lines: bool = True
) -> Spec:
    """A plot above its families, each with its methods, in the order of the ranking.

    Args:
        methods: those that the plot has.
        width: in pixels.
        named: whether methods are in it, or families alone.
        lines: whether the plot has lines.
    """
    heads, entries, height = _rows(section, methods, width, named)
    text = {"type": "text", "align": "left", "baseline": "middle", "fontSize": SIZE, "color": INK}
    at = {"x": pixels("x"), "y": pixels("y")}
    layers = [
        {"mark": {"type": "square", "size": 60, "opacity": 1}, "encoding": {**at, "fill": by_family(section)}},
        {"mark": text | {"dx": 10, "fontWeight": "bold"}, "encoding": {**at, "text": {"field": "family"}}},
    ]
    found = [{"data": {"values": heads}, **layer} for layer in layers]
    look = {"color": by_method(section, "color")}
    swatch = {"type": "rule", "strokeWidth": 2, "xOffset": 0, "x2Offset": 26}
    marks = [
        {"mark": swatch, "encoding": {**at, "x2": {"field": "x"}, **look, "strokeDash": by_method(section, "dash")}},
        {
            "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1, "xOffset": 13},
            "encoding": {**at, **look, "shape": by_method(section, "shape")},
        },
        {"mark": text | {"dx": SWATCH, "lineHeight": LINE}, "encoding": {**at, "text": {"field": "lines"}}},
    ]
    if named:
        found += [{"data": {"values": entries}, **layer} for layer in marks[not lines :]]
    key = {"width": width, "height": height, "layer": found}
    return {"vconcat": [plot, key], "resolve": {"scale": {"fill": "independent"}}}


def _rows(section: Section, methods: Collection[str], width: int, named: bool) -> tuple[list[Spec], list[Spec], int]:
    """Where families and methods are, and the height of all."""
    heads: list[Spec] = []
    entries: list[Spec] = []
    x, y, most = 0.0, ROW / 2, 1
    for family, own in families(section, methods).items():
        if named or x + HEAD > width:
            x, y, most = 0.0, y + (ROW + LINE * (most - 1)) * bool(heads), 1
        heads.append({"family": family, "x": x + 5, "y": y})
        x += HEAD + SPACE * (not named)
        for method in own if named else ():
            lines = wrapped(method)
            length = SWATCH + LETTER * max(map(len, lines)) + SPACE
            if x > HEAD and x + length > width:
                x, y, most = HEAD, y + ROW + LINE * (most - 1), 1
            entries.append({"method": method, "lines": lines, "x": x, "y": y + LINE * (len(lines) - 1) / 2})
            x, most = x + length, max(most, len(lines))
    return heads, entries, round(y + ROW / 2 + LINE * (most - 1))
