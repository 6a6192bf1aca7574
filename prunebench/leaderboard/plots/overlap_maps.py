"""What the masks of methods and seeds have in common, as a triangular table in colour."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from prunebench.leaderboard.overlaps import Overlap
from prunebench.leaderboard.plots.heatmaps import LETTER, LONGEST, WIDTH, shortened
from prunebench.leaderboard.plots.style import CARD, FAINT, INK, STYLE, card, repeat, tile
from prunebench.leaderboard.tables.sections import percent

CELL, LINE = 0.42, 0.2
"""Inches of a cell at most, and of a line."""
TEXT, NAMES = 7.0, 7.2
SOFT = "#57606a"


def shown(overlaps: Sequence[Overlap]) -> list[Overlap]:
    """Those at one sparsity: that of the most of them, of equals the highest."""
    counts = Counter(one.sparsity for one in overlaps)
    best = max(counts, key=lambda sparsity: (counts[sparsity], sparsity))
    return [one for one in overlaps if one.sparsity == best]


def caption(overlaps: Sequence[Overlap]) -> str:
    """How the map is read, for the page."""
    sparsity = percent(overlaps[0].sparsity)
    return (
        f"Intersection over union of the weights kept at {sparsity} % sparsity, the highest at which most methods have "
        "every seed, in percent. Below the diagonal: two methods with the same seed. On it: a method with two seeds. "
        "Above it, and in the last column for the diagonal: random masks that keep as many weights of each layer. "
        "Means over seeds; the figures are in `overlaps.csv`."
    )


@matplotlib.rc_context(STYLE)
def overlap_map(title: str, order: Sequence[str], overlaps: Sequence[Overlap]) -> Figure:
    """Methods by methods, in the given order."""
    named = {name for one in overlaps for name in (one.method, one.other)}
    methods = [name for name in order if name in named]
    longest = LETTER * min(max(map(len, methods)), LONGEST)
    left, top, bottom = 0.3 + longest, 0.85, 0.3 + max(longest, LETTER * 10)
    columns = len(methods) + 1
    cell = min(CELL, (WIDTH - left - 0.25) / columns)
    width = max(left + cell * columns + 0.25, 6.5)
    height = top + LINE * len(methods) + bottom
    figure = Figure(figsize=(width, height))
    figure.patch.set_alpha(0)
    card(figure, width, height)
    heading = f"{title}: overlap of masks at {percent(overlaps[0].sparsity)} % sparsity"
    figure.text(0.25 / width, 1 - 0.34 / height, heading, fontsize=11, fontweight="bold")
    explained = "intersection over union, %; below: of two methods, diagonal: of a method's seeds, above: by chance"
    figure.text(0.25 / width, 1 - 0.56 / height, explained, fontsize=NAMES)
    size = (left / width, bottom / height, cell * columns / width, LINE * len(methods) / height)
    axes = figure.add_axes(size)
    _cells(axes, methods, overlaps)
    names = list(map(shortened, methods))
    axes.set_xticks([i + 0.5 for i in range(columns)], [*names, "by chance"], rotation=90, fontsize=NAMES)
    axes.set_yticks([i + 0.5 for i in range(len(methods))], names, fontsize=NAMES)
    axes.tick_params(length=0, color=FAINT)
    axes.spines[:].set_visible(False)
    return figure


def _cells(axes: Axes, methods: Sequence[str], overlaps: Sequence[Overlap]) -> None:
    place = {name: index for index, name in enumerate(methods)}
    tiles = {}
    colors, norm = matplotlib.colormaps["cividis_r"], PowerNorm(0.5, 0, 1)
    said = defaultdict(list)
    for one in overlaps:
        column, row = sorted((place[one.method], place[one.other]))
        tiles[row, column] = colors(norm(one.iou))
        said[_said(one.iou), CARD if norm(one.iou) > 0.5 else INK].append((column, row))
        said[_said(one.chance), SOFT].append((row if row != column else len(methods), column))
    tile(axes, tiles)
    axes.set(xlim=(0, len(methods) + 1), ylim=(len(methods), 0))
    for (text, ink), cells in said.items():
        repeat(axes, text, [(column + 0.5, row + 0.5) for column, row in cells], ink, TEXT)


def _said(share: float) -> str:
    if 0.995 <= share < 1:
        return ">99"
    return f"{100 * share:.0f}" if share == 0 or share >= 0.0095 else f"{100 * share:.1f}"
