"""What curves and costs are drawn with: the looks of methods, points, and marks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from prunebench.api.objectives import Metric
from prunebench.leaderboard.families import FAMILIES, OTHER
from prunebench.leaderboard.metrics import is_percentage, metric_of
from prunebench.leaderboard.plots.measures import Measure
from prunebench.leaderboard.plots.style import CONFIG, FAINT, INK, Spec, inked, listed, rounded
from prunebench.leaderboard.tables.sections import Row, Section, deviating, front, percent, spread

CROSS = (
    "M-0.7,-0.35L-0.35,-0.7L0,-0.35L0.35,-0.7L0.7,-0.35L0.35,0L0.7,0.35L0.35,0.7L0,0.35L-0.35,0.7L-0.7,0.35L-0.35,0Z"
)
HEXAGON = "M0.8,0L0.4,0.7L-0.4,0.7L-0.8,0L-0.4,-0.7L0.4,-0.7Z"
TRIANGLES = ("triangle-up", "triangle-down", "triangle-left", "triangle-right")
SHAPES = ("circle", "square", TRIANGLES[0], "diamond", TRIANGLES[1], "cross", CROSS, *TRIANGLES[2:], HEXAGON)
DASHES = ([1, 0], [7, 4], [7, 3, 2, 3], [2, 3])
CROWD = 10
"""Of more methods than this an SVG has a panel each, and the page shows the best at first."""
EVERY = "every sparsity"
PAGE_HEIGHT = 380
"""Pixels of a plot on a page."""


def is_plotted(section: Section) -> bool:
    """Whether there is anything to plot."""
    return any(drawn(rows) for rows in section.methods.values())


def drawn(rows: Mapping[float, Row], column: str = "metric_mean") -> list[Row]:
    """The rows that have a place in a plot, by sparsity."""
    return [row for _, row in sorted(rows.items()) if row[column] is not None and density(row) > 0]


def density(row: Row) -> float:
    """Share of the weights that is kept: as counted, or as asked for where it was not counted."""
    return 1.0 - float(row["target_sparsity"] if row["sparsity"] is None else row["sparsity"])


def looks(section: Section) -> list[Spec]:
    """The methods by rank, with family, colour, shape and line; a method keeps its look when the ranking changes.

    A family has one colour, in two shades. Its methods differ in line and shape, and methods of others in shape too for
    as long as there are shapes: on paper there may be no colour.
    """
    found = {label: some[0]["family"] for label, rows in section.methods.items() if (some := drawn(rows))}
    places = {label: place for place, label in enumerate(sorted(found, key=lambda label: (found[label], label)))}
    firsts = {family: min(places[label] for label in found if found[label] == family) for family in found.values()}
    return [
        {
            "method": label,
            "family": family,
            "hue": (hue := _color(family)),
            "ink": inked(hue),
            "color": inked(hue) if (place := places[label] - firsts[family]) % 2 else hue,
            "shape": SHAPES[places[label] % len(SHAPES)],
            "dash": DASHES[(place + place // len(SHAPES)) % len(DASHES)],
        }
        for label, family in found.items()
    ]


def _color(family: str) -> str:
    return f"var(--series-{FAMILIES.index(family if family in FAMILIES else OTHER)})"


def families(section: Section, methods: Collection[str]) -> dict[str, list[str]]:
    """Some of the methods by family, in the order of the ranking."""
    found: dict[str, list[str]] = {}
    for look in looks(section):
        if look["method"] in methods:
            found.setdefault(look["family"], []).append(look["method"])
    return found


def is_crowded(section: Section) -> bool:
    """Whether there are too many methods for one plot of all."""
    return len(looks(section)) > CROWD


def leading(section: Section) -> set[str]:
    """The methods that a page shows at first: the best at each sparsity, and for each cost at the highest; or all."""
    names = {look["method"] for look in looks(section)}
    if not is_crowded(section):
        return names
    fronts = [front([row for row in section.rows if row["target_sparsity"] == one]) for one in section.sparsities]
    steps = [steps for steps in fronts if steps] or [[]]
    found = {row["method"] for row in [some[-1] for some in steps if some] + steps[-1]}
    return found & names or names


def points(section: Section, measure: Measure) -> list[Spec]:
    """A point for each row that has one, with what is said of it."""
    return [
        point(row, measure) | {"level": section.sparsities.index(row["target_sparsity"])}
        for look in looks(section)
        for row in drawn(section.methods[look["method"]], measure.column)
    ]


def point(row: Row, measure: Measure) -> Spec:
    early, metric = row["early_stop_step"] is not None, metric_of(row)
    there = deviating(row, "early_stop_metric", metric.factor, metric.decimals)
    words = {
        "method": row["method"],
        "target": f"{percent(row['target_sparsity'])} %",
        "sparsity": "" if row["sparsity"] is None else f"{100 * row['sparsity']:.2f} %",
        metric.label: f"{spread(row, 0)} {metric.unit}".rstrip(),
        "above dense": "" if row["difference"] is None else _above_dense(row["difference"], metric),
        "training cost": f"{row['training_cost']:.3g}×" if row["training_cost"] is not None else "",
        "early stop": deviating(row, "early_stop_step", 1, 0) if early else "",
        f"{metric.label} there": f"{there} {metric.unit}".rstrip() if early else "",
        "ticket": row["ticket"] or "",
        "seeds": "" if row["n"] is None else f"{row['n']}",
        "status": row["status"],
    }
    place = {
        "density": rounded(density(row), 8),
        "cost": row["training_cost"],
        "center": measure.of(row),
        "low": measure.of(row, -1),
        "high": measure.of(row, +1),
        "merit": measure.sign * measure.of(row),
        "complete": row["status"] == "done",
        "told": f"{row['method']} at {words['target']}: {words[measure.subject]}",
    }
    return {name: words[name] for name in measure.fields} | place


def _above_dense(difference: float, metric: Metric) -> str:
    unit = "points" if is_percentage(metric) else metric.unit
    return f"{metric.factor * difference:+.{metric.decimals}f} {unit}".rstrip()


def of_dense(section: Section, measure: Measure) -> Row | None:
    """The row of the dense network, where it has this figure."""
    return next((row for row in section.controls[:1] if row[measure.column] is not None), None)


# Channels


def by_method(section: Section, look: str) -> Spec:
    """The channel that encodes the method, without a legend: there is one for all plots."""
    return _encoded("method", {one["method"]: one[look] for one in looks(section)})


def by_family(section: Section) -> Spec:
    """The channel that encodes the family, by its colour."""
    return _encoded("family", {one["family"]: _color(one["family"]) for one in looks(section)})


def _encoded(field: str, values: Mapping[str, Any]) -> Spec:
    scale = {"domain": list(values), "range": list(values.values())}
    return {"field": field, "type": "nominal", "scale": scale, "legend": None}


def lit(plain: float, behind: float, before: float | None = None) -> Spec:
    """Opacity: a method that is pointed at in the legend is shown before the others.

    Args:
        plain: while none is.
        behind: of the others.
        before: of the method; as `plain` otherwise.
    """
    return {
        "condition": [
            {"test": "lit === ''", "value": plain},
            {"test": "lit === datum.method", "value": before or plain},
        ],
        "value": behind,
    }


# Layers


def dotted(**changes: Any) -> Spec:
    return {"type": "rule", "strokeDash": [2, 3], "strokeWidth": 1.5, "color": FAINT, **changes}


def dense_layers(section: Section, measure: Measure) -> list[Spec]:
    """The dense network as a horizontal line, with its band."""
    row = of_dense(section, measure)
    if row is None:
        return []
    band = {"mark": {"type": "rect", "color": INK, "opacity": 0.09}, "encoding": measure.between}
    line = {
        "mark": dotted(color=INK),
        "encoding": {
            "y": measure.encoding(),
            "tooltip": listed(*measure.fields),
            "description": {"field": "told"},
        },
    }
    values = [point(row, measure)]
    return [{"data": {"values": values}, "transform": measure.placed, **layer} for layer in (band, line)]


def line_layer(across: Spec, measure: Measure, paint: Spec, **mark: Any) -> Spec:
    """The means of a method, joined by sparsity."""
    order = {"field": "density", "sort": "descending"}
    return {
        "mark": {"type": "line", "strokeWidth": 2, **mark},
        "encoding": {"x": across, "y": measure.encoding(), "order": order, **paint},
    }


def point_layer(across: Spec, measure: Measure, paint: Spec, values: Iterable[Spec] = (), **mark: Any) -> Spec:
    """A mark for each row, hollow where seeds are missing or where others reported it.

    Args:
        values: the points; if any of them is hollow, marks have an outline.
    """
    if "color" in paint and not all(value["complete"] for value in values):
        paint = {**paint, "stroke": paint["color"]}
    return {
        "mark": {"type": "point", "filled": True, "size": 70, "strokeWidth": 1.8, "cursor": "pointer", **mark},
        "encoding": {
            "x": across,
            "y": measure.encoding(),
            "fillOpacity": {"condition": {"test": "datum.complete", "value": 1}, "value": 0},
            "tooltip": listed(*measure.fields),
            "description": {"field": "told", "type": "nominal"},
            **paint,
        },
    }


def chart(section: Section, measure: Measure, values: Sequence[Spec], title: str, layers: Sequence[Spec]) -> Spec:
    """The layers as a plot of a page, with a legend of those methods that it has."""
    first, there = leading(section), {value["method"] for value in values}
    methods = [look | {"first": look["method"] in first} for look in looks(section)]
    return {
        "description": f"{title}: {section.title}. The tables of this task have the same figures.",
        "width": "container",
        "height": PAGE_HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": 4,
        "data": {"values": list(values)},
        "params": [
            {"name": "picked", "value": {"level": -1, "logarithmic": False}},
            {"name": "shown", "value": [one["method"] for one in methods if one["first"]]},
            {"name": "lit", "value": ""},
        ],
        "transform": [{"filter": "indexof(shown, datum.method) >= 0"}, *measure.placed],
        "layer": [*dense_layers(section, measure), *layers],
        "config": CONFIG,
        "usermeta": {"title": title, "methods": [one for one in methods if one["method"] in there]},
    }


def explained(section: Section, measure: Measure, values: Iterable[Spec]) -> list[str]:
    """What an SVG says of its lines and marks, where it has them."""
    row = of_dense(section, measure)
    hollow = {value["method"] for value in values if not value["complete"]}
    others = {row["method"] for row in section.reported}
    meanings = {"seeds are missing": hollow - others, "reported by others": hollow & others}
    words = " or ".join(meaning for meaning, methods in meanings.items() if methods)
    return [f"dotted: {row['method']}" if row else "", f"hollow: {words}" if words else ""]
