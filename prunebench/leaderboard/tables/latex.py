"""The leaderboard as LaTeX: a table of accuracies and one of costs for each task, with booktabs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from prunebench.leaderboard.tables.markdown import fragments
from prunebench.leaderboard.tables.pivots import COST
from prunebench.leaderboard.tables.sections import Row, Section, percent, sections, spread, state

HEAD = "% Tables of prunebench; they need \\usepackage{booktabs}."
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
    said = fragments(section)
    accuracy = [
        f"Test accuracy in percent on {section.title}, {said['seeds']}, by sparsity: {said['denominator']}.",
        *(f"Dense network ({row['method']}): {spread(row) or state(row)}." for row in section.controls),
    ]
    caption = escaped(" ".join(accuracy)) + (r" \textbf{Bold}: the best tier at a sparsity." if section.tiered else "")
    yield _table(section, caption, "accuracy", _accuracy)
    yield _table(section, escaped(COST), "cost", _cost)


def _table(section: Section, caption: str, name: str, show: Callable[[Row | None], str]) -> str:
    head = ["method", *(rf"{percent(sparsity)}\,\%" for sparsity in section.sparsities)]
    body = [
        [escaped(label), *(show(rows.get(sparsity)) for sparsity in section.sparsities)]
        for label, rows in section.methods.items()
    ]
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


def _accuracy(row: Row | None) -> str:
    if row is None:
        return "--"
    if not spread(row):
        return escaped(state(row))
    number = spread(row).replace("±", r"\pm")
    if row["tier"] == 1:
        return rf"$\mathbf{{{number}}}$"
    return f"${number}$" + ("" if row["status"] == "done" else f" ({row['n']} of {row['seeds']})")


def _cost(row: Row | None) -> str:
    return "--" if row is None or row["training_cost"] is None else rf"${row['training_cost']:.3g}\times$"
