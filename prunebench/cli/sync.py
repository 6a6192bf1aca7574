"""`prunebench sync`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prunebench.cli import options

if TYPE_CHECKING:
    from prunebench.session import Sent


@click.command()
@click.argument("suite", required=False, type=click.Path(path_type=Path))
@options.settings
@options.only
@options.store
@options.data
@options.plugin_names
def command(
    suite: Path | None,
    files: tuple[str, ...],
    blocked: tuple[str, ...],
    settings: tuple[str, ...],
    only: tuple[str, ...],
    store: Path,
    data: Path | None,
) -> None:
    """Send the results that wait in the store to MLflow; run nothing.

    Without SUITE it sends those of every suite whose run was stopped, or could not reach the server. What MLflow has
    already is not sent again. The exit code is 1 when a result could not be read.
    """
    from prunebench import session

    if suite is None:
        sys.exit(_say(session.sync_all(store), f"nothing waits in {store}"))
    loaded = options.load_suite(suite, settings, only, files, blocked)
    sys.exit(_say([session.sync_suite(loaded, store=store, data=data)], ""))


def _say(counts: Iterable[Sent], nothing: str) -> int:
    """A line a suite; the exit code."""
    code = 0
    for sent in counts:
        nothing = ""
        click.echo(f"{sent.suite}: {sent.sent:,} sent, {sent.there:,} there already, {sent.open:,} not done yet")
        if sent.damaged:
            code = 1
            click.echo(f"{sent.damaged:,} are damaged in the store: the next run makes them again", err=True)
    if nothing:
        click.echo(nothing)
    return code
