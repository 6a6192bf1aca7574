"""A page before it is written down: its blocks and the text in them, which Markdown and HTML show each in its way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prunebench.leaderboard.plots.gallery import Plot

Style = Literal["said", "value", "strong", "em", "unsure", "code"]
_MARKED = re.compile(r"\*\*(?P<strong>[^*]+)\*\*|\*(?P<em>[^*]+)\*|`(?P<code>[^`]+)`|(?P<value>\{\})")


@dataclass(frozen=True)
class Span:
    """A part of a text: our own words, or a value, which may be any text of a plugin or a result."""

    text: str
    style: Style = "said"


@dataclass(frozen=True)
class Text:
    """A line or paragraph."""

    spans: tuple[Span, ...]

    @property
    def plain(self) -> str:
        return "".join(span.text for span in self.spans)

    def __add__(self, other: Text) -> Text:
        return Text((*self.spans, *other.spans))


Words = str | Text
"""Text, or a value alone."""


def text_of(words: Words) -> Text:
    return words if isinstance(words, Text) else Text((Span(words, "value"),))


def said(template: str, *values: Words) -> Text:
    """Our own words, with values for `{}`; `**strong**`, `*emphasis*` and code between backticks are marked in them."""
    spans: list[Span] = []
    given, end = iter(values), 0
    for found in _MARKED.finditer(template):
        spans.append(Span(template[end : found.start()]))
        if found["value"]:
            spans += text_of(next(given)).spans
        else:
            style: Style = "strong" if found["strong"] else "em" if found["em"] else "code"
            spans.append(Span(found[style], style))
        end = found.end()
    return Text(tuple(span for span in (*spans, Span(template[end:])) if span.text))


def code(text: str) -> Text:
    return Text((Span(text, "code"),))


def joined(parts: Sequence[Words], separator: str = ", ") -> Text:
    """Parts with a separator between them."""
    return said(separator.join(["{}"] * len(parts)), *parts)


@dataclass(frozen=True)
class Heading:
    level: int
    text: Words


@dataclass(frozen=True)
class Paragraph:
    text: Words
    beside_the_page: bool = False
    """Whether it is only for Markdown, beside which the HTML page is."""


@dataclass(frozen=True)
class Items:
    """A list."""

    lines: tuple[Words, ...]


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table, its columns to the left where no side is said, with a caption above it."""

    header: tuple[str, ...]
    body: tuple[tuple[Words, ...], ...]
    sides: tuple[str, ...] = ()
    caption: Text | None = None


@dataclass(frozen=True)
class Picture:
    plot: Plot


Block = Heading | Paragraph | Items | Commands | Table | Picture


@dataclass(frozen=True)
class Page:
    """The blocks of a page; the first is its title, and headings of the second level begin its parts."""

    blocks: tuple[Block, ...]

    @property
    def plots(self) -> list[Plot]:
        return [block.plot for block in self.blocks if isinstance(block, Picture)]
