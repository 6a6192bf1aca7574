"""The primary metric against training cost, with the Pareto front of the methods at a sparsity."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prunebench.leaderboard.plots.labels import point_names, with_legend
from prunebench.leaderboard.plots.marks import (
    EVERY,
    PAGE_HEIGHT,
    by_method,
    chart,
    dense_layers,
    dotted,
    drawn,
    explained,
    is_crowded,
    line_layer,
    lit,
    of_dense,
    point_layer,
    points,
)
from prunebench.leaderboard.plots.measures import Measure, primary
from prunebench.leaderboard.plots.style import FAINT, Spec, control, of_card
from prunebench.leaderboard.tables.sections import Row, Section, front, percent

COLUMNS, ROWS = 3, 2
"""Panels of an SVG."""
WIDTH, HEIGHT, SPACING = 178, 165, 14
HEADROOM = 0.25
"""Of a panel's height, for the names of the front."""
MARGIN = 0.05


def title(section: Section) -> str:
    return f"Test {section.metric.label} against training cost"


def is_plotted(section: Section) -> bool:
    """Whether any method has a cost."""
    return bool(_costed(section))


def _costed(section: Section) -> list[Row]:
    return [row for rows in section.methods.values() for row in drawn(rows) if row["training_cost"]]


def _at(section: Section, sparsity: float) -> list[Row]:
    return [row for row in _costed(section) if row["target_sparsity"] == sparsity]


# On a page: one sparsity, or every one


def costs(section: Section) -> Spec:
    """The primary metric against training cost, as a multiple of one dense training, at the sparsity that is chosen."""
    measure = primary(section)
    values = [value for value in points(section, measure) if value["cost"]]
    options, chosen = _choices(section, values)
    noted = any(option["value"]["logarithmic"] for option in options)
    note = " (logarithmic)" if measure.axis.logarithmic else "; logarithmic in the error where methods collapse" * noted
    measure = replace(measure, title=measure.title + note)
    across = _costs(values)
    color = {"color": by_method(section, "color")}
    layers = [
        _once(across),
        _front(across, measure),
        _reach(across, measure, {**color, "opacity": lit(0.35, 0.05)}),
        line_layer(across, measure, {**color, "strokeDash": by_method(section, "dash"), "opacity": lit(1.0, 0.12)}),
        point_layer(
            across, measure, {**color, "shape": by_method(section, "shape"), "opacity": lit(1.0, 0.12)}, values
        ),
        *point_names(section, _ON_FRONT, PAGE_HEIGHT, measure.sign),
    ]
    spec = chart(section, measure, values, title(section), layers)
    spec["params"][0]["value"] = options[chosen]["value"]
    spec["transform"].append({"filter": "picked.level < 0 || datum.level === picked.level"})
    spec["usermeta"]["controls"] = control("picked", "sparsity", options, chosen)
    spec["usermeta"]["caption"] = (
        f"{title(section)}: {section.title}. Grey, at one sparsity: the Pareto front of the methods "
        "shown, those that none beats at no more cost. Bars: one sample standard deviation. Dotted: the dense network, "
        "and its cost. The tables of this part have the same figures."
    )
    return spec


def _choices(section: Section, values: Sequence[Mapping[str, Any]]) -> tuple[list[Spec], int]:
    """The sparsities to choose from, and the number of the highest at which most methods have a point."""
    counts, measure = Counter(value["level"] for value in values), primary(section)
    options: list[Spec] = []
    for level, sparsity in enumerate(section.sparsities):
        rows = [*section.controls[:1], *(row for row in section.rows if row["target_sparsity"] == sparsity)]
        value = {"level": level, "logarithmic": measure.collapse(rows)}
        if counts[level]:
            options.append({"text": f"{percent(sparsity)} %", "value": value})
    found = [counts[option["value"]["level"]] for option in options]
    chosen = max(range(len(found)), key=lambda index: (found[index], index), default=0)
    every = {"level": -1, "logarithmic": measure.collapse(section.rows)}
    return [*options, {"text": EVERY, "value": every}], chosen


def _costs(values: Sequence[Mapping[str, Any]]) -> Spec:
    costs = [1.0, *(value["cost"] for value in values)]
    decades = range(math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs))) + 1)
    axis = {
        "title": "training cost, in dense trainings",
        "labelExpr": "format(datum.value, '~g') + '×'",
        "values": [float(f"{step}e{decade}") for decade in decades for step in (1, 2, 5)],
        "grid": False,
    }
    scale = {"type": "log", "domain": [min(costs) / 1.4, max(costs) * 1.4], "nice": False}
    return {"field": "cost", "type": "quantitative", "scale": scale, "axis": axis}


def _once(across: Spec) -> Spec:
    """The cost of the dense network."""
    return {"data": {"values": [{"cost": 1}]}, "mark": dotted(), "encoding": {"x": across}}


def _reach(across: Spec, measure: Measure, paint: Spec) -> Spec:
    """A deviation below and above each point."""
    return {"mark": {"type": "rule", "strokeWidth": 2.5}, "encoding": {"x": across, **measure.between, **paint}}


