"""What is found in a trial as plots, the same bytes every time."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunebench.inspection.findings import Findings
from prunebench.inspection.stability import Stability
from prunebench.leaderboard.plots.curves import PALETTE
from prunebench.leaderboard.plots.style import CARD, FAINT, GRID, INK, STYLE, svg

WIDE, HIGH, ROW = 6.4, 3.6, 0.26
"""Inches of a plot, and of a layer in it."""


@matplotlib.rc_context(STYLE)
def drawings(found: Findings) -> dict[str, bytes]:
    """The plots by the names of their files."""
    figures = {"layers.svg": layers(found), "movement.svg": movement(found)}
    if found.history:
        figures["curves.svg"] = curves(found)
    if found.overlaps:
        figures["overlap.svg"] = overlap(found)
    if found.stability is not None:
        figures["stability.svg"] = stability(found.stability)
    return {name: svg(figure) for name, figure in figures.items()}


def curves(found: Findings) -> Figure:
    """Test accuracy and training loss over the steps of the last training."""
    figure, axes = _canvas("the last training")
    steps = [point["step"] for point in found.history]
    axes.plot(
        steps, [100 * point["test_accuracy"] for point in found.history], color=PALETTE[0], marker="o", markersize=3
    )
    axes.set_xlabel("step")
    axes.set_ylabel("test accuracy, % (dots)")
    beside = axes.twinx()
    beside.plot(steps, [point["train_loss"] for point in found.history], color=PALETTE[1], linestyle="--")
    beside.set_ylabel("training loss (dashes)")
    return figure


def layers(found: Findings) -> Figure:
    """The density of each layer."""
    rows = found.densities
    figure, axes = _canvas("density of the layers", len(rows))
    _bars(axes, [row.layer for row in rows], {"kept": [100 * row.density for row in rows]})
    axes.set_xlim(0, 100)
    axes.set_xlabel("kept, %")
    return figure


def movement(found: Findings) -> Figure:
    """How far weights went, by layer."""
    rows = found.movements
    figure, axes = _canvas("weight movement", 2 * len(rows))
    values = {name: [getattr(row, name) or 0.0 for row in rows] for name in ("kept", "survived", "removed")}
    _bars(axes, [row.layer for row in rows], {name: found for name, found in values.items() if any(found)})
    axes.set_xlabel("mean |after - before|")
    return figure


def overlap(found: Findings) -> Figure:
    """What two masks share, beside what random ones would."""
    rows = found.overlaps
    figure, axes = _canvas(f"mask overlap with {found.other}", 2 * len(rows))
    _bars(
        axes,
        [row.layer for row in rows],
        {"IoU": [row.iou or 0.0 for row in rows], "by chance": [row.chance or 0.0 for row in rows]},
    )
    axes.set_xlim(0, 1)
    axes.set_xlabel("intersection over union")
    return figure


def stability(one: Stability) -> Figure:
    """The test error between two networks that were trained from one state."""
    figure, axes = _canvas("test error between two trainings of one state")
    axes.plot(one.shares, [100 * error for error in one.errors], color=PALETTE[0], marker="o", markersize=4)
    axes.plot([0, 1], [100 * one.errors[0], 100 * one.errors[-1]], color=FAINT, linestyle=":")
    axes.set_xlabel("share of the way from one to the other")
    axes.set_ylabel("test error, %")
    axes.set_ylim(bottom=0)
    return figure


def _canvas(title: str, rows: int = 0) -> tuple[Figure, Axes]:
    """A white card, which reads on any page."""
    figure = Figure(
        figsize=(WIDE, max(HIGH if not rows else 1.6, ROW * rows + 1.4)), facecolor=CARD, layout="constrained"
    )
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _bars(axes: Axes, names: Sequence[str], groups: dict[str, list[float]]) -> None:
    """Horizontal bars, the first name on top; one of each group a name."""
    height = 0.8 / max(len(groups), 1)
    for place, (label, values) in enumerate(groups.items()):
        offsets = [row + height * (place - (len(groups) - 1) / 2) for row in range(len(names))]
        axes.barh(offsets, values, height=height, color=PALETTE[place], label=label)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    if len(groups) > 1:
        axes.legend(frameon=False, fontsize=8.5)
