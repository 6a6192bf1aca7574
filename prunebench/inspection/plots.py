"""What is found in a trial as plots, the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prunebench.inspection.findings import Findings
from prunebench.inspection.stability import Stability
from prunebench.leaderboard.plots.rendering import svg
from prunebench.leaderboard.plots.style import FAINT, INK, Spec, of_card

WIDTH, HEIGHT, BAR = 430, 240, 10
"""Pixels of a plot, and of a bar in it."""
LEGEND: Spec = {"title": None, "labelColor": INK, "labelFontSize": 11, "labelLimit": 400, "rowPadding": 3}
COLORS = ("var(--series-0)", "var(--series-1)", "var(--series-2)")


def drawings(found: Findings) -> dict[str, bytes]:
    """The plots by the names of their files."""
    specs = {"layers.svg": layers(found), "movement.svg": movement(found)}
    if found.output_errors:
        specs["output-error.svg"] = output_errors(found)
    if found.history:
        specs["curves.svg"] = curves(found)
    if found.overlaps:
        specs["overlap.svg"] = overlap(found)
    if found.stability is not None:
        specs["stability.svg"] = stability(found.stability)
    return {name: svg(spec) for name, spec in specs.items()}


def curves(found: Findings) -> Spec:
    """The primary metric on the test set, and the training loss, over the steps of the last training."""
    metric = found.objective[0]
    values = [(point["step"], metric.factor * point[f"test_{metric.name}"]) for point in found.history]
    title = f"test {metric.label}{metric.unit and ', '}{metric.unit} (dots)"
    loss = [(point["step"], point["train_loss"]) for point in found.history]
    lines = [
        _line(values, "step", title, color=COLORS[0], point={"size": 20, "opacity": 1}),
        _line(loss, "step", "training loss (dashes)", color=COLORS[1], strokeDash=[6, 3]),
    ]
    return _card("the last training", {"layer": lines, "resolve": {"scale": {"y": "independent"}}})


def layers(found: Findings) -> Spec:
    """The density of each layer."""
    rows = found.densities
    values = {"kept": [100 * row.density for row in rows]}
    return _bars("density of the layers", [row.layer for row in rows], values, "kept, %", (0, 100))


def movement(found: Findings) -> Spec:
    """How far weights went, by layer."""
    rows = found.movements
    values = {name: [getattr(row, name) or 0.0 for row in rows] for name in ("kept", "survived", "removed")}
    some = {name: found for name, found in values.items() if any(found)}
    return _bars("weight movement", [row.layer for row in rows], some, "mean |after - before|")


def output_errors(found: Findings) -> Spec:
    """The relative output error of each layer."""
    names, errors = [*found.output_errors], [*found.output_errors.values()]
    return _bars("output error of the layers", names, {"error": errors}, "relative squared error of the outputs")


def overlap(found: Findings) -> Spec:
    """What two masks share, beside what random ones would."""
    rows = found.overlaps
    values = {"IoU": [row.iou or 0.0 for row in rows], "by chance": [row.chance or 0.0 for row in rows]}
    title = f"mask overlap with {found.other}"
    return _bars(title, [row.layer for row in rows], values, "intersection over union", (0, 1))


def stability(one: Stability) -> Spec:
    """The test error between two networks that were trained from one state."""
    metric = one.metric
    across, up = "share of the way from one to the other", f"{one.label}{metric.unit and ', '}{metric.unit}"
    errors = [metric.factor * error for error in one.errors]
    straight = _line([(0, errors[0]), (1, errors[-1])], across, up, color=FAINT, strokeDash=[2, 3])
    path = _line(zip(one.shares, errors, strict=True), across, up, color=COLORS[0], point={"size": 30, "opacity": 1})
    return _card("test error between two trainings of one state", {"layer": [straight, path]})


def _card(title: str, spec: Spec) -> Spec:
    return of_card(spec, title, changes={"width": WIDTH} | ({} if "height" in spec else {"height": HEIGHT}))


def _line(points: Iterable[tuple[float, float]], across: str, up: str, **mark: Any) -> Spec:
    values = [{"x": x, "y": y} for x, y in points]
    fields = {"x": {"field": "x", "axis": {"title": across, "grid": False}, "scale": {"zero": False, "nice": False}}}
    fields["y"] = {"field": "y", "axis": {"title": up}}
    encoding = {name: field | {"type": "quantitative"} for name, field in fields.items()}
    return {"data": {"values": values}, "mark": {"type": "line", **mark}, "encoding": encoding}


def _bars(
    title: str,
    layers: Sequence[str],
    groups: Mapping[str, Sequence[float]],
    measure: str,
    domain: tuple[float, float] | None = None,
) -> Spec:
    """Horizontal bars, the first layer on top; one of each group a layer."""
    values = [
        {"layer": layer, "group": group, "value": value}
        for group, found in groups.items()
        for layer, value in zip(layers, found, strict=True)
    ]
    scale = {"domain": [*groups], "range": [*COLORS[: len(groups)]]}
    group: Spec = {"field": "group", "type": "nominal", "sort": None}
    encoding = {
        "y": {"field": "layer", "type": "nominal", "sort": None, "axis": {"title": None, "grid": False}},
        "yOffset": group,
        "x": {"field": "value", "type": "quantitative", "axis": {"title": measure}},
        "color": group | {"scale": scale, "legend": LEGEND if len(groups) > 1 else None},
    }
    if domain:
        encoding["x"]["scale"] = {"domain": [*domain]}
    size = {"step": BAR, "for": "offset"}
    return _card(title, {"data": {"values": values}, "mark": "bar", "encoding": encoding, "height": size})
