"""What all plots of a leaderboard look like."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import BoxStyle, FancyBboxPatch

INK, FAINT, GRID, CARD = "#24292f", "#6e7781", "#e4e7eb", "#ffffff"
DOTS = (0, (1, 1.5))
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
    outline = re.sub(rb"-?\d+\.\d{2,}", lambda number: b"%g" % round(float(number[0]), 1), place[0])
    outline = re.sub(rb"\s+", b" ", outline).strip()
    return outline if re.search(rb"[QC]", outline) else re.sub(rb"(?<=\d) L (?=[-\d])", b" ", outline)
