"""The leaderboard: from tracked results to rows, pages and plots.

select(results, expected)   which results stand in a table, and what is older
table(selection)            rows: means, deviations, paired differences, tiers
write(results, directory)   all of it as files: README.md, plots, rows and trials
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from prunebench.leaderboard.pages import as_json, markdown, text
from prunebench.leaderboard.plots import accuracy_plot, cost_plot, drawings, svg
from prunebench.leaderboard.rows import COLUMNS, records, rows, table
from prunebench.leaderboard.sections import Section, sections
from prunebench.leaderboard.selection import Asked, Older, Selection, select
from prunebench.results import DEPLOYED, METRICS, Result

__all__ = [
    "COLUMNS",
    "Asked",
    "Older",
    "Section",
    "Selection",
    "accuracy_plot",
    "as_json",
    "cost_plot",
    "drawings",
    "markdown",
    "records",
    "rows",
    "sections",
    "select",
    "svg",
    "table",
    "text",
    "write",
]


def write(results: Iterable[Result], directory: Path, expected: Iterable[Asked] | None = None) -> list[Path]:
    """Publish the leaderboard of these results: README.md, its plots, rows.csv, rows.json and trials.csv.

    Each file is replaced as a whole, the page last; the same results give the same bytes.

    Returns:
        the files written.
    """
    selection = select(results, expected)
    frame = table(selection)
    contents = drawings(frame, selection)
    contents["rows.csv"] = _csv(frame)
    contents["rows.json"] = as_json(frame).encode()
    contents["trials.csv"] = _csv(trials(selection))
    contents["README.md"] = markdown(frame, selection).encode()
    directory.mkdir(parents=True, exist_ok=True)
    return [_replaced(directory / name, content) for name, content in contents.items()]


def trials(selection: Selection) -> pd.DataFrame:
    """The results behind the rows, one line each: what every figure of the leaderboard can be computed from."""
    deployed = [name for name in DEPLOYED if any(name in result.metrics for result in selection.results)]
    named = (*METRICS, *deployed)
    lines = [
        {
            "suite": result.suite,
            "task": result.task,
            "method": result.method,
            "target_sparsity": result.sparsity,
            "seed": result.seed,
            "status": result.status,
            "reason": result.reason,
            **{name: result.metrics.get(name) for name in named},
            "trial": result.trial,
        }
        for result in selection.results
    ]
    return pd.DataFrame(lines)


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _replaced(path: Path, content: bytes) -> Path:
    """Written aside and renamed: a reader sees the old file or the new one."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    return path
