"""Heat maps: a cell for each value, coloured by class, with its number in it."""

from __future__ import annotations

from collections.abc import Sequence

from prunebench.leaderboard.plots.style import FAINT, Spec, rounded

LINE = 22
"""Pixels of a cell's line."""
LONGEST = 28
"""Letters of a method's or a layer's name that fit."""


def cells(across: Spec, down: Spec, width: int, colors: Spec, tooltip: list[Spec]) -> Spec:
    """A cell for each value, and its number in it: colour is a help and not the message."""
    scale = {"paddingInner": 0.06, "paddingOuter": 0}
    place = {"x": {**across, "scale": scale}, "y": {**down, "scale": scale}}
    label = {"type": "text", "fontSize": 11, "baseline": "middle"}
    return {
        "width": {"step": width},
        "height": {"step": LINE},
        "layer": [
            {
                "mark": {"type": "rect", "cornerRadius": 2},
                "encoding": {
                    **place,
                    "fill": colors["fill"],
                    "tooltip": tooltip,
                    "description": {"field": "told", "type": "nominal"},
                },
            },
            {
                "mark": label | {"aria": False},
                "encoding": {
                    **place,
                    "text": {"field": "said", "type": "nominal"},
                    "color": colors["ink"],
                    "tooltip": tooltip,
                },
            },
        ],
    }


def colored(field: str, bounds: Sequence[float], where: str = "") -> Spec:
    """Classes of a share, as colours behind numbers; what has none is faint."""
    found = {}
    for channel, name, other in (("fill", "heat", "transparent"), ("ink", "heat-ink", FAINT)):
        colors = [f"var(--{name}-{index})" for index in range(len(bounds) + 1)]
        scale = {"type": "threshold", "domain": list(bounds), "range": colors}
        color: Spec = {"field": field, "type": "quantitative", "scale": scale, "legend": None}
        found[channel] = {"condition": {"test": where, **color}, "value": other} if where else color
    return found


def key(bounds: Sequence[float]) -> list[str]:
    return [f"< {bounds[0]:g} %", *(f"≥ {bound:g} %" for bound in bounds)]


def axis(angle: int, label: str = "") -> Spec:
    """Without a title: the labels say what they are."""
    found: Spec = {"title": None, "labelExpr": label or shortened("datum.label"), "labelLimit": 220}
    return found | {
        "labelOverlap": False,
        "domain": False,
        "ticks": False,
        "labelAngle": angle,
        "labelPadding": 6,
        "grid": False,
    }


def shortened(name: str) -> str:
    """An expression for as much of a name as fits: its beginning and its end."""
    half = LONGEST // 2
    return f"length({name}) > {LONGEST} ? slice({name}, 0, {half}) + '…' + slice({name}, {1 - half}) : {name}"


def percentage(share: float | None) -> float | None:
    """Of a layer that lost a weight less than 100, however large it is."""
    if share is None:
        return None
    return min(rounded(100 * share), 99.9999) if share < 1 else rounded(100 * share)


def number(name: str, fraction: float = 10.0) -> str:
    """A percentage as short as a cell needs it; what is nearly all is not said to be all.

    Args:
        fraction: below this it has digits behind the point.
    """
    nearly, small = f"datum.{name} >= 99.5 && datum.{name} < 100", f"datum.{name} > 0 && datum.{name} < {fraction:g}"
    digits = "'.1~f'" if fraction < 1 else "'.2~g'"
    return f"{nearly} ? '>99' : {small} ? format(datum.{name}, {digits}) : format(datum.{name}, '.0f')"
