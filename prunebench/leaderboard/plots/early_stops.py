"""Early stopping against sparsity: the two figures of Frankle & Carbin (2019, arXiv:1803.03635)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prunebench.leaderboard.plots.curves import (
    CROWD,
    FEW,
    HIGH,
    TICKS,
    Look,
    accuracy_axis,
    canvas,
    density,
    hollow,
    legend,
    looks,
    mark,
    sparsity_axis,
    wrapped,
)
from prunebench.leaderboard.plots.panels import Curve, Reference, panels
from prunebench.leaderboard.plots.style import STYLE
from prunebench.leaderboard.tables.sections import Row, Section


def is_plotted(section: Section) -> bool:
    """Whether any method stopped early at all: without a validation split none does."""
    return any(_known(list(rows.values()), "early_stop_step") for rows in section.methods.values())


def step_plot(section: Section) -> Figure:
    """The iteration of the lowest validation loss."""
    return _plot(section, "early_stop_step", 1, "iteration of early stopping")


def accuracy_plot(section: Section) -> Figure:
    """Test accuracy at that iteration."""
    return _plot(section, "early_stop_accuracy", 100, "test accuracy at early stopping, %")


@matplotlib.rc_context(STYLE)
def _plot(section: Section, figure_of: str, scale: float, label: str) -> Figure:
    found = {method: _curve(section.methods[method], figure_of, scale) for method in looks(section)}
    curves = {method: curve for method, curve in found.items() if curve.rows}
    reference = _reference(section, figure_of, scale)
    title = f"{label.removesuffix(', %')} against sparsity"

    def scaled(axes: Axes, labels: int = HIGH) -> str:
        if figure_of == "early_stop_accuracy":
            return accuracy_axis(axes, section.rows, figure_of, labels)
        axes.yaxis.set_major_locator(MaxNLocator(min(labels, 8) - 1, integer=True))
        return ""

    def small(axes: Axes) -> str:
        sparsity_axis(axes, section, FEW)
        return scaled(axes)

    if len(curves) > CROWD:
        return panels(f"{section.title}: {title}", ("sparsity, %", label), curves, reference, small)
    figure, axes = canvas(section, title)
    if reference is not None:
        reference.draw(axes)
    for method, curve in curves.items():
        _draw(axes, curve, wrapped(method), looks(section)[method])
    axes.set_ylabel(label + scaled(axes, TICKS))
    sparsity_axis(axes, section)
    legend(figure, axes, hollow(section))
    return figure


def _known(rows: Sequence[Row], figure_of: str) -> list[Row]:
    return [row for row in rows if row[figure_of] is not None and density(row) > 0]


def _reference(section: Section, figure_of: str, scale: float) -> Reference | None:
    for row in _known(section.controls[:1], figure_of):
        return Reference(row["method"], scale * row[figure_of], scale * (row[f"{figure_of}_std"] or 0.0))
    return None


def _curve(found: Mapping[float, Row], figure_of: str, scale: float) -> Curve:
    rows = _known([row for _, row in sorted(found.items())], figure_of)
    centers = [scale * row[figure_of] for row in rows]
    reaches = [scale * (row[f"{figure_of}_std"] or 0.0) for row in rows]
    pairs = list(zip(centers, reaches, strict=True))
    most = 100.0 if scale == 100 else math.inf
    low, high = [max(c - r, 0.0) for c, r in pairs], [min(c + r, most) for c, r in pairs]
    return Curve(rows, [density(row) for row in rows], low, centers, high)


def _draw(axes: Axes, curve: Curve, label: str, look: Look) -> None:
    axes.fill_between(curve.places, curve.low, curve.high, color=look.color, alpha=0.14, linewidth=0)
    axes.plot(curve.places, curve.center, linestyle=look.line, linewidth=1.8, label=label, **mark(look, 6.0))
