"""Which plots a leaderboard has, and what they say to who does not see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from prunebench.leaderboard.plots import costs, early_stops, heatmaps, overlap_maps
from prunebench.leaderboard.plots import curves as plots
from prunebench.leaderboard.plots.diagrams import diagram
from prunebench.leaderboard.plots.style import svg
from prunebench.leaderboard.ranks import Ranking, ranking
from prunebench.leaderboard.selection import Selection
from prunebench.leaderboard.tables.sections import RANKS, Section, percent, sections


@dataclass(frozen=True)
class Drawing:
    """A plot: its file, its text for who does not see it, a caption where it needs one, and how it is made."""

    file: str
    alt: str
    draw: Callable[[], Figure]
    caption: str = ""


def drawings(frame: pd.DataFrame, selection: Selection) -> dict[str, bytes]:
    """The plots of a leaderboard as files: name to bytes.

    Args:
        frame: the rows, from `table(selection)`.
        selection: the results behind them.
    """
    found = sections(frame)
    everything = [drawing for section in found for drawing in of_section(section, selection)]
    everything += across(ranking(found))
    return {drawing.file: svg(drawing.draw()) for drawing in everything}


def across(ranked: Ranking | None) -> list[Drawing]:
    """The plots across tasks."""
    if ranked is None:
        return []
    order = ", ".join(f"{label} {rank:.2f}" for label, rank in ranked.ranks.items())
    return [Drawing(f"{RANKS}.svg", f"Mean ranks across tasks, the best first: {order}", lambda: diagram(ranked))]


def of_section(section: Section, selection: Selection) -> Iterator[Drawing]:
    """The plots of a task."""
    if not plots.is_plotted(section):
        return
    name, title = section.file, section.title
    yield Drawing(f"{name}.svg", f"Test accuracy against sparsity: {title}", lambda: plots.accuracy_plot(section))
    if costs.is_plotted(section):
        yield Drawing(
            f"{name}-cost.svg", f"Test accuracy against training cost: {title}", lambda: costs.cost_plot(section)
        )
    if early_stops.is_plotted(section):
        yield Drawing(
            f"{name}-early-stop.svg",
            f"Iteration of early stopping against sparsity: {title}",
            lambda: early_stops.step_plot(section),
        )
        yield Drawing(
            f"{name}-early-accuracy.svg",
            f"Test accuracy at early stopping against sparsity: {title}",
            lambda: early_stops.accuracy_plot(section),
        )
    own = [result for result in selection.results if (result.suite, result.task) == (section.suite, section.task)]
    densities = heatmaps.layer_densities(section, own)
    if densities:
        panels = ", ".join(percent(sparsity) for sparsity in heatmaps.shown(densities))
        yield Drawing(
            f"{name}-layers.svg",
            f"Share of weights kept in each layer by method, at {panels} % sparsity: {title}",
            lambda: heatmaps.heatmap(title, densities),
            "Means over seeds; the highest sparsities that fit are shown."
            if len(heatmaps.shown(densities)) < len(densities)
            else "",
        )
    overlaps = [one for one in selection.overlaps if (one.suite, one.task) == (section.suite, section.task)]
    if overlaps:
        mapped = overlap_maps.shown(overlaps)
        yield Drawing(
            f"{name}-overlap.svg",
            f"Overlap of the masks of methods and of seeds: {title}",
            lambda: overlap_maps.overlap_map(title, list(section.methods), mapped),
            overlap_maps.caption(mapped),
        )
