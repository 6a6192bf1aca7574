"""Small multiples for many methods: a panel a method, with all the others in grey behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunebench.leaderboard.plots.style import CARD, DOTS, FAINT, GRID, INK, card
from prunebench.leaderboard.tables.sections import Row

COLUMNS = 5
WIDTH = 8.33
"""Inches: 600 points, so that 7 of them are 9 pixels where the plot is shown 800 pixels wide."""
HEIGHT, ACROSS, DOWN = 1.0, 0.2, 0.27
"""Inches of a panel's height, and of the gaps between panels."""
LEFT, TOP, BOTTOM = 0.68, 0.98, 0.62
BEHIND, COLOR = "#c9ced4", "#0072B2"
TITLE, TEXT = 8.0, 7.2


@dataclass(frozen=True)
class Curve:
    """What is drawn of a method: a mean, and a deviation below and above it, for each row."""

    rows: Sequence[Row]
    places: Sequence[float]
    low: Sequence[float]
    center: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Reference:
    """The dense network: a horizontal line with its band."""

    label: str
    center: float
    reach: float

    def draw(self, axes: Axes, width: float = 1.3) -> None:
        low, high = self.center - self.reach, self.center + self.reach
        axes.axhspan(low, high, color=INK, alpha=0.10, linewidth=0)
        axes.axhline(self.center, color=INK, linewidth=width, linestyle=DOTS, label=self.label)


def panels(
    title: str,
    labels: tuple[str, str],
    curves: Mapping[str, Curve],
    reference: Reference | None,
    scale: Callable[[Axes], str],
) -> Figure:
    """A panel a method, in the given order.

    Args:
        labels: of the axes.
        scale: sets limits, scales and ticks, which all panels share; returns what to add to the label of the heights.
    """
    count = math.ceil(len(curves) / COLUMNS)
    height = TOP + count * (HEIGHT + DOWN) - DOWN + BOTTOM
    figure = Figure(figsize=(WIDTH, height))
    figure.patch.set_alpha(0)
    card(figure, WIDTH, height)
    figure.text(0.25 / WIDTH, 1 - 0.34 / height, title, fontsize=11, fontweight="bold")
    figure.text(0.25 / WIDTH, 1 - 0.56 / height, _explained(curves, reference), fontsize=TEXT)
    shared: Axes | None = None
    for index, (label, curve) in enumerate(curves.items()):
        axes = figure.add_axes(_place(index, height), sharex=shared, sharey=shared)
        shared = shared or axes
        _draw(axes, curve, curves, reference)
        axes.set_title(_shortened(label), fontsize=TITLE, fontweight="bold", loc="left", pad=3)
        axes.tick_params(
            labelsize=TEXT,
            left=False,
            bottom=False,
            labelleft=index % COLUMNS == 0,
            labelbottom=index + COLUMNS >= len(curves),
            pad=2,
        )
    added = "" if shared is None else scale(shared)
    for axes in figure.axes:
        axes.set(xlabel="", ylabel="")
    figure.text(0.5, 0.17 / height, labels[0], fontsize=TITLE, ha="center")
    figure.text(0.18 / WIDTH, 0.5, labels[1] + added, fontsize=TITLE, ha="center", va="center", rotation=90)
    return figure


def _place(index: int, height: float) -> tuple[float, float, float, float]:
    row, column = divmod(index, COLUMNS)
    width = (WIDTH - LEFT - 0.15 - ACROSS * (COLUMNS - 1)) / COLUMNS
    left, bottom = LEFT + column * (width + ACROSS), height - TOP - HEIGHT - row * (HEIGHT + DOWN)
    return (left / WIDTH, bottom / height, width / WIDTH, HEIGHT / height)


def _explained(curves: Mapping[str, Curve], reference: Reference | None) -> str:
    said = ["blue: the method, with a band of one sample standard deviation", "grey: all the others"]
    if reference is not None:
        said.append(f"dotted: {reference.label}")
    if any(row["status"] != "done" for curve in curves.values() for row in curve.rows):
        said.append("hollow: seeds are missing")
    return "; ".join(said)


def _shortened(label: str, most: int = 22) -> str:
    """As much of a label as a panel is wide."""
    return label if len(label) <= most else label[: most - 1] + "…"


def _draw(axes: Axes, curve: Curve, curves: Mapping[str, Curve], reference: Reference | None) -> None:
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=FAINT, linewidth=0.6)
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    # One line with gaps: thirty lines in each of thirty panels would be most of the file.
    axes.plot(
        np.concatenate([[*other.places, np.nan] for other in curves.values()]),
        np.concatenate([[*other.center, np.nan] for other in curves.values()]),
        color=BEHIND,
        linewidth=0.6,
        label="others",
    )
    if reference is not None:
        reference.draw(axes, 1.0)
    axes.fill_between(curve.places, curve.low, curve.high, color=COLOR, alpha=0.2, linewidth=0)
    axes.plot(curve.places, curve.center, color=COLOR, linewidth=1.5, label="method")
    for face in (COLOR, CARD):
        of_face = [(row["status"] == "done") == (face == COLOR) for row in curve.rows]
        places, centers = list(compress(curve.places, of_face)), list(compress(curve.center, of_face))
        axes.plot(places, centers, "o", markersize=3.2, markerfacecolor=face, markeredgecolor=COLOR, label="points")
