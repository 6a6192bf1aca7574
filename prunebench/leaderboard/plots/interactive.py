"""The plots of a leaderboard as Vega-Lite specifications, for a page with scripts; the SVGs show the same figures."""

from __future__ import annotations

import pandas as pd

from prunebench.leaderboard.plots import early_stops
from prunebench.leaderboard.plots.curves import is_plotted
from prunebench.leaderboard.plots.interactive_curves import (
    accuracy_specification,
    cost_specification,
    early_accuracy_specification,
    early_stop_specification,
)
from prunebench.leaderboard.plots.interactive_maps import layers_specification, overlap_specification
from prunebench.leaderboard.plots.interactive_style import Spec
from prunebench.leaderboard.selection import Selection
from prunebench.leaderboard.tables.sections import Section, sections


def specifications(frame: pd.DataFrame, selection: Selection) -> dict[str, Spec]:
    """By the name of the file that shows the same without scripts.

    Args:
        frame: the rows, from `table(selection)`.
        selection: the results behind them.
    """
    found: dict[str, Spec] = {}
    for section in filter(is_plotted, sections(frame)):
        found |= {f"{section.file}{ending}.svg": spec for ending, spec in _of_section(section, selection).items()}
    return found


def _of_section(section: Section, selection: Selection) -> dict[str, Spec]:
    place = (section.suite, section.task)
    found = {"": accuracy_specification(section), "-cost": cost_specification(section)}
    if early_stops.is_plotted(section):
        found["-early-stop"] = early_stop_specification(section)
        found["-early-accuracy"] = early_accuracy_specification(section)
    layers = layers_specification(section, [one for one in selection.results if (one.suite, one.task) == place])
    overlap = overlap_specification(section, [one for one in selection.overlaps if (one.suite, one.task) == place])
    return found | {ending: spec for ending, spec in (("-layers", layers), ("-overlap", overlap)) if spec}
