"""Compare criteria for the removal of channels with random channels, on a board of the suite `structured`.

    python leaderboard/channels.py

Every figure is computed from structured/trials.jsonl; structured/channels.md is written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from answers import spread
from orderings import Figures, figures, interval, times

from prunebench.leaderboard.boards.published import read_board
from prunebench.leaderboard.statistics import CONFIDENCE, SIGNIFICANCE, Difference, difference, holm, welch

BOARD = Path(__file__).parent / "structured"
RANDOM = "random-channels"
SINGLE_WEIGHTS = ("magnitude", "random")
"""Methods of the suite that remove no channels."""
BETTER, WORSE, UNDECIDED = "**better**", "**worse**", "undecided"


@dataclass(frozen=True)
class Comparison:
    """A criterion beside random channels at one reduction; a positive gap is better."""

    method: str
    own: Mapping[int, float]
    gap: Difference
    verdict: str


def compared(found: Figures, sign: int, sparsity: float) -> list[Comparison]:
    """All criteria at one reduction, the best mean first.

    All are compared with the same random channels, so their p-values (Welch's t) are adjusted by Holm's method.
    """
    chance = found[RANDOM, sparsity]
    own = {name: values for (name, target), values in found.items() if target == sparsity and _is_criterion(name)}
    adjusted = holm([welch(values, chance) for values in own.values()])
    made = []
    for (name, values), p in zip(own.items(), adjusted, strict=True):
        gap = difference(times(sign, values), times(sign, chance), paired=False)
        assert gap is not None, f"{name} and {RANDOM} share no seed"
        made.append(Comparison(name, values, gap, _verdict(gap, p)))
    return sorted(made, key=lambda one: (-one.gap.mean, one.method))


def _is_criterion(method: str) -> bool:
    return method not in (RANDOM, *SINGLE_WEIGHTS, "dense")


def _verdict(gap: Difference, p: float) -> str:
    if not p < SIGNIFICANCE:
        return UNDECIDED
    return BETTER if gap.mean > 0 else WORSE


def page_of(board: Path) -> str:
    """The page for a published board of one task."""
    results = read_board(board).results
    metric = results[0].objective[0]
    found = figures(results, metric.name)
    reductions = sorted({target for name, target in found if name == RANDOM})
    all_compared = {sparsity: compared(found, metric.sign, sparsity) for sparsity in reductions}
    lines = [
        "# Do criteria beat random channels?",
        "",
        "Benchmarks of structured pruning have found that random channels are as good as most criteria where most of",
        "the network is removed. What [this board](README.md) shows, with the same network, budget and training after",
        f"the cut for each: the difference from random channels and its interval (Welch's t, {CONFIDENCE:.0%}).",
        "*Better* or *worse*: the difference is significant at 5 % among all criteria of the reduction (Holm).",
        "",
        *(f"- {_sentence(sparsity, made, found)}" for sparsity, made in all_compared.items()),
    ]
    for sparsity, made in all_compared.items():
        lines += ["", f"## {_factor(sparsity)} times fewer multiplications", "", *_table(made, found, sparsity)]
    return "\n".join([*lines, ""])


def _sentence(sparsity: float, made: Sequence[Comparison], found: Figures) -> str:
    """How many criteria are better, worse, or neither, and where random channels stand among them."""
    counts = [sum(one.verdict == verdict for one in made) for verdict in (BETTER, WORSE, UNDECIDED)]
    rank = 1 + sum(one.gap.mean > 0 for one in made)
    return (
        f"At {_factor(sparsity)} times, {counts[0]} of {len(made)} criteria are better than random channels, "
        f"{counts[1]} are worse, and {counts[2]} are undecided; by the means random channels are number {rank} of "
        f"{len(made) + 1}."
    )


def _factor(sparsity: float) -> str:
    return f"{1 / (1 - sparsity):.3g}"


def _table(made: Sequence[Comparison], found: Figures, sparsity: float) -> Iterator[str]:
    yield "| criterion | accuracy | difference from random channels | here |"
    yield "|:--|--:|--:|:--|"
    for one in made:
        yield f"| {one.method} | {spread(one.own, 100, 1)} | {interval(one.gap, 100, 1)} points | {one.verdict} |"
    yield f"| {RANDOM} | {spread(found[RANDOM, sparsity], 100, 1)} | | |"
    for method in SINGLE_WEIGHTS:
        if values := found.get((method, sparsity)):
            yield f"| {method}, single weights at {100 * sparsity:g} % sparsity | {spread(values, 100, 1)} | | |"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else BOARD
    (folder / "channels.md").write_text(page_of(folder), encoding="utf-8")
