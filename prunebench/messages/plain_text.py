"""Escaping of untrusted text for each format: terminal, Markdown, CSV and JSON.

Names, labels, reasons and provenance come from suites, plugins and published boards, so they may contain anything:
control sequences, writing directions, HTML, links, formulas. Ordinary text is not changed.
"""

from __future__ import annotations

import json
import re
from typing import Any

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
"""Characters that count as printable and are invisible."""
_LINKED = re.compile(
    r"(?:(?:[a-z][a-z0-9+.-]*://|www\.|(?:mailto|xmpp|data|javascript):)[^\s<>`|\\]*|[\w.+-]*@\w[\w.-]*)+",
    re.IGNORECASE,
)
"""Text that Markdown renderers turn into links automatically."""
_BRACKETED = re.compile(r"\][(\[:]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?%?", re.IGNORECASE)
_FORMULA = re.compile(r"'*\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
"""Start of a cell that spreadsheets evaluate. A quote in front makes it text; a quote that is there is doubled."""


def visible(text: str) -> str:
    """Text as one line of visible characters: white space becomes a blank, other invisible characters are escaped.

    Control sequences then have no effect, and different names look different.
    """
    if text.isprintable() and _INVISIBLE.isdisjoint(text):
        return text
    return "".join(c if _shows(c) else " " if c.isspace() else _numbered(c) for c in text)


def lines(text: str) -> str:
    """`visible` for each line of a text."""
    return "\n".join(map(visible, text.split("\n")))


def _shows(character: str) -> bool:
    return character.isprintable() and character not in _INVISIBLE


def _numbered(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def markdown(text: str) -> str:
    """Text as one line that Markdown shows literally, also in a table: without HTML, images and links."""
    text, parts, start = visible(text), [], 0
    for found in _LINKED.finditer(text):
        parts += [_literal(text[start : found.start()]), f"`{found[0]}`"]
        start = found.end()
    return " ".join("".join((*parts, _literal(text[start:]))).split())


def _literal(text: str) -> str:
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    special = r"[\\|*`\[\]]" if _BRACKETED.search(text) else r"[\\|*`]"
    return re.sub(special, r"\\\g<0>", text).replace("<", "&lt;")


def code(text: str) -> str:
    """Text as one line of code in Markdown, also in a table."""
    return f"`{visible(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def cell(value: Any) -> Any:
    """A value as a cell of a CSV file: text is not evaluated as a formula, and numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def of_cell(text: str) -> str:
    """The inverse of `cell` for text."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def escaped_json(value: Any, **options: Any) -> str:
    """JSON in which invisible characters are escaped."""
    text = json.dumps(value, ensure_ascii=False, **options)
    if text.isprintable():
        return text
    return "".join(c if _shows(c) or c == "\n" else json.dumps(c)[1:-1] for c in text)
