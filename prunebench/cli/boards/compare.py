"""`prunebench compare`."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from prunebench.cli.shared import options
from prunebench.cli.shared.output import say

if TYPE_CHECKING:
    from prunebench.leaderboard.boards.published import Board

KINDS = ("worse", "gone", "not comparable", "better", "new")


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Also list the rows that are the same.")
@click.option(
    "--any-variant",
    is_flag=True,
    help="Also compare rows of one protocol if the code or parameters of their method changed.",
)
@click.option(
    "--fail-on", type=click.Choice(KINDS), multiple=True, help="Exit with 1 if there is such a row; may be repeated."
)
@options.plugin_names
def command(
    before: str,
    after: str,
    form: str,
    everything: bool,
    any_variant: bool,
    fail_on: tuple[str, ...],
    files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> None:
    """Compare two boards: better, worse, new, gone or not comparable.

    A and B are boards: a published folder; a folder with mlflow.db, or an address of MLflow, with #SUITE for one of
    several suites; or a YAML file or name of a suite in the default MLflow. Metrics are paired by seed. Rows of
    another protocol or variant are not compared, and the reason is shown.

    \b
    ▲ better   ▼ worse   + new   − gone   ≠ not comparable   = equal, or not significantly different
    """
    from prunebench.leaderboard.boards.comparison import as_json, as_markdown, as_text, compare

    found = compare(_board(before, files, blocked), _board(after, files, blocked), any_variant=any_variant)
    if form == "json":
        click.echo(as_json(found), nl=False)
    elif form == "markdown":
        click.echo(as_markdown(found, everything), nl=False)
    else:
        say(as_text(found, shutil.get_terminal_size().columns, everything), nl=False)
    sys.exit(1 if any(found.counts[kind] for kind in fail_on) else 0)


def _board(source: str, files: tuple[str, ...], blocked: tuple[str, ...]) -> Board:
    from prunebench.leaderboard.boards.published import Board
    from prunebench.leaderboard.boards.sources import read_source, tracked

    if not source.endswith((".yaml", ".yml")):
        return read_source(source)
    loaded = options.SuiteOptions(files=files, blocked=blocked).load(source)
    return Board(source, tracked(loaded.suite.name).results, frozenset(loaded.asked))
