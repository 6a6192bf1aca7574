"""The leaderboard as plots: accuracy against sparsity and against training cost, the same bytes every time."""

from __future__ import annotations

import io
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
from matplotlib.patches import BoxStyle, FancyBboxPatch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from prunebench.leaderboard.sections import Row, Section, percent

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9", "#882255", "#999933")
"""Okabe and Ito's colours, and three of Tol's: told apart with any colour vision, and on paper by marker and line."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
LINES = ("-", "--", "-.", ":")
INK, FAINT, GRID, CARD = "#24292f", "#6e7781", "#e4e7eb", "#ffffff"
DOTS = (0, (1, 1.5))
PLOT = (5.6, 3.6)
"""Inches of the axes at least; the card is as large as its legend needs."""
LETTER, LINE = 0.078, 0.2
COLLAPSE = 0.3
"""Methods this far apart in accuracy are drawn on an axis that is logarithmic in the error."""
LEAST_ERROR = 0.01
ACCURACIES = (0, 10, 30, 50, 70, 80, 85, 90, 93, 95, 96, 97, 98, 98.5, 99, 99.3, 99.5, 99.7, 99.9)
TICKS = 14
"""At most this many labels fit below the axis."""
STYLE: Any = {
    "svg.hashsalt": "prunebench",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn, in every plot of its section."""

    color: str
    marker: str
    line: str


def is_plotted(section: Section) -> bool:
    """Whether there is anything to plot."""
    return any(_drawn(rows) for rows in section.methods.values())


@matplotlib.rc_context(STYLE)
def accuracy_plot(section: Section) -> Figure:
    """Test accuracy against sparsity: means, and bands of one sample standard deviation."""
    figure, axes = canvas(section, "test accuracy against sparsity")
    _dense(axes, section)
    for label, look in looks(section).items():
        _band(axes, _drawn(section.methods[label]), wrapped(label), look)
    _accuracy_axis(axes, section)
    sparsity_axis(axes, section)
    legend(figure, axes, hollow(section))
    return figure


@matplotlib.rc_context(STYLE)
def cost_plot(section: Section) -> Figure:
    """Test accuracy against training cost, as a multiple of one dense training."""
    figure, axes = canvas(section, "test accuracy against training cost")
    _dense(axes, section)
    for label, look in looks(section).items():
        _path(axes, _drawn(section.methods[label]), wrapped(label), look, section.sparsities)
    _accuracy_axis(axes, section)
    _cost_axis(axes, section)
    legend(figure, axes, _shrinking(section), hollow(section))
    return figure


@matplotlib.rc_context(STYLE)
def svg(figure: Figure) -> bytes:
    """The figure's bytes, which are the same in every process."""
    target = io.BytesIO()
    figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


