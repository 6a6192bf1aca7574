"""Compare what Frankle & Carbin (2019, arXiv:1803.03635) found with the board `mnist-lenet`, and write lottery.md.

    python leaderboard/lottery.py

Every figure is computed from the trials of the board; how far weights moved is in movement.csv. The
paper studies dropout in convolutional networks, so these findings are compared with the board `cifar10-dropout`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import dropout
from answers import DENSE, Finding, Row, gap, is_above, ladder, left, listed, mean, points, spread
from movement import BOARD, FILE, Moved, overall, read, steps_of
from orderings import Figures, figures, interval

from prunebench.leaderboard.boards.published import read_board
from prunebench.leaderboard.statistics import CONFIDENCE, verdict

NEAR = 2.0
"""A density is near that of the paper if they differ at most by this factor."""
INTRODUCTION = """\
What Frankle & Carbin (2019, arXiv:1803.03635) found, asked of [LeNet-300-100 on MNIST](README.md): {board.steps:,}
iterations instead of their 50,000, {seeds} seeds; on dropout, of [Conv-2 on CIFAR-10](../cifar10-dropout/README.md):
{dropout.steps:,} iterations instead of 20,000, {dropout_seeds} seeds. P_m is the share of the weights that is left.
Early stop: the iteration of the lowest validation loss, which is looked at every 100 (of Conv-2, every 500). Intervals
are of differences of means (Welch's t, {confidence:.0%}). *Yes*: as the paper says, and every interval named
beside it excludes zero, where there is one; *yes, in the mean*: chance is not excluded. A density or a factor counts as
the paper's within {near:g} times, an amount where the interval has it."""
FINETUNED = "magnitude-finetune"
"""Its iterations are added to those of the dense network, so they do not measure how fast it learns."""


@dataclass(frozen=True)
class Board:
    """The data of the page."""

    stops: Figures
    """The iteration of the lowest validation loss."""
    stopped: Figures
    """Test accuracy at that iteration."""
    accuracy: Figures
    """Test accuracy at the end."""
    moved: Sequence[Moved]
    steps: int

    def ladder(self, method: str = "imp") -> list[float]:
        """The sparsities of a method, ascending."""
        return ladder(self.stopped, method)


def is_near(sparsity: float, percent: float) -> bool:
    ratio = 100 * (1 - sparsity) / percent
    return 1 / NEAR <= ratio <= NEAR


def sooner(board: Board, sparsity: float) -> float:
    """How much earlier a ticket stops, as a share of the iterations of the dense network."""
    return 1 - mean(board.stops["imp", sparsity]) / mean(board.stops[DENSE])


def faster(board: Board) -> Finding:
    best = max(board.ladder(), key=lambda sparsity: sooner(board, sparsity))
    made = gap(board.stops, ("imp", best))
    return Finding(
        "Tickets learn faster than the dense network, fastest near P_m 21 % (27 to 38 % sooner)",
        f"fastest at {left(best)}: {sooner(board, best):.0%} sooner, {interval(made, 1, 0)} iterations",
        made.mean < 0 and is_near(best, 21),
        made.high is not None and made.high < 0,
    )


def last_before(holds: Mapping[float, bool]) -> float | None:
    """The highest sparsity of the first contiguous range that holds."""
    found = None
    for sparsity, held in sorted(holds.items()):
        if held:
            found = sparsity
        elif found is not None:
            break
    return found


def slow_again(board: Board) -> Finding:
    fast = {sparsity: gap(board.stops, ("imp", sparsity)).mean < 0 for sparsity in board.ladder()}
    return _until(
        "They need as long as the dense network again near 7 %", "stop before the dense network in the mean", fast, 7
    )


def _until(sentence: str, does: str, holds: Mapping[float, bool], percent: float) -> Finding:
    last = last_before(holds)
    if last is None:
        return Finding(sentence, f"never {does}", False)
    after = min((sparsity for sparsity in holds if sparsity > last), default=None)
    if after is None:
        return Finding(sentence, f"{does} down to {left(last)}, the last rung", False)
    turned = any(is_near(one, percent) for one in (last, after))
    return Finding(sentence, f"{does} down to {left(last)}, no longer at {left(after)}", turned)


def better(board: Board) -> Finding:
    best = max(board.ladder(), key=lambda sparsity: mean(board.stopped["imp", sparsity]))
    made = gap(board.stopped, ("imp", best))
    return Finding(
        "Their test accuracy rises by 0.3 points and more, most at P_m 13 to 17 %",
        f"most at {left(best)}: {points(made)}",
        100 * made.mean >= 0.3 and is_near(best, 15),
        is_above(made),
    )


def worse_again(board: Board) -> Finding:
    good = {sparsity: gap(board.stopped, ("imp", sparsity)).mean >= 0 for sparsity in board.ladder()}
    return _until(
        "It is back at the dense network's near 3.5 %", "at or above the dense network's in the mean", good, 3.5
    )


def reinitialized_slower(board: Board) -> Finding:
    rungs = [sparsity for sparsity in board.ladder("imp-reinit") if sparsity > 0.75]
    made = {sparsity: gap(board.stops, ("imp-reinit", sparsity)) for sparsity in rungs}
    return Finding(
        "The same masks with new weights learn slower than the dense network",
        listed({sparsity: f"{interval(one, 1, 0)} iterations" for sparsity, one in made.items()}),
        all(one.mean > 0 for one in made.values()),
        all(map(is_above, made.values())),
    )


def reinitialized_worse(board: Board) -> Finding:
    rungs = [sparsity for sparsity in board.ladder("imp-reinit") if sparsity > 0.85]
    made = {sparsity: gap(board.stopped, ("imp-reinit", sparsity)) for sparsity in rungs}
    return Finding(
        "and lose accuracy early, below P_m 21 %",
        listed({sparsity: points(one) for sparsity, one in made.items()}),
        all(one.mean < 0 for one in made.values()),
        all(one.high is not None and one.high < 0 for one in made.values()),
    )


def against_reinitialized(board: Board) -> Iterator[Finding]:
    sparsity = min(board.ladder("imp-reinit"), key=lambda one: abs(1 - one - 0.21))
    ours, theirs = ("imp", sparsity), ("imp-reinit", sparsity)
    ratio = mean(board.stops[theirs]) / mean(board.stops[ours])
    steps, accuracy = gap(board.stops, ours, theirs), gap(board.stopped, ours, theirs)
    yield Finding(
        "At 21 % a ticket learns about 2.5 times as fast as its mask with new weights",
        f"{ratio:.1f} times at {left(sparsity)}: {interval(steps, 1, 0)} iterations",
        2.5 / NEAR <= ratio <= 2.5 * NEAR,
        steps.high is not None and steps.high < 0,
    )
    yield Finding(
        "and is about 0.5 points better",
        f"{points(accuracy)} at {left(sparsity)}",
        accuracy.low is not None and accuracy.high is not None and accuracy.low <= 0.005 <= accuracy.high,
        is_above(accuracy),
    )


def one_shot(board: Board) -> Iterator[Finding]:
    made = {sparsity: gap(board.stopped, ("one-shot", sparsity)) for sparsity in board.ladder("one-shot")}
    within = {sparsity: one for sparsity, one in made.items() if 0.10 <= 1 - sparsity <= 0.52}
    yield Finding(
        "Tickets of one shot reach the dense network's accuracy too, from P_m 52 to 10 %",
        listed({sparsity: points(one) for sparsity, one in within.items()}),
        all(one.mean >= 0 for one in within.values()),
        all(one.low is not None and one.low >= 0 for one in within.values()),
    )
    sparsest = max(made)
    against = gap(board.stopped, ("imp", sparsest), ("one-shot", sparsest))
    yield Finding(
        "but not as far as those found level by level",
        f"level by level {points(against)} above one shot at {left(sparsest)}",
        against.mean > 0,
        is_above(against),
    )


def further(board: Board) -> Finding:
    ratios = {
        sparsity: fmean(ticket / rest for ticket, rest in seeds.values())
        for sparsity, seeds in overall(board.moved).items()
    }
    everywhere = all(one.ticket > one.rest for one in board.moved)
    low, high = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    where = "in every layer and seed" if everywhere else "not in every layer and seed"
    return Finding(
        "Weights of winning tickets move further in the dense training than the others",
        f"{ratios[low]:.1f} times as far at {left(low)} to {ratios[high]:.1f} times at {left(high)}, {where}",
        all(ratio > 1 for ratio in ratios.values()),
        everywhere,
    )


def findings(board: Board) -> Iterator[Finding]:
    yield faster(board)
    yield slow_again(board)
    yield better(board)
    yield worse_again(board)
    yield reinitialized_slower(board)
    yield reinitialized_worse(board)
    yield from against_reinitialized(board)
    yield from one_shot(board)
    yield further(board)


VERDICTS = {"ticket": "yes", "not": "no", "undecided": "undecided", None: "too few seeds"}


def tickets(board: Board) -> Iterator[str]:
    """A table of the tickets by density: iteration of the lowest loss, accuracy, and verdict."""
    yield "| P_m | early stop | against dense | accuracy there, % | against dense | at the end, % | j′ ≤ j and a′ ≥ a |"
    yield "|--:|--:|:--|--:|:--|--:|:--|"
    there, last = _accuracies(board, DENSE)
    yield f"| 100 % | {spread(board.stops[DENSE], 1, 0)} | | {there} | | {last} | |"
    for sparsity in board.ladder():
        own = ("imp", sparsity)
        steps, accuracy = gap(board.stops, own), gap(board.stopped, own)
        there, last = _accuracies(board, own)
        yield (
            f"| {left(sparsity)} | {spread(board.stops[own], 1, 0)} | {interval(steps, 1, 0)} | {there} | "
            f"{points(accuracy)} | {last} | {VERDICTS[verdict(steps, accuracy)]} |"
        )


def _accuracies(board: Board, row: Row) -> tuple[str, str]:
    return spread(board.stopped[row], 100, 2), spread(board.accuracy[row], 100, 2)


def controls(board: Board, found: Figures, scale: float, digits: int) -> Iterator[str]:
    """A table of the methods that train from the start, at the densities of the controls."""
    rungs = board.ladder("imp-reinit")
    yield "| | " + " | ".join(map(left, rungs)) + " |"
    yield "|:--|" + "--:|" * len(rungs)
    for method in dict.fromkeys(name for name, _ in found if name not in ("dense", FINETUNED)):
        cells = (spread(found[method, one], scale, digits) if (method, one) in found else "–" for one in rungs)
        yield f"| {method} | " + " | ".join(cells) + " |"


def movement(board: Board) -> Iterator[str]:
    """A table of how far weights moved."""
    names = list(dict.fromkeys(one.layer for one in board.moved))
    yield "| P_m | ticket | rest | ratio | " + " | ".join(f"`{name}`" for name in names) + " |"
    yield "|--:" * (4 + len(names)) + "|"
    for sparsity, seeds in overall(board.moved).items():
        ratios = [ticket / rest for ticket, rest in seeds.values()]
        layers = (
            spread(
                [one.ticket / one.rest for one in board.moved if (one.sparsity, one.layer) == (sparsity, name)], 1, 2
            )
            for name in names
        )
        ticket, rest = (fmean(pair[side] for pair in seeds.values()) for side in (0, 1))
        yield f"| {left(sparsity)} | {ticket:.4f} | {rest:.4f} | {spread(ratios, 1, 2)} | " + " | ".join(layers) + " |"


DROPOUT = """\
Conv-2 on CIFAR-10, with and without dropout of 0.5 on the units of both hidden linear layers. Each level removes what
four of the paper's do: 59 % of the linear layers' weights, 34 % of the others'. A network that stops near the last of
the {steps:,} iterations would learn on."""


def page(board: Board, other: dropout.Board) -> str:
    rows = [f"| {one.sentence} | {one.here} | {one.answer} |" for one in (*findings(board), *dropout.findings(other))]
    seeds = len(board.stops[DENSE])
    introduction = INTRODUCTION.format(
        board=board,
        seeds=seeds,
        dropout=other,
        dropout_seeds=len(other.plain.stops[DENSE]),
        confidence=CONFIDENCE,
        near=NEAR,
    )
    return "\n".join(
        [
            "# The lottery ticket hypothesis",
            "",
            *textwrap.wrap(introduction, 118),
            "",
            "| the paper | here | |",
            "|:--|:--|:--|",
            *rows,
            "",
            "## Tickets",
            "",
            "The definition asks for a mask with which early stopping comes no later (j′ ≤ j) and is no less accurate",
            "(a′ ≥ a). *Yes* takes both to be shown, each by a one-sided bound of 95 %; *no* takes one to be refuted.",
            "",
            *tickets(board),
            "",
            "![Iteration of early stopping against sparsity](mnist-lenet-early-stop.svg)",
            "",
            "![Test accuracy at early stopping against sparsity](mnist-lenet-early-metric.svg)",
            "",
            "## Controls",
            "",
            "The iteration of early stopping:",
            "",
            *controls(board, board.stops, 1, 0),
            "",
            "Test accuracy there, in percent:",
            "",
            *controls(board, board.stopped, 100, 2),
            "",
            "## Movement",
            "",
            "How far weights went in the training of the dense network, the mean of |after − before|: those that the",
            "ticket of a density keeps, and the rest; the ratio of the two in the network and in each of its layers,",
            f"mean ± sample standard deviation over {seeds} seeds. Every figure is in [movement.csv](movement.csv).",
            "",
            *movement(board),
            "",
            "## Dropout",
            "",
            *textwrap.wrap(DROPOUT.format(steps=other.steps), 118),
            "",
            *dropout.table(other),
            "",
        ]
    )


def page_of(folder: Path) -> str:
    """The page that compares the findings with a published board, its movement.csv and the board on dropout."""
    results = read_board(folder).results
    return page(
        Board(
            figures(results, "early_stop_step"),
            figures(results, "early_stop_accuracy"),
            figures(results, "accuracy"),
            read(folder / FILE),
            steps_of(results),
        ),
        dropout.read(dropout.BOARD),
    )


def main() -> None:
    (BOARD / "lottery.md").write_text(page_of(BOARD), encoding="utf-8")


if __name__ == "__main__":
    main()
