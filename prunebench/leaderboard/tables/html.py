"""The leaderboard as one HTML file that needs no network: tables to sort and filter, and plots that answer.

It shows the blocks that the Markdown page shows, so the two cannot differ. Scripts and styles are written into the
page, and its content security policy allows no others and no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from prunebench.leaderboard.plots.gallery import Plot
from prunebench.leaderboard.plots.style import Spec
from prunebench.leaderboard.selection import Selection
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

FOLDER = Path(__file__).parents[1] / "templates"
LIBRARIES = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")
CHOSEN = ("target %", "tier", "status")
"""Columns of few values: a table is filtered by them with a list to choose from."""
SLIDERS = {"target %": "least", "training cost": "most", "size kB": "most", "latency ms": "most"}
"""Columns of numbers: a table is filtered by the least or the most that is wanted."""
LONG = 16
"""Tables of so many rows have filters, and all those with such a column."""
TALL = 60
"""Tables of so many rows scroll below their header; others are shown whole."""
WORDY = 40
"""Cells of so many letters are broken into lines."""
_SOURCE_MAP = re.compile(r"\n?//# sourceMappingURL=\S+\s*$")


@dataclass
class Part:
    """A section of the page: what stands below a heading of the second level."""

    title: str
    anchor: str
    blocks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def of_a_task(self) -> bool:
        """Whether it begins with a protocol, which only tasks have."""
        return any(block.get("folded") for block in self.blocks)

    @property
    def contents(self) -> list[tuple[str, Any]]:
        """The headings within it: where each is, and what it says."""
        return [(block["anchor"], block["title"]) for block in self.blocks if block.get("title")]


def as_html(frame: pd.DataFrame, selection: Selection) -> str:
    """The page of a leaderboard.

    Args:
        frame: the rows, from `table(selection)`.
        selection: whose results say what the rows share, and what is not comparable with them.
    """
    return html(board_page(frame, selection))


def html(page: Page) -> str:
    import jinja2

    title, parts = _parts(page)
    loader = jinja2.FileSystemLoader(FOLDER)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["embedded"] = embedded
    interactive = bool(page.plots)
    scripts = [*(map(_library, LIBRARIES) if interactive else ()), _file("page.js")]
    return environment.get_template("page.html.j2").render(
        title=title,
        parts=parts,
        paged=sum(part.of_a_task for part in parts) > 1,
        scripts=scripts,
        policy=_policy(scripts),
        style=_file("style.css"),
        licences=_file("LICENSES.txt") if interactive else "",
    )


# Blocks


def _parts(page: Page) -> tuple[str, list[Part]]:
    title, parts = "Leaderboard", [Part("", "top")]
    anchors = {"top"}
    heading: Words = ""
    for block in page.blocks:
        if isinstance(block, Paragraph) and block.beside_the_page:
            continue
        if isinstance(block, Heading) and block.level == 1:
            title = text_of(block.text).plain
        elif isinstance(block, Heading) and block.level == 2:
            title_of_part = text_of(block.text).plain
            parts.append(Part(title_of_part, _anchor(title_of_part, anchors)))
        else:
            parts[-1].blocks.append(_block(block, heading))
        heading = block.text if isinstance(block, Heading) else heading
    return title, [_headed(part, anchors) for part in parts if part.blocks]


def _block(block: Block, heading: Words) -> dict[str, Any]:
    """What the template shows of a block.

    Args:
        heading: the last one, which names a table that has no caption.
    """
    match block:
        case Heading(level, text):
            return {"kind": "heading", "level": f"h{level}", "title": text_of(text).plain, "content": inline(text)}
        case Paragraph(text):
            return {"kind": "text", "content": inline(text)}
        case Items(lines):
            return {"kind": "list", "lines": [inline(line) for line in lines]}
        case Commands(lines):
            return {"kind": "code", "content": "\n".join(lines) + "\n"}
        case Picture(plot):
            return _plot(plot)
    return _table(block, heading)


def _plot(plot: Plot) -> dict[str, Any]:
    added = plot.specification["usermeta"]
    caption = added.get("caption", said(plot.caption))
    return {
        "kind": "plot",
        "name": plot.file,
        "title": added["title"],
        "caption": inline(caption),
        "wide": added.get("wide", False),
        "specification": plot.specification,
    }


def _table(table: Table, heading: Words) -> dict[str, Any]:
    headed = all(table.header)
    chosen = [index for index, name in enumerate(table.header) if name in CHOSEN]
    sides = table.sides or ("left",) * len(table.header)
    count = len(table.body)
    return {
        "kind": "table",
        "caption": inline(heading if table.caption is None else table.caption),
        "said": table.caption is not None,
        "header": _cells(table.header, sides),
        "body": [_cells(row, sides) for row in table.body],
        "sortable": headed and count > 1,
        "filtered": headed and (count >= LONG or bool(chosen and count > 1)),
        "tall": count >= TALL,
        "chosen": chosen,
        "sliders": [(index, SLIDERS[name]) for index, name in enumerate(table.header) if name in SLIDERS],
        "folded": not headed,
    }


def _cells(row: Sequence[Words], sides: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for words, side in zip(row, sides, strict=True):
        text = text_of(words).plain
        found.append({"content": inline(words), "text": text, "side": f"{side} words" if len(text) > WORDY else side})
    return found


def _headed(part: Part, anchors: set[str]) -> Part:
    """With an anchor for each heading, those of plots included."""
    for block in part.blocks:
        if block.get("title"):
            block["anchor"] = _anchor(f"{part.anchor} {block['title']}", anchors)
    return part


def _anchor(title: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"
    anchor, number = base, 1
    while anchor in taken:
        number += 1
        anchor = f"{base}-{number}"
    taken.add(anchor)
    return anchor


def inline(words: Words) -> Any:
    """Text within a line, in which everything is text but our own marks."""
    return _markup("".join(map(_span, text_of(words).spans)))


def _span(span: Span) -> str:
    from markupsafe import escape

    tag = span.style if span.style in ("strong", "em", "code") else ""
    text = str(escape(span.text))
    if span.style == "unsure":
        return f'{text} <abbr title="too few seeds to tell">?</abbr>'
    return f"<{tag}>{text}</{tag}>" if tag else text


def _markup(content: str) -> Any:
    """What is escaped already."""
    import markupsafe

    return markupsafe.Markup(content)


# Scripts


@cache
def _file(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def _library(name: str) -> str:
    """A library without the address of its source map, which a browser's tools would ask for."""
    return _SOURCE_MAP.sub("", _file(name)).strip()


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is loaded, and these very scripts are run and no others."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    barred = "default-src 'none'; base-uri 'none'; form-action 'none'"
    return f"{barred}; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"


def embedded(specification: Spec) -> Any:
    """JSON that can stand in a script element."""
    text = json.dumps(specification, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
