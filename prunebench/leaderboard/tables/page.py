"""What the page of a leaderboard says, in blocks that Markdown and HTML show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from prunebench.leaderboard.plots.gallery import across, of_section
from prunebench.leaderboard.ranks import Ranking, ranking
from prunebench.leaderboard.selection import (
    Older,
    Selection,
    grouped,
    other_sources,
)
from prunebench.leaderboard.statistics import CONFIDENCE, FEWEST_PAIRS, SIGNIFICANCE
from prunebench.leaderboard.tables import evidence, runtimes
from prunebench.leaderboard.tables.columns import digits, every_row, meanings
from prunebench.leaderboard.tables.model import (
    Block,
    Commands,
    Heading,
    Items,
    Page,
    Paragraph,
    Picture,
    Text,
    Words,
    code,
    joined,
    said,
)
from prunebench.leaderboard.tables.pivots import caption, cost_caption, costs, values
from prunebench.leaderboard.tables.protocol import date, protocol
from prunebench.leaderboard.tables.sections import Row, Section, percent, sections, state
from prunebench.leaderboard.tables.summary import summary
from prunebench.records.results import Result

STATISTICS = f"""\
Figures are means over seeds; ± is the sample standard deviation. The difference to the dense network is
over the seeds that both have. Its {CONFIDENCE:.0%} interval is Welch's t interval of two independent means; where the
seeds of the task's rows correlate with those of the dense network so much that it is narrower, it is Student's t
interval of the differences of each seed. `interval` in rows.csv says which.

