"""Measure the barriers between two trainings of each ticket of the board `rewinding`, and write connectivity.csv.

    python reproductions/connectivity.py --store .prunebench

The store must be that of the run that made the board. Each ticket is trained twice more, with other noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measurements import write

from prunebench import load_suite
from prunebench.inspection.stability import stability
from prunebench.inspection.trials import open_trial

ROOT = Path(__file__).parent.parent
BOARD, FILE = ROOT / "leaderboard" / "rewinding", "connectivity.csv"
SUITE = ROOT / "suites" / "rewinding.yaml"
SPARSITIES = (0.9, 0.98)


@dataclass(frozen=True)
class Connected:
    """How far the test error rises between two trainings of a ticket, and its error."""

    method: str
    sparsity: float
    seed: int
    step: int
    """To which the ticket was rewound."""
    barrier: float
    """Above the mean of the two ends."""
    error: float
    """Mean of the two ends."""


def measured(store: Path, data: Path | None = None) -> Iterator[Connected]:
    """The barriers of the tickets of some sparsities, from the states of the run that made the board."""
    loaded = load_suite(SUITE)
    for trial in loaded.trials:
        label = trial.entry.label
        if label.startswith("rewind-") and not trial.entry.reinitialize and trial.sparsity in SPARSITIES:
            found = stability(open_trial(loaded, str(trial), store, data))
            ends = (found.errors[0] + found.errors[-1]) / 2
            yield Connected(label, trial.sparsity, trial.seed, found.start, found.barrier, ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="the store of the run that made the board")
    parser.add_argument("--data", type=Path, help="the folder of data sets")
    options = parser.parse_args()
    write(BOARD / FILE, measured(options.store, options.data))


if __name__ == "__main__":
    main()