_ORDER: list[Spec] = [{"field": "cost"}, {"field": "merit", "order": "descending"}, {"field": "method"}]
_ON_FRONT: list[Spec] = [
    {"filter": "picked.level >= 0 && datum.complete"},
    {"window": [{"op": "max", "field": "merit", "as": "best"}], "sort": _ORDER},
    {"window": [{"op": "lag", "field": "best", "as": "before"}], "sort": _ORDER},
    {"filter": "!isValid(datum.before) || datum.merit > datum.before"},
]
"""Transforms that leave the complete rows of one sparsity that none beats at no more cost."""


def _front(across: Spec, measure: Measure, **mark: Any) -> Spec:
    """These rows as steps, as between them nothing is known."""
    return {
        "transform": _ON_FRONT,
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 6, "opacity": 0.35, "color": FAINT} | mark,
        "encoding": {"x": across, "y": measure.encoding(), "order": {"field": "cost"}},
    }


# As an SVG: a panel a sparsity


def shown(section: Section) -> list[float]:
    """The sparsities that have a panel: evenly chosen where there are too many, the highest always."""
    costed = [sparsity for sparsity in section.sparsities if _at(section, sparsity)]
    most = COLUMNS * ROWS
    if len(costed) <= most:
        return costed
    return [costed[round(index * (len(costed) - 1) / (most - 1))] for index in range(most)]


def costs_card(section: Section) -> Spec:
    """The same as an SVG: a panel a sparsity, with a legend."""
    values = [value for value in points(section, primary(section)) if value["cost"]]
    crowded, sparsities = is_crowded(section), shown(section)
    panels = [
        _panel(section, sparsity, values, crowded, left=place % COLUMNS == 0, low=place + COLUMNS >= len(sparsities))
        for place, sparsity in enumerate(sparsities)
    ]
    width, methods = COLUMNS * (WIDTH + SPACING), {value["method"] for value in values}
    plots = {"concat": panels, "columns": COLUMNS, "spacing": {"row": 10, "column": SPACING}}
    spec = with_legend(section, plots, methods, width, named=not crowded, lines=False)
    spec["params"] = [{"name": "picked", "value": {"level": 0}}, {"name": "lit", "value": ""}]
    said = "line: the Pareto front, methods that none beats at no more cost", "bars: one sample standard deviation"
    notes = explained(section, primary(section), values)
    return of_card(spec, f"{section.title}: {title(section).lower()}", *said, "pale: all others" * crowded, *notes)


def _panel(section: Section, sparsity: float, values: Sequence[Spec], crowded: bool, *, left: bool, low: bool) -> Spec:
    rows, best = _at(section, sparsity), {row["method"] for row in front(_at(section, sparsity))}
    measure = primary(section)
    logarithmic = measure.collapse([*section.controls[:1], *rows])
    note = measure.note([*section.controls[:1], *rows]).replace(" (", ", ").replace(")", "")
    measure = replace(measure, title=measure.title if left else "", collapsed=str(logarithmic).lower())
    own = [
        value | {"best": value["method"] in best}
        for value in values
        if value["level"] == section.sparsities.index(sparsity)
    ]
    across = _costs(values)
    across["axis"]["title"] = across["axis"]["title"] if low else None
    heights = _domain(section, own, measure, logarithmic)
    framed = {"y": measure.encoding(domain=heights, padding=0), "x": across}
    color = {"color": by_method(section, "hue" if crowded else "color")}
    marks = {**color, "shape": by_method(section, "shape")}
    if crowded:
        marks = {**color, "opacity": {"condition": {"test": "datum.best", "value": 1}, "value": 0.45}}
    layers = [
        *dense_layers(section, measure),
        _once(across),
        _front(across, measure, strokeWidth=1.2, opacity=1, color=FAINT),
        _reach(across, measure, {**color, "opacity": {"value": 0.15 if crowded else 0.4}}),
        point_layer(across, measure, marks, size=30 if crowded else 50, strokeWidth=1.2, opacity=1),
    ]
    layers[-1]["encoding"] |= framed
    name = f"at{section.sparsities.index(sparsity)}"
    return {
        "name": name,
        "title": {"text": f"{percent(sparsity)} % sparsity{note}", "fontSize": 11, "offset": 4, "frame": "group"},
        "width": WIDTH,
        "height": HEIGHT,
        "data": {"values": own},
        "transform": measure.placed,
        "layer": [*layers, *point_names(section, _ON_FRONT, HEIGHT, measure.sign, name)],
    }


def _domain(section: Section, values: Sequence[Spec], measure: Measure, logarithmic: bool) -> list[float]:
    """Of a panel's heights, with room for names on the side of better values."""
    row = of_dense(section, measure)
    ends = [value[name] for value in values for name in ("low", "high")]
    ends += [measure.of(row, -1), measure.of(row, 1)] if row else []
    places = [measure.height(end, logarithmic) for end in ends]
    reach = (max(places) - min(places)) or 1.0
    below, above = (MARGIN, HEADROOM) if measure.sign > 0 else (HEADROOM, MARGIN)
    return [min(places) - below * reach, max(places) + above * reach]
