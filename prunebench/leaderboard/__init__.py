"""The leaderboard: from tracked results to rows, pages and plots.

select(results, expected)   which results are in a table, and which are older
table(selection)            rows: means, deviations, differences, tiers
load_leaderboard(suite)     the rows of the results in MLflow
files(results)              the board as files: README.md, index.html, plots, rows and trials
write(results, directory)   these files in a folder
stale(results, directory)   the files of a folder that differ from them
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from prunebench.leaderboard.publishing import csv, files, load_leaderboard, stale, write
from prunebench.leaderboard.rows import COLUMNS, records, rows, table
from prunebench.leaderboard.selection import Older, RequestedRow, Selection, select
from prunebench.leaderboard.tables.markdown import as_json, markdown
from prunebench.leaderboard.tables.sections import Section, sections
from prunebench.leaderboard.tables.terminal import text

if TYPE_CHECKING:
    from prunebench.leaderboard.plots.gallery import drawings
    from prunebench.leaderboard.plots.rendering import svg
    from prunebench.leaderboard.tables.html import as_html

__all__ = [
    "COLUMNS",
    "Older",
    "RequestedRow",
    "Section",
    "Selection",
    "as_html",
    "as_json",
    "csv",
    "drawings",
    "files",
    "load_leaderboard",
    "markdown",
    "records",
    "rows",
    "sections",
    "select",
    "stale",
    "svg",
    "table",
    "text",
    "write",
]

_LATER = {
    "as_html": "prunebench.leaderboard.tables.html",
    "drawings": "prunebench.leaderboard.plots.gallery",
    "svg": "prunebench.leaderboard.plots.rendering",
}


def __getattr__(name: str) -> Any:
    """Names of plots and pages are imported when they are first used: rows and text do without."""
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'prunebench.leaderboard' has no attribute {name!r}")
