"""What the masks of methods and of seeds have in common, as a heat map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from prunebench.leaderboard.overlaps import Overlap
from prunebench.leaderboard.plots.heat_maps import axis, cells, colored, key, number, percentage, shortened
from prunebench.leaderboard.plots.style import CONFIG, Spec, control, listed, of_card
from prunebench.leaderboard.tables.sections import Section, percent

NARROW = 30
"""Pixels of a cell: its number has no fraction."""
SHARED = (0.75, 1.5, 3.5, 7.5, 15, 25, 45, 65, 85)
"""Percent at which the colour changes."""
COLUMNS: list[Spec] = [
    {"title": "method", "field": "method"},
    {"title": "other", "field": "other"},
    {"title": "target %", "field": "target", "number": True, "listed": True},
    {"title": "overlap %", "field": "overlap", "number": True},
    {"title": "by chance %", "field": "chance", "number": True},
    {"title": "pairs of masks", "field": "pairs of masks", "number": True},
]


def shown_overlaps(overlaps: Sequence[Overlap]) -> list[Overlap]:
    """Those at one sparsity: that of the most of them, of equals the highest."""
    counts = Counter(one.sparsity for one in overlaps)
    best = max(counts, key=lambda sparsity: (counts[sparsity], sparsity))
    return [one for one in overlaps if one.sparsity == best]


def overlap_caption(overlaps: Sequence[Overlap]) -> str:
    """How the map is read, for the page."""
    return (
        f"Intersection over union of the weights kept at {_mapped(overlaps)} sparsity, the highest at which most "
        "methods have every seed, in percent. Below the diagonal: two methods with the same seed. On it: a method with "
        "two seeds. Above it, and in the last column for the diagonal: random masks that keep as many weights of each "
        "layer. Means over seeds; the figures are in `overlaps.csv`."
    )


def overlap_map(section: Section, overlaps: Sequence[Overlap]) -> Spec | None:
    """What the masks of two methods, and of a method's seeds, have in common, beside what chance gives."""
    if not overlaps:
        return None
    named = {name for one in overlaps for name in (one.method, one.other)}
    methods = [name for name in section.methods if name in named]
    pairs = [_pair(one, methods) for one in overlaps if {one.method, one.other} <= set(methods)]
    pairs.sort(key=lambda pair: (pair["target"], pair["first"], pair["second"]))
    targets = [f"{percent(sparsity)} %" for sparsity in sorted({one.sparsity for one in overlaps})]
    views = [{"text": "all methods", "value": -1}]
    views += [{"text": name, "value": place, "group": "a method and each other"} for place, name in enumerate(methods)]
    title, last = "Overlap of masks", len(methods)
    return {
        "description": f"{title}: {section.title}. The table below has the same figures.",
        "padding": 4,
        "data": {"values": pairs},
        "params": [
            {"name": "target", "value": _mapped(overlaps)},
            {"name": "picked", "value": -1},
            {"name": "names", "value": methods},
        ],
        "transform": _overlaps_shown(last),
        **cells(
            {"field": "column", "type": "ordinal", "axis": axis(-90, _named(last))},
            {"field": "row", "type": "ordinal", "axis": axis(0, _named(last))},
            NARROW,
            colored("share", SHARED, "datum.what === 'overlap'"),
            listed("method", "other", "target", "kept by both", "by chance", "pairs of masks"),
        ),
        "config": CONFIG,
        "usermeta": {
            "title": title,
            "controls": [
                *control(
                    "target", "sparsity", [{"text": t, "value": t} for t in targets], targets.index(_mapped(overlaps))
                ),
                *control("picked", "show", views),
            ],
            "key": key(SHARED),
            "wide": True,
            "table": COLUMNS,
        },
    }


def overlap_map_card(section: Section, overlaps: Sequence[Overlap]) -> Spec | None:
    """The same as an SVG: all pairs at one sparsity."""
    spec = overlap_map(section, overlaps)
    if spec is None:
        return None
    title = f"{section.title}: overlap of masks at {_mapped(overlaps)} sparsity"
    said = "intersection over union, %", "below: of two methods, diagonal: of a method's seeds, above: by chance"
    return of_card(spec, title, *said)


def _mapped(overlaps: Sequence[Overlap]) -> str:
    """The sparsity of the map, as text."""
    return f"{percent(shown_overlaps(overlaps)[0].sparsity)} %"


def _pair(one: Overlap, methods: Sequence[str]) -> dict[str, Any]:
    first, second = sorted((methods.index(one.method), methods.index(one.other)))
    return {
        "method": methods[first],
        "other": methods[second],
        "target": f"{percent(one.sparsity)} %",
        "first": first,
        "second": second,
        "overlap": percentage(one.iou),
        "chance": percentage(one.chance),
        "pairs of masks": one.pairs,
    }


def _overlaps_shown(last: int) -> list[Spec]:
    """From a row for each pair to its cells: overlap and chance on two sides of the diagonal, or side by side.

    Args:
        last: the number of methods, and of the column that chance has to itself.
    """
    return [
        {"filter": "datum.target === target"},
        {"filter": "picked < 0 || datum.first === picked || datum.second === picked"},
        {"fold": ["overlap", "chance"], "as": ["what", "share"]},
        {
            "calculate": f"picked >= 0 ? (datum.what === 'overlap' ? -1 : {last}) : datum.what === 'overlap' ? "
            f"datum.first : datum.first === datum.second ? {last} : datum.second",
            "as": "column",
        },
        {
            "calculate": "picked >= 0 ? (datum.first === picked ? datum.second : datum.first) : "
            "datum.what === 'overlap' ? datum.second : datum.first",
            "as": "row",
        },
        {"calculate": number("share", fraction=0.95), "as": "said"},
        {"calculate": "format(datum.overlap, '.6~g') + ' %'", "as": "kept by both"},
        {"calculate": "format(datum.chance, '.6~g') + ' %'", "as": "by chance"},
        {
            "calculate": "datum.method + ' and ' + datum.other + ': ' + datum['kept by both'] + ', by chance ' + "
            "datum['by chance']",
            "as": "told",
        },
    ]


def _named(last: int) -> str:
    name = f"datum.value === {last} ? 'by chance' : {shortened('names[datum.value]')}"
    return f"datum.value < 0 ? 'overlap' : {name}"
