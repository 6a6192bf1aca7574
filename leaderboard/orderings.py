"""Compare orderings that the literature reports with the board `methods`, and write methods/orderings.md.

    python leaderboard/orderings.py

Every figure is computed from methods/trials.jsonl.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prunebench.leaderboard.boards.published import read_board
from prunebench.leaderboard.statistics import CONFIDENCE, Difference, difference
from prunebench.records.results import Result

BOARD = Path(__file__).parent / "methods"
Figures = dict[tuple[str, float], dict[int, float]]
"""Values by (method, target sparsity) and by seed."""


@dataclass(frozen=True)
class Claim:
    """A claim that some methods are better than another by a margin in points of accuracy."""

    sentence: str
    better: tuple[str, ...]
    worse: str
    sparsity: float
    margin: float = 0.0


CLAIMS = (
    Claim("A ticket beats its mask with new random weights, by 0.3 points", ("imp",), "imp-reinit", 0.988, 0.3),
    Claim("Pruning level by level beats one shot, by about 1 point", ("imp",), "ticket-one-shot", 0.988, 1.0),
    Claim("A ticket is far above its mask shuffled within the layers", ("imp",), "imp-shuffle", 0.988, 1.0),
    Claim("SNIP and SynFlow beat uniform random pruning", ("snip", "synflow"), "random-uniform", 0.988),
    Claim("Moving connections beats static ERK, by 1 point", ("set", "snfs", "rigl"), "static", 0.988, 1.0),
    Claim("ERK is far above uniform", ("random-erk",), "random-uniform", 0.988, 1.0),
    Claim("A ticket of a fifth of the weights is as good as dense, to 0.3 points", ("imp",), "dense", 0.8, -0.3),
    Claim("Rewinding beats fine-tuning", ("imp-rewind", "lr-rewinding"), "magnitude-iterative", 0.988),
)

EARLIER = "A ticket of a fifth of the weights has its lowest validation loss earlier than the dense network"
NOT_HERE = """\
The validation loss is looked at every 1,000 iterations here: its minimum is known to that alone. Not to be seen on this
board are the claims about ResNets and VGGs. Rewinding is reported for ResNets; on this network it is only tried."""


def times(sign: int, values: Mapping[int, float]) -> dict[int, float]:
    """Values by seed, times 1, or times -1 for a metric that is better when it is lower."""
    return {seed: sign * value for seed, value in values.items()}


def figures(results: Iterable[Result], metric: str) -> Figures:
    """A metric of every trial that has it."""
    found: Figures = defaultdict(dict)
    for result in results:
        if metric in result.metrics:
            found[result.method, result.sparsity][result.seed] = result.metrics[metric]
    return found


def earlier(found: Figures) -> str:
    """The table row about the iteration of the lowest validation loss."""
    gap = difference(found.get(("imp", 0.8), {}), found.get(("dense", 0.0), {}), paired=False)
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


def verdict(claim: Claim, better: str, found: Figures) -> str:
    """The table row of a claim: the difference with its interval, and whether the ordering is seen."""
    ours = found.get((better, claim.sparsity), {})
    theirs = found.get((claim.worse, claim.sparsity), found.get((claim.worse, 0.0), {}))
    gap = difference(ours, theirs, paired=False)
    if gap is None:
        return f"| {claim.sentence} | {better} − {claim.worse} | {claim.sparsity:.1%} | | not run |"
    points = interval(gap, 100, 2)
    seen = _seen(100 * gap.mean >= claim.margin, gap.low is not None and 100 * gap.low > min(0.0, claim.margin))
    return f"| {claim.sentence} | {better} − {claim.worse} | {claim.sparsity:.1%} | {points} | {seen} |"


def page_of(board: Path) -> str:
    """The page that compares the claims with a published board."""
    results = read_board(board).results
    found = figures(results, "accuracy")
    rows = [verdict(claim, better, found) for claim in CLAIMS for better in claim.better]
    rows.append(earlier(figures(results, "early_stop_step")))
    lines = [
        "# Orderings",
        "",
        "What the literature finds robustly, and whether [this board](README.md) shows it: the difference in points",
        "of test accuracy (or in iterations), with its confidence interval (Welch's",
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
