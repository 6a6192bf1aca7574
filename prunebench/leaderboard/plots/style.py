"""What all plots look like: on a page, whose style sheet has the colours, and as an SVG, which has its own."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

Spec = dict[str, Any]
"""A Vega-Lite specification. Its `usermeta` is what the page adds to it:

title, caption     above and below the plot; without a caption, that of the Markdown page is below it
methods            a legend of buttons by family: looks of methods, shown while the param `shown` lists them
controls           lists to choose from: the param that each sets, its label, its options
key                the classes of a heat map's colours, sparsest first
wide               whether the plot keeps its width, and scrolls where the page is narrower
table              columns of the data as a table: title, field, and the place in it where it is a list
"""

STYLE_SHEET = Path(__file__).parents[1] / "templates" / "style.css"
INK, FAINT, GRID, CARD = "var(--ink)", "var(--faint)", "var(--grid)", "var(--card)"
FONT = "system-ui, sans-serif"
"""The page's, by name: the size of a text is measured before it is in the page."""
SVG_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The first is part of vl-convert, so the layout does not depend on the machine; the others have its widths."""
SHADE = 60
"""Percent of a colour in its shade."""
COLUMN = 30
"""Letters of a legend's line."""
LINE = 105
"""Letters of a subtitle's line."""
CONFIG: Spec = {
    "background": None,
    "font": FONT,
    "title": {"anchor": "start", "color": INK},
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
SVG_CONFIG: Spec = CONFIG | {
    "background": CARD,
    "font": SVG_FONT,
    "aria": False,
    "padding": 14,
    "axis": CONFIG["axis"] | {"labelFontSize": 11, "titlePadding": 8},
    "text": {"color": INK},
    "title": CONFIG["title"]
    | {
        "frame": "bounds",
        "fontSize": 14,
        "offset": 12,
        "subtitleColor": INK,
        "subtitleFontSize": 11,
        "subtitlePadding": 5,
    },
}
_TEXTS = ("data", "domain", "params", "sort")
"""Parts that have text of the results, which is left as it is."""
_COLOR = re.compile(r"--([\w-]+): (#[0-9a-f]{6})")


def listed(*names: str) -> list[Spec]:
    """The tooltip of a mark: fields of its data."""
    return [{"field": name, "type": "nominal"} for name in names]


def control(param: str, label: str, options: list[Spec], chosen: int = 0) -> list[Spec]:
    """A list to choose from, where there is anything to choose."""
    found = {"param": param, "label": label, "options": options, "chosen": chosen}
    return [found] if len(options) > 1 else []


def rounded(value: float, digits: int = 6) -> float:
    """As many digits as a page needs: a third of its size otherwise is noise."""
    return float(f"{value:.{digits}g}")


def of_card(spec: Spec, title: str, *notes: str, changes: Spec | None = None) -> Spec:
    """The form of a specification for an SVG: a titled white card in the light colours, without the page's additions.

    Args:
        notes: sentences below the title.
    """
    kept = {name: part for name, part in spec.items() if name not in ("width", "autosize", "padding", "usermeta")}
    heading: Spec = {"text": title}
    if any(notes):
        heading["subtitle"] = wrapped("; ".join(filter(None, notes)), LINE)
    found: Spec = of_svg(kept | {"config": SVG_CONFIG} | (changes or {}))
    return found | {"title": heading}


def of_svg(part: Any) -> Any:
    """A part of a specification in the light colours, without what only a page can say."""
    if isinstance(part, list):
        return [of_svg(one) for one in part]
    if not isinstance(part, dict):
        return _light().get(part, part) if isinstance(part, str) else part
    return {
        name: value if name in _TEXTS else of_svg(value)
        for name, value in part.items()
        if name not in ("tooltip", "description", "cursor")
    }


def inked(color: str) -> str:
    """A shade of a colour that is nearer to that of text, in light and dark."""
    return f"color-mix(in srgb, {color} {SHADE}%, {INK})"


@cache
def _light() -> dict[str, str]:
    """The light colours of the style sheet and their shades, by the expression that a page has for each."""
    found = _COLOR.findall(STYLE_SHEET.read_text("utf-8").partition("@media")[0])
    colors = {f"var(--{name})": color for name, color in found}
    return colors | {inked(name): _mixed(color, colors[INK]) for name, color in colors.items()}


def _mixed(color: str, other: str) -> str:
    pairs = zip(bytes.fromhex(color[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + "".join(f"{round((SHADE * one + (100 - SHADE) * two) / 100):02x}" for one, two in pairs)


def wrapped(text: str, width: int = COLUMN) -> list[str]:
    """Lines of at most so many letters, broken between words where that is possible."""
    import textwrap

    return textwrap.wrap(text, width)
