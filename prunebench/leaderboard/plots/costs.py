"""Accuracy against training cost: a panel a sparsity, with the Pareto front of its methods."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from prunebench.leaderboard.plots.curves import CROWD, HIGH, Look, accuracy_axis, dense, drawn, levels, looks, mark
from prunebench.leaderboard.plots.style import CARD, DOTS, FAINT, GRID, STYLE, card
from prunebench.leaderboard.tables.sections import Row, Section, percent

COLUMNS, ROWS = 3, 2
WIDTH = 8.33
HEIGHT, ACROSS, DOWN = 2.3, 0.42, 0.34
LEFT, TOP, BOTTOM = 0.68, 1.05, 0.62
TITLE, TEXT = 8.0, 7.2
LETTER, LINE = 0.062, 0.13
"""Inches of a letter, and of a line."""
BEHIND = {"facecolor": CARD, "alpha": 0.7, "linewidth": 0, "pad": 0.3}
HEADROOM = 0.25
"""Of a panel's height, for the names of the front."""
WIDE = 30
"""Where the most expensive costs so many times the cheapest, only powers of ten are labelled."""
FRONT, OTHER = "#0072B2", "#9aa1a9"


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other matches in accuracy at no more cost, by cost: those complete alone are compared."""
    found: list[Row] = []
    costed = [row for row in rows if row["status"] == "done" and row["training_cost"] and not row["control"]]
    for row in sorted(costed, key=lambda row: (row["training_cost"], -(row["accuracy_mean"] or 0.0), row["method"])):
        if row["accuracy_mean"] is not None and (not found or row["accuracy_mean"] > found[-1]["accuracy_mean"]):
            found.append(row)
    return found


def shown(section: Section) -> list[float]:
    """The sparsities that have a panel: evenly chosen where there are too many, the highest always."""
    costed = [s for s in section.sparsities if any(row["target_sparsity"] == s for row in _rows(section))]
    most = COLUMNS * ROWS
    if len(costed) <= most:
        return costed
    return [costed[round(index * (len(costed) - 1) / (most - 1))] for index in range(most)]


def is_plotted(section: Section) -> bool:
    """Whether any method has a cost."""
    return bool(_rows(section))


@matplotlib.rc_context(STYLE)
def cost_plot(section: Section) -> Figure:
    """Test accuracy against training cost, as a multiple of one dense training."""
    sparsities, found = shown(section), looks(section)
    crowded = len(found) > CROWD
    lines = 0 if crowded else math.ceil(len(found) / COLUMNS)
    count = math.ceil(len(sparsities) / COLUMNS)
    bottom = BOTTOM + lines * 1.25 * LINE
    height = TOP + count * (HEIGHT + DOWN) - DOWN + bottom
    figure = Figure(figsize=(WIDTH, height))
    figure.patch.set_alpha(0)
    card(figure, WIDTH, height)
    heading = f"{section.title}: test accuracy against training cost"
    figure.text(0.25 / WIDTH, 1 - 0.34 / height, heading, fontsize=11, fontweight="bold")
    figure.text(0.25 / WIDTH, 1 - 0.56 / height, _explained(section), fontsize=TEXT)
    shared: Axes | None = None
    for index, sparsity in enumerate(sparsities):
        axes = figure.add_axes(_place(index, height, len(sparsities)), sharex=shared)
        shared = shared or axes
        _panel(axes, section, sparsity, {} if crowded else found)
        axes.tick_params(
            labelsize=TEXT,
            length=2,
            pad=2,
            labelbottom=index + COLUMNS >= len(sparsities),
        )
    added = {_scale(axes, section, sparsity) for axes, sparsity in zip(figure.axes, sparsities, strict=True)}
    if crowded:
        for axes, sparsity in zip(figure.axes, sparsities, strict=True):
            _name(figure, axes, front(_at(section, sparsity)))
    elif shared is not None:
        handles = [Line2D([], [], label=label, linestyle="", **mark(look, 6.0)) for label, look in found.items()]
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(LEFT / WIDTH, 0.1 / height),
            ncols=COLUMNS,
            frameon=False,
            fontsize=TEXT,
            labelspacing=0.35,
        )
    figure.text(0.5, (bottom - 0.45) / height, "training cost, in dense trainings", fontsize=TITLE, ha="center")
    heights = "test accuracy, %" + ("; logarithmic in the error where methods collapse" if any(added) else "")
    figure.text(0.18 / WIDTH, 0.5, heights, fontsize=TITLE, ha="center", va="center", rotation=90)
    return figure


def _rows(section: Section) -> list[Row]:
    return [row for rows in section.methods.values() for row in drawn(rows) if row["training_cost"]]


def _at(section: Section, sparsity: float) -> list[Row]:
    return [row for row in _rows(section) if row["target_sparsity"] == sparsity]


def _explained(section: Section) -> str:
    said = ["line: the Pareto front, methods that none beats at no more cost", "bars: one sample standard deviation"]
    if len(looks(section)) > CROWD:
        said.append("grey: all others")
    if section.controls:
        said.append(f"dotted: {section.controls[0]['method']}")
    if any(row["status"] != "done" for row in _rows(section)):
        said.append("hollow: seeds are missing")
    return "; ".join(said)


def _place(index: int, height: float, count: int) -> tuple[float, float, float, float]:
    row, column = divmod(index, COLUMNS)
    columns = min(count, COLUMNS)
    width = (WIDTH - LEFT - 0.15 - ACROSS * (columns - 1)) / columns
    left, bottom = LEFT + column * (width + ACROSS), height - TOP - HEIGHT - row * (HEIGHT + DOWN)
    return (left / WIDTH, bottom / height, width / WIDTH, HEIGHT / height)


def _panel(axes: Axes, section: Section, sparsity: float, found: dict[str, Look]) -> None:
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=FAINT, linewidth=0.6)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_title(f"{percent(sparsity)} % sparsity", fontsize=TITLE, fontweight="bold", loc="left", pad=3)
    reference = dense(section)
    if reference is not None:
        reference.draw(axes, 1.0)
    axes.axvline(1, color=FAINT, linewidth=0.8, linestyle=DOTS)
    rows = _at(section, sparsity)
    best = front(rows)
    axes.step(
        [row["training_cost"] for row in best],
        [100 * row["accuracy_mean"] for row in best],
        where="post",
        color=FRONT,
        linewidth=1.2,
        label="front",
    )
    for row in rows:
        look = found.get(row["method"], Look(FRONT if row in best else OTHER, "o", "-"))
        (low,), (center,), (high,) = levels([row])
        axes.vlines([row["training_cost"]], [low], [high], color=look.color, alpha=0.4, linewidth=1.2)
        size = 6.0 if found else 4.5
        unfilled = {} if row["status"] == "done" else {"markerfacecolor": CARD, "markeredgecolor": look.color}
        axes.plot([row["training_cost"]], [center], linestyle="", label=row["method"], **mark(look, size) | unfilled)


def _scale(axes: Axes, section: Section, sparsity: float) -> str:
    costs = [1.0, *(row["training_cost"] for row in _rows(section))]
    axes.set_xlim(min(costs) / 1.4, max(costs) * 1.4)
    axes.set_xscale("log")
    wide = max(costs) / min(costs) > WIDE
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:g}×"))
    added = accuracy_axis(axes, [*section.controls[:1], *_at(section, sparsity)], labels=HIGH)
    if not added:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda accuracy, _: f"{accuracy:g}" if accuracy <= 100 else ""))
    scaled = axes.yaxis.get_transform()
    low, high = scaled.transform(axes.get_ylim())
    axes.set_ylim(axes.get_ylim()[0], float(scaled.inverted().transform(high + HEADROOM * (high - low))))
    return added


def _name(figure: Figure, axes: Axes, rows: Sequence[Row]) -> None:
    """The front's methods by name, to the upper left, where no point can be; names that would touch go higher."""
    box, to_data = axes.get_window_extent(), axes.transData.inverted()
    letter, line = (inches * figure.dpi for inches in (LETTER, LINE))
    taken: list[tuple[float, float, float]] = []
    for row in rows:
        point = axes.transData.transform((row["training_cost"], 100 * row["accuracy_mean"]))
        length = letter * len(row["method"])
        left = max(point[0] - 3 - length, box.x0 + 2)
        bottom = point[1] + 3
        for before, after, level in sorted(taken, key=lambda name: name[2]):
            if left < after and left + length > before and abs(bottom - level) < line:
                bottom = level + line
        taken.append((left, left + length, bottom))
        if bottom > point[1] + line:
            ends = to_data.transform(np.array([point, (point[0], bottom + line / 3)]))
            axes.plot(ends[:, 0], ends[:, 1], color=FAINT, linewidth=0.5, label="leader")
        x, y = to_data.transform((left + length, bottom))
        axes.text(x, y, row["method"], fontsize=TEXT, ha="right", va="bottom", bbox=BEHIND)
