"""Layer densities and the overlap of masks as heat maps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from prunebench.leaderboard.overlaps import Overlap
from prunebench.leaderboard.plots.marks import EVERY
from prunebench.leaderboard.plots.style import CONFIG, FAINT, Spec, control, listed, of_card, rounded
from prunebench.leaderboard.statistics import mean
from prunebench.leaderboard.tables.sections import Section, percent
from prunebench.records.results import DENSITY, Result

Densities = Mapping[str, Mapping[str, float]]
"""By method its layers' densities."""

CELL, LINE, NARROW = 42, 22, 30
"""Pixels of a cell, wide enough for its number; of its line; of a cell without a fraction."""
LEAST, ROOM = 26, 600
"""Of a cell of an SVG at least, and of all that are side by side."""
COLUMNS = 18
"""As many cells are side by side in an SVG; panels that do not fit are left out, the least sparse first."""
LONGEST = 28
"""Letters of a method's or a layer's name that fit."""
KEPT = (0.15, 0.35, 0.75, 1.5, 3.5, 7.5, 15, 35, 75)
SHARED = (0.75, 1.5, 3.5, 7.5, 15, 25, 45, 65, 85)
"""Percent at which the colour changes: none that is often asked for, so that equal numbers look equal. The page has one
colour more, and an ink for each."""
OVERLAP_COLUMNS: list[Spec] = [
    {"title": "method", "field": "method"},
    {"title": "other", "field": "other"},
    {"title": "target %", "field": "target", "number": True, "listed": True},
    {"title": "overlap %", "field": "overlap", "number": True},
    {"title": "by chance %", "field": "chance", "number": True},
    {"title": "pairs of masks", "field": "pairs of masks", "number": True},
]


# Layers


def layer_densities(section: Section, results: Sequence[Result]) -> dict[float, dict[str, dict[str, float]]]:
    """By sparsity and method the mean density of each layer, the methods in the order of the ranking."""
    rows: dict[tuple[str, float], list[Result]] = defaultdict(list)
    for result in results:
        rows[result.method, result.sparsity].append(result)
    found: dict[float, dict[str, dict[str, float]]] = {}
    for sparsity in section.sparsities:
        methods = {label: _means(rows.get((label, sparsity), [])) for label in section.methods}
        if known := {label: layers for label, layers in methods.items() if layers}:
            found[sparsity] = known
    return found


def _means(results: Sequence[Result]) -> dict[str, float]:
    done = [result.metrics for result in results if result.status == "done"]
    names = dict.fromkeys(name for metrics in done for name in sorted(metrics) if name.startswith(DENSITY))
    means = {name.removeprefix(DENSITY): mean([metrics[name] for metrics in done if name in metrics]) for name in names}
    return {name: value for name, value in means.items() if value is not None}


def shown_densities(densities: Mapping[float, Densities]) -> list[float]:
    """The sparsities that have a panel in an SVG: as many of the highest as fit, one at least."""
    return sorted(densities)[-max(1, COLUMNS // max(len(_layers(densities)), 1)) :]


def layer_map(section: Section, results: Sequence[Result]) -> Spec | None:
    """The share of weights that each layer keeps: of all methods at a sparsity, or of a method at all of them."""
    densities = layer_densities(section, results)
    if not densities:
        return None
    layers = _layers(densities)
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
            _colored("kept", KEPT),
            listed("method", "target", "layer", "weights kept", "seeds"),
        ),
        "config": CONFIG,
        "usermeta": {
            "title": title,
            "caption": f"Share of weights that each layer keeps, by method and sparsity: {section.title}. "
            "Means over seeds.",
            "controls": control("picked", "show", options, chosen),
            "key": _key(KEPT),
            "wide": True,
            "table": [
                {"title": "method", "field": "method"},
                {"title": "target %", "field": "target", "number": True, "listed": True},
                {"title": "seeds", "field": "seeds", "number": True},
                *({"title": name, "field": "kept", "place": i, "number": True} for i, name in enumerate(layers)),
            ],
        },
    }


