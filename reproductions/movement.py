"""Measure how far the weights of the board `mnist-lenet` moved, in tickets and outside, and write movement.csv.

    python reproductions/movement.py --store .prunebench

The store must be that of the run that made the board.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from answers import steps_of
from measurements import write

from prunebench import load_suite
from prunebench.api.stages import Prune
from prunebench.inspection.measures import movements
from prunebench.inspection.trials import Finished, open_trial
from prunebench.leaderboard.boards.published import read_board
from prunebench.network.description import describe
from prunebench.records.results import Result

ROOT = Path(__file__).parents[1]
BOARD, FILE = ROOT / "leaderboard" / "mnist-lenet", "movement.csv"
SUITE = ROOT / "suites" / "mnist-lenet.yaml"


@dataclass(frozen=True)
class Moved:
    """How far the weights of a layer moved in the dense training: the mean of |after - before|."""

    sparsity: float
    seed: int
    layer: str
    size: int
    kept: int
    ticket: float
    """Of the weights that the ticket keeps."""
    rest: float
    """Of the other weights."""


def overall(moved: Iterable[Moved]) -> dict[float, dict[int, tuple[float, float]]]:
    """Mean distances of the weights of a ticket and of the others over all layers, by sparsity and seed."""
    found: dict[tuple[float, int], list[Moved]] = defaultdict(list)
    for one in moved:
        found[one.sparsity, one.seed].append(one)
    means: dict[float, dict[int, tuple[float, float]]] = defaultdict(dict)
    for (sparsity, seed), layers in found.items():
        means[sparsity][seed] = (
            math.fsum(one.kept * one.ticket for one in layers) / sum(one.kept for one in layers),
            math.fsum((one.size - one.kept) * one.rest for one in layers) / sum(one.size - one.kept for one in layers),
        )
    return dict(sorted(means.items()))


def measured(results: Iterable[Result], store: Path, data: Path | None, steps: int) -> Iterator[Moved]:
    """How far the weights of each ticket moved, from the states of the run that made the board."""
    loaded = load_suite(SUITE, settings=[f"tasks.recipe.steps={steps}"])
    for result in results:
        if result.method == "imp":
            name = f"{result.task}/{result.method}/{result.sparsity!r}/{result.seed}"
            yield from _moved(open_trial(loaded, name, store, data))


def _moved(finished: Finished) -> Iterator[Moved]:
    layers = describe(finished.trial.task).layers
    place = next(number for number, node in enumerate(finished.nodes) if isinstance(node.stage, Prune))
    dense = finished.state(finished.nodes[place - 1].key).parameters
    first, masks = finished.origin(place).parameters, finished.end.masks
    for layer, row in zip(layers, movements(layers, (first, dense, masks), (first, dense, {}, masks)), strict=True):
        assert row.survived is not None, f"nothing of {layer.name} is kept"
        assert row.removed is not None, f"all of {layer.name} is kept"
        kept = int(masks[layer.name].sum())
        trial = finished.trial
        yield Moved(trial.sparsity, trial.seed, layer.name, layer.size, kept, row.survived, row.removed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="the store of the run that made the board")
    parser.add_argument("--data", type=Path, help="the folder of data sets")
    options = parser.parse_args()
    results = read_board(BOARD).results
    write(BOARD / FILE, measured(results, options.store, options.data, steps_of(results)))


if __name__ == "__main__":
    main()
