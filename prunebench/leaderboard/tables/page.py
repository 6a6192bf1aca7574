"""What the page of a leaderboard says, in blocks that Markdown and HTML show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from prunebench.leaderboard.plots.gallery import across, of_section
from prunebench.leaderboard.ranks import Ranking, ranking
from prunebench.leaderboard.rows import COLUMNS
from prunebench.leaderboard.selection import (
    LABELS,
    OF_THE_METHOD,
    OWN_KEY,
    Older,
    Selection,
    grouped,
    other_sources,
    shared,
)
from prunebench.leaderboard.statistics import CONFIDENCE, FEWEST_PAIRS, SIGNIFICANCE
from prunebench.leaderboard.tables import evidence
from prunebench.leaderboard.tables.model import (
    Block,
    Commands,
    Heading,
    Items,
    Page,
    Paragraph,
    Picture,
    Span,
    Table,
    Text,
    Words,
    joined,
    said,
)
from prunebench.leaderboard.tables.sections import Row, Section, percent, sections, spread, state
from prunebench.records.results import ASKED, Result

NAMES = {"data": "data fingerprint"}
SHOWN_VALUES = 3
SAME_SPARSITY = 5e-4
"""Rounding to whole weights stays below this."""
COST = "Training cost: FLOPs of everything that the method needed, relative to one dense training."

STATISTICS = f"""\
Figures are means over seeds; ± is the sample standard deviation. The difference to the dense network is paired: the
two accuracies of a seed are subtracted, and the interval is Student's t interval ({CONFIDENCE:.0%}) of their mean.

Tiers compare the methods of one task and sparsity by the test of Games & Howell (1976) at {SIGNIFICANCE:g}. It does not
assume equal variances (pruned networks near collapse vary widely), and corrects for choosing the best method after
seeing the results; two methods alone are compared by the paired t-test. Methods are sorted by mean; a new tier starts
at the first method that differs significantly from the best of the current tier, so no method is in a better tier than
one with a higher mean. A question mark: the method is in this tier by its mean, but varies so much that it does not
differ significantly from the best of the tier above. In simulations with equal methods of equal and unequal variances,
at most 7 % of boards of up to ten methods showed any difference, and at most 10 % of boards of thirty methods with
three seeds. The test assumes normal accuracies, and that a seed does not favour one method over another; effects of a
seed that all methods share are not removed, which costs power but gives no false differences. One tier means "not
significantly different with these seeds", not "equal". With fewer than {FEWEST_PAIRS} shared seeds no tier is claimed.
Incomplete rows are shown, and not ranked.

FLOPs and speed-up are counted, not measured. Seconds are measured on the machines named above, and depend on their
other load."""


@dataclass(frozen=True)
class Column:
    """A column of the page: its heading, the figures of a row that it shows, and how."""

    heading: str
    figures: tuple[str, ...]
    show: Callable[[Row], str]


def board_page(frame: pd.DataFrame, selection: Selection) -> Page:
    """The page: each task with its protocol, pivot, plots and full table, then what all the numbers mean.

    Args:
        frame: the rows, from `table(selection)`.
        selection: whose results say what the rows share, and what is not comparable with them.
    """
    found = sections(frame)
    blocks = [*_heading(frame), *(block for section in found for block in _section(section, selection))]
    blocks += [*_across(ranking(found)), Heading(2, "What the numbers mean")]
    blocks += [*_paragraphs(STATISTICS), Heading(3, "Columns"), _meanings(frame)]
    return Page(tuple(blocks))


def _heading(frame: pd.DataFrame) -> Iterator[Block]:
    suites = sorted(set(frame["suite"]) - {""})
    yield Heading(1, said("Leaderboard: {}", ", ".join(suites)) if suites else "Leaderboard")
    yield Paragraph(said("Generated from tracked results. Every row is in `rows.csv`, every trial in `trials.csv`."))


def _section(section: Section, selection: Selection) -> Iterator[Block]:
    results = [result for result in selection.results if (result.suite, result.task) == (section.suite, section.task)]
    yield Heading(2, section.title)
    yield protocol(section, results) if results else Paragraph(said("No results yet."))
    if section.methods:
        yield pivot(section, _bold, caption(section))
        yield pivot(section, cost, cost_caption(section))
    else:
        yield Paragraph(caption(section))
    yield from map(Picture, of_section(section, selection))
    yield Heading(3, "Every row")
    yield every_row(section)
    yield from _evidence(section, results)
    yield from _notes("Not done", [_undone(row) for row in section.rows if row["status"] != "done"])
    yield from _notes("Not decided by scores", filter(None, map(_undecided, section.rows)))
    older = [old for old in selection.older if (old.suite, old.task) == (section.suite, section.task)]
    yield from _notes("Not comparable", [_not_comparable(old) for old in older if old.kind == "protocol"])
    yield from _notes("Other source", _other_sources(results))
    yield from _notes("Superseded", [_superseded(old) for old in older if old.kind == "variant"])


def _evidence(section: Section, results: Sequence[Result]) -> Iterator[Block]:
    """What is below the rows: tickets, deployed networks, ShrinkBench's list, commands."""
    if section.methods and results:
        found = evidence.tickets(section)
        yield Heading(3, "Early stopping and tickets")
        yield _grid(found, said(evidence.TICKETS)) if found else Paragraph(said(evidence.NO_VALIDATION))
    if (found := evidence.deployed(section)) is not None:
        yield from (Heading(3, "Deployed"), _grid(found, said(evidence.DEPLOYED)))
    if results:
        yield from (Heading(3, "What ShrinkBench asks for"), _grid(evidence.answers(section, results)))
    if commands := [row["command"] for row in section.rows if row["command"]]:
        yield Heading(3, "Do it again")
        yield Paragraph(
            said(
                "Each line does the work of a row again, with the dense network of the same seeds, in the rows' order."
            )
        )
        yield Commands(tuple(dict.fromkeys(commands)))


