"""Specifications as SVGs, drawn by Vega, which vl-convert contains: no browser, network or font of the machine."""

from __future__ import annotations

import re
from functools import cache

from prunebench.leaderboard.plots.style import SVG_FONT, Spec

VEGA_LITE = "6.4"
"""The version that the page has too."""
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_PLACE = re.compile(r'(?<= d=")[^"]+|(?<=translate\()[^)]+')
_TAG = re.compile(r"<[^<>]*>")
_NEEDLESS = re.compile(r' (?:font-family|class|role|aria-[a-z]+|pointer-events|opacity(?==\"1\"))="[^"]*"')
_EMPTY = re.compile(r'<path(?: d="(?:M0,0h[\d.]+v[\d.]+h-?[\d.]+Z)?")?(?: display="none")?/>')
_HIDDEN = re.compile(r'<(text|line)\b[^<>]* opacity="0"[^<>]*(?:/>|>[^<]*</\1>)')
_MADE_BY = re.compile(rb"<!-- vl-convert (\S+) -->")


def svg(spec: Spec) -> bytes:
    """The SVG of a specification; the same bytes on every machine."""
    import vl_convert

    drawn = _smaller(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE))
    named = drawn.replace("<svg ", f'<svg font-family="{SVG_FONT}" ', 1)
    return f"{named}\n<!-- vl-convert {version()} -->\n".encode()


@cache
def version() -> str:
    """The version of the library that draws here."""
    from importlib.metadata import version

    return version("vl-convert-python")


def drawn_by(content: bytes) -> str:
    """The version that an SVG was drawn by; empty if the text is not such an SVG."""
    found = _MADE_BY.search(content)
    return found[1].decode(errors="replace") if found else ""


def _smaller(content: str) -> str:
    """The same picture in fewer bytes: places to a tenth of a pixel, and without what does not show."""
    return _EMPTY.sub(
        "", _TAG.sub(lambda tag: _PLACE.sub(_rounded, _NEEDLESS.sub("", tag[0])), _HIDDEN.sub("", content))
    )


def _rounded(place: re.Match[str]) -> str:
    return _NUMBER.sub(lambda number: f"{float(number[0]):.1f}", place[0])
