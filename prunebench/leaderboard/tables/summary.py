"""What a task's numbers answer, in sentences: the best at each sparsity and for each cost, and what is not worth it.

Only complete rows are compared. A row that is not worth its cost is one that a cheaper row equals or beats by its mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from prunebench.leaderboard.metrics import is_percentage, margin, metric_of
from prunebench.leaderboard.tables.model import Text, joined, said
from prunebench.leaderboard.tables.sections import Row, Section, front, percent, spread

NAMED = 3
"""At most so many equivalent methods, and methods that are not worth their cost, are named."""
MOST = 0.75
"""Costs are compared at the highest sparsity that has at least this share of the rows of the fullest one."""
CHEAPER = 0.5
"""A cheaper method is worth a sentence if it costs at most so much of the other."""


def summary(section: Section) -> Iterator[Text]:
    """The sentences of a task, each as one text."""
    best = {sparsity: row for sparsity in section.sparsities if (row := best_row(section, sparsity)) is not None}
    if not best:
        return
    yield said("**Best at each sparsity**: {}.", joined([_named(section, rows) for rows in _runs(best)], "; "))
    sparsity = _of_most(section)
    rows = _complete(section, sparsity)
    steps = front(rows)
    if len(steps) > 1:
        shown = [said("from {}×, {} ({})", f"{row['training_cost']:.3g}", row["method"], spread(row)) for row in steps]
        words = f"**Best for a training cost** (in dense trainings), at {percent(sparsity)} %: {{}}."
        yield said(words, joined(shown, "; "))
    if (cheaper := _nearly(best.get(sparsity), rows)) is not None:
        yield cheaper
    if wasted := _not_worth(rows):
        yield said(f"**Not worth their cost** at {percent(sparsity)} %, by their means: {{}}.", joined(wasted, "; "))


def _complete(section: Section, sparsity: float) -> list[Row]:
    return [
        row
        for row in section.rows
        if (row["target_sparsity"], row["control"], row["status"]) == (sparsity, False, "done")
        and row["metric_mean"] is not None
        and row["against_best"] != "chance"
    ]


def _merit(row: Row) -> float:
    return float(metric_of(row).sign * row["metric_mean"])


def best_row(section: Section, sparsity: float) -> Row | None:
    """The complete row with the best mean at a sparsity; None where there are not two to compare."""
    rows = _complete(section, sparsity)
    return max(rows, key=_merit) if len(rows) > 1 else None


def _of_most(section: Section) -> float:
    """The highest sparsity at which most methods are complete."""
    counts = {sparsity: len(_complete(section, sparsity)) for sparsity in section.sparsities}
    return max(sparsity for sparsity, count in counts.items() if count >= MOST * max(counts.values()))


def _runs(best: dict[float, Row]) -> list[list[Row]]:
    """The best rows, those of one method at sparsities that follow each other together."""
    rows = [row for _, row in sorted(best.items())]
    return [list(some) for _, some in groupby(rows, key=lambda row: row["method"])]


def _named(section: Section, rows: Sequence[Row]) -> Text:
    places = [percent(row["target_sparsity"]) for row in rows]
    where = places[0] if len(places) == 1 else f"{places[0]} to {places[-1]}"
    means = dict.fromkeys(_mean(row) for row in (rows[0], rows[-1]))
    text = said(f"{{}} at {where} % ({{}})", rows[0]["method"], " to ".join(means))
    equals = [
        row["method"]
        for row in section.rows
        if row["target_sparsity"] == rows[0]["target_sparsity"] and row["against_best"] == "equivalent"
    ]
    if len(rows) > 1 or not equals:
        return text
    more = f" and {len(equals) - NAMED} more" if len(equals) > NAMED else ""
    return text + said(f", and equivalent {{}}{more}", ", ".join(equals[:NAMED]))


def _mean(row: Row) -> str:
    return spread(row).partition(" ")[0]


def _nearly(best: Row | None, rows: Sequence[Row]) -> Text | None:
    """The cheapest method that is a small difference behind the best, at half of its cost or less."""
    if best is None or not best["training_cost"]:
        return None
    metric = metric_of(best)
    near = [
        row
        for row in rows
        if row["training_cost"]
        and row["training_cost"] <= CHEAPER * best["training_cost"]
        and _merit(best) - _merit(row) <= margin(metric, best["metric_mean"])
    ]
    if not near:
        return None
    row = min(near, key=lambda row: (row["training_cost"], -_merit(row)))
    behind = f"{metric.factor * (_merit(best) - _merit(row)):.{metric.decimals}f}"
    unit = " points" if is_percentage(metric) else f" {metric.unit}".rstrip()
    known = {"equivalent": "shown to be small", "worse": "significant"}
    words = known.get(row["against_best"], "too few seeds to tell")
    return said(
        f"**Nearly as good**: {{}} is {behind}{unit} behind {{}} ({words}) at {_share(row, best)} of its cost.",
        row["method"],
        best["method"],
    )


def _not_worth(rows: Sequence[Row]) -> list[Text]:
    """The most expensive methods that one of at most half their cost equals or beats."""
    found = []
    costed = [row for row in rows if row["training_cost"]]
    for row in sorted(costed, key=lambda row: (-row["training_cost"], row["method"])):
        cheaper = [
            other
            for other in costed
            if other["training_cost"] <= CHEAPER * row["training_cost"] and _merit(other) >= _merit(row)
        ]
        if cheaper:
            other = min(cheaper, key=lambda one: (one["training_cost"], -_merit(one)))
            found.append(
                said(
                    f"{{}} ({{}}, {row['training_cost']:.3g}×) beside {{}} ({{}}, {other['training_cost']:.3g}×)",
                    row["method"],
                    _mean(row),
                    other["method"],
                    _mean(other),
                )
            )
    return found[:NAMED]


def _share(row: Row, best: Row) -> str:
    """One cost as a share of another: a twentieth is `1/20`."""
    times = best["training_cost"] / row["training_cost"]
    return f"1/{times:.0f}" if times >= 2.5 else "half"
