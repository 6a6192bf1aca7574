"""Layer densities and the overlap of masks as heat maps to choose from, as Vega-Lite specifications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prunebench.api.results import DENSITY, Result
from prunebench.leaderboard.overlaps import Overlap
from prunebench.leaderboard.plots.heatmaps import COLUMNS, LONGEST, layer_densities
from prunebench.leaderboard.plots.interactive_style import CONFIG, FAINT, Spec, control, rounded, told
from prunebench.leaderboard.plots.overlap_maps import caption, shown
from prunebench.leaderboard.tables.sections import Section, percent

CELL, LINE = 42, 22
"""Pixels of a cell, wide enough for its number."""
NARROW = 30
"""Of a cell without a fraction."""
KEPT = (0.15, 0.35, 0.75, 1.5, 3.5, 7.5, 15, 35, 75)
SHARED = (0.75, 1.5, 3.5, 7.5, 15, 25, 45, 65, 85)
"""Percent at which the colour changes: none that is often asked for, so that equal numbers look equal. The page has one
colour more, and an ink for each."""
EVERY = "every sparsity"
OVERLAP_COLUMNS: list[Spec] = [
    {"title": "method", "field": "method"},
    {"title": "other", "field": "other"},
    {"title": "target %", "field": "target", "number": True, "listed": True},
    {"title": "overlap %", "field": "overlap", "number": True},
    {"title": "by chance %", "field": "chance", "number": True},
    {"title": "pairs of masks", "field": "pairs of masks", "number": True},
]
SHORTENED = f"length(datum.label) > {LONGEST} ? '…' + slice(datum.label, 1 - {LONGEST}) : datum.label"


def layers_specification(section: Section, results: Sequence[Result]) -> Spec | None:
    """The share of weights that each layer keeps: of all methods at a sparsity, or of a method at all of them."""
    densities = layer_densities(section, results)
    if not densities:
        return None
    layers = list(dict.fromkeys(name for found in densities.values() for some in found.values() for name in some))
    methods = [label for label in section.methods if any(label in found for found in densities.values())]
    rows = _layer_rows(densities, methods, layers, _seeds(results))
    options, chosen = _views(rows, methods, len(layers))
    title = "Weights kept in each layer"
    return {
        "description": f"{title}: {section.title}. The table below has the same figures.",
        "padding": 4,
        "data": {"values": rows},
        "params": [{"name": "picked", "value": options[chosen]["value"]}, {"name": "layers", "value": layers}],
        "transform": _layers_shown(),
        "facet": {
            "column": {
                "field": "panel",
                "type": "nominal",
                "sort": {"field": "order", "op": "min"},
                "header": {"title": None},
            }
        },
        "spacing": 8,
        "spec": _cells(
            {"field": "layer", "type": "nominal", "sort": None, "axis": _axis(-90)},
            {"field": "row", "type": "nominal", "sort": {"field": "rank", "op": "min"}, "axis": _axis(0)},
            CELL,
            _coloured("kept", KEPT),
            told("method", "target", "layer", "weights kept", "seeds"),
        ),
        "config": CONFIG,
        "usermeta": {
            "title": title,
            "caption": f"Share of weights that each layer keeps, by method and sparsity: {section.title}. "
            "Means over seeds.",
            "controls": control("picked", "show", options, chosen),
            "key": _key(KEPT),
            "table": [
                {"title": "method", "field": "method"},
                {"title": "target %", "field": "target", "number": True, "listed": True},
                {"title": "seeds", "field": "seeds", "number": True},
                *({"title": name, "field": "kept", "place": i, "number": True} for i, name in enumerate(layers)),
            ],
        },
    }


def overlap_specification(section: Section, overlaps: Sequence[Overlap]) -> Spec | None:
    """What the masks of two methods, and of a method's seeds, have in common, beside what chance gives."""
    if not overlaps:
        return None
    named = {name for one in overlaps for name in (one.method, one.other)}
    methods = [name for name in section.methods if name in named]
    pairs = [_pair(one, methods) for one in overlaps if {one.method, one.other} <= set(methods)]
    pairs.sort(key=lambda pair: (pair["target"], pair["first"], pair["second"]))
    mapped = f"{percent(shown(overlaps)[0].sparsity)} %"
    targets = [f"{percent(sparsity)} %" for sparsity in sorted({one.sparsity for one in overlaps})]
    views = [{"text": "all methods", "value": -1}]
    views += [{"text": name, "value": place, "group": "a method and each other"} for place, name in enumerate(methods)]
    last = len(methods)
    title = "Overlap of masks"
    return {
        "description": f"{title}: {section.title}. The table below has the same figures.",
        "padding": 4,
        "data": {"values": pairs},
        "params": [
            {"name": "target", "value": mapped},
            {"name": "picked", "value": -1},
            {"name": "names", "value": methods},
        ],
        "transform": _overlap_shown(last),
        **_cells(
            {"field": "column", "type": "ordinal", "axis": _axis(-90, _named(last))},
            {"field": "row", "type": "ordinal", "axis": _axis(0, _named(last))},
            NARROW,
            _coloured("share", SHARED, "datum.what === 'overlap'"),
            told("method", "other", "target", "kept by both", "by chance", "pairs of masks"),
        ),
        "config": CONFIG,
        "usermeta": {
            "title": title,
            "caption": caption(shown(overlaps)),
            "controls": [
                *control("target", "sparsity", [{"text": t, "value": t} for t in targets], targets.index(mapped)),
                *control("picked", "show", views),
            ],
            "key": _key(SHARED),
            "table": OVERLAP_COLUMNS,
        },
    }


