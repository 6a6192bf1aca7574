"""Which interval for the difference to the dense network is narrower at a held error rate: the paired one, or Welch's?

    python benchmarks/intervals.py

Values are normally distributed over seeds, with a correlation between those of the dense network and of a row. For each
number of seeds, correlation and ratio of standard deviations, the script prints how often the 95 % interval misses the
true difference (which should be at most 5 %), its mean width in standard deviations of the dense network, and how often
a difference of three standard deviations is found. *Chosen* is the interval of a board with five rows.

`--boards leaderboard/*/trials.csv` prints the correlations of published boards too.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from tabulate import tabulate

SEEDS = (3, 5, 10)
CORRELATIONS = (0.0, 0.15, 0.3, 0.6)
RATIOS = (1.0, 3.0, 10.0)
"""Of a row's standard deviation to that of the dense network."""
DRAWS = 40_000
EFFECT = 3.0
"""The difference to be found, in standard deviations (their root mean square)."""
ROWS = 5
"""Of a board, of which the correlation is estimated."""

Interval = tuple[np.ndarray, np.ndarray]
"""Centers and reaches, one for each draw."""


def paired(ours: np.ndarray, theirs: np.ndarray) -> Interval:
    """Student's t interval of the differences; values have shape (draws, seeds)."""
    differences, seeds = ours - theirs, ours.shape[1]
    error = differences.std(axis=1, ddof=1) / np.sqrt(seeds)
    return differences.mean(axis=1), stats.t.ppf(0.975, seeds - 1) * error


def welch(ours: np.ndarray, theirs: np.ndarray) -> Interval:
    """Welch's t interval of the difference of two means."""
    seeds = ours.shape[1]
    one, two = (values.var(axis=1, ddof=1) / seeds for values in (ours, theirs))
    freedom = (one + two) ** 2 * (seeds - 1) / (one**2 + two**2)
    return ours.mean(axis=1) - theirs.mean(axis=1), stats.t.ppf(0.975, freedom) * np.sqrt(one + two)


def drawn(seeds: int, correlation: float, ratio: float, numbers: np.random.Generator) -> list[np.ndarray]:
    """Values of a dense network and of some rows, all with the same mean."""
    dense, *others = numbers.normal(size=(1 + ROWS, DRAWS, seeds))
    return [dense, *(ratio * (correlation * dense + np.sqrt(1 - correlation**2) * one) for one in others)]


def chosen(ours: np.ndarray, theirs: np.ndarray, rows: np.ndarray) -> Interval:
    """The interval of a board: the paired one where the mean correlation of many rows with `theirs` is so high that it
    is the narrower one.

    Args:
        rows: other rows of the board, of shape (rows, draws, seeds).
    """
    seeds = ours.shape[1]
    both = np.concatenate([ours[None], rows])
    both, reference = (values - values.mean(axis=-1, keepdims=True) for values in (both, theirs))
    scale = np.sqrt((both**2).sum(axis=-1) * (reference**2).sum(axis=-1))
    mean = ((both * reference).sum(axis=-1) / scale).mean(axis=0)
    ratio = stats.t.ppf(0.975, 2 * seeds - 2) / stats.t.ppf(0.975, seeds - 1)
    pays = np.sqrt(np.maximum(1 - mean, 0)) < ratio
    (center, one), (_, other) = paired(ours, theirs), welch(ours, theirs)
    return center, np.where(pays, one, other)


def figures(interval: Interval, ratio: float) -> list[float]:
    """Misses in percent, mean width, and differences found in percent."""
    center, reach = interval
    effect = EFFECT * np.sqrt((1 + ratio**2) / 2)
    return [
        100 * float((np.abs(center) > reach).mean()),
        2 * float(reach.mean()),
        100 * float((np.abs(center + effect) > reach).mean()),
    ]


def simulated() -> str:
    """The table of the simulation."""
    rows = []
    for seeds, correlation, ratio in itertools.product(SEEDS, CORRELATIONS, RATIOS):
        dense, *others = drawn(seeds, correlation, ratio, np.random.default_rng(0))
        intervals = paired(others[0], dense), welch(others[0], dense), chosen(others[0], dense, np.stack(others[1:]))
        found = zip(*(figures(one, ratio) for one in intervals), strict=True)
        rows.append([seeds, correlation, ratio, *itertools.chain.from_iterable(found)])
    names = [f"{what}, {which}" for what in ("misses %", "width", "found %") for which in ("paired", "Welch", "chosen")]
    return tabulate(rows, ["seeds", "correlation", "ratio", *names], "github", floatfmt=".3g")


def correlation(trials: pd.DataFrame) -> tuple[float, float]:
    """Correlations between the final metrics of one seed: of methods with the dense network, and of two methods at one
    sparsity; pooled over all pairs of a task."""
    sums = {True: np.zeros(2), False: np.zeros(2)}
    for _, task in trials[trials["status"] == "done"].groupby("task"):
        values = task.pivot_table(index="seed", columns=["method", "target_sparsity"], values="accuracy").dropna(axis=1)
        scaled = (values - values.mean()) / values.std()
        for one, other in itertools.combinations(scaled.columns[values.std() > 0], 2):
            with_dense = "dense" in (one[0], other[0])
            if with_dense or one[1] == other[1]:
                sums[with_dense] += [(scaled[one] * scaled[other]).sum(), len(scaled) - 1]
    with_dense, between = (float(total / count) if count else np.nan for total, count in sums.values())
    return with_dense, between


def measured(paths: Sequence[Path]) -> str:
    """The table of correlations of some boards."""
    rows = [[path.parent.name, *correlation(pd.read_csv(path))] for path in paths]
    return tabulate(rows, ["board", "with dense", "between methods"], "github", floatfmt=".2f")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", nargs="*", type=Path, default=[], metavar="TRIALS", help="trials.csv of boards")
    asked = parser.parse_args()
    if asked.boards:
        print(measured(asked.boards), end="\n\n")
    print(simulated())


if __name__ == "__main__":
    main()
