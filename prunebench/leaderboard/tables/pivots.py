"""Methods by sparsities: the primary metric and training costs, with their captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prunebench.leaderboard.metrics import margin_words, worded
from prunebench.leaderboard.statistics import FEWEST_PAIRS
from prunebench.leaderboard.tables.model import Span, Style, Table, Text, Words, joined, said
from prunebench.leaderboard.tables.sections import Row, Section, is_imported, is_reported, percent, spread, state
from prunebench.records.results import UNITS

SAME_SPARSITY = 5e-4
"""Rounding to whole weights stays below this."""
STYLES: dict[str, Style] = {"best": "strong", "equivalent": "em", "undecided": "unsure"}
MARKS: Mapping[Style, Words] = {"strong": said("**Bold**"), "em": said("*Italic*"), "unsure": "?"}
"""How a page marks values."""
MEANINGS = {
    "best": "the best mean at this sparsity",
    "equivalent": "not significantly different from it, and shown to be at most {margin} behind",
    "undecided": "too few seeds to tell whether it is worse",
}
COST = "Training cost: FLOPs of everything that the method needed, relative to one dense training."


def caption(section: Section, signs: Mapping[Style, Words] = MARKS) -> Text:
    """What the values are, of how many seeds, and what their marks mean.

    Args:
        signs: how they are marked.
    """
    text = said("Test {}, {}.", said(worded(section.metric)), said(seeds(section)))
    for row in section.controls:
        text += said(" Dense network ({}): {}.", row["method"], spread(row) or state(row))
    for row in section.given:
        figure = _same_for_all(row) or spread(row) or state(row)
        text += said(" As given ({}), without training here: {}.", row["as_given"], figure)
    return joined([text, *_meanings(section, signs), *_tuned(section), *_told(section), *_origins(section)], " ")


def _tuned(section: Section) -> list[Text]:
    """The rows whose parameters were chosen."""
    methods = sorted({row["method"] for row in section.rows if row.get("tuned")})
    words = "Parameters chosen on validation data, at the cost of all candidates: {}."
    return [said(words, ", ".join(methods))] if methods else []


ASIDE = {
    "own_recipe": "Trained by values of their own, not by the task's recipe: {}.",
    "ticket_of": "Tickets that were found in another task: {}.",
}
"""What is said of rows that differ from others in more than their method, by the column that says in what."""


def _told(section: Section) -> Iterator[Text]:
    """The rows that were trained by other values than the task's recipe has, and those with tickets of other tasks."""
    for column, words in ASIDE.items():
        found = {row["method"]: row[column] for row in section.rows if row.get(column)}
        if named := [said("{} ({})", method, value) for method, value in sorted(found.items())]:
            yield said(words, joined(named))


def _same_for_all(row: Row) -> str:
    """The metric without its deviation, where seeds have no part in it: nothing is drawn for a network as it is."""
    return spread({**row, "metric_std": None}) if row["metric_std"] == 0 else ""


def _origins(section: Section) -> list[Text]:
    """Where those rows come from that were made or measured elsewhere."""
    meanings = {
        "Imported masks, made elsewhere at a cost that is not part of the training cost": is_imported,
        "Reported by others, not measured here and not ranked": is_reported,
    }
    sources = {words: _sources(filter(chosen, section.rows)) for words, chosen in meanings.items()}
    return [said(f"{words}: {{}}.", joined(found, "; ")) for words, found in sources.items() if found]


def _sources(rows: Iterable[Row]) -> list[Text]:
    return [
        said("{} from {}", method, source)
        for method, source in dict.fromkeys((row["method"], row["made_elsewhere"]) for row in rows)
    ]


def seeds(section: Section) -> str:
    counts = sorted({row["n"] for row in section.rows if row["status"] == "done"})
    if counts in ([], [1]):
        return "one seed"
    return f"mean ± sample standard deviation over {' or '.join(map(str, counts))} seeds"


def values(section: Section, caption: Text | None = None) -> Table:
    """The primary metric of the methods by sparsity."""
    return _pivot(section, _marked, caption)


def costs(section: Section, caption: Text | None = None) -> Table:
    """The training costs of the methods by sparsity."""
    return _pivot(section.measured, cost, caption)


def _pivot(section: Section, show: Callable[[Row | None], Words], caption: Text | None) -> Table:
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
        if row["sparsity"] is not None
        and abs(row["sparsity"] - row["target_sparsity"]) > SAME_SPARSITY
        and row.get("target_unit") not in UNITS
    ]
    counted = f"{COST} Sparsity, counted from the weights after training, is as asked for"
    found = said(counted + ", but for {}.", joined(off)) if off else said(f"{counted} in every row.")
    for unit, words in UNITS.items():
        methods = dict.fromkeys(row["method"] for row in section.rows if row.get("target_unit") == unit)
        if methods:
            found = said(f"{{}} Targets of {{}} are shares of {words} that are removed.", found, joined([*methods]))
    return found


def _marked(row: Row | None) -> Words:
    """A value with what is known of it beside the best at its sparsity."""
    text = cell(row)
    if row is None:
        return text
    return Text((Span(text, STYLES.get(row["against_best"], "value")),))


def _meanings(section: Section, signs: Mapping[Style, Words]) -> list[Text]:
    """What the marks of a section's cells mean, a sentence for each that it has, and where there are none."""
    section = section.measured
    used = {row["against_best"] for row in section.rows}
    found = [
        said(f"{{}}: {meaning.format(margin=margin_words(section.metric))}.", signs[STYLES[kind]])
        for kind, meaning in MEANINGS.items()
        if kind in used
    ]
    at_chance = sorted({row["target_sparsity"] for row in section.rows if row["against_best"] == "chance"})
    if at_chance:
        places = ", ".join(f"{percent(sparsity)} %" for sparsity in at_chance)
        found.append(said("At {} every method is at chance, and none is marked.", places))
    if used == {""} and len(section.methods) > 1:
        found.append(said(f"Nothing is marked: that takes {FEWEST_PAIRS} shared seeds."))
    return found


def cell(row: Row | None) -> str:
    """The primary metric; or what there is instead."""
    if row is None:
        return "–"
    if not spread(row):
        return state(row)
    return (
        spread(row) if row["status"] == "done" or is_reported(row) else f"{spread(row)} ({row['n']} of {row['seeds']})"
    )