def looks(section: Section) -> dict[str, Look]:
    """By method, in the order of the ranking; a method keeps its look when the ranking changes."""
    found = {
        label: Look(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], LINES[i // len(PALETTE) % len(LINES)])
        for i, label in enumerate(sorted(section.methods))
    }
    return {label: found[label] for label in section.methods if _drawn(section.methods[label])}


def _drawn(rows: Mapping[float, Row]) -> list[Row]:
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


def card(figure: Figure, width: float, height: float) -> None:
    style = BoxStyle.Round(pad=0, rounding_size=0.1 / height)
    box = FancyBboxPatch((0.002, 0.003), 0.996, 0.994, boxstyle=style, mutation_aspect=width / height)
    box.set(transform=figure.transFigure, facecolor=CARD, edgecolor=GRID, linewidth=1, zorder=-1)
    figure.add_artist(box)


def wrapped(label: str) -> str:
    return textwrap.fill(label, 30)


def _dense(axes: Axes, section: Section) -> None:
    """The dense network as a horizontal line, with its band."""
    for row in section.controls[:1]:
        if row["accuracy_mean"] is None:
            return
        center, reach = 100 * row["accuracy_mean"], 100 * (row["accuracy_std"] or 0.0)
        axes.axhspan(center - reach, center + reach, color=INK, alpha=0.10, linewidth=0)
        axes.axhline(center, color=INK, linewidth=1.3, linestyle=DOTS, label=row["method"])


def _band(axes: Axes, rows: Sequence[Row], label: str, look: Look) -> None:
    densities, (low, center, high) = [density(row) for row in rows], _levels(rows)
    axes.fill_between(densities, low, high, color=look.color, alpha=0.14, linewidth=0)
    axes.plot(densities, center, color=look.color, linestyle=look.line, linewidth=1.8)
    _marks(axes, densities, rows, look, [6.0] * len(rows))
    axes.plot([], [], label=label, linestyle=look.line, linewidth=1.8, **mark(look, 6.0))


def _path(axes: Axes, rows: Sequence[Row], label: str, look: Look, sparsities: Sequence[float]) -> None:
    """A method from its lowest to its highest sparsity; its markers shrink on the way."""
    rows = [row for row in rows if row["training_cost"]]
    costs = [row["training_cost"] for row in rows]
    low, center, high = _levels(rows)
    axes.vlines(costs, low, high, color=look.color, alpha=0.3, linewidth=2.5)
    axes.plot(costs, center, color=look.color, linestyle=look.line, linewidth=1.2)
    ranks = [sparsities.index(row["target_sparsity"]) / max(len(sparsities) - 1, 1) for row in rows]
    _marks(axes, costs, rows, look, [9.5 - 5 * rank for rank in ranks])
    axes.plot([], [], label=label, linestyle=look.line, linewidth=1.2, **mark(look, 6.0))


def _marks(axes: Axes, places: Sequence[float], rows: Sequence[Row], look: Look, sizes: Sequence[float]) -> None:
    """A marker a row, hollow where seeds are missing."""
    for place, row, size in zip(places, rows, sizes, strict=True):
        unfilled = {} if row["status"] == "done" else {"markerfacecolor": CARD, "markeredgecolor": look.color}
        axes.plot([place], [100 * row["accuracy_mean"]], linestyle="", **mark(look, size) | unfilled)


def _levels(rows: Sequence[Row]) -> tuple[list[float], list[float], list[float]]:
    """Mean accuracy in percent, and a standard deviation below and above."""
    centers = [100 * row["accuracy_mean"] for row in rows]
    reaches = [100 * (row["accuracy_std"] or 0.0) for row in rows]
    pairs = list(zip(centers, reaches, strict=True))
    return [max(0.0, c - r) for c, r in pairs], centers, [min(100.0, c + r) for c, r in pairs]


def mark(look: Look, size: float) -> dict[str, Any]:
    edge = {"markeredgecolor": CARD, "markeredgewidth": size / 8}
    return {"color": look.color, "marker": look.marker, "markersize": size, **edge}


def _accuracy_axis(axes: Axes, section: Section) -> None:
    """Where methods collapse, logarithmic in the error: the methods that did not are then still told apart."""
    centers = [row["accuracy_mean"] for row in section.rows if row["accuracy_mean"] is not None]
    if max(centers) - min(centers) < COLLAPSE:
        return
    bottom = max(axes.get_ylim()[0], 0.0)
    axes.set_yscale("function", functions=(_depth, _height))
    axes.set_ylim(bottom, _height(_depth(100 * max(centers)) + 0.12))
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ACCURACIES if tick >= bottom]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda accuracy, _: f"{accuracy:g}"))
    axes.set_ylabel("test accuracy, % (logarithmic in the error)")


def _depth(accuracy: Any) -> Any:
    return -np.log10(np.clip(100 - np.asarray(accuracy), LEAST_ERROR, None))


def _height(depth: Any) -> Any:
    return 100 - np.power(10.0, -np.asarray(depth))


def sparsity_axis(axes: Axes, section: Section) -> None:
    """Logarithmic in the share that is kept, and labelled with the share that is not: 80 to 99 % spread out."""
    densities = [1 - sparsity for sparsity in section.sparsities if sparsity < 1] or [1.0]
    axes.set_xlim(max(densities) * 1.12, min(densities) / 1.12)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_apart(densities)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda density, _: percent(1 - density, 3 if density > 0.005 else 5)))
    axes.set_xlabel("sparsity, %")


def _apart(densities: Sequence[float]) -> list[float]:
    """Of falling densities those whose labels do not touch; the last one always."""
    reach = math.log(max(densities) / min(densities)) / TICKS
    kept = [min(densities)]
    for density in sorted(densities):
        if math.log(density / kept[-1]) >= reach > 0:
            kept.append(density)
    return kept


def _cost_axis(axes: Axes, section: Section) -> None:
    costs = [1.0, *(row["training_cost"] for row in section.rows if row["training_cost"])]
    axes.set_xlim(min(costs) / 1.2, max(costs) * 1.2)
    axes.set_xscale("log")
    axes.axvline(1, color=FAINT, linewidth=1, linestyle=DOTS)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:g}×"))
    axes.set_xlabel("training cost, in dense trainings")


def _shrinking(section: Section) -> str:
    lowest, *_, highest = [percent(sparsity) for sparsity in section.sparsities * 2]
    return f"markers shrink from\n{lowest} to {highest} % sparsity" if lowest != highest else ""


def hollow(section: Section) -> str:
    drawn = [row for rows in section.methods.values() for row in _drawn(rows)]
    return "hollow: seeds are missing" if any(row["status"] != "done" for row in drawn) else ""


def legend(figure: Figure, axes: Axes, *notes: str) -> None:
    """Beside the axes, in the order of the ranking, below the notes."""
    handles, labels = axes.get_legend_handles_labels()
    corner = axes.get_position()
    place = (corner.x1 + 0.15 / figure.get_figwidth(), corner.y1)
    legend = figure.legend(handles, labels, loc="upper left", bbox_to_anchor=place, frameon=False, borderaxespad=0)
    legend.set_alignment("left")
    if any(notes):
        legend.set_title("\n".join(filter(None, notes)), FontProperties(size=8.5))
