"""What all plots of a leaderboard look like."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import BoxStyle, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

INK, FAINT, GRID, CARD = "#24292f", "#6e7781", "#e4e7eb", "#ffffff"
DOTS = (0, (1, 1.5))
MANY = 5
"""At so many places an outline of its own makes the file smaller."""
DIGIT = 0.729
"""The height of a digit, of the size of its font."""
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


def card(figure: Figure, width: float, height: float) -> None:
    """A white card below everything, so that a plot reads on any page."""
    style = BoxStyle.Round(pad=0, rounding_size=0.1 / height)
    box = FancyBboxPatch((0.002, 0.003), 0.996, 0.994, boxstyle=style, mutation_aspect=width / height)
    box.set(transform=figure.transFigure, facecolor=CARD, edgecolor=GRID, linewidth=1, zorder=-1)
    figure.add_artist(box)


def tile(axes: Axes, colors: Mapping[tuple[int, int], Any]) -> None:
    """Cells of a table, by row and column; the first row is above."""
    corners = [[(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)] for y, x in colors]
    axes.add_collection(
        PolyCollection(corners, closed=False, facecolors=[*colors.values()], edgecolors=CARD, clip_on=False)
    )


def repeat(axes: Axes, text: str, places: Sequence[tuple[float, float]], ink: str, size: float) -> None:
    """A short text at several places. At many its outline is in the file but once: tables have hundreds of numbers."""
    if len(places) < MANY:
        for x, y in places:
            axes.text(x, y, text, color=ink, ha="center", va="center_baseline", fontsize=size)
        return
    outline = TextPath((0, 0), text, size=size, prop=FontProperties(family="DejaVu Sans"))
    box = outline.get_extents()
    centered = Path(outline.vertices - np.array([(box.x0 + box.x1) / 2, size * DIGIT / 2]), outline.codes)
    across, down = zip(*places, strict=True)
    axes.plot(
        across,
        down,
        linestyle="",
        marker=centered,
        markersize=2 * float(abs(np.asarray(centered.vertices)).max()),  # as it is: matplotlib scales its markers
        color=ink,
        markeredgewidth=0,
        clip_on=False,
        label=text,
    )


@matplotlib.rc_context(STYLE)
def svg(figure: Figure) -> bytes:
    """The figure's bytes, which are the same in every process."""
    target = io.BytesIO()
    figure.savefig(target, format="svg", metadata={"Date": None})
    return _smaller(target.getvalue())


_PLACE = re.compile(rb'(?<= d=")[^"]+|(?<= [xy]=")[^"]+|(?<=translate\()[^)]+')
"""Where outlines and markers lie; never a scale, of which every digit counts."""


def _smaller(content: bytes) -> bytes:
    """The same picture in a third of the bytes: names that nothing refers to, comments and indentation are left out."""
    content = re.sub(rb"<!--.*?-->", b"", content, flags=re.DOTALL)
    content = re.sub(rb'<g id="[^"]*">', b"<g>", content)
    content = re.sub(rb'(id="|href="#)DejaVuSans-', rb"\1", content)
    return re.sub(rb"\n\s*", b"\n", _PLACE.sub(_rounded, content))


def _rounded(place: re.Match[bytes]) -> bytes:
    """To a tenth of a point, which nobody sees; of a path that is straight all along, lines need no letter."""
    bent = re.search(rb"[QC]", place[0]) is not None  # letters: they are small, and in the file once
    outline = re.sub(rb"-?\d+\.\d{2,}", lambda number: b"%g" % round(float(number[0]), 2 if bent else 1), place[0])
    outline = re.sub(rb"\s+", b" ", outline).strip()
    return outline if bent else re.sub(rb"(?<=\d) L (?=[-\d])", b" ", outline)
