"""`prunebench leaderboard`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prunebench.api.errors import BoardError
from prunebench.cli.shared import options
from prunebench.suite.shipped import shipped

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.leaderboard import Selection
    from prunebench.leaderboard.boards.published import Board

FORMATS = ("text", "markdown", "csv", "json", "latex", "html")
STALE = 1


@click.command()
@click.argument("suite", required=False)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Publish the board in this folder.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="Print it in this format.  [default: text]")
@click.option(
    "--into",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE.md",
    help="Fill the regions of the board in this file, between <!-- prunebench:begin digits/pivot --> and end.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing; name the files that --output and --into would change, and exit with 1 if there are any.",
)
@click.option(
    "--where",
    metavar="CONDITIONS",
    help='Print only rows that satisfy these, such as "training_cost<=1.2, sparsity>=0.9".',
)
@click.option("--sort", metavar="COLUMN", help="Print rows sorted by this column, the best first; -COLUMN reverses.")
@click.option(
    "--reported",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.csv",
    help="Show these numbers of others, such as those of a paper, beside the measured ones; they are never ranked.",
)
@options.suite_options("only")
def command(
    suite: str | None,
    output: Path | None,
    form: str | None,
    into: tuple[Path, ...],
    check: bool,
    where: str | None,
    sort: str | None,
    reported: Path | None,
    chosen: options.SuiteOptions,
) -> None:
    """Make tables and plots from tracked results.

    SUITE is a YAML file, whose trials are shown whether they are done or not; or the name of a suite, of which all
    tracked results are shown; or a published folder, whose pages are made again from its data. Without SUITE all suites
    are shown. With --only, --set or --plugin the name of a shipped suite means its YAML file. Tracked results are read
    only from MLflow: the default file in this folder, or the server that MLFLOW_TRACKING_URI names.

    A board is published as pages (README.md, and index.html, which needs no network), plots, rows, and trials.jsonl,
    the data behind the rows with one trial per line. The same results give the same bytes. With --check and a published
    folder as SUITE, the folder itself is checked too.

    --where and --sort answer questions: conditions compare a column of rows.csv, or a metric, with a number (sparsity,
    accuracy, cost, size, latency, ...), and rows that lack the figure are left out.

    --reported adds rows with the columns task, method, sparsity, metric, value and source, and model, std and n if they
    are known. With --output they are kept in the folder as reported.csv, which later runs show too.
    """
    if (where or sort) and (output is not None or into or check or form == "html"):
        raise click.UsageError(
            "--where and --sort choose what is printed; a published board has all rows, and its page has sliders"
        )
    if output is not None and not check:
        options.check_writable(output)
    board, folder = _board(suite, chosen), output or _published(suite)
    board = _with_reported(board, reported, folder)
    if check:
        if folder is None and not into:
            raise click.UsageError("--check needs a published board: name a folder, as SUITE or by --output, or --into")
        sys.exit(_checked(board, folder, into))
    pages = _filled(board, folder, into)
    if output is not None:
        _write(board, output)
    for page, text in pages.items():
        _replace(page, text)
    if (output is None and not into) or form is not None:
        click.echo(_printed(board, form or "text", where, sort), nl=False)


def _board(suite: str | None, chosen: options.SuiteOptions) -> Board:
    from prunebench.leaderboard.boards.published import Board
    from prunebench.leaderboard.boards.sources import read_source, tracked
    from prunebench.tracking import read_results, tracking_uri

    own = {"--set": chosen.settings, "--only": chosen.only, "--plugin": chosen.files, "--no-plugin": chosen.blocked}
    changes = [name for name, values in own.items() if values]
    if suite is not None and (Path(suite).suffix in (".yaml", ".yml") or (changes and suite in shipped())):
        loaded = chosen.load(suite)
        name = loaded.suite.name
        return Board(name, tuple(read_results(suite=name)), frozenset(loaded.asked), uri=tracking_uri())
    if changes:
        what = "every suite" if suite is None else f"{suite!r}"
        raise click.UsageError(f"{', '.join(changes)} can change only the YAML file of a suite, and {what} is not one")
    return tracked(None) if suite is None else read_source(suite)


def _with_reported(board: Board, file: Path | None, folder: Path | None) -> Board:
    """The board with the reported numbers of a file, or of the folder that it is published in."""
    from prunebench.leaderboard.reported import check_tasks, in_folder, read_reported

    if file is None:
        return board if folder is None else replace(board, reported=board.reported or in_folder(folder))
    found = read_reported(file)
    tasks = dict.fromkeys([*(one.task for one in board.results), *(place[0] for place in board.asked or ())])
    check_tasks(found, list(tasks))
    return replace(board, reported=found)


def _published(suite: str | None) -> Path | None:
    from prunebench.leaderboard.boards.sources import is_published

    return Path(suite) if suite is not None and is_published(suite) else None


def _write(board: Board, output: Path) -> None:
    from prunebench.leaderboard.publishing import measured_overlaps, write

    overlaps = board.overlaps
    if board.uri is not None:
        overlaps, complaints = measured_overlaps(board.results, board.asked, board.uri)
        for complaint in complaints:
            click.echo(f"warning: {complaint}", err=True)
    write(board.results, output, board.asked, overlaps, board.reported)
    click.echo(f"written: {output / 'README.md'}", err=True)


def _checked(board: Board, folder: Path | None, into: Sequence[Path]) -> int:
    from prunebench.leaderboard import stale

    found = [] if folder is None else stale(board.results, folder, board.asked)
    found += [page for page, text in _filled(board, folder, into).items() if _read(page) != text]
    for path in found:
        click.echo(f"stale: {path}")
    if not found:
        click.echo("up to date")
    return STALE if found else 0


def _filled(board: Board, folder: Path | None, into: Sequence[Path]) -> dict[Path, str]:
    """The pages with their regions filled; all of them are made before one is written."""
    if not into:
        return {}
    from prunebench.leaderboard import select, table
    from prunebench.leaderboard.boards.markers import fill, linked

    frame = table(replace(select(board.results, board.asked), reported=board.reported))
    name = board.name if folder is None else folder.resolve().name
    links = {page: None if folder is None else linked(folder, page) for page in into}
    return {page: fill(_read(page), str(page), name, frame, links[page]) for page in into}


def _read(page: Path) -> str:
    try:
        return page.read_bytes().decode()
    except UnicodeDecodeError:
        raise BoardError(f"{page} is not UTF-8 text") from None
    except OSError as error:
        raise BoardError(f"{page} cannot be read: {error.strerror}") from None


def _replace(page: Path, text: str) -> None:
    from prunebench.records.files import write_file

    try:
        write_file(page, text.encode())
    except OSError as error:
        raise BoardError(f"cannot write {page}: {error.strerror}") from None
    click.echo(f"filled: {page}", err=True)


def _printed(board: Board, form: str, where: str | None, sort: str | None) -> str:
    from prunebench.leaderboard import select, table

    selection = replace(select(board.results, board.asked), reported=board.reported)
    frame = table(selection)
    if where or sort:
        return _answered(frame, form, where, sort)
    return _forms()[form](frame, selection)


def _answered(frame: pd.DataFrame, form: str, where: str | None, sort: str | None) -> str:
    from prunebench.leaderboard import as_json, csv
    from prunebench.leaderboard.queries import named_columns, query
    from prunebench.leaderboard.tables.latex import as_latex
    from prunebench.leaderboard.tables.listing import listed

    rows, named = query(frame, where, sort), named_columns(frame, where, sort)
    forms: dict[str, Callable[[], str]] = {
        "text": lambda: listed(frame, rows, named),
        "markdown": lambda: listed(frame, rows, named, form="pipe"),
        "csv": lambda: csv(rows).decode(),
        "json": lambda: as_json(rows),
        "latex": lambda: as_latex(rows),
    }
    return forms[form]()


def _forms() -> dict[str, Callable[[pd.DataFrame, Selection], str]]:
    from prunebench.leaderboard import as_html, as_json, csv, markdown, text
    from prunebench.leaderboard.tables.latex import as_latex

    return {
        "text": lambda frame, selection: text(frame, shutil.get_terminal_size().columns),
        "markdown": markdown,
        "csv": lambda frame, selection: csv(frame).decode(),
        "json": lambda frame, selection: as_json(frame),
        "latex": lambda frame, selection: as_latex(frame),
        "html": as_html,
    }