def layer_map_card(section: Section, results: Sequence[Result]) -> Spec | None:
    """The same as an SVG: the highest sparsities that fit, side by side."""
    spec = layer_map(section, results)
    if spec is None:
        return None
    densities = layer_densities(section, results)
    levels = [sorted(densities).index(sparsity) for sparsity in shown_densities(densities)]
    params = [{"name": "picked", "value": {"level": -1, "method": ""}}, *spec["params"][1:]]
    cells = spec["spec"] | {"width": {"step": max(LEAST, min(CELL, ROOM // (len(levels) * len(_layers(densities)))))}}
    rows = [row for row in spec["data"]["values"] if row["level"] in levels]
    title = f"{section.title}: weights kept in each layer, %, by sparsity"
    return of_card(spec, title, changes={"data": {"values": rows}, "params": params, "spec": cells})


def _layers(densities: Mapping[float, Densities]) -> list[str]:
    return list(dict.fromkeys(name for methods in densities.values() for some in methods.values() for name in some))


def _layer_rows(
    densities: Mapping[float, Densities],
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
    """By method and sparsity how many trials have densities."""
    done = [one for one in results if one.status == "done" and any(name.startswith(DENSITY) for name in one.metrics)]
    return Counter((one.method, one.sparsity) for one in done)


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


# Overlaps


def shown_overlaps(overlaps: Sequence[Overlap]) -> list[Overlap]:
    """Those at one sparsity: that of the most of them, of equals the highest."""
    counts = Counter(one.sparsity for one in overlaps)
    best = max(counts, key=lambda sparsity: (counts[sparsity], sparsity))
    return [one for one in overlaps if one.sparsity == best]


def overlap_caption(overlaps: Sequence[Overlap]) -> str:
    """How the map is read, for the page."""
    return (
        f"Intersection over union of the weights kept at {_mapped(overlaps)} sparsity, the highest at which most "
        "methods have every seed, in percent. Below the diagonal: two methods with the same seed. On it: a method with "
        "two seeds. Above it, and in the last column for the diagonal: random masks that keep as many weights of each "
        "layer. Means over seeds; the figures are in `overlaps.csv`."
    )


def overlap_map(section: Section, overlaps: Sequence[Overlap]) -> Spec | None:
    """What the masks of two methods, and of a method's seeds, have in common, beside what chance gives."""
    if not overlaps:
        return None
    named = {name for one in overlaps for name in (one.method, one.other)}
    methods = [name for name in section.methods if name in named]
    pairs = [_pair(one, methods) for one in overlaps if {one.method, one.other} <= set(methods)]
    pairs.sort(key=lambda pair: (pair["target"], pair["first"], pair["second"]))
    targets = [f"{percent(sparsity)} %" for sparsity in sorted({one.sparsity for one in overlaps})]
    views = [{"text": "all methods", "value": -1}]
    views += [{"text": name, "value": place, "group": "a method and each other"} for place, name in enumerate(methods)]
    title, last = "Overlap of masks", len(methods)
    return {
        "description": f"{title}: {section.title}. The table below has the same figures.",
        "padding": 4,
        "data": {"values": pairs},
        "params": [
            {"name": "target", "value": _mapped(overlaps)},
            {"name": "picked", "value": -1},
            {"name": "names", "value": methods},
        ],
        "transform": _overlaps_shown(last),
        **_cells(
            {"field": "column", "type": "ordinal", "axis": _axis(-90, _named(last))},
            {"field": "row", "type": "ordinal", "axis": _axis(0, _named(last))},
            NARROW,
            _colored("share", SHARED, "datum.what === 'overlap'"),
            listed("method", "other", "target", "kept by both", "by chance", "pairs of masks"),
        ),
        "config": CONFIG,
        "usermeta": {
            "title": title,
            "controls": [
                *control(
                    "target", "sparsity", [{"text": t, "value": t} for t in targets], targets.index(_mapped(overlaps))
                ),
                *control("picked", "show", views),
            ],
            "key": _key(SHARED),
            "wide": True,
            "table": OVERLAP_COLUMNS,
        },
    }


def overlap_map_card(section: Section, overlaps: Sequence[Overlap]) -> Spec | None:
    """The same as an SVG: all pairs at one sparsity."""
    spec = overlap_map(section, overlaps)
    if spec is None:
        return None
    title = f"{section.title}: overlap of masks at {_mapped(overlaps)} sparsity"
    said = "intersection over union, %", "below: of two methods, diagonal: of a method's seeds, above: by chance"
    return of_card(spec, title, *said)


def _mapped(overlaps: Sequence[Overlap]) -> str:
    """The sparsity of the map, as text."""
    return f"{percent(shown_overlaps(overlaps)[0].sparsity)} %"


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


def _overlaps_shown(last: int) -> list[Spec]:
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


def _named(last: int) -> str:
    name = f"datum.value === {last} ? 'by chance' : {_shortened('names[datum.value]')}"
    return f"datum.value < 0 ? 'overlap' : {name}"


# Cells


def _cells(across: Spec, down: Spec, width: int, colors: Spec, tooltip: list[Spec]) -> Spec:
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


def _colored(field: str, bounds: Sequence[float], where: str = "") -> Spec:
    """Classes of a share, as colours behind numbers; what has none is faint."""
    found = {}
    for channel, name, other in (("fill", "heat", "transparent"), ("ink", "heat-ink", FAINT)):
        colors = [f"var(--{name}-{index})" for index in range(len(bounds) + 1)]
        scale = {"type": "threshold", "domain": list(bounds), "range": colors}
        color: Spec = {"field": field, "type": "quantitative", "scale": scale, "legend": None}
        found[channel] = {"condition": {"test": where, **color}, "value": other} if where else color
    return found


def _key(bounds: Sequence[float]) -> list[str]:
    return [f"< {bounds[0]:g} %", *(f"≥ {bound:g} %" for bound in bounds)]


def _axis(angle: int, label: str = "") -> Spec:
    """Without a title: the labels say what they are."""
    found: Spec = {"title": None, "labelExpr": label or _shortened("datum.label"), "labelLimit": 220}
    return found | {
        "labelOverlap": False,
        "domain": False,
        "ticks": False,
        "labelAngle": angle,
        "labelPadding": 6,
        "grid": False,
    }


def _shortened(name: str) -> str:
    """An expression for as much of a name as fits: its beginning and its end."""
    half = LONGEST // 2
    return f"length({name}) > {LONGEST} ? slice({name}, 0, {half}) + '…' + slice({name}, {1 - half}) : {name}"


def _percentage(share: float | None) -> float | None:
    """Of a layer that lost a weight less than 100, however large it is."""
    if share is None:
        return None
    return min(rounded(100 * share), 99.9999) if share < 1 else 100.0


def _number(name: str, fraction: float = 10.0) -> str:
    """A percentage as short as a cell needs it; what is nearly all is not said to be all.

    Args:
        fraction: below this it has digits behind the point.
    """
    nearly, small = f"datum.{name} >= 99.5 && datum.{name} < 100", f"datum.{name} > 0 && datum.{name} < {fraction:g}"
    digits = "'.1~f'" if fraction < 1 else "'.2~g'"
    return f"{nearly} ? '>99' : {small} ? format(datum.{name}, {digits}) : format(datum.{name}, '.0f')"
