"""Printing: rich on a terminal, plain aligned text elsewhere, JSON on request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.messages.plain_text import escaped_json, lines

if TYPE_CHECKING:
    from prunebench.store.entries import Store


def say(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print lines that may contain untrusted text; control characters are escaped."""
    click.echo(lines(text), err=err, nl=nl)


def text(content: str = "", style: str = "") -> Text:
    """Text for `show`; control characters are escaped."""
    return Text(lines(content), style=style)


def show(*renderables: RenderableType) -> None:
    """Print to standard output; without colours, boxes and trailing blanks if it is not a terminal.

    Untrusted text must be passed through `text`, because rich does not escape control sequences.
    """
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(*renderables, sep="\n")
        return
    with console.capture() as captured:
        console.print(*renderables, sep="\n")
    say("\n".join(line.rstrip() for line in captured.get().split("\n")).rstrip("\n"))


def show_json(value: Any) -> None:
    """Print indented JSON, in which only invisible characters are escaped."""
    click.echo(escaped_json(value, indent=2))


def note(message: str) -> None:
    """Print a remark to standard error."""
    say(f"note: {message}", err=True)


def note_older(store: Store) -> None:
    """Print a remark if a store has states of an older protocol."""
    if store.has_older():
        note(
            f"{store.root} has results of an older protocol than {PROTOCOL_VERSION}, which are not used; "
            "`prunebench cache --older` lists them and, with --yes, deletes them"
        )


def table(*headers: str, widest: int = -1) -> Table:
    """An empty table. The first column is never wrapped; the column `widest` takes the remaining width."""
    lined = Console().is_terminal
    result = Table(box=box.SIMPLE_HEAD if lined else None, pad_edge=False, padding=(0, 2, 0, 0), expand=lined)
    for index, header in enumerate(headers):
        ratio = 1 if index == widest % len(headers) else None
        result.add_column(header, no_wrap=index == 0, overflow="fold", ratio=ratio)
    return result


def grid(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and their texts in two aligned columns."""
    result = Table.grid(padding=(0, 2, 0, 0))
    result.add_column(no_wrap=True)
    result.add_column(overflow="fold")
    for name, content in rows:
        result.add_row(text(name), text(content))
    return result
