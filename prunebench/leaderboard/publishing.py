"""A board as files: its pages, plots, rows and trials, written to a folder, and whether a folder has them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import pandas as pd

from prunebench.api.errors import BoardError
from prunebench.api.tasks import Suite
from prunebench.leaderboard.boards import published
from prunebench.leaderboard.overlaps import FILE, Overlap, current, dump, measure, read_overlaps
from prunebench.leaderboard.reported import FILE as REPORTED
from prunebench.leaderboard.reported import Reported, in_folder
from prunebench.leaderboard.reported import dump as dump_reported
from prunebench.leaderboard.rows import table
from prunebench.leaderboard.selection import RequestedRow, Selection, select
from prunebench.leaderboard.tables.markdown import as_json, as_markdown
from prunebench.leaderboard.tables.page import board_page
from prunebench.messages.plain_text import cell
from prunebench.records.files import has_content, remove, write_file
from prunebench.records.results import (
    CALIBRATED,
    CHOICE,
    CUT,
    DEPLOYED,
    EARLY_STOP,
    METRICS,
    RUNTIME,
    Result,
    early_stop_name,
)
from prunebench.tracking import read_results


class Suited(Protocol):
    """A suite with the cells that are asked of it, as `prunebench.load_suite` gives it."""

    @property
    def suite(self) -> Suite: ...

    @property
    def asked(self) -> Sequence[RequestedRow]: ...


def load_leaderboard(
    suite: str | Suited | None = None, *, asked: Iterable[RequestedRow] | None = None, output: Path | None = None
) -> pd.DataFrame:
    """The leaderboard of what MLflow has: a row for each task, method and sparsity.

    Args:
        suite: its name, and all is shown that was tracked of it; or what `load_suite` gave, and its cells are shown
            whether they are done or not. By default every suite is shown.
        asked: the cells to show, instead of those.
        output: a folder, which the pages are written to.

    Raises:
        TrackingError: when MLflow cannot be reached, or has nothing.
    """
    name = suite if suite is None or isinstance(suite, str) else suite.suite.name
    if asked is None and suite is not None and not isinstance(suite, str):
        asked = suite.asked
    cells = None if asked is None else list(asked)
    if output is None:
        return table(select(read_results(suite=name), cells))
    made = publish(name, cells, output)
    for complaint in made.complaints:
        warnings.warn(complaint, stacklevel=2)
    return made.frame


@dataclass(frozen=True)
class Made:
    """A board that was written."""

    frame: pd.DataFrame
    files: tuple[Path, ...]
    complaints: tuple[str, ...]
    """Why tasks have no overlaps of masks."""


def publish(suite: str | None, cells: Sequence[RequestedRow] | None, output: Path) -> Made:
    """Write the board of what MLflow has to a folder. Raises TrackingError."""
    results, reported = read_results(suite=suite), in_folder(output)
    overlaps, complaints = measured_overlaps(results, cells)
    paths = write(results, output, cells, overlaps, reported)
    return Made(table(replace(select(results, cells), reported=reported)), tuple(paths), tuple(complaints))


def files(
    results: Iterable[Result],
    expected: Iterable[RequestedRow] | None = None,
    drawn: Mapping[str, bytes] = MappingProxyType({}),
    overlaps: Iterable[Overlap] = (),
    reported: Iterable[Reported] = (),
) -> dict[str, bytes]:
    """The leaderboard of these results as files, name to bytes; the same results give the same bytes.

    Args:
        drawn: plots to take as they are.
        overlaps: what masks have in common; those of other results are left out.
        reported: numbers that others reported; those of other tasks are in no table.
    """
    from prunebench.leaderboard.plots.rendering import svg
    from prunebench.leaderboard.tables.html import html

    found = list(results)
    asked = None if expected is None else frozenset(expected)
    selection = select(found, asked)
    selection = replace(selection, overlaps=current(overlaps, selection.results), reported=tuple(reported))
    frame = table(selection)
    page = board_page(frame, selection)
    contents = {plot.file: drawn.get(plot.file) or svg(plot.card) for plot in page.plots}
    contents["index.html"] = html(page).encode()
    contents["rows.csv"] = csv(frame)
    contents["rows.json"] = as_json(frame).encode()
    contents["trials.csv"] = csv(trials(selection))
    if selection.overlaps:
        contents[FILE] = dump(selection.overlaps)
    if selection.reported:
        contents[REPORTED] = dump_reported(selection.reported)
    contents[published.FILE] = published.dump(found, asked).encode()
    contents["README.md"] = as_markdown(page).encode()
    return contents


def measured_overlaps(
    results: Iterable[Result], expected: Iterable[RequestedRow] | None = None, uri: str | None = None
) -> tuple[tuple[Overlap, ...], list[str]]:
    """What the masks have in common that MLflow has of these results; and why tasks have no such figures."""
    overlaps, complaints = measure(select(results, expected).results, uri)
    return tuple(overlaps), complaints


def write(
    results: Iterable[Result],
    directory: Path,
    expected: Iterable[RequestedRow] | None = None,
    overlaps: Iterable[Overlap] = (),
    reported: Iterable[Reported] | None = None,
) -> list[Path]:
    """Publish the leaderboard of these results in a folder.

    Each file is replaced as a whole, the page last; a file that is as it should be is left alone.

    Args:
        overlaps: what masks have in common; of a task that has none here, those that the folder has stay.
        reported: numbers that others reported; by default those that the folder has.

    Returns:
        the files of the board.
    """
    given = list(overlaps)
    measured = {(one.suite, one.task) for one in given}
    given += [one for one in _overlaps_there(directory) if (one.suite, one.task) not in measured]
    contents = files(results, expected, overlaps=given, reported=in_folder(directory) if reported is None else reported)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return [write_file(directory / name, content) for name, content in contents.items()]
    except OSError as error:
        raise BoardError(
            f"the leaderboard cannot be written to {directory}: {error.strerror}: {error.filename}"
        ) from None


def _overlaps_there(directory: Path) -> tuple[Overlap, ...]:
    """The overlaps that a folder has; a damaged file of them is removed with a warning, and ends no run."""
    try:
        return read_overlaps(directory)
    except BoardError as error:
        warnings.warn(f"{error}; the file is removed, and made again of what is measured", stacklevel=3)
        remove(directory / FILE)
        return ()


def stale(results: Iterable[Result], directory: Path, expected: Iterable[RequestedRow] | None = None) -> list[Path]:
    """The files of a published board that are missing, or not what these results give."""
    contents = files(results, expected, _drawn_otherwise(directory), read_overlaps(directory), in_folder(directory))
    paths = {directory / name: content for name, content in contents.items()}
    return [path for path, content in paths.items() if not has_content(path, content)]


def _drawn_otherwise(directory: Path) -> dict[str, bytes]:
    """The plots that another version of the library drew: their bytes say nothing about the results."""
    from prunebench.leaderboard.plots.rendering import drawn_by, version

    found = {}
    for path in sorted(directory.glob("*.svg")):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError:  # which makes it stale
            continue
        if drawn_by(content) not in ("", version()):
            found[path.name] = content
    return found


ADDED_LATER = ("inference_flops_prunable", "processor_seconds")
"""Metrics that results of earlier versions lack: `trials.csv` of a board without them has no such column."""


def trials(selection: Selection) -> pd.DataFrame:
    """The results behind the rows, one line each: what every figure of the leaderboard can be computed from."""
    present = {name for result in selection.results for name in result.metrics}
    primary = dict.fromkeys(result.primary for result in selection.results)
    always = [name for name in METRICS if name not in ADDED_LATER or name in present]
    sometimes = (*EARLY_STOP, *map(early_stop_name, primary), *DEPLOYED, *CUT, *CHOICE, *CALIBRATED)
    sometimes += tuple(sorted(name for name in present if name.startswith(RUNTIME)))
    names = dict.fromkeys(metric.name for metric in primary)
    named = dict.fromkeys((*names, *always, *(name for name in sometimes if name in present)))
    lines = [
        {
            "suite": result.suite,
            "task": result.task,
            "method": result.method,
            "target_sparsity": result.sparsity,
            "seed": result.seed,
            "status": result.status,
            "reason": result.reason,
            **{name: float(result.metrics[name]) if name in result.metrics else None for name in named},
            "trial": result.trial,
        }
        for result in selection.results
    ]
    return pd.DataFrame(lines)


def csv(frame: pd.DataFrame) -> bytes:
    """Rows as CSV, with the same bytes on every system."""
    text: str = frame.map(cell).to_csv(index=False, lineterminator="\n")
    return text.encode()
