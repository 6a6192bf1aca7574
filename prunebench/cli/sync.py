"""`prunebench sync`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prunebench.cli.shared import options, output
from prunebench.cli.shared.output import say

if TYPE_CHECKING:
    from prunebench.session import SyncReport


@click.command()
@click.argument("suite", required=False, type=click.Path(path_type=Path))
@click.option(
    "--patience",
    callback=options.seconds,
    default="20s",
    show_default=True,
    metavar="TIME",
    help="How long MLflow may fail without a break; it is retried at growing intervals.",
)
@options.suite_options("only", "store", "data")
def command(
    suite: Path | None,
    patience: float,
    chosen: options.SuiteOptions,
) -> None:
    """Send the results that wait in the store to MLflow; run nothing.

    Without SUITE it sends those of every suite whose run was stopped, or could not reach the server. What MLflow has
    already is not sent again; if the server fails, it is retried at growing intervals. Results that cannot be sent are
    reported and dropped, with exit code 1: damaged ones, and those of code, plugins or files that have changed since. A
    run makes them again, and sends them.

    Results that need a plugin file are sent when it is named again with --plugin: no file is loaded because a note in
    the store names it.
    """
    from prunebench import session
    from prunebench.store.entries import Store

    if suite is None:
        options.load_plugins(chosen.files, chosen.blocked)
        sent = session.sync_all(chosen.store, plugin_files=chosen.files, blocked=chosen.blocked, patience=patience)
        sys.exit(_say(sent, f"nothing waits in {chosen.store}"))
    loaded = chosen.load(suite)
    output.note_older(Store(chosen.store.resolve()))
    sys.exit(_say([session.sync_suite(loaded, store=chosen.store, data=chosen.data, patience=patience)], ""))


def _say(counts: Iterable[SyncReport], nothing: str) -> int:
    """Print a line for each suite and for each reason why results were not sent; returns the exit code."""
    code = 0
    for sent in counts:
        nothing = ""
        if not sent.unread:
            say(f"{sent.suite}: {sent.sent:,} sent, {sent.there:,} there already, {sent.open:,} not done yet")
        if sent.waiting:
            say(f"{sent.suite}: its run is on, and sends what comes", err=True)
        for reason in _dropped(sent):
            code = 1
            say(f"{sent.suite}: {reason}", err=True)
    if nothing:
        say(nothing)
    return code


def _dropped(sent: SyncReport) -> Iterator[str]:
    again = "the next run of the suite makes them again, and sends them"
    if sent.unread:
        yield f"not sent, and not waited for any more: {sent.unread}; `prunebench sync SUITE` sends what the store has"
    if sent.withheld:
        files = shlex.join(word for file in sent.waiting_for for word in ("--plugin", file))
        yield (
            f"{sent.withheld:,} not sent yet: they need plugin files, which are loaded only when they are named: "
            f"`prunebench sync {files}` sends them"
        )
    if sent.damaged:
        yield f"{sent.damaged:,} not sent: they are damaged in the store; {again}"
    if sent.outdated:
        yield f"{sent.outdated:,} not sent: they were made by other code, plugins or files than are here now; {again}"
    if sent.older:
        yield f"{sent.older:,} not sent: they are of an older protocol; the next run of the suite computes them anew"
