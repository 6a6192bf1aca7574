"""Accuracy against sparsity, and what its plots share with those of early stopping and cost."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from prunebench.leaderboard.plots.panels import Curve, Reference, panels
from prunebench.leaderboard.plots.style import CARD, GRID, STYLE, card
from prunebench.leaderboard.tables.sections import Row, Section, percent

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9", "#882255", "#999933")
"""Okabe and Ito's colours, and three of Tol's: told apart with any colour vision, and on paper by marker and line."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
LINES = ("-", "--", "-.", ":")
PLOT = (5.6, 3.6)
"""Inches of the axes at least; the card is as large as its legend needs."""
LETTER, LINE = 0.078, 0.2
COLLAPSE = 0.3
"""Methods this far apart in accuracy are drawn on an axis that is logarithmic in the error."""
LEAST_ERROR = 0.01
ACCURACIES = (0, 10, 30, 50, 70, 80, 85, 90, 93, 95, 96, 97, 98, 98.5, 99, 99.3, 99.5, 99.7, 99.9)
TICKS = 14
"""At most this many labels fit below the axis."""
FEW, HIGH = 4, 7
"""And this many below or beside a small panel."""
CROWD = 10
"""More methods than this are drawn in a panel each."""


@dataclass(frozen=True)
class Look:
    """How a method is drawn, in every plot of its section."""

    color: str
    marker: str
    line: str


def is_plotted(section: Section) -> bool:
    """Whether there is anything to plot."""
    return any(drawn(rows) for rows in section.methods.values())


@matplotlib.rc_context(STYLE)
def accuracy_plot(section: Section) -> Figure:
    """Test accuracy against sparsity: means, and bands of one sample standard deviation."""
    if len(looks(section)) > CROWD:
        return _many(section)
    figure, axes = canvas(section, "test accuracy against sparsity")
    reference = dense(section)
    if reference is not None:
        reference.draw(axes)
    for label, look in looks(section).items():
        _band(axes, drawn(section.methods[label]), wrapped(label), look)
    axes.set_ylabel("test accuracy, %" + accuracy_axis(axes, section.rows))
    sparsity_axis(axes, section)
    legend(figure, axes, hollow(section))
    return figure


def _many(section: Section) -> Figure:
    found = {label: drawn(section.methods[label]) for label in looks(section)}
    curves = {label: Curve(rows, list(map(density, rows)), *levels(rows)) for label, rows in found.items()}

    def scale(axes: Axes) -> str:
        sparsity_axis(axes, section, FEW)
        return accuracy_axis(axes, section.rows, labels=HIGH)

    title = f"{section.title}: test accuracy against sparsity"
    return panels(title, ("sparsity, %", "test accuracy, %"), curves, dense(section), scale)


