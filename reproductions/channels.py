"""Criteria for the removal of channels beside random channels, on the board `structured`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from answers import (
    NOT_SEEN,
    SEEN,
    UNDECIDED,
    Answer,
    Boards,
    Figures,
    Page,
    Part,
    elsewhere,
    interval,
    measure,
    spread,
)
from papers import PRUNINGBENCH

from prunebench.leaderboard.statistics import CONFIDENCE, FEWEST_PAIRS, SIGNIFICANCE, Difference, holm, welch
from prunebench.records.results import Result

RANDOM = "random-channels"
SINGLE_WEIGHTS = ("magnitude", "random")
"""Methods of the suite that remove no channels."""
BETTER, WORSE = "**better**", "**worse**"
MARGIN = 1.0
"""Random channels are as good as a criterion that is at most so many points better."""

INTRODUCTION = """\
Benchmarks of structured pruning have found that random channels are as good as most criteria where most of the network
is removed. [The board structured]({board}) has the same network, budget and training after the cut for each. Here
*seen* means that random channels are shown to be at most {margin:g} point below more than half of the criteria, each by
the upper bound of its interval, and *not seen* that more than half are significantly better."""


@dataclass(frozen=True)
class Comparison:
    """A criterion beside random channels at one reduction; a positive gap, in points, is better."""

    method: str
    own: Mapping[int, float]
    gap: Difference
    verdict: str

    @property
    def is_matched(self) -> bool:
        """Whether random channels are shown to be as good."""
        return self.gap.pairs >= FEWEST_PAIRS and self.gap.high is not None and self.gap.high <= MARGIN


def compared(results: Sequence[Result], sparsity: float) -> list[Comparison]:
    """All criteria at one reduction, the best mean first.

    All are compared with the same random channels, so their p-values (Welch's t) are adjusted by Holm's method.
    """
    found = measure(results)
    own = {
        name: values for (name, target), values in found.figures.items() if target == sparsity and _is_criterion(name)
    }
    chance = found.figures[RANDOM, sparsity]
    adjusted = holm([welch(values, chance) for values in own.values()])
    made = []
    for (name, values), p in zip(own.items(), adjusted, strict=True):
        gap = found.gap((name, sparsity), (RANDOM, sparsity), paired=False)
        assert gap is not None, f"{name} and {RANDOM} share no seed"
        verdict = UNDECIDED if not p < SIGNIFICANCE else BETTER if gap.mean > 0 else WORSE
        made.append(Comparison(name, values, gap, verdict))
    return sorted(made, key=lambda one: (-one.gap.mean, one.method))


def _is_criterion(method: str) -> bool:
    return method not in (RANDOM, *SINGLE_WEIGHTS, "dense")


def page(boards: Boards) -> Page:
    results = boards.results("structured")
    found = measure(results).figures
    reductions = {target: compared(results, target) for target in sorted({row[1] for row in found if row[0] == RANDOM})}
    introduction = INTRODUCTION.format(board=boards.address("structured/README.md"), margin=MARGIN)
    answer = Answer(
        "At 8 times, random channels are as good as most criteria; smaller reductions for comparison",
        PRUNINGBENCH,
        "fewer multiplications",
        tuple(_part(target, made) for target, made in reductions.items()),
        elsewhere(PRUNINGBENCH),
    )
    return Page(introduction, {"": (answer,)}, tuple(_details(found, reductions)))


def _part(sparsity: float, made: Sequence[Comparison]) -> Part:
    """How many criteria are better, worse, or matched, and where random channels stand among them."""
    better, worse = (sum(one.verdict == verdict for one in made) for verdict in (BETTER, WORSE))
    matched, rank = sum(one.is_matched for one in made), 1 + sum(one.gap.mean > 0 for one in made)
    number = (
        f"as good as {matched} of {len(made)} criteria, {better} are significantly better and {worse} worse, number "
        f"{rank} of {len(made) + 1} by the means"
    )
    verdict = SEEN if 2 * matched > len(made) else NOT_SEEN if 2 * better > len(made) else UNDECIDED
    return Part(f"{_factor(sparsity)} times", number, verdict)


def _factor(sparsity: float) -> str:
    return f"{1 / (1 - sparsity):.3g}"


def _details(found: Figures, reductions: Mapping[float, Sequence[Comparison]]) -> Iterator[str]:
    yield "## Criteria"
    yield ""
    yield f"The difference from random channels and its interval (Welch's t, {CONFIDENCE:.0%}). *Better* or *worse*: it"
    yield "is significant at 5 % among all criteria of the reduction (Holm)."
    for sparsity, made in reductions.items():
        yield from ("", f"### {_factor(sparsity)} times fewer multiplications", "")
        yield "| criterion | accuracy | difference from random channels | here |"
        yield "|:--|--:|--:|:--|"
        for one in made:
            yield f"| {one.method} | {spread(one.own, 100, 1)} | {interval(one.gap, 1, 1)} points | {one.verdict} |"
        yield f"| {RANDOM} | {spread(found[RANDOM, sparsity], 100, 1)} | | |"
        for method in SINGLE_WEIGHTS:
            if values := found.get((method, sparsity)):
                yield f"| {method}, single weights at {100 * sparsity:g} % sparsity | {spread(values, 100, 1)} | | |"