# Data


def _layer_rows(
    densities: Mapping[float, Mapping[str, Mapping[str, float]]],
    methods: Sequence[str],
    layers: Sequence[str],
    seeds: Counter[tuple[str, float]],
) -> list[Spec]:
    """A row for each method and sparsity, with all of its layers."""
    return [
        {
            "method": label,
            "target": f"{percent(sparsity)} %",
            "place": methods.index(label),
            "level": level,
            "seeds": seeds[label, sparsity],
            "kept": [_percentage(found[label].get(name)) for name in layers],
        }
        for level, (sparsity, found) in enumerate(sorted(densities.items()))
        for label in methods
        if label in found
    ]


def _views(rows: Sequence[Spec], methods: Sequence[str], layers: int) -> tuple[list[Spec], int]:
    """What can be chosen: every sparsity side by side where they fit, one of them, or a method."""
    targets = {row["level"]: row["target"] for row in rows}
    found = Counter(row["level"] for row in rows)
    views = [{"text": t, "value": {"level": n, "method": ""}, "group": "all methods at"} for n, t in targets.items()]
    chosen = max(range(len(views)), key=lambda index: (found[views[index]["value"]["level"]], index))
    if len(targets) > 1 and len(targets) * layers <= COLUMNS:
        views.insert(0, {"text": EVERY, "value": {"level": -1, "method": ""}})
        chosen = 0
    views += [{"text": m, "value": {"level": -1, "method": m}, "group": "every sparsity of"} for m in methods]
    return views, chosen


def _seeds(results: Sequence[Result]) -> Counter[tuple[str, float]]:
    """By method and sparsity how many trials say densities."""
    done = [one for one in results if one.status == "done" and any(name.startswith(DENSITY) for name in one.metrics)]
    return Counter((one.method, one.sparsity) for one in done)


def _percentage(share: float | None) -> float | None:
    """Of a layer that lost a weight less than 100, however large it is."""
    if share is None:
        return None
    return min(rounded(100 * share), 99.9999) if share < 1 else 100.0


def _pair(one: Overlap, methods: Sequence[str]) -> dict[str, Any]:
    first, second = sorted((methods.index(one.method), methods.index(one.other)))
    return {
        "method": methods[first],
        "other": methods[second],
        "target": f"{percent(one.sparsity)} %",
        "first": first,
        "second": second,
        "overlap": _percentage(one.iou),
        "chance": _percentage(one.chance),
        "pairs of masks": one.pairs,
    }


# Cells