def _across(ranked: Ranking | None) -> Iterator[Block]:
    if ranked is not None:
        found, tested = evidence.ranks(ranked)
        yield from (Heading(2, "Across tasks"), Paragraph(said(evidence.BLOCKS)), _grid(found, said(tested)))
        yield from map(Picture, across(ranked))


def _paragraphs(text: str) -> Iterator[Paragraph]:
    return (Paragraph(said(paragraph)) for paragraph in text.split("\n\n"))


def _grid(grid: evidence.Grid, caption: Text | None = None) -> Table:
    return Table(tuple(grid.header), tuple(map(tuple, grid.body)), caption=caption)


def protocol(section: Section, results: Sequence[Result]) -> Table:
    """What the rows share, in two columns."""
    lines = [*_configuration(results), ("sparsity", denominator(section))]
    lines += [("prunable", _prunable(results)), *_environment(results)]
    lines.append(("newest result", _date(max(result.finished for result in results))))
    return Table(("protocol", ""), tuple(line for line in lines if line[1]))


def _configuration(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The params that all results share, by the part that they configure: dataset, model, recipe, prunable."""
    names = {name.removeprefix("task.") for result in results for name in result.params} - set(LABELS)
    groups: dict[str, list[tuple[bool, str]]] = {}
    for name, value in shared(results).items():
        group, _, rest = name.partition(".")
        if name in names and not name.startswith(OF_THE_METHOD):
            shown = value if rest in ("", "name") else f"{rest} {value}"
            groups.setdefault(group, []).append((rest not in ("", "name"), shown))
    return [(group, ", ".join(shown for _, shown in sorted(items))) for group, items in sorted(groups.items())]


def denominator(section: Section) -> str:
    counts = sorted({row["parameters_prunable"] for row in section.rows if row["parameters_prunable"] is not None})
    numbers = " or ".join(f"{count:,}" for count in counts)
    return f"share of the {numbers} prunable weights that is exactly zero" if numbers else ""


def _prunable(results: Sequence[Result]) -> str:
    """How much of the networks the prunable weights are; nothing of results from before that was measured."""
    measured = [result.metrics for result in results if "inference_flops_prunable" in result.metrics]
    return " or ".join(sorted({_share_prunable(metrics) for metrics in measured}))


def _share_prunable(metrics: Mapping[str, float]) -> str:
    weights = metrics["parameters_prunable"] / metrics["parameters_total"]
    flops = metrics["inference_flops_prunable"] / metrics["inference_flops_dense"]
    total = f"{metrics['parameters_total']:,.0f}"
    return f"weights that are {100 * weights:.3g} % of all {total} parameters and {100 * flops:.3g} % of the FLOPs"


def _environment(results: Sequence[Result]) -> list[tuple[str, str]]:
    """What of the provenance is not of a single method or trial; several machines may have contributed."""
    values: dict[str, set[str]] = {}
    for result in results:
        for name, value in result.provenance.items():
            if name != OWN_KEY and not name.startswith((OF_THE_METHOD, ASKED)):
                values.setdefault(name, set()).add(value)
    return [(NAMES.get(name, name), _several(found)) for name, found in sorted(values.items())]


def _several(values: set[str]) -> str:
    return " / ".join(sorted(values)) if len(values) <= SHOWN_VALUES else f"{len(values)} different"


def caption(section: Section) -> Text:
    """What the accuracies are, and of how many seeds."""
    text = said("Test accuracy in percent, {}.", said(seeds(section)))
    for row in section.controls:
        text += said(" Dense network ({}): {}.", row["method"], spread(row) or state(row))
    if section.tiered:
        text += said(" **Bold**: the best tier at this sparsity.")
    elif len(section.methods) > 1:
        text += said(f" No tiers are claimed: that takes {FEWEST_PAIRS} shared seeds.")
    return text


def seeds(section: Section) -> str:
    counts = sorted({row["n"] for row in section.rows if row["status"] == "done"})
    if counts in ([], [1]):
        return "one seed"
    return f"mean ± sample standard deviation over {' or '.join(map(str, counts))} seeds"


def accuracies(section: Section) -> Table:
    """The accuracies of the methods by sparsity."""
    return pivot(section, _bold)


def pivot(section: Section, show: Callable[[Row | None], Words], caption: Text | None = None) -> Table:
    """The methods by the sparsities."""
    header = ("method", *(f"{percent(sparsity)} %" for sparsity in section.sparsities))
    body = tuple(
        (label, *(show(rows.get(sparsity)) for sparsity in section.sparsities))
        for label, rows in section.methods.items()
    )
    return Table(header, body, ("left", *["center"] * len(section.sparsities)), caption)


def cost(row: Row | None) -> str:
    """Training cost; nothing where there is none."""
    return "–" if row is None or row["training_cost"] is None else f"{row['training_cost']:.3g}×"


def cost_caption(section: Section) -> Text:
    """What the costs are, and what the sparsities turned out to be."""
    off = [
        said("{} {} % at {} %", row["method"], percent(row["sparsity"]), percent(row["target_sparsity"]))
        for row in section.rows
        if row["sparsity"] is not None and abs(row["sparsity"] - row["target_sparsity"]) > SAME_SPARSITY
    ]
    counted = f"{COST} Sparsity, counted from the weights after training, is as asked for"
    return said(counted + ", but for {}.", joined(off)) if off else said(f"{counted} in every row.")


def _bold(row: Row | None) -> Words:
    text = cell(row)
    return Text((Span(text, "strong"),)) if row is not None and row["tier"] == 1 else text


def cell(row: Row | None) -> str:
    """Accuracy; or what there is instead."""
    if row is None:
        return "–"
    if not spread(row):
        return state(row)
    return spread(row) if row["status"] == "done" else f"{spread(row)} ({row['n']} of {row['seeds']})"


def every_row(section: Section) -> Table:
    """Every row, without the columns that the task has nothing for."""
    optional = {"top-5 %", "unscored %", "ties %"}
    columns = [
        column
        for column in PAGE
        if column.heading not in optional or any(row.get(column.figures[0]) is not None for row in section.rows)
    ]
    body = tuple(tuple(column.show(row) for column in columns) for row in section.rows)
    sides = tuple("left" if column.heading in ("method", "status") else "right" for column in columns)
    return Table(tuple(column.heading for column in columns), body, sides)


def _notes(title: str, lines: Iterable[Words]) -> Iterator[Block]:
    if items := tuple(lines):
        yield from (Heading(3, title), Items(items))


def _undone(row: Row) -> Text:
    reason = said(": {}", row["reason"]) if row["reason"] else said("")
    return _place(row) + said(": {}", state(row)) + reason


def _place(row: Row) -> Text:
    return said("{} at {} %", row["method"], percent(row["target_sparsity"]))


def _undecided(row: Row) -> Text | None:
    """What the scores of a row's methods left to the order of the weights."""
    parts = {
        "of the weights are in layers without a score": row.get("unscored_share"),
        "of the kept weights were chosen among equal scores, by their order": row.get("tied_share"),
    }
    shares = [said(f"{_digits(100 * share)} % {what}") for what, share in parts.items() if share is not None]
    return said("{}: {}", _place(row), joined(shares, "; ")) if shares else None


def _other_sources(results: Sequence[Result]) -> Iterator[Text]:
    """Rows that were made by more than one source, under the same versions: they are compared."""
    rows = grouped(results, lambda result: result.method)
    common = tuple(part for part in other_sources(results) if not part.startswith("method"))
    if common:
        yield said("The rows were made by more than one source of the same version: {}.", ", ".join(common))
    for method, some in sorted(rows.items()):
        if parts := [part for part in other_sources(some) if part.startswith("method")]:
            yield said("{}: made by more than one source of the same version: {}.", method, ", ".join(parts))


def _not_comparable(old: Older) -> Text:
    words = f"{_trials(old)} of protocol {{}}, {{}}, until {_date(old.finished)}: {{}}"
    return said(words, _code(old.identity[:8]), ", ".join(old.methods), _why(old))


def _superseded(old: Older) -> Text:
    words = f"{_trials(old)} of {{}}, variant {{}}, until {_date(old.finished)}: {{}}"
    return said(words, ", ".join(old.methods), _code(old.identity[:8]), _why(old))


def _trials(old: Older) -> str:
    return f"{old.count} trial{'s' if old.count > 1 else ''}"


def _why(old: Older) -> Text:
    if not old.changes:
        return said("nothing that is recorded differs but the hash")
    return joined([_code(change) for change in old.changes])


def _code(text: str) -> Text:
    return Text((Span(text, "code"),))


def _meanings(frame: pd.DataFrame) -> Table:
    """Every column of the data, where the page shows it, and what it means."""
    headings = {name: column.heading for column in PAGE for name in column.figures}
    lines = [(_code(name), headings.get(name, ""), said(text)) for name, text in COLUMNS.items() if name in frame]
    return Table(("column of rows.csv", "on this page", "meaning"), tuple(lines))


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _points(row: Row) -> str:
    """The difference to dense in points, with its interval."""
    if row["difference"] is None:
        return ""
    center = f"{100 * row['difference']:+.2f}"
    if row["difference_low"] is None:
        return center
    return f"{center} [{100 * row['difference_low']:+.2f}, {100 * row['difference_high']:+.2f}]"


def _number(name: str, suffix: str = "") -> Callable[[Row], str]:
    return lambda row: "" if row[name] is None else _digits(row[name]) + suffix


def _share(name: str) -> Callable[[Row], str]:
    """A share in percent, of a column that not every table has."""
    return lambda row: "" if row.get(name) is None else _digits(100 * row[name])


def _digits(value: float) -> str:
    """Three digits, or as many as an integer has."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _large(name: str) -> Callable[[Row], str]:
    """A large number with its SI prefix: 1.25 G."""

    def show(row: Row) -> str:
        value = row[name]
        if value is None:
            return ""
        power = min(max(int(math.log10(value)) // 3, 0), 5) if value >= 1 else 0
        return f"{value / 1000**power:.3g} {' kMGTP'[power]}".rstrip()

    return show


def _top_five(row: Row) -> str:
    if row["accuracy_top5"] is None:
        return ""
    center = f"{100 * row['accuracy_top5']:.2f}"
    return center if row["accuracy_top5_std"] is None else f"{center} ± {100 * row['accuracy_top5_std']:.2f}"


def _tier(row: Row) -> str:
    """With a question mark where it is the mean alone that puts the row there."""
    return "" if row["tier"] is None else f"{row['tier']}{'?' if row['told_apart'] is False else ''}"


PAGE = (
    Column("method", ("method",), lambda row: str(row["method"])),
    Column("target %", ("target_sparsity",), lambda row: percent(row["target_sparsity"])),
    Column("sparsity %", ("sparsity",), lambda row: "" if row["sparsity"] is None else f"{100 * row['sparsity']:.2f}"),
    Column("n", ("n",), _number("n")),
    Column("accuracy %", ("accuracy_mean", "accuracy_std"), lambda row: spread(row, 2)),
    Column("top-5 %", ("accuracy_top5", "accuracy_top5_std"), _top_five),
    Column("points above dense", ("difference", "difference_low", "difference_high"), _points),
    Column("pairs", ("pairs",), _number("pairs")),
    Column("tier", ("tier", "told_apart"), _tier),
    Column("training cost", ("training_cost",), _number("training_cost", "×")),
    Column("training FLOPs", ("training_flops",), _large("training_flops")),
    Column("examples", ("examples",), _large("examples")),
    Column("wall s", ("wall_seconds",), _number("wall_seconds")),
    Column("inference FLOPs", ("inference_flops",), _large("inference_flops")),
    Column("speed-up", ("speedup",), _number("speedup", "×")),
    Column("compression", ("compression",), _number("compression", "×")),
    Column("weights kept", ("parameters_kept",), _number("parameters_kept")),
    Column("collapsed layers", ("collapsed_layers",), _number("collapsed_layers")),
    Column("unscored %", ("unscored_share",), _share("unscored_share")),
    Column("ties %", ("tied_share",), _share("tied_share")),
    Column("status", ("status",), state),
)
"""The full table, in its order."""
