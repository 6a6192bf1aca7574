"""Compare orderings that papers on pruning after training report with a board of one-shot pruning.

    python leaderboard/one_shot.py [results/one-shot]

The folder is a published board, of the suite `one-shot`, `text-gpt-one-shot` or `text-minilm-one-shot`; its
orderings.md is written. Every figure is computed from its trials.jsonl, paired by seed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orderings import Figures, figures, interval, times

from prunebench.leaderboard.boards.published import read_board
from prunebench.leaderboard.statistics import CONFIDENCE, FEWEST_PAIRS, Difference, difference
from prunebench.records.results import Result

BOARD = Path(__file__).parent / "one-shot"
ERROR = "output_error"
HALF = (0.5,)
ALL = (0.5, 0.6, 0.7, 0.8, 0.9)
HIGH = (0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Claim:
    """A claim that one method is better than another: lower in output error or, without `by_error`, in the metric."""

    sentence: str
    better: str
    worse: str
    sparsities: tuple[float, ...] = ALL
    by_error: bool = False


@dataclass(frozen=True)
class Gain:
    """A claim that more calibration examples lower the output error of one method by more than that of another."""

    sentence: str
    more: tuple[str, str]
    """A method with many examples and with few."""
    less: tuple[str, str]
    sparsities: tuple[float, ...] = ALL


LEAST_SQUARES = "Least squares on a given mask lower the error of the layers"
CLAIMS: tuple[Claim | Gain, ...] = (
    Claim("Wanda has a lower error of the layers than magnitude", "wanda", "magnitude-layerwise", ALL, True),
    Claim("SparseGPT has a lower error of the layers than Wanda", "sparsegpt", "wanda", ALL, True),
    Claim("SparseGPT is better than Wanda with least squares", "sparsegpt", "wanda-reconstructed", ALL, True),
    *(
        Claim("ALPS has the lowest error of the layers", "alps", other, ALL, True)
        for other in ("admm", "sparsegpt", "wanda-reconstructed")
    ),
    Claim(LEAST_SQUARES, "magnitude-reconstructed", "magnitude-layerwise", ALL, True),
    Claim(LEAST_SQUARES, "wanda-reconstructed", "wanda", ALL, True),
    Claim("Wanda is better than magnitude", "wanda", "magnitude-layerwise"),
    Claim("SparseGPT is better than Wanda", "sparsegpt", "wanda"),
    Claim("ALPS is better than SparseGPT", "alps", "sparsegpt"),
    Claim("RIA is better than Wanda", "ria", "wanda"),
    Claim("DSnoT is better than Wanda, from whose mask it starts", "dsnot", "wanda"),
    Claim("Low-rank factors trained under Wanda's mask repair some of its damage", "masklora", "wanda", HIGH),
    Claim("A sparse part and one of low rank are better than as many weights", "oats", "wanda"),
    Claim("A sparse part and one of low rank are better than as many weights", "oats", "sparsegpt"),
    Claim("OWL helps at 70 % and more", "wanda-owl", "wanda", HIGH),
    *(
        Claim("The second order of the loss is better than magnitude, all layers together", name, "magnitude-global")
        for name in ("obd", "woodfisher", "chita", "cbs")
    ),
    *(
        Claim("Removing weights together is better than one by one", name, "woodfisher", HIGH)
        for name in ("chita", "cbs")
    ),
    *(
        Claim("Removing weights together is better, with equally many gradients", name, "woodfisher-256", HIGH)
        for name in ("chita", "cbs")
    ),
    Claim("In 2:4, Wanda is better than magnitude", "wanda-2-of-4", "magnitude-2-of-4", HALF),
    Claim("In 2:4, SparseGPT is better than Wanda", "sparsegpt-2-of-4", "wanda-2-of-4", HALF),
    Claim("In 2:4, ALPS has a lower error than SparseGPT", "alps-2-of-4", "sparsegpt-2-of-4", HALF, True),
    Claim("In 2:4, a permutation lowers the error", "ria-2-of-4-permuted", "ria-2-of-4", HALF, True),
    Claim("In 2:4, a permutation makes RIA better", "ria-2-of-4-permuted", "ria-2-of-4", HALF),
    *(
        Gain(
            "More calibration data helps reconstruction more than selection",
            (f"{name}-1024", f"{name}-32"),
            ("wanda-1024", "wanda-32"),
        )
        for name in ("wanda-reconstructed", "sparsegpt")
    ),
)


def answer(gap: Difference | None) -> str:
    """Whether a difference that is claimed to be positive is shown to be, or not to be, or neither."""
    if gap is None:
        return "not run"
    if gap.low is None or gap.high is None or gap.pairs < FEWEST_PAIRS:
        return "undecided (too few seeds)"
    return "**seen**" if gap.low > 0 else "**not seen**" if gap.high < 0 else "undecided"


def page_of(board: Path) -> str:
    """The page that compares the claims with a published board."""
    results = read_board(board).results
    tasks = dict.fromkeys(result.task for result in results)
    lines = [
        "# Orderings",
        "",
        "What papers on pruning after training report, and whether [this board](README.md) shows it: by how much the",
        "first method is better than the second, paired by seed, with the confidence interval of the mean (Student's",
        f"t, {CONFIDENCE:.0%}; of each row by itself: of twenty rows without any difference, one shows one).",
        "*Seen*: the interval is above zero. *Not seen*: it is below zero, so that the opposite is shown. *Undecided*:",
        f"zero is in it, or there are fewer than {FEWEST_PAIRS} seeds. The error of the layers is the mean of the",
        "relative squared errors of their outputs on held-out calibration examples.",
    ]
    for task in tasks:
        lines += ["", f"## {task}", "", *_table([one for one in results if one.task == task])]
    return "\n".join([*lines, ""])


def _table(results: Sequence[Result]) -> Iterator[str]:
    metric, sign, factor, unit = _metric(results)
    errors, values = figures(results, ERROR), figures(results, metric)
    yield "| claim | methods | sparsity | better by | here |"
    yield "|:--|:--|--:|--:|:--|"
    for claim in CLAIMS:
        for sparsity in claim.sparsities:
            if isinstance(claim, Gain):
                gap, scale, words = _gain(errors, claim, sparsity), 100.0, "% of the outputs"
            elif claim.by_error:
                gap, scale, words = _better(errors, claim, sparsity, -1), 100.0, "% of the outputs"
            else:
                gap, scale, words = _better(values, claim, sparsity, sign), factor, unit
            said = "" if gap is None else f"{interval(gap, scale, 2)} {words}".rstrip()
            yield f"| {claim.sentence} | {_methods(claim)} | {100 * sparsity:.4g} % | {said} | {answer(gap)} |"


def _metric(results: Sequence[Result]) -> tuple[str, int, float, str]:
    """The primary metric of a task: its name, whether higher values are better, and how it is shown."""
    metric = results[0].objective[0]
    return metric.name, metric.sign, metric.factor, "points" if metric.unit == "%" else metric.unit


def _better(found: Figures, claim: Claim, sparsity: float, sign: int) -> Difference | None:
    ours, theirs = found.get((claim.better, sparsity), {}), found.get((claim.worse, sparsity), {})
    return difference(times(sign, ours), times(sign, theirs))


def _gain(errors: Figures, claim: Gain, sparsity: float) -> Difference | None:
    """By how much more the error falls, over the seeds that all four methods have."""

    def fall(pair: tuple[str, str]) -> dict[int, float]:
        many, few = (errors.get((method, sparsity), {}) for method in pair)
        return {seed: few[seed] - many[seed] for seed in few if seed in many}

    return difference(fall(claim.more), fall(claim.less))


def _methods(claim: Claim | Gain) -> str:
    if isinstance(claim, Claim):
        return f"{claim.better}, {claim.worse}"
    return f"{claim.more[1]} → {claim.more[0]}, {claim.less[1]} → {claim.less[0]}"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else BOARD
    (folder / "orderings.md").write_text(page_of(folder), encoding="utf-8")