Methods are compared with the best of their task and sparsity. *Worse*: the difference is significant at
{SIGNIFICANCE:g} by the test of Games & Howell (1976), which does not assume equal variances (pruned networks near
collapse vary widely) and corrects for choosing the best method after seeing the results; of two methods alone it
is Welch's t-test. *Within one point* (1 % of the best, if the metric is not a percentage): the difference is not
significant, and its one-sided 95 % bound (Welch's t) is at most one point. *Too few seeds to tell*: neither is shown.
In simulations a method whose true mean is one point below the best was said to be within one point in at most 5 % of
cases if spreads are alike, and one that is two points below in at most 2.4 % whatever the spreads. Where every method
is at chance, none is compared.

Tiers: methods are sorted by mean; a new tier starts at the first method that differs significantly from the best of the
current tier, so no method is in a better tier than one with a better mean. A question mark: the method is in this tier
by its mean, but varies so much that it does not differ significantly from the best of the tier above. The test assumes
normal values, and that a seed does not favour one method over another; effects of a seed that all methods share are
not removed, which costs power but gives no false differences. With fewer than {FEWEST_PAIRS} shared seeds nothing is
claimed. Incomplete rows are shown, and not ranked. Methods with exactly the same results are one row, under all of
their names.

FLOPs and speed-up are counted, not measured. Seconds are measured on the machines named above, and depend on their
other load."""
ENGINES = """Rows of the sparse engine were trained on their kept weights only. Engines give the same numbers up to
rounding, so the rows are compared, whichever engine trained them. Processor seconds show what the engine saved."""
DELIVERIES = """In the folder of a finished run, each line writes the files of a row's network (that of its first seed)
with a card, and measures its metrics and latency again. The lines are in the order of the tables above."""
FALSE_DIFFERENCES = ((10, 0.07), (30, 0.10))
"""Up to so many equal methods, the share of simulated comparisons (a task at a sparsity) that show any difference."""


def board_page(frame: pd.DataFrame, selection: Selection) -> Page:
    """The page: each task with its protocol, pivot, plots and full table, then what all the numbers mean.

    Args:
        frame: the rows, from `table(selection)`.
        selection: whose results say what the rows share, and what is not comparable with them.
    """
    found = sections(frame)
    blocks = [*_heading(frame), *(block for section in found for block in _section(section, selection))]
    blocks += [*_across(ranking(found)), Heading(2, "What the numbers mean")]
    blocks += [*_paragraphs(STATISTICS), *_false_differences(found), Heading(3, "Columns"), meanings(frame)]
    return Page(tuple(blocks))


def _heading(frame: pd.DataFrame) -> Iterator[Block]:
    suites = sorted(set(frame["suite"]) - {""})
    yield Heading(1, said("Leaderboard: {}", ", ".join(suites)) if suites else "Leaderboard")
    yield Paragraph(said("Generated from tracked results. Every row is in `rows.csv`, every trial in `trials.csv`."))
    yield Paragraph(said("Tables to sort and filter, and plots to explore, are in `index.html`."), beside_the_page=True)


def _section(section: Section, selection: Selection) -> Iterator[Block]:
    results = [result for result in selection.results if (result.suite, result.task) == (section.suite, section.task)]
    yield Heading(2, section.title)
    if answers := (*summary(section), *filter(None, [runtimes.headline(section)])):
        yield Items(answers)
    if not results:
        yield Paragraph(said("No results yet."))
    if section.methods:
        yield values(section, caption(section))
        yield costs(section, cost_caption(section))
    else:
        yield Paragraph(caption(section))
    yield from map(Picture, of_section(section, selection))
    if results:
        yield protocol(section, results)
    yield Heading(3, "Every row")
    yield every_row(section)
    if any(row.get("engine") for row in section.rows):
        yield Paragraph(said(ENGINES))
    yield from _evidence(section, results)
    yield from _notes("Not done", [_undone(row) for row in section.measured.rows if row["status"] != "done"])
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
        yield found or Paragraph(said(evidence.NO_VALIDATION))
    if (found := evidence.deployed(section)) is not None:
        yield from (Heading(3, "Deployed"), found)
    if tables := tuple(runtimes.runtime_tables(section)):
        yield Heading(3, "In runtimes")
        if sentences := tuple(runtimes.deploy_summary(section)):
            yield Items(sentences)
        yield Paragraph(said(runtimes.CAPTION))
        for heading, table in tables:
            yield from (Heading(4, heading), table)
        yield from _deliveries(section)
    if results:
        yield from (Heading(3, "What ShrinkBench asks for"), evidence.answers(section, results))
    if commands := [row["command"] for row in section.rows if row["command"]]:
        yield Heading(3, "Do it again")
        yield Paragraph(
            said(
                "Each line does the work of a row again, with the dense network of the same seeds, in the rows' order."
            )
        )
        yield Commands(tuple(dict.fromkeys(commands)))


def _deliveries(section: Section) -> Iterator[Block]:
    """The commands that write the networks of the tables of runtimes."""
    commands = tuple(runtimes.export_commands(section))
    if not commands:
        return
    yield Heading(3, "Use a network")
    yield Paragraph(said(DELIVERIES))
    for label, lines in commands:
        yield from (Heading(4, label), Commands(lines))


def _across(ranked: Ranking | None) -> Iterator[Block]:
    if ranked is not None:
        yield from (Heading(2, "Across tasks"), Paragraph(said(evidence.BLOCKS)), evidence.ranks(ranked))
        yield from map(Picture, across(ranked))


def _false_differences(found: Sequence[Section]) -> Iterator[Paragraph]:
    """How likely a page with so many comparisons shows a difference that there is not."""
    methods = [len(rows) for section in found for rows in section.compared.values()]
    rates = [rate for most, rate in FALSE_DIFFERENCES if methods and max(methods) <= most]
    if rates:
        somewhere = 1 - (1 - rates[0]) ** len(methods)
        yield Paragraph(
            said(
                f"False differences: if all methods of a task and sparsity were equal, any difference would be shown "
                f"in at most {rates[0]:.0%} of cases (simulated, equal and unequal variances). This page makes "
                f"{len(methods)} such comparisons of up to {max(methods)} methods: if the methods were equal in all "
                f"of them, at least one would show a difference in up to {somewhere:.0%} of cases."
            )
        )


def _paragraphs(text: str) -> Iterator[Paragraph]:
    return (Paragraph(said(paragraph)) for paragraph in text.split("\n\n"))


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
    shares = [said(f"{digits(100 * share)} % {what}") for what, share in parts.items() if share is not None]
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
    words = f"{_trials(old)} of protocol {{}}, {{}}, until {date(old.finished)}: {{}}"
    return said(words, code(old.identity[:8]), ", ".join(old.methods), _why(old))


def _superseded(old: Older) -> Text:
    words = f"{_trials(old)} of {{}}, variant {{}}, until {date(old.finished)}: {{}}"
    return said(words, ", ".join(old.methods), code(old.identity[:8]), _why(old))


def _trials(old: Older) -> str:
    return f"{old.count} trial{'s' if old.count > 1 else ''}"


def _why(old: Older) -> Text:
    if not old.changes:
        return said("nothing that is recorded differs but the hash")
    return joined([code(change) for change in old.changes])
