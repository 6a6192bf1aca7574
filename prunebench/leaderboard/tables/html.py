"""The leaderboard as one HTML file that needs no network: the Markdown page with tables to sort and filter, and plots
that answer.

Every word and number comes from the Markdown page, so the two cannot differ. Scripts and styles are written into the
page, and its content security policy allows no others and no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.leaderboard.plots.interactive_style import Spec

if TYPE_CHECKING:
    from markdown_it.token import Token

FOLDER = Path(__file__).parents[1] / "templates"
LIBRARIES = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")
CHOSEN = ("target %", "tier", "status")
"""Columns of few values: a table is filtered by them with a list to choose from."""
LONG = 16
"""Tables of so many rows have filters, and all those with such a column; they scroll below their header."""
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


def as_html(text: str, drawings: Mapping[str, bytes], specifications: Mapping[str, Spec]) -> str:
    """The page.

    Args:
        text: the Markdown page.
        drawings: the SVGs that it shows, by name.
        specifications: those of them that there is an interactive form of.
    """
    import jinja2

    title, parts = _parts(text, drawings, specifications)
    loader = jinja2.FileSystemLoader(FOLDER)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["embedded"] = embedded
    interactive = any(block["kind"] == "plot" and block["specification"] for part in parts for block in part.blocks)
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


# Blocks of the Markdown page


def _parts(text: str, drawings: Mapping[str, bytes], specifications: Mapping[str, Spec]) -> tuple[str, list[Part]]:
    title, parts = "Leaderboard", [Part("", "top")]
    anchors = {"top"}
    for tokens in _blocks(_markdown().parse(text)):
        kind, tag = tokens[0].type, tokens[0].tag
        if kind == "heading_open" and tag == "h1":
            title = _plain(tokens[1])
        elif kind == "heading_open" and tag == "h2":
            parts.append(Part(_plain(tokens[1]), _anchor(_plain(tokens[1]), anchors)))
        else:
            parts[-1].blocks.append(_block(tokens, drawings, specifications))
    return title, [_headed(_captioned(part), anchors) for part in parts if part.blocks]


def _block(
    tokens: Sequence[Token], drawings: Mapping[str, bytes], specifications: Mapping[str, Spec]
) -> dict[str, Any]:
    if tokens[0].type == "table_open":
        return _table(tokens)
    if tokens[0].type == "heading_open":
        return {"kind": "heading", "level": tokens[0].tag, "title": _plain(tokens[1]), "content": _inline(tokens[1])}
    if tokens[0].type == "fence":
        return {"kind": "code", "content": tokens[0].content}
    image = _image(tokens)
    if image is not None and image.attrs["src"] in drawings:
        return _plot(str(image.attrs["src"]), image.content, drawings, specifications)
    kind = "text" if tokens[0].type == "paragraph_open" else "other"
    return {"kind": kind, "content": _markup(_markdown().renderer.render(list(tokens), _markdown().options, {}))}


def _plot(
    name: str, alternative: str, drawings: Mapping[str, bytes], specifications: Mapping[str, Spec]
) -> dict[str, Any]:
    specification = specifications.get(name)
    added = specification["usermeta"] if specification else {}
    return {
        "kind": "plot",
        "name": name,
        "alternative": alternative,
        "title": added.get("title", ""),
        "caption": _coded(added.get("caption", alternative)),
        "wide": "key" in added,
        "source": "data:image/svg+xml;base64," + base64.b64encode(drawings[name]).decode(),
        "specification": specification,
    }


def _image(tokens: Sequence[Token]) -> Token | None:
    """The picture of a paragraph that is nothing else."""
    if tokens[0].type != "paragraph_open" or not tokens[1].children or len(tokens[1].children) != 1:
        return None
    only = tokens[1].children[0]
    return only if only.type == "image" else None


def _table(tokens: Sequence[Token]) -> dict[str, Any]:
    rows: list[list[Any]] = []
    for before, token in pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if token.type == "inline":
            side = str(before.attrs.get("style", "text-align:left")).removeprefix("text-align:")
            text = _plain(token)
            words = " words" if len(text) > WORDY else ""
            rows[-1].append({"content": _inline(token), "text": text, "side": side + words})
    header, *body = rows
    headed = all(cell["text"] for cell in header)
    chosen = [index for index, cell in enumerate(header) if cell["text"] in CHOSEN]
    return {
        "kind": "table",
        "caption": "",
        "header": header,
        "body": body,
        "sortable": headed and len(body) > 1,
        "filtered": headed and (len(body) >= LONG or bool(chosen and len(body) > 1)),
        "tall": len(body) >= LONG,
        "chosen": chosen,
        "folded": not headed,
    }


def _captioned(part: Part) -> Part:
    """A paragraph right above a table is its caption; a table without one is called as the heading above it.

    A paragraph right below a plot is its caption too; a plot with a form that answers brings its own.
    """
    heading: Any = part.title
    blocks: list[dict[str, Any]] = []
    above: dict[str, Any] | None = None
    for block in part.blocks:
        if block["kind"] == "heading":
            heading = block["content"]
        if block["kind"] == "table":
            if above is not None and above["kind"] == "text":
                blocks.pop()
                block |= {"caption": _markup(_unwrapped(above["content"])), "said": True}
            else:
                block |= {"caption": heading, "said": False}
        elif block["kind"] == "text" and above is not None and above["kind"] == "plot":
            if not above["specification"]:
                above["caption"] += _markup(f". {_unwrapped(block['content'])}")
            above = None
            continue
        blocks.append(block)
        above = block
    return Part(part.title, part.anchor, blocks)


def _headed(part: Part, anchors: set[str]) -> Part:
    """With an anchor for each heading, those of plots included."""
    for block in part.blocks:
        if block.get("title"):
            block["anchor"] = _anchor(f"{part.anchor} {block['title']}", anchors)
    return part


def _unwrapped(paragraph: str) -> str:
    return paragraph.strip().removeprefix("<p>").removesuffix("</p>")


def _anchor(title: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"
    anchor, number = base, 1
    while anchor in taken:
        number += 1
        anchor = f"{base}-{number}"
    taken.add(anchor)
    return anchor


# Markdown


@cache
def _markdown() -> Any:
    """Without HTML and links of its own: text of results is text."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "autolink"])
    parser.add_render_rule("image", _foreign)
    return parser


def _foreign(_: Any, tokens: Sequence[Token], index: int, *rest: Any) -> str:
    """A picture that is none of the board's own: the text that it was written with."""
    from markupsafe import escape

    return str(escape(f"![{tokens[index].content}]({tokens[index].attrs['src']})"))


def _blocks(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of each block of the document."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


def _inline(token: Token) -> Any:
    return _markup(_markdown().renderer.renderInline(token.children or [], _markdown().options, {}))


def _plain(token: Token) -> str:
    return "".join(child.content for child in token.children or [])


def _coded(text: str) -> Any:
    """Text, and the names in it that stand between backticks."""
    from markupsafe import escape

    return _markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _markup(content: str) -> Any:
    """What the renderer has escaped already."""
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
