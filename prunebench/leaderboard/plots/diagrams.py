"""The critical-difference diagram of methods across tasks, after Demšar (2006)."""

from __future__ import annotations

import math

import matplotlib
from matplotlib.figure import Figure

from prunebench.leaderboard.plots.style import FAINT, INK, STYLE, card
from prunebench.leaderboard.ranks import Ranking

WIDTH, SIDE, LINE = 9.0, 2.9, 0.24
"""Inches: of the figure, of the labels on each side, between labels."""


@matplotlib.rc_context(STYLE)
def diagram(ranking: Ranking) -> Figure:
    """Mean ranks on an axis, the best on the left; a bar joins methods that are not told apart."""
    labels, groups = list(ranking.ranks), ranking.groups
    half = math.ceil(len(labels) / 2)
    bars = 0.2 * len(groups)
    height = 1.55 + bars + LINE * half
    figure = Figure(figsize=(WIDTH, height))
    figure.patch.set_alpha(0)
    card(figure, WIDTH, height)
    figure.text(0.25 / WIDTH, 1 - 0.34 / height, _title(ranking), fontsize=11.5, fontweight="bold")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)

    def place(rank: float) -> float:
        return SIDE + (rank - 1) / max(len(labels) - 1, 1) * (WIDTH - 2 * SIDE)

    axis = 1.0
    axes.plot([place(1), place(len(labels))], [axis, axis], color=INK, linewidth=1.2)
    step = max(1, math.ceil(len(labels) / 10))
    for rank in range(1, len(labels) + 1, step):
        axes.plot([place(rank)] * 2, [axis - 0.07, axis], color=INK, linewidth=1)
        axes.text(place(rank), axis - 0.11, str(rank), ha="center", va="bottom", fontsize=9)
    for index, group in enumerate(groups):
        ends = [place(ranking.ranks[label]) for label in (group[0], group[-1])]
        axes.plot([ends[0] - 0.05, ends[1] + 0.05], [axis + 0.15 + 0.2 * index] * 2, color=INK, linewidth=3.5)
    for index, label in enumerate(labels):
        best = index < half
        line = axis + 0.3 + bars + LINE * (index if best else len(labels) - 1 - index)
        spot, edge = place(ranking.ranks[label]), SIDE - 0.15 if best else WIDTH - SIDE + 0.15
        axes.plot([spot, spot, edge], [axis, line, line], color=FAINT, linewidth=0.9)
        said = f"{label}  {ranking.ranks[label]:.2f}" if best else f"{ranking.ranks[label]:.2f}  {label}"
        axes.text(edge + (-0.06 if best else 0.06), line, said, ha="right" if best else "left", va="center", fontsize=9)
    return figure


def _title(ranking: Ranking) -> str:
    if math.isinf(ranking.critical):
        return f"mean ranks over {ranking.blocks} blocks: no difference is shown"
    return f"mean ranks over {ranking.blocks} blocks, critical difference {ranking.critical:.2f}"
