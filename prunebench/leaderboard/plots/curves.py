"""The primary metric and early stopping against sparsity.

The two plots of early stopping are those of Frankle & Carbin (2019, arXiv:1803.03635).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from prunebench.leaderboard.plots.labels import end_names, room, with_legend
from prunebench.leaderboard.plots.marks import (
    PAGE_HEIGHT,
    by_method,
    chart,
    dense_layers,
    explained,
    is_crowded,
    line_layer,
    lit,
    point_layer,
    points,
)
from prunebench.leaderboard.plots.measures import Measure
from prunebench.leaderboard.plots.style import Spec, of_card, rounded
from prunebench.leaderboard.tables.sections import Section

DEVIATION = "one sample standard deviation"
WIDTH, HEIGHT = 430, 300
"""Pixels of an SVG without its legend."""
AXIS_TITLE: Spec = {"fontSize": 12, "fontWeight": "normal", "offset": 6}
COLUMNS, PANEL = 5, (102, 76)
"""Of an SVG of many methods."""
LONGEST = 17
"""Letters of a method's name that fit above its panel."""
SPACING, GREY = 14, "#c9ced4"


def curves(section: Section, measure: Measure) -> Spec:
    """Means against sparsity, and bands of one sample standard deviation."""
    spec = _without_names(section, measure)
    spec["layer"] += end_names(section, PAGE_HEIGHT, "width")
    beside = room({value["method"] for value in spec["data"]["values"]})
    spec["params"].append({"name": "room", "expr": f"min({beside}, containerSize()[0] / 3)"})
    return spec


def _without_names(section: Section, measure: Measure) -> Spec:
    """The plot before names are at the ends of its lines, whose places depend on its size."""
    title, logarithmic = measure.heading, measure.collapse(section.rows)
    measure = replace(measure, title=measure.title + measure.note(section.rows))
    values = points(section, measure)
    across = _sparsities(section, values)
    color = {"color": by_method(section, "color")}
    plain = 0.05 if is_crowded(section) else 0.14
    bounds = {"x": across, **measure.between, **color, "opacity": lit(plain, 0.0, 0.22)}
    paint = {**color, "opacity": lit(1.0, 0.12)}
    layers = [
        {"mark": {"type": "area"}, "encoding": bounds},
        line_layer(across, measure, paint | {"strokeDash": by_method(section, "dash")}),
        point_layer(across, measure, paint | {"shape": by_method(section, "shape")}, values),
    ]
    spec = chart(section, measure, values, title, layers)
    spec["params"][0]["value"] = {"level": -1, "logarithmic": logarithmic}
    spec["usermeta"]["caption"] = (
        f"{title}: {section.title}. Bands: one sample standard deviation. Dotted: the dense network. "
        + "At first those methods are shown that are the best at a sparsity or for a cost. " * is_crowded(section)
        + "The tables of this part have the same figures."
    )
    return spec


def curves_card(section: Section, measure: Measure) -> Spec:
    """The same as an SVG: with a legend, or of many methods with a panel each."""
    spec = _without_names(section, measure)
    values = spec["data"]["values"]
    title = f"{section.title}: {measure.heading.lower()}"
    notes = explained(section, measure, values)
    methods = {value["method"] for value in values}
    if is_crowded(section):
        said = f"in colour: the method, with a band of {DEVIATION}", "grey: all the others"
        width = COLUMNS * (PANEL[0] + SPACING)
        panels = with_legend(section, _panels(section, measure, values), methods, width, named=False)
        return of_card(panels, title, *said, *notes)
    plot = {name: spec[name] for name in ("data", "transform")} | {"name": "plot", "width": WIDTH, "height": HEIGHT}
    layers, beside = [*spec["layer"], *end_names(section, HEIGHT, str(WIDTH), "plot")], room(methods)
    found = with_legend(section, plot | {"layer": layers}, methods, WIDTH + beside)
    params = [*spec["params"], {"name": "room", "value": beside}]
    return of_card(found | {"params": params}, title, f"bands: {DEVIATION}", *notes)


def _panels(section: Section, measure: Measure, values: Sequence[Spec]) -> Spec:
    """A panel a method, with all the others in grey behind it."""
    logarithmic = measure.collapse(section.rows)
    heading = measure.title + measure.note(section.rows)
    measure = replace(measure, title="", collapsed=json.dumps(logarithmic), every=3)
    across = _sparsities(section, values)
    across["axis"]["title"] = None
    methods = list(dict.fromkeys(value["method"] for value in values))
    # One line with gaps: thirty lines in each of thirty panels would be most of the file.
    behind = line_layer(across, measure, {}, color=GREY, strokeWidth=0.6, invalid="break-paths-show-domains")
    behind["encoding"]["order"] = {"value": None}
    color = {"color": by_method(section, "hue")}
    area = {"mark": {"type": "area", "opacity": 0.2}, "encoding": {"x": across, **measure.between, **color}}
    width, height = PANEL
    panels = {
        "title": {"text": heading, "orient": "left", "anchor": "middle", **AXIS_TITLE},
        "data": {"values": list(values)},
        "transform": measure.placed,
        "facet": {
            "field": "method",
            "type": "nominal",
            "sort": methods,
            "title": None,
            "header": {
                "labelExpr": f"length(datum.label) > {LONGEST} ? slice(datum.label, 0, {LONGEST}) + '…' : datum.label",
                "labelPadding": 3,
                "labelFontSize": 10.5,
            },
        },
        "columns": COLUMNS,
        "spacing": {"row": 6, "column": SPACING},
        "spec": {
            "width": width,
            "height": height,
            "layer": [
                {"data": {"values": _with_gaps(values)}, "transform": _gapped(measure), **behind},
                *dense_layers(section, measure),
                area,
                line_layer(across, measure, color, strokeWidth=1.5),
                point_layer(across, measure, color, values, size=14, strokeWidth=1, opacity=1),
            ],
        },
    }
    below = {"text": "sparsity, %", "orient": "bottom", "anchor": "middle", **AXIS_TITLE}
    return {"concat": [{"title": below, "concat": [panels]}]}


def _with_gaps(values: Sequence[Spec]) -> list[Spec]:
    """The points of all methods in the order of a line, with an empty one after each method."""
    found: list[Spec] = []
    for method in dict.fromkeys(value["method"] for value in values):
        own = sorted((value for value in values if value["method"] == method), key=lambda value: -value["density"])
        found += [{"density": value["density"], "center": value["center"]} for value in own]
        found.append({"density": own[-1]["density"], "center": None})
    return found


def _gapped(measure: Measure) -> list[Spec]:
    at = measure.placed[0]
    return [at | {"calculate": f"datum.center === null ? null : ({at['calculate']})"}]


def _sparsities(section: Section, values: Sequence[Spec]) -> Spec:
    """Logarithmic in the share that is kept, labelled with the sparsities asked for; the highest keep their labels."""
    asked = sorted(1 - sparsity for sparsity in section.sparsities if sparsity < 1)
    found = [*asked, *(value["density"] for value in values)]
    axis = {
        "title": "sparsity, %",
        "values": [rounded(one, 8) for one in asked],
        "labelExpr": "format(100 * (1 - datum.value), '.5~g')",
        "grid": False,
    }
    scale = {"type": "log", "domain": [min(found) / 1.15, max(found) * 1.15], "reverse": True, "nice": False}
    return {"field": "density", "type": "quantitative", "scale": scale, "axis": axis}
