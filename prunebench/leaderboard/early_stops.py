"""Early stopping against sparsity: the two figures of Frankle & Carbin (2019, arXiv:1803.03635)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunebench.leaderboard.plots import (
    DOTS,
    INK,
    STYLE,
    Look,
    canvas,
    density,
    hollow,
    legend,
    looks,
    mark,
    sparsity_axis,
    wrapped,
)
from prunebench.leaderboard.sections import Row, Section

BANDS = 8
"""With more methods than this, bands of deviations would hide each other."""


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
    figure, axes = canvas(section, f"{label.removesuffix(', %')} against sparsity")
    axes.set_ylabel(label)
    for row in _known(section.controls[:1], figure_of):
        _reference(axes, scale * row[figure_of], scale * (row[f"{figure_of}_std"] or 0.0), row["method"])
    banded = len(looks(section)) <= BANDS
    for method, look in looks(section).items():
        rows = _known([row for _, row in sorted(section.methods[method].items())], figure_of)
        if rows:
            _curve(axes, rows, figure_of, scale, wrapped(method), look, banded)
    sparsity_axis(axes, section)
    legend(figure, axes, "" if banded else "deviations are in the table", hollow(section))
    return figure


def _known(rows: Sequence[Row], figure_of: str) -> list[Row]:
    return [row for row in rows if row[figure_of] is not None and density(row) > 0]


def _reference(axes: Axes, center: float, reach: float, label: str) -> None:
    """The dense network as a horizontal line, with its band."""
    axes.axhspan(center - reach, center + reach, color=INK, alpha=0.10, linewidth=0)
    axes.axhline(center, color=INK, linewidth=1.3, linestyle=DOTS, label=label)


def _curve(axes: Axes, rows: Sequence[Row], figure_of: str, scale: float, label: str, look: Look, banded: bool) -> None:
    places = [density(row) for row in rows]
    centers = [scale * row[figure_of] for row in rows]
    reaches = [scale * (row[f"{figure_of}_std"] or 0.0) for row in rows]
    pairs = list(zip(centers, reaches, strict=True))
    if banded:
        low, high = [c - r for c, r in pairs], [c + r for c, r in pairs]
        axes.fill_between(places, low, high, color=look.color, alpha=0.14, linewidth=0)
    axes.plot(places, centers, linestyle=look.line, linewidth=1.8, label=label, **mark(look, 6.0))