def _layers_shown() -> list[Spec]:
    """From a row for each method and sparsity to a cell for each layer, placed as was picked."""
    return [
        {"filter": "picked.method === '' || datum.method === picked.method"},
        {"filter": "picked.level < 0 || datum.level === picked.level"},
        {"calculate": "layers", "as": "layer"},
        {"flatten": ["layer", "kept"]},
        {"filter": "isValid(datum.kept)"},
        {"calculate": "picked.method === '' ? datum.method : datum.target", "as": "row"},
        {"calculate": "picked.method === '' ? datum.place : datum.level", "as": "rank"},
        {"calculate": "picked.method === '' ? datum.target : datum.method", "as": "panel"},
        {"calculate": "picked.method === '' ? datum.level : 0", "as": "order"},
        {"calculate": "format(datum.kept, '.6~g') + ' %'", "as": "weights kept"},
        {"calculate": f"datum.kept === 0 ? 'none' : {_number('kept')}", "as": "said"},
        {
            "calculate": "datum.method + ' at ' + datum.target + ', ' + datum.layer + ': ' + datum['weights kept']",
            "as": "told",
        },
    ]


def _overlap_shown(last: int) -> list[Spec]:
    """From a row for each pair to its cells: overlap and chance on two sides of the diagonal, or side by side.

    Args:
        last: the number of methods, and of the column that chance has to itself.
    """
    return [
        {"filter": "datum.target === target"},
        {"filter": "picked < 0 || datum.first === picked || datum.second === picked"},
        {"fold": ["overlap", "chance"], "as": ["what", "share"]},
        {
            "calculate": f"picked >= 0 ? (datum.what === 'overlap' ? -1 : {last}) : datum.what === 'overlap' ? "
            f"datum.first : datum.first === datum.second ? {last} : datum.second",
            "as": "column",
        },
        {
            "calculate": "picked >= 0 ? (datum.first === picked ? datum.second : datum.first) : "
            "datum.what === 'overlap' ? datum.second : datum.first",
            "as": "row",
        },
        {"calculate": _number("share", fraction=0.95), "as": "said"},
        {"calculate": "format(datum.overlap, '.6~g') + ' %'", "as": "kept by both"},
        {"calculate": "format(datum.chance, '.6~g') + ' %'", "as": "by chance"},
        {
            "calculate": "datum.method + ' and ' + datum.other + ': ' + datum['kept by both'] + ', by chance ' + "
            "datum['by chance']",
            "as": "told",
        },
    ]


# Marks


def _cells(across: Spec, down: Spec, width: int, colours: Spec, said: list[Spec]) -> Spec:
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
                    "fill": colours["fill"],
                    "tooltip": said,
                    "description": {"field": "told", "type": "nominal"},
                },
            },
            {
                "mark": label | {"aria": False},
                "encoding": {
                    **place,
                    "text": {"field": "said", "type": "nominal"},
                    "color": colours["ink"],
                    "tooltip": said,
                },
            },
        ],
    }


def _coloured(field: str, bounds: Sequence[float], where: str = "") -> Spec:
    """Classes of a share, as colours behind numbers; what has none is faint."""
    found = {}
    for channel, name, other in (("fill", "heat", "transparent"), ("ink", "heat-ink", FAINT)):
        colors = [f"var(--{name}-{index})" for index in range(len(bounds) + 1)]
        scale = {"type": "threshold", "domain": list(bounds), "range": colors}
        colour: Spec = {"field": field, "type": "quantitative", "scale": scale, "legend": None}
        found[channel] = {"condition": {"test": where, **colour}, "value": other} if where else colour
    return found


def _key(bounds: Sequence[float]) -> list[str]:
    return [f"< {bounds[0]:g} %", *(f"≥ {bound:g} %" for bound in bounds)]


def _axis(angle: int, label: str = "") -> Spec:
    """Without a title: what stands there says what it is. Of a long name the end says most."""
    found: Spec = {"title": None, "labelExpr": label or SHORTENED, "labelLimit": 220, "labelOverlap": False}
    return found | {"domain": False, "ticks": False, "labelAngle": angle, "labelPadding": 6, "grid": False}


def _named(last: int) -> str:
    return f"datum.value < 0 ? 'overlap' : datum.value === {last} ? 'by chance' : names[datum.value]"


def _number(name: str, fraction: float = 10.0) -> str:
    """A percentage as short as a cell needs it, as in the SVG; what is nearly all is not said to be all.

    Args:
        fraction: below this it has digits behind the point.
    """
    nearly, small = f"datum.{name} >= 99.5 && datum.{name} < 100", f"datum.{name} > 0 && datum.{name} < {fraction:g}"
    digits = "'.1~f'" if fraction < 1 else "'.2~g'"
    return f"{nearly} ? '>99' : {small} ? format(datum.{name}, {digits}) : format(datum.{name}, '.0f')"
