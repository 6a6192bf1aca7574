"""Which plots a leaderboard has, and what they say to who does not see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from prunebench.leaderboard.overlaps import Overlap
from prunebench.leaderboard.plots import costs, layers, runtime_fronts
from prunebench.leaderboard.plots.curves import curves, curves_card
from prunebench.leaderboard.plots.diagrams import diagram, diagram_card
from prunebench.leaderboard.plots.layers import KEPT_WEIGHTS, OUTPUT_ERRORS, Share
from prunebench.leaderboard.plots.marks import is_plotted, points
from prunebench.leaderboard.plots.mask_overlaps import overlap_caption, overlap_map, overlap_map_card
from prunebench.leaderboard.plots.measures import Measure, early_primary, early_stop, primary
from prunebench.leaderboard.plots.rendering import svg
from prunebench.leaderboard.plots.style import Spec
from prunebench.leaderboard.ranks import Ranking, ranking
from prunebench.leaderboard.selection import Selection
from prunebench.leaderboard.tables.sections import RANKS, Section, percent, sections
from prunebench.records.results import Result


@dataclass(frozen=True)
class Plot:
    """A plot: its file, its text for who does not see it, how it is drawn, and a caption where it needs one."""

    file: str
    alt: str
    specification: Spec
    """For a page with scripts."""
    card: Spec
    """For an SVG."""
    caption: str = ""


def drawings(frame: pd.DataFrame, selection: Selection) -> dict[str, bytes]:
    """The plots of a leaderboard as SVGs: name to bytes.

    Args:
        frame: the rows, from `table(selection)`.
        selection: the results behind them.
    """
    return {plot.file: svg(plot.card) for plot in every_plot(frame, selection)}


def every_plot(frame: pd.DataFrame, selection: Selection) -> list[Plot]:
    """The plots of a leaderboard, in the order of its page."""
    found = sections(frame)
    return [*(plot for section in found for plot in of_section(section, selection)), *across(ranking(found))]


def across(ranked: Ranking | None) -> list[Plot]:
    """The plots across tasks."""
    if ranked is None:
        return []
    order = ", ".join(f"{label} {rank:.2f}" for label, rank in ranked.ranks.items())
    alt = f"Mean ranks across tasks, the best first: {order}"
    return [Plot(f"{RANKS}.svg", alt, diagram(ranked), diagram_card(ranked))]


def of_section(section: Section, selection: Selection) -> Iterator[Plot]:
    """The plots of a task."""
    if not is_plotted(section):
        return
    yield from _curves(section, "", primary(section))
    if costs.is_plotted(section):
        alt = f"{costs.title(section)}: {section.title}"
        yield Plot(f"{section.file}-cost.svg", alt, costs.costs(section), costs.costs_card(section))
    yield from _fronts(section)
    yield from _curves(section, "-early-stop", early_stop(section))
    yield from _curves(section, "-early-metric", early_primary(section))
    for share in (KEPT_WEIGHTS, OUTPUT_ERRORS):
        yield from _layers(section, _results(section, selection), share)
    yield from _overlaps(section, _mask_overlaps(section, selection))


def _fronts(section: Section) -> Iterator[Plot]:
    for axis in runtime_fronts.AXES:
        specification, card = runtime_fronts.fronts(section, axis), runtime_fronts.fronts_card(section, axis)
        if specification and card:
            alt = f"{runtime_fronts.title(section, axis)} in each runtime: {section.title}"
            yield Plot(f"{section.file}{axis.file}.svg", alt, specification, card)


def _results(section: Section, selection: Selection) -> list[Result]:
    """Those of a section, under its names of methods."""
    own = [result for result in selection.results if (result.suite, result.task) == (section.suite, section.task)]
    shown = _shown_names(section)
    return [replace(one, method=shown.get(one.method, one.method)) for one in own if shown.get(one.method) != ""]


def _mask_overlaps(section: Section, selection: Selection) -> list[Overlap]:
    own = [one for one in selection.overlaps if (one.suite, one.task) == (section.suite, section.task)]
    shown = _shown_names(section)
    return [
        replace(one, method=shown.get(one.method, one.method), other=shown.get(one.other, one.other))
        for one in own
        if "" not in (shown.get(one.method), shown.get(one.other))
    ]


def _shown_names(section: Section) -> dict[str, str]:
    """By method its name in the section, where that is another; empty if another method stands for it."""
    groups = section.names.items()
    return {name: "" if place else label for label, names in groups for place, name in enumerate(names)}


def _curves(section: Section, ending: str, measure: Measure) -> Iterator[Plot]:
    if points(section, measure):
        alt = f"{measure.heading}: {section.title}"
        yield Plot(f"{section.file}{ending}.svg", alt, curves(section, measure), curves_card(section, measure))


def _layers(section: Section, results: list[Result], share: Share) -> Iterator[Plot]:
    found = layers.layer_densities(section, results, share)
    specification, card = layers.layer_map(section, results, share), layers.layer_map_card(section, results, share)
    if specification and card:
        shown = layers.shown_densities(found)
        panels = ", ".join(percent(sparsity) for sparsity in shown)
        alt = f"{share.alt} by method, at {panels} % sparsity: {section.title}"
        caption = "Means over seeds; the highest sparsities that fit are shown." * (len(shown) < len(found))
        yield Plot(f"{section.file}-{share.file}.svg", alt, specification, card, caption)


def _overlaps(section: Section, overlaps: list[Overlap]) -> Iterator[Plot]:
    specification, card = overlap_map(section, overlaps), overlap_map_card(section, overlaps)
    if specification and card:
        alt = f"Overlap of the masks of methods and of seeds: {section.title}"
        yield Plot(f"{section.file}-overlap.svg", alt, specification, card, overlap_caption(overlaps))
