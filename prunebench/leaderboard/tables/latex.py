"""The leaderboard as LaTeX: a table of the primary metric and one of costs for each task, with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pandas as pd

from prunebench.leaderboard.tables.model import Table, Words, text_of
from prunebench.leaderboard.tables.pivots import COST, caption, costs, values
from prunebench.leaderboard.tables.protocol import denominator
from prunebench.leaderboard.tables.sections import Section, sections

HEAD = "% Tables of prunebench; they need \\usepackage{booktabs}."
_NUMBER = re.compile(r"\d[\d.e+-]*(?: ± [\d.]+|×)?")
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "\0": "{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def as_latex(frame: pd.DataFrame) -> str:
    """The tables of all tasks, floats with captions and labels."""
    return "\n\n".join([HEAD, *(table for section in sections(frame) for table in _tables(section))]) + "\n"


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is."""
    found = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    found = re.sub(r"-(?=-)", "-\0", found)  # or two would be one dash
    return "".join(_SPECIAL.get(character, character) for character in found)


def _tables(section: Section) -> Iterator[str]:
    if not section.methods:
        return
    said = f"{_text(caption(section))} {escaped(f'Sparsity: {denominator(section)}.')}"
    yield _table(section, said, section.metric.name.replace("_", "-"), values(section))
    yield _table(section, escaped(COST), "cost", costs(section))


def _table(section: Section, caption: str, name: str, table: Table) -> str:
    head = ["method", *(cell.replace(" %", r"\,\%") for cell in table.header[1:])]
    body = [[escaped(text_of(row[0]).plain), *map(_cell, row[1:])] for row in table.body]
    lines = [
        r"\begin{table}[t]",
        r"  \centering",
        rf"  \caption{{{caption}}}",
        rf"  \label{{tab:{section.file}-{name}}}",
        rf"  \begin{{tabular}}{{@{{}}l{'c' * len(section.sparsities)}@{{}}}}",
        r"    \toprule",
        _line(head),
        r"    \midrule",
        *map(_line, body),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _text(words: Words) -> str:
    """A sentence with its marks; LaTeX has its own for bold and italic."""
    commands = {"strong": r"\textbf", "em": r"\textit"}
    spans = [(commands.get(span.style), span.text) for span in text_of(words).spans]
    found = "".join(f"{command}{{{escaped(text)}}}" if command else _set(text) for command, text in spans)
    return found.replace("  ", " ")


def _set(text: str) -> str:
    """Text that LaTeX sets as it is, with the blanks around it."""
    return f"{' ' * text.startswith(' ')}{escaped(text)}{' ' * text.endswith(' ')}"


def _cell(words: Words) -> str:
    """A cell: its number in mathematics, bold or italic where it is marked."""
    text = text_of(words)
    unsure = " ?" if text.spans[0].style == "unsure" else ""
    number = _NUMBER.match(text.plain)
    if number is None:
        return escaped(text.plain)
    command = {"strong": r"\mathbf", "em": r"\mathit"}.get(text.spans[0].style, "")
    shown = number[0].replace("±", r"\pm").replace("×", r"\times")
    return (f"${command}{{{shown}}}$" if command else f"${shown}$") + _set(text.plain[number.end() :]) + unsure
