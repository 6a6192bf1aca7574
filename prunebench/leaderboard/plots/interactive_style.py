"""What all interactive plots of a leaderboard look like; colours are the page's variables, light and dark."""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]
"""A Vega-Lite specification. Its `usermeta` says what the page adds to it:

title, caption     above and below the plot
methods            a legend of buttons: looks of methods, shown while the param `shown` lists them
controls           lists to choose from: the param that each sets, its label, its options
key                the classes of a heat map's colours, sparsest first
table              columns of the data as a table: title, field, and the place in it where it is a list
"""

FONT = "system-ui, sans-serif"
"""The page's, by name: the size of a text is measured before it stands in the page."""
INK, FAINT, GRID = "var(--ink)", "var(--faint)", "var(--grid)"
CONFIG: Spec = {
    "background": None,
    "font": FONT,
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
        "labelOverlap": "greedy",
        "labelSeparation": 6,
    },
    "header": {
        "labelAnchor": "start",
        "labelColor": INK,
        "labelFontSize": 12,
        "labelFontWeight": "bold",
        "titleColor": INK,
    },
}


def told(*names: str) -> list[Spec]:
    """What is said of a mark that is pointed at: fields of its data."""
    return [{"field": name, "type": "nominal"} for name in names]


def control(param: str, label: str, options: list[Spec], chosen: int = 0) -> list[Spec]:
    """A list to choose from, where there is anything to choose."""
    found = {"param": param, "label": label, "options": options, "chosen": chosen}
    return [found] if len(options) > 1 else []


def rounded(value: float, digits: int = 6) -> float:
    """As many digits as a page needs: a third of its size otherwise is noise."""
    return float(f"{value:.{digits}g}")
