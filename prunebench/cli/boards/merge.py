"""`prunebench merge`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from prunebench.cli.shared import options
from prunebench.cli.shared.output import say


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    callback=options.writable,
    required=True,
    metavar="DIR",
    help="Publish the board in this folder.",
)
@click.option("--name", metavar="NAME", help="Name of the suite for all results.  [default: that of each result]")
@click.option("--fail-on-conflict", is_flag=True, help="Write nothing and exit with 1 if results conflict.")
def command(sources: tuple[str, ...], output: Path, name: str | None, fail_on_conflict: bool) -> None:
    """Merge the results of several machines or people into one board.

    Each SOURCE is a published folder; a folder with mlflow.db, or an address of MLflow, with #SUITE for one of several
    suites; or the name of a suite in the default MLflow. A trial that several sources have is in the board once. If its
    figures differ, a conflict is reported, and the newest finished result is kept.
    """
    from prunebench.leaderboard import write
    from prunebench.leaderboard.boards.merging import merge, older_protocols
    from prunebench.leaderboard.boards.sources import read_source

    merged = merge([read_source(source) for source in sources], name)
    for conflict in merged.conflicts:
        say(f"conflict: {conflict}", err=True)
    if older := older_protocols(merged.board.results):
        say(f"note: {older}", err=True)
    if merged.conflicts and fail_on_conflict:
        sys.exit(1)
    write(merged.board.results, output, merged.board.asked, merged.board.overlaps, merged.board.reported or None)
    counts = (f"{len(merged.board.results)} trials", f"{merged.doubles} doubles", f"{len(merged.conflicts)} conflicts")
    say(f"{', '.join(counts)}: {output / 'README.md'}")
