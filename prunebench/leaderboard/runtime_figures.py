"""What rows say of runtimes: figures and remarks of each, and the command that writes a network to files."""

from __future__ import annotations

from typing import Any

from prunebench.leaderboard.boards.commands import export_command
from prunebench.leaderboard.cells import Cell, of_metric, ratio_of
from prunebench.records.results import RUNTIME

NOTE = "note."
"""Prefix of remarks in a provenance."""
REMARKS = ("zeros", "kernels", "load")


def in_runtimes(cell: Cell) -> dict[str, Any]:
    """What was measured in runtimes, under the names of RUNTIME, with ratios of latencies; and remarks."""
    names = sorted({name for result in cell.done for name in result.metrics if name.startswith(RUNTIME)})
    found: dict[str, Any] = {name: cell.mean(of_metric(name)) for name in names}
    for name in names:
        start, latency, batch = name.partition("/latency_ms/")
        if latency:
            dense, int8 = f"{start}/latency_ms_dense/{batch}", f"{start}/latency_ms_int8/{batch}"
            found[f"{start}/speedup/{batch}"] = cell.mean(ratio_of(dense, name))
            found[f"{start}/speedup_int8/{batch}"] = cell.mean(ratio_of(dense, int8))
    if names:
        found["export_command"] = export_command(cell.done[0])
    notes = {name for result in cell.done for name in result.provenance if name.startswith(NOTE + RUNTIME)}
    return found | {name.removeprefix(NOTE): cell.said(name) for name in notes}


def is_remark(name: str) -> bool:
    """Whether a column is what a runtime says, and not a figure."""
    parts = name.split("/")
    return name.startswith(RUNTIME) and (len(parts) == 2 or parts[-1] in REMARKS)
