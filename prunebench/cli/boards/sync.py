"""`prunebench sync`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prunebench.cli.shared import options, output, suite_argument
from prunebench.cli.shared.output import say

if TYPE_CHECKING:
    from prunebench.session import SyncReport


@click.command()
@click.argument("suite", required=False, type=suite_argument.SuiteFile())
@click.option(
    "--patience",
    callback=options.seconds,
    default="20s",
    show_default=True,
    metavar="TIME",
    help="How long MLflow may fail without interruption; requests are retried at growing intervals.",
)
@options.suite_options("only", "store", "data")
def command(
    suite: Path | None,
    patience: float,
    chosen: options.SuiteOptions,
) -> None:
    """Send results that wait in the store to MLflow. Nothing is run.

    Without SUITE it sends the results of all suites whose run was stopped or could not reach the server. Results that
    MLflow has are not sent again. If the server fails, requests are retried at growing intervals. Results that cannot
    be sent are reported and dropped, with exit code 1: damaged ones, and those of code, plugins or files that have
    changed since. A run computes them again and sends them.

    Results that need a plugin file are sent only if you name the file with --plugin: no file is loaded because a note
    in the store names it.
    """
    from prunebench import session
    from prunebench.store.entries import Store

    if suite is None:
        options.load_plugins(chosen.files, chosen.blocked)
        sent = session.sync_all(chosen.store, plugin_files=chosen.files, blocked=chosen.blocked, patience=patience)
        sys.exit(_say(sent, f"no results wait in {chosen.store}"))
    loaded = chosen.load(suite)
    output.note_older(Store(chosen.store.resolve()))
    sys.exit(_say([session.sync_suite(loaded, store=chosen.store, data=chosen.data, patience=patience)], ""))


def _say(counts: Iterable[SyncReport], nothing: str) -> int:
    """Print a line for each suite and for each reason why results were not sent; returns the exit code."""
    code = 0
    for sent in counts:
        nothing = ""
        if not sent.unread:
            say(f"{sent.suite}: {sent.sent:,} sent, {sent.there:,} sent before, {sent.open:,} not finished")
        if sent.waiting:
            say(f"{sent.suite}: a run of it is active and sends its results", err=True)
        for reason in _dropped(sent):
            code = 1
            say(f"{sent.suite}: {reason}", err=True)
    if nothing:
        say(nothing)
    return code


def _dropped(sent: SyncReport) -> Iterator[str]:
    again = "the next run of the suite computes them again and sends them"
    if sent.unread:
        yield f"not sent, and no longer waiting: {sent.unread}; `prunebench sync SUITE` sends what the store has"
    if sent.withheld:
        files = shlex.join(word for file in sent.waiting_for for word in ("--plugin", file))
        yield (
            f"{sent.withheld:,} not sent yet: they need plugin files, which are loaded only when they are named: "
            f"`prunebench sync {files}` sends them"
        )
    if sent.damaged:
        yield f"{sent.damaged:,} not sent: they are damaged in the store; {again}"
    if sent.outdated:
        yield f"{sent.outdated:,} not sent: they were computed with other code, plugins or files; {again}"
    if sent.older:
        yield f"{sent.older:,} not sent: they are of an older protocol; the next run of the suite computes them again"
