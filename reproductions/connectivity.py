"""Measure the barriers between two trainings of each ticket of the board `rewinding`, and write connectivity.csv.

    python reproductions/connectivity.py --store .prunebench

The store must be that of the run that made the board. Each ticket is trained twice more, with other noise.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

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


Barriers = dict[str, dict[float, dict[int, Connected]]]
"""By method, sparsity and seed."""


def barriers(board: Path = BOARD) -> Barriers:
    """What was measured; nothing where nothing was."""
    found: Barriers = defaultdict(lambda: defaultdict(dict))
    if (board / FILE).is_file():
        with (board / FILE).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                one = Connected(
                    row["method"],
                    float(row["sparsity"]),
                    int(row["seed"]),
                    int(row["step"]),
                    float(row["barrier"]),
                    float(row["error"]),
                )
                found[one.method][one.sparsity][one.seed] = one
    return found


def measured(store: Path) -> Iterator[Connected]:
    loaded = load_suite(SUITE)
    for trial in loaded.trials:
        label = trial.entry.label
        if label.startswith("rewind-") and not trial.entry.reinitialize and trial.sparsity in SPARSITIES:
            found = stability(open_trial(loaded, str(trial), store))
            ends = (found.errors[0] + found.errors[-1]) / 2
            yield Connected(label, trial.sparsity, trial.seed, found.start, found.barrier, ends)


def write(rows: Iterable[Connected], board: Path = BOARD) -> None:
    with (board / FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [one.name for one in fields(Connected)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path(".prunebench"), help="the store of the run")
    write(list(measured(parser.parse_args().store)))


if __name__ == "__main__":
    main()