def looks(section: Section) -> dict[str, Look]:
    """By method, in the order of the ranking; a method keeps its look when the ranking changes."""
    found = {
        label: Look(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], LINES[i // len(PALETTE) % len(LINES)])
        for i, label in enumerate(sorted(section.methods))
    }
    return {label: found[label] for label in section.methods if drawn(section.methods[label])}


def drawn(rows: Mapping[float, Row]) -> list[Row]:
    """The rows with a place in both plots, by sparsity."""
    return [row for _, row in sorted(rows.items()) if row["accuracy_mean"] is not None and density(row) > 0]


def density(row: Row) -> float:
    """Share of the weights that is kept: as counted, or as asked for where it was not counted."""
    return 1.0 - float(row["target_sparsity"] if row["sparsity"] is None else row["sparsity"])


def canvas(section: Section, title: str) -> tuple[Figure, Axes]:
    """A white card, so that it reads on any page, as large as the legend needs."""
    labels = [wrapped(label) for label in looks(section)]
    lines = sum(label.count("\n") + 1 for label in labels) + 4
    longest = max(len(line) for label in labels for line in label.split("\n"))
    width, height = PLOT[0] + 1.7 + LETTER * max(longest, 16), max(PLOT[1] + 1.2, LINE * lines + 0.8)
    figure = Figure(figsize=(width, height))
    figure.patch.set_alpha(0)
    card(figure, width, height)
    axes = figure.add_axes((0.8 / width, 0.6 / height, PLOT[0] / width, (height - 1.2) / height))
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_ylabel("test accuracy, %")
    figure.text(0.25 / width, 1 - 0.34 / height, f"{section.title}: {title}", fontsize=11.5, fontweight="bold")
    return figure, axes


def wrapped(label: str) -> str:
    return textwrap.fill(label, 30)


def dense(section: Section) -> Reference | None:
    """The dense network's accuracy in percent."""
    for row in section.controls[:1]:
        if row["accuracy_mean"] is not None:
            return Reference(row["method"], 100 * row["accuracy_mean"], 100 * (row["accuracy_std"] or 0.0))
    return None


def _band(axes: Axes, rows: Sequence[Row], label: str, look: Look) -> None:
    densities, (low, center, high) = [density(row) for row in rows], levels(rows)
    axes.fill_between(densities, low, high, color=look.color, alpha=0.14, linewidth=0)
    axes.plot(densities, center, color=look.color, linestyle=look.line, linewidth=1.8)
    marks(axes, densities, rows, look, [6.0] * len(rows))
    axes.plot([], [], label=label, linestyle=look.line, linewidth=1.8, **mark(look, 6.0))


def marks(axes: Axes, places: Sequence[float], rows: Sequence[Row], look: Look, sizes: Sequence[float]) -> None:
    """A marker a row, hollow where seeds are missing."""
    for place, row, size in zip(places, rows, sizes, strict=True):
        unfilled = {} if row["status"] == "done" else {"markerfacecolor": CARD, "markeredgecolor": look.color}
        axes.plot([place], [100 * row["accuracy_mean"]], linestyle="", **mark(look, size) | unfilled)


def levels(rows: Sequence[Row]) -> tuple[list[float], list[float], list[float]]:
    """Mean accuracy in percent, and a standard deviation below and above."""
    centers = [100 * row["accuracy_mean"] for row in rows]
    reaches = [100 * (row["accuracy_std"] or 0.0) for row in rows]
    pairs = list(zip(centers, reaches, strict=True))
    return [max(0.0, c - r) for c, r in pairs], centers, [min(100.0, c + r) for c, r in pairs]


def mark(look: Look, size: float) -> dict[str, Any]:
    edge = {"markeredgecolor": CARD, "markeredgewidth": size / 8}
    return {"color": look.color, "marker": look.marker, "markersize": size, **edge}


def accuracy_axis(axes: Axes, rows: Sequence[Row], figure_of: str = "accuracy_mean", labels: int = TICKS) -> str:
    """Where methods collapse, logarithmic in the error: the methods that did not are then still told apart.

    Args:
        labels: about as many fit beside the axis.

    Returns:
        what is to be added to the axis' label.
    """
    centers = [row[figure_of] for row in rows if row[figure_of] is not None]
    if max(centers) - min(centers) < COLLAPSE:
        axes.yaxis.set_major_locator(MaxNLocator(min(labels, 8)))
        return ""
    bottom, top = max(axes.get_ylim()[0], 0.0), _height(_depth(100 * max(centers)) + 0.12)
    axes.set_yscale("function", functions=(_depth, _height))
    axes.set_ylim(bottom, top)
    ticks = [tick for tick in ACCURACIES if bottom <= tick <= top]
    axes.yaxis.set_major_locator(FixedLocator(_spread_out(ticks, float(_depth(top) - _depth(bottom)) / labels)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda accuracy, _: f"{accuracy:g}"))
    return " (logarithmic in the error)"


def _spread_out(ticks: Sequence[float], reach: float) -> list[float]:
    """Of rising accuracies those whose labels do not touch, from the best down."""
    kept: list[float] = []
    for tick in reversed(ticks):
        if not kept or _depth(kept[-1]) - _depth(tick) >= reach:
            kept.append(tick)
    return kept[::-1]


def _depth(accuracy: Any) -> Any:
    return -np.log10(np.clip(100 - np.asarray(accuracy), LEAST_ERROR, None))


def _height(depth: Any) -> Any:
    return 100 - np.power(10.0, -np.asarray(depth))


def sparsity_axis(axes: Axes, section: Section, labels: int = TICKS) -> None:
    """Logarithmic in the share that is kept, and labelled with the share that is not: 80 to 99 % spread out.

    Args:
        labels: at most so many fit below the axis.
    """
    densities = [1 - sparsity for sparsity in section.sparsities if sparsity < 1] or [1.0]
    axes.set_xlim(max(densities) * 1.12, min(densities) / 1.12)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_apart(densities, labels)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda density, _: percent(1 - density, 3 if density > 0.005 else 5)))
    axes.set_xlabel("sparsity, %")


def _apart(densities: Sequence[float], labels: int) -> list[float]:
    """Of falling densities those whose labels do not touch; the last one always."""
    reach = math.log(max(densities) / min(densities)) / labels
    kept = [min(densities)]
    for density in sorted(densities):
        if math.log(density / kept[-1]) >= reach > 0:
            kept.append(density)
    return kept


def hollow(section: Section) -> str:
    shown = [row for rows in section.methods.values() for row in drawn(rows)]
    return "hollow: seeds are missing" if any(row["status"] != "done" for row in shown) else ""


def legend(figure: Figure, axes: Axes, *notes: str) -> None:
    """Beside the axes, in the order of the ranking, below the notes."""
    handles, labels = axes.get_legend_handles_labels()
    corner = axes.get_position()
    place = (corner.x1 + 0.15 / figure.get_figwidth(), corner.y1)
    legend = figure.legend(handles, labels, loc="upper left", bbox_to_anchor=place, frameon=False, borderaxespad=0)
    legend.set_alignment("left")
    if any(notes):
        legend.set_title("\n".join(filter(None, notes)), FontProperties(size=8.5))
