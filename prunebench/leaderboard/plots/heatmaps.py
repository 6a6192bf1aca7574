"""How dense each method leaves each layer, as a heat map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from prunebench.api.results import DENSITY, Result
from prunebench.leaderboard.plots.style import CARD, FAINT, INK, STYLE, card, repeat, tile
from prunebench.leaderboard.statistics import mean
from prunebench.leaderboard.tables.sections import Section, percent

Densities = Mapping[str, Mapping[str, float]]
"""By method its layers' densities."""

WIDTH = 8.33
"""Inches: 600 points, so that 7 of them are 9 pixels where the plot is shown 800 pixels wide."""
CELL, LINE, GAP, LETTER = 0.5, 0.2, 0.08, 0.065
"""Inches of a cell at most, of a line of them, between panels, and of a letter."""
COLUMNS = 18
"""As many cells stand side by side; panels that do not fit are left out, the least sparse first."""
LONGEST = 28
"""Letters of a method's or a layer's name that fit."""
TEXT = 7.0
LEAST = 1e-3
"""Below this share the colour no longer changes."""


def layer_densities(section: Section, results: Sequence[Result]) -> dict[float, dict[str, dict[str, float]]]:
    """By sparsity and method the mean density of each layer, the methods in the order of the ranking."""
    found: dict[float, dict[str, dict[str, float]]] = {}
    rows: dict[tuple[str, float], list[Result]] = defaultdict(list)
    for result in results:
        rows[result.method, result.sparsity].append(result)
    for sparsity in section.sparsities:
        methods = {label: _means(rows.get((label, sparsity), [])) for label in section.methods}
        if known := {label: layers for label, layers in methods.items() if layers}:
            found[sparsity] = known
    return found


def _means(results: Sequence[Result]) -> dict[str, float]:
    done = [result.metrics for result in results if result.status == "done"]
    names = dict.fromkeys(name for metrics in done for name in sorted(metrics) if name.startswith(DENSITY))
    means = {name.removeprefix(DENSITY): mean([metrics[name] for metrics in done if name in metrics]) for name in names}
    return {name: value for name, value in means.items() if value is not None}


def shown(densities: Mapping[float, Densities]) -> list[float]:
    """The sparsities that have a panel: as many of the highest as fit, one at least."""
    layers = len(_layers(densities))
    return sorted(densities)[-max(1, COLUMNS // max(layers, 1)) :]


@matplotlib.rc_context(STYLE)
def heatmap(title: str, densities: Mapping[float, Densities]) -> Figure:
    """A panel a sparsity: methods by layers, with the share of weights that each layer keeps in percent."""
    panels, layers = shown(densities), _layers(densities)
    methods = [m for m in _methods(densities) if any(m in densities[sparsity] for sparsity in panels)]
    left, top = 0.3 + LETTER * min(max(map(len, methods)), LONGEST), 0.82
    bottom = 0.25 + LETTER * min(max(map(len, layers)), LONGEST)
    room = (WIDTH - left - 0.2 - GAP * (len(panels) - 1)) / (len(layers) * len(panels))
    panel = min(CELL, room) * len(layers)
    width = max(left + (panel + GAP) * len(panels) + 0.2, 6.5)
    height = top + LINE * len(methods) + bottom
    figure = Figure(figsize=(width, height))
    figure.patch.set_alpha(0)
    card(figure, width, height)
    heading = f"{title}: weights kept in each layer, %, by sparsity"
    figure.text(0.25 / width, 1 - 0.34 / height, heading, fontsize=11, fontweight="bold")
    for index, sparsity in enumerate(panels):
        corner = (left + index * (panel + GAP)) / width
        axes = figure.add_axes((corner, bottom / height, panel / width, LINE * len(methods) / height))
        _panel(axes, [[densities[sparsity].get(m, {}).get(layer) for layer in layers] for m in methods])
        axes.set_title(f"{percent(sparsity)} %", fontsize=8, fontweight="bold", pad=3)
        axes.set_xticks([i + 0.5 for i in range(len(layers))], map(shortened, layers), rotation=90, fontsize=TEXT)
        names = map(shortened, methods) if index == 0 else [""] * len(methods)
        axes.set_yticks([i + 0.5 for i in range(len(methods))], names, fontsize=7.2)
    return figure


def shortened(label: str) -> str:
    """As much of a name as fits: of a layer's the end says most, of a method's the beginning."""
    return label if len(label) <= LONGEST else f"{label[: LONGEST // 2]}…{label[-LONGEST // 2 + 1 :]}"


def _methods(densities: Mapping[float, Densities]) -> list[str]:
    """Those with the most panels first, each group in the order of the ranking."""
    found = list(dict.fromkeys(label for methods in densities.values() for label in methods))
    return sorted(found, key=lambda label: -sum(label in methods for methods in densities.values()))


def _layers(densities: Mapping[float, Densities]) -> list[str]:
    return list(dict.fromkeys(name for methods in densities.values() for some in methods.values() for name in some))


def _panel(axes: Axes, table: Sequence[Sequence[float | None]]) -> None:
    """Dark is dense. Every cell says its number, so that colour is a help and not the message."""
    colors, norm = matplotlib.colormaps["cividis_r"], LogNorm(LEAST, 1)
    tiles, said = {}, defaultdict(list)
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            if value is not None:
                depth = norm(min(max(value, LEAST), 1.0))
                tiles[row, column] = colors(depth)
                said[_said(value), CARD if depth > 0.5 else INK].append((column + 0.5, row + 0.5))
    tile(axes, tiles)
    for (text, ink), places in said.items():
        repeat(axes, text, places, ink, TEXT)
    axes.set(xlim=(0, len(table[0])), ylim=(len(table), 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, color=FAINT)


def _said(value: float) -> str:
    """A density in percent; a layer without a weight stands out, and one with nearly all is not said to have all."""
    if 0.995 <= value < 1:
        return ">99"
    return "none" if value == 0 else "100" if value == 1 else f"{100 * value:.2g}"
