"""Which of the orderings that the literature reports can be seen in the board `methods`: writes methods/orderings.md.

    python leaderboard/orderings.py

Every figure is computed from methods/trials.jsonl, seed by seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prunebench.api.results import Result
from prunebench.leaderboard.boards.published import read_board
from prunebench.leaderboard.statistics import CONFIDENCE, Difference, difference

BOARD = Path(__file__).parent / "methods"
Figures = dict[tuple[str, float], dict[int, float]]
"""By (method, target sparsity) and seed."""


@dataclass(frozen=True)
class Lock:
    """That one method is better than another by so many points of accuracy."""

    sentence: str
    better: tuple[str, ...]
    worse: str
    sparsity: float
    margin: float = 0.0


CLAIMS = (
    Lock("A ticket beats its mask with new random weights, by 0.3 points", ("imp",), "imp-reinit", 0.988, 0.3),
    Lock("Pruning level by level beats one shot, by about 1 point", ("imp",), "ticket-one-shot", 0.988, 1.0),
    Lock("A ticket is far above its mask shuffled within the layers", ("imp",), "imp-shuffle", 0.988, 1.0),
    Lock("SNIP and SynFlow beat uniform random pruning", ("snip", "synflow"), "random-uniform", 0.988),
    Lock("Moving connections beats static ERK, by 1 point", ("set", "snfs", "rigl"), "static", 0.988, 1.0),
    Lock("ERK is far above uniform", ("random-erk",), "random-uniform", 0.988, 1.0),
    Lock("A ticket of a fifth of the weights is as good as dense, to 0.3 points", ("imp",), "dense", 0.8, -0.3),
    Lock("Rewinding beats fine-tuning", ("imp-rewind", "lr-rewinding"), "magnitude-iterative", 0.988),
)

EARLIER = "A ticket of a fifth of the weights has its lowest validation loss earlier than the dense network"
NOT_HERE = """\
The validation loss is looked at every 1,000 iterations here: its minimum is known to that alone. Not to be seen on this
board are the claims about ResNets and VGGs. Rewinding is reported for ResNets; on this network it is only tried."""


def figures(results: Iterable[Result], metric: str) -> Figures:
    """A metric of every trial that is done and has it."""
    found: Figures = defaultdict(dict)
    for result in results:
        if metric in result.metrics:
            found[result.method, result.sparsity][result.seed] = result.metrics[metric]
    return found


def earlier(found: Figures) -> str:
    """The table row of the iteration at which the validation loss is lowest."""
    gap = difference(found.get(("imp", 0.8), {}), found.get(("dense", 0.0), {}))
    if gap is None:
        return f"| {EARLIER} | imp − dense | 80.0% | | not run |"
    seen = _seen(gap.mean < 0, gap.high is not None and gap.high < 0)
    return f"| {EARLIER} | imp − dense | 80.0% | {interval(gap, 1, 0)} iterations | {seen} |"


def _seen(in_the_mean: bool, in_the_interval: bool) -> str:
    if not in_the_mean:
        return "not seen"
    return "seen" if in_the_interval else "seen in the mean only"


def interval(gap: Difference, factor: float, digits: int) -> str:
    """A mean with its confidence interval."""
    text = f"{factor * gap.mean:+.{digits}f}"
    if gap.low is not None and gap.high is not None:
        text += f" [{factor * gap.low:+.{digits}f}, {factor * gap.high:+.{digits}f}]"
    return text


def verdict(lock: Lock, better: str, found: Figures) -> str:
    """A table row: the paired difference with its interval, and whether the ordering is seen."""
    ours = found.get((better, lock.sparsity), {})
    theirs = found.get((lock.worse, lock.sparsity), found.get((lock.worse, 0.0), {}))
    gap = difference(ours, theirs)
    if gap is None:
        return f"| {lock.sentence} | {better} − {lock.worse} | {lock.sparsity:.1%} | | not run |"
    points = interval(gap, 100, 2)
    seen = _seen(100 * gap.mean >= lock.margin, gap.low is not None and 100 * gap.low > min(0.0, lock.margin))
    return f"| {lock.sentence} | {better} − {lock.worse} | {lock.sparsity:.1%} | {points} | {seen} |"


def page_of(board: Path) -> str:
    """The page that answers the claims from a published board."""
    results = read_board(board).results
    found = figures(results, "accuracy")
    rows = [verdict(lock, better, found) for lock in CLAIMS for better in lock.better]
    rows.append(earlier(figures(results, "early_stop_step")))
    lines = [
        "# Orderings",
        "",
        "What the literature finds robustly, and whether [this board](README.md) shows it: the difference in points",
        "of test accuracy (or in iterations), paired by seed, with its confidence interval (Student's",
        f"t, {CONFIDENCE:.0%}). *Seen*: the mean has the claimed margin, and the interval lies on that side of zero",
        "(above the margin where that is negative). *Seen in the mean only*: these seeds cannot exclude chance.",
        "",
        "| claim | methods | sparsity | difference | here |",
        "|:--|:--|--:|--:|:--|",
        *rows,
        "",
        NOT_HERE,
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    (BOARD / "orderings.md").write_text(page_of(BOARD), encoding="utf-8")
