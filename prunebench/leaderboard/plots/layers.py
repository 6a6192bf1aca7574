"""The share of weights that each layer keeps, or the error of its outputs, as a heat map."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prunebench.leaderboard.plots.heat_maps import axis, cells, colored, key, number, percentage
from prunebench.leaderboard.plots.marks import EVERY
from prunebench.leaderboard.plots.style import CONFIG, Spec, control, listed, of_card
from prunebench.leaderboard.statistics import mean
from prunebench.leaderboard.tables.sections import Section, percent
from prunebench.records.results import DENSITY, OUTPUT_ERROR, Result

Densities = Mapping[str, Mapping[str, float]]
"""By method its layers' densities, or other shares."""


@dataclass(frozen=True)
class Share:
    """A share that each layer has in the records of a trial."""

    prefix: str
    """Of its metrics; the name of the layer follows."""
    name: str
    title: str
    sentence: str
    alt: str
    file: str
    """The ending of the plot's file."""


KEPT_WEIGHTS = Share(
    DENSITY,
    "weights kept",
    "Weights kept in each layer",
    "Share of weights that each layer keeps",
    "Share of weights kept in each layer",
    "layers",
)
OUTPUT_ERRORS = Share(
    OUTPUT_ERROR,
    "output error",
    "Output error of each layer",
    "Squared error of each layer's outputs on held-out calibration examples, relative to its squared outputs",
    "Relative squared error of the outputs of each layer",
    "output-error",
)

CELL = 42
"""Pixels of a cell, wide enough for its number."""
LEAST, ROOM = 26, 600
"""Of a cell of an SVG at least, and of all that are side by side."""
COLUMNS = 18
"""As many cells are side by side in an SVG; panels that do not fit are left out, the least sparse first."""
KEPT = (0.15, 0.35, 0.75, 1.5, 3.5, 7.5, 15, 35, 75)
"""Percent at which the colour changes: none that is often asked for, so that equal numbers look equal. The page has one
colour more, and an ink for each."""


def layer_densities(
    section: Section, results: Sequence[Result], share: Share = KEPT_WEIGHTS
) -> dict[float, dict[str, dict[str, float]]]:
    """By sparsity and method the mean share of each layer, the methods in the order of the ranking."""
    rows: dict[tuple[str, float], list[Result]] = defaultdict(list)
    for result in results:
        rows[result.method, result.sparsity].append(result)
    found: dict[float, dict[str, dict[str, float]]] = {}
    for sparsity in section.sparsities:
        methods = {label: _means(rows.get((label, sparsity), []), share.prefix) for label in section.methods}
        if known := {label: layers for label, layers in methods.items() if layers}:
            found[sparsity] = known
    return found


def _means(results: Sequence[Result], prefix: str) -> dict[str, float]:
    done = [result.metrics for result in results if result.status == "done"]
    names = dict.fromkeys(name for metrics in done for name in sorted(metrics) if name.startswith(prefix))
    means = {name.removeprefix(prefix): mean([metrics[name] for metrics in done if name in metrics]) for name in names}
    return {name: value for name, value in means.items() if value is not None}


def shown_densities(densities: Mapping[float, Densities]) -> list[float]:
    """The sparsities that have a panel in an SVG: as many of the highest as fit, one at least."""
    return sorted(densities)[-max(1, COLUMNS // max(len(_layers(densities)), 1)) :]


def layer_map(section: Section, results: Sequence[Result], share: Share = KEPT_WEIGHTS) -> Spec | None:
    """The share of each layer: of all methods at a sparsity, or of a method at all of them."""
    densities = layer_densities(section, results, share)
    if not densities:
        return None
    layers = _layers(densities)
    methods = [label for label in section.methods if any(label in found for found in densities.values())]
    rows = _layer_rows(densities, methods, layers, _seeds(results, share.prefix))
    options, chosen = _views(rows, methods, len(layers))
    return {
        "description": f"{share.title}: {section.title}. The table below has the same figures.",
        "padding": 4,
        "data": {"values": rows},
        "params": [{"name": "picked", "value": options[chosen]["value"]}, {"name": "layers", "value": layers}],
        "transform": _layers_shown(share.name),
        "facet": {
            "column": {
                "field": "panel",
                "type": "nominal",
                "sort": {"field": "order", "op": "min"},
                "header": {"title": None},
            }
        },
        "spacing": 8,
        "spec": cells(
            {"field": "layer", "type": "nominal", "sort": None, "axis": axis(-90)},
            {"field": "row", "type": "nominal", "sort": {"field": "rank", "op": "min"}, "axis": axis(0)},
            CELL,
            colored("kept", KEPT),
            listed("method", "target", "layer", share.name, "seeds"),
        ),
        "config": CONFIG,
        "usermeta": {
            "title": share.title,
            "caption": f"{share.sentence}, by method and sparsity: {section.title}. Means over seeds.",
            "controls": control("picked", "show", options, chosen),
            "key": key(KEPT),
            "wide": True,
            "table": [
                {"title": "method", "field": "method"},
                {"title": "target %", "field": "target", "number": True, "listed": True},
                {"title": "seeds", "field": "seeds", "number": True},
                *({"title": name, "field": "kept", "place": i, "number": True} for i, name in enumerate(layers)),
            ],
        },
    }


def layer_map_card(section: Section, results: Sequence[Result], share: Share = KEPT_WEIGHTS) -> Spec | None:
    """The same as an SVG: the highest sparsities that fit, side by side."""
    spec = layer_map(section, results, share)
    if spec is None:
        return None
    densities = layer_densities(section, results, share)
    levels = [sorted(densities).index(sparsity) for sparsity in shown_densities(densities)]
    params = [{"name": "picked", "value": {"level": -1, "method": ""}}, *spec["params"][1:]]
    cells = spec["spec"] | {"width": {"step": max(LEAST, min(CELL, ROOM // (len(levels) * len(_layers(densities)))))}}
    rows = [row for row in spec["data"]["values"] if row["level"] in levels]
    title = f"{section.title}: {share.title[0].lower()}{share.title[1:]}, %, by sparsity"
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
            "kept": [percentage(found[label].get(name)) for name in layers],
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


def _seeds(results: Sequence[Result], prefix: str) -> Counter[tuple[str, float]]:
    """By method and sparsity how many trials have shares of layers."""
    done = [one for one in results if one.status == "done" and any(name.startswith(prefix) for name in one.metrics)]
    return Counter((one.method, one.sparsity) for one in done)


def _layers_shown(name: str) -> list[Spec]:
    """From a row for each method and sparsity to a cell for each layer, placed as was picked.

    Args:
        name: that of the share in tooltips.
    """
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
        {"calculate": "format(datum.kept, '.6~g') + ' %'", "as": name},
        {"calculate": f"datum.kept === 0 ? 'none' : {number('kept')}", "as": "said"},
        {
            "calculate": f"datum.method + ' at ' + datum.target + ', ' + datum.layer + ': ' + datum['{name}']",
            "as": "told",
        },
    ]
