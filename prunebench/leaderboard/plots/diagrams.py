"""The critical-difference diagram of methods across tasks, after Demšar (2006)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prunebench.leaderboard.plots.style import CONFIG, FAINT, INK, Spec, of_card
from prunebench.leaderboard.ranks import Ranking

WIDTH, SIDE, LINE, BAR = 660, 225, 18, 12
"""Pixels: of the plot, of the labels on each side, between labels, and between bars."""
AXIS = 24
TITLE = "Mean ranks across tasks"


def diagram(ranking: Ranking) -> Spec:
    """Mean ranks on an axis, the best on the left; a bar joins methods that do not differ significantly."""
    labels = list(ranking.ranks)
    half = math.ceil(len(labels) / 2)
    bars = BAR * len(ranking.groups)
    axis = {"x": _place(1, labels), "y": AXIS, "x2": _place(len(labels), labels), "y2": AXIS}
    ticks = range(1, len(labels) + 1, max(1, math.ceil(len(labels) / 10)))
    marks = [{"x": _place(rank, labels), "y": AXIS - 5, "x2": _place(rank, labels), "y2": AXIS} for rank in ticks]
    numbers = [{"x": _place(rank, labels), "y": AXIS - 8, "text": str(rank)} for rank in ticks]
    named = list(_labels(ranking, AXIS + 20 + bars, half))
    return {
        "description": f"{TITLE}. The table has the same figures.",
        "width": WIDTH,
        "height": AXIS + 20 + bars + LINE * half,
        "padding": 4,
        "data": {"values": []},
        "layer": [
            _rules([axis, *marks], color=INK),
            _rules([line for lines, _ in named for line in lines], color=FAINT),
            _rules(list(_bars(ranking)), color=INK, strokeWidth=4),
            _texts(numbers, align="center", baseline="bottom"),
            _texts([said for _, said in named[:half]], align="right", baseline="middle"),
            _texts([said for _, said in named[half:]], align="left", baseline="middle"),
        ],
        "config": CONFIG,
        "usermeta": {"title": TITLE, "caption": f"{TITLE}: {_said(ranking)}.", "wide": True},
    }


def diagram_card(ranking: Ranking) -> Spec:
    """The same as an SVG."""
    return of_card(diagram(ranking), _said(ranking), changes={"width": WIDTH})


def _place(rank: float, labels: list[str]) -> float:
    return round(SIDE + (rank - 1) / max(len(labels) - 1, 1) * (WIDTH - 2 * SIDE), 2)


def _bars(ranking: Ranking) -> Iterator[Spec]:
    """A line for each group, below the axis."""
    labels = list(ranking.ranks)
    for index, group in enumerate(ranking.groups):
        first, last = (_place(ranking.ranks[label], labels) for label in (group[0], group[-1]))
        y = AXIS + 10 + BAR * index
        yield {"x": first - 4, "y": y, "x2": last + 4, "y2": y}


def _labels(ranking: Ranking, top: int, half: int) -> Iterator[tuple[list[Spec], Spec]]:
    """For each method the lines from its rank to its name, and the name: the better half on the left."""
    labels = list(ranking.ranks)
    for index, (label, rank) in enumerate(ranking.ranks.items()):
        best = index < half
        y = top + LINE * (index if best else len(labels) - 1 - index)
        spot, edge = _place(rank, labels), SIDE - 10 if best else WIDTH - SIDE + 10
        down, across = {"x": spot, "y": AXIS, "x2": spot, "y2": y}, {"x": spot, "y": y, "x2": edge, "y2": y}
        said = f"{label}  {rank:.2f}" if best else f"{rank:.2f}  {label}"
        yield [down, across], {"x": edge + (-4 if best else 4), "y": y, "text": said}


def _rules(values: list[Spec], **mark: object) -> Spec:
    ends = {"x2": {"field": "x2"}, "y2": {"field": "y2"}}
    return {"data": {"values": values}, "mark": {"type": "rule", **mark}, "encoding": {**_at(), **ends}}


def _texts(values: list[Spec], **mark: object) -> Spec:
    text = {"type": "text", "fontSize": 12, "color": INK, "limit": SIDE - 20, **mark}
    return {"data": {"values": values}, "mark": text, "encoding": {**_at(), "text": {"field": "text"}}}


def _at() -> Spec:
    """In pixels."""
    return {name: {"field": name, "type": "quantitative", "scale": None, "axis": None} for name in ("x", "y")}


def _said(ranking: Ranking) -> str:
    if math.isinf(ranking.critical):
        return f"mean ranks over {ranking.blocks} blocks: no difference is shown"
    return f"mean ranks over {ranking.blocks} blocks, critical difference {ranking.critical:.2f}"
