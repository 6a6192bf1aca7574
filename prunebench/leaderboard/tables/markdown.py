"""The leaderboard as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from tabulate import tabulate

from prunebench.leaderboard.rows import records
from prunebench.leaderboard.selection import Selection
from prunebench.leaderboard.tables import pivots, protocol
from prunebench.leaderboard.tables.columns import every_row
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
    Words,
    said,
    text_of,
)
from prunebench.leaderboard.tables.page import board_page
from prunebench.leaderboard.tables.sections import Section
from prunebench.messages.plain_text import code, escaped_json
from prunebench.messages.plain_text import markdown as escaped

WIDE = 160
"""Letters of a line of Markdown that people still read as it is."""
_RULES = {"left": ":--", "right": "--:", "center": ":-:"}


def markdown(frame: pd.DataFrame, selection: Selection) -> str:
    """The page of a leaderboard.

    Args:
        frame: the rows, from `table(selection)`.
        selection: whose results say what the rows share, and what is not comparable with them.
    """
    return as_markdown(board_page(frame, selection))


def as_markdown(page: Page) -> str:
    return "\n\n".join(part for block in page.blocks for part in _written(block)) + "\n"


def fragments(section: Section) -> dict[str, str]:
    """Tables and sentences of a task's section by name, for other pages to show."""
    return {
        "caption": inline(pivots.caption(section)),
        "pivot": _table(pivots.values(section)) if section.methods else "",
        "cost-caption": inline(pivots.cost_caption(section)),
        "cost": _table(pivots.costs(section)) if section.methods else "",
        "rows": _table(every_row(section)),
        "seeds": pivots.seeds(section),
        "denominator": protocol.denominator(section),
        "title": escaped(section.title),
    }


def as_json(frame: pd.DataFrame) -> str:
    """The rows as a JSON array of objects; what is empty or not finite is null."""
    return escaped_json(records(frame), indent=1, allow_nan=False) + "\n"


def aligned(body: Sequence[Sequence[str]], header: Sequence[str], sides: Sequence[str] = (), form: str = "pipe") -> str:
    """A table in fixed columns. In Markdown lines longer than WIDE have no padding, which would be most of them."""
    sides = sides or ["left"] * len(header)
    table = tabulate(body, header, tablefmt=form, colalign=sides, disable_numparse=True)
    if form != "pipe" or len(table.partition("\n")[0]) <= WIDE:
        return table
    rows = [header, [_RULES[side] for side in sides], *body]
    return "\n".join(f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows)


def inline(words: Words) -> str:
    """Text within a line, in which values are text whatever they are."""
    return "".join(map(_span, text_of(words).spans))


def _span(span: Span) -> str:
    match span.style:
        case "value":
            return escaped(span.text)
        case "strong":
            return f"**{span.text}**"
        case "em":
            return f"*{span.text}*"
        case "unsure":
            return f"{escaped(span.text)} ?"
        case "code":
            return code(span.text)
    return span.text


def _written(block: Block) -> Iterator[str]:
    match block:
        case Heading(level, text):
            yield f"{'#' * level} {inline(text)}"
        case Paragraph(text):
            yield inline(text)
        case Items(lines):
            yield "\n".join(f"- {inline(line)}" for line in lines)
        case Commands(lines):
            yield "\n".join(("```bash", *lines, "```"))
        case Table():
            if block.caption is not None:
                yield inline(block.caption)
            yield _table(block)
        case Picture(plot):
            yield f"![{escaped(plot.alt)}]({plot.file})"
            if plot.caption:
                yield inline(said(plot.caption))


def _table(table: Table) -> str:
    return aligned([[inline(words) for words in row] for row in table.body], table.header, table.sides)
