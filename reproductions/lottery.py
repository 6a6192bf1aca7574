"""What Frankle & Carbin (2019, arXiv:1803.03635) found, compared with the boards `mnist-lenet` and `cifar10-dropout`.

How far weights moved is in the board's movement.csv, which movement.py writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import dropout
from answers import (
    DENSE,
    NOT_RUN,
    NOT_SEEN,
    SEEN,
    UNDECIDED,
    Answer,
    Boards,
    Figures,
    Page,
    Part,
    Row,
    figures,
    gap,
    interval,
    judged,
    ladder,
    left,
    mean,
    points,
    single,
    spread,
    steps_of,
    wrapped,
)
from measurements import read
from movement import FILE, Moved, overall
from papers import LOTTERY

from prunebench.leaderboard.statistics import Difference, verdict
from prunebench.records.results import Result

BOARD = "mnist-lenet"
NEAR = 2.0
"""A density is near that of the paper if they differ at most by this factor."""
INTRODUCTION = """\
The lottery ticket hypothesis, asked of [LeNet-300-100 on MNIST]({lenet}), {seeds} seeds; on dropout, of [Conv-2 on
CIFAR-10]({conv}), {dropout_seeds} seeds. P_m is the share of the weights that is left. Early stop: the iteration of the
lowest validation loss, which is looked at every 100 (of Conv-2, every 500). Differences are of means (Welch's t), from
the dense network where no other is named. A density or a factor counts as the paper's within {near:g} times, and
otherwise the claim is *not seen*; an amount counts where the interval has it. Which density is the best is chosen by
the seeds {chosen}, and told by the others. Draws of new weights for a ticket, at most {draws} for each seed, are
averaged."""
CUT_OFF = 0.95
"""A network whose lowest loss comes after this share of the iterations may have been stopped before its minimum."""
REDRAWN = "imp-reinit"
"""The method of the first draw of new weights; those of the others are named `imp-reinit-2` and so on."""
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
    """Nothing for a board without movement.csv."""
    steps: int
    """Iterations of a training."""

    def ladder(self, method: str = "imp") -> list[float]:
        """The sparsities of a method, ascending."""
        return ladder(self.stopped, method)

    def halves(self) -> tuple[Board, Board]:
        """The board of the first half of the seeds, by which a density is chosen, and that of the others."""
        seeds = sorted(self.stops[DENSE])
        middle = len(seeds) // 2
        return self._of(seeds[:middle]), self._of(seeds[middle:])

    def _of(self, seeds: Collection[int]) -> Board:
        def some(found: Figures) -> Figures:
            return {row: {seed: values[seed] for seed in seeds if seed in values} for row, values in found.items()}

        return replace(self, stops=some(self.stops), stopped=some(self.stopped), accuracy=some(self.accuracy))


def pooled(found: Figures) -> Figures:
    """The figures with the draws of new weights as one method: of each seed the mean."""
    draws: dict[Row, list[Mapping[int, float]]] = defaultdict(list)
    for (method, sparsity), values in found.items():
        first, _, number = method.rpartition("-")
        draws[REDRAWN if first == REDRAWN and number.isdigit() else method, sparsity].append(values)
    return {row: _means(some) for row, some in draws.items()}


def _means(draws: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Of each seed that every draw has."""
    return {seed: fmean(one[seed] for one in draws) for seed in draws[0] if all(seed in one for one in draws)}


def is_near(sparsity: float, percent: float) -> bool:
    ratio = 100 * (1 - sparsity) / percent
    return 1 / NEAR <= ratio <= NEAR


def iterations(made: Difference) -> str:
    return f"{interval(made, 1, 0)} iterations"


def sooner(board: Board, sparsity: float) -> float:
    """How much earlier a ticket stops, as a share of the iterations of the dense network."""
    return 1 - mean(board.stops["imp", sparsity]) / mean(board.stops[DENSE])


def faster(board: Board) -> Answer:
    chosen, told = board.halves()
    best = max(board.ladder(), key=lambda sparsity: sooner(chosen, sparsity))
    made = gap(told.stops, DENSE, ("imp", best))
    return single(
        "Tickets learn faster than the dense network, fastest near P_m 21 % (38 % sooner)",
        LOTTERY,
        f"fastest at {left(best)}: {sooner(told, best):.0%} sooner, {iterations(made)}",
        judged(made) if is_near(best, 21) else NOT_SEEN,
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


def slow_again(board: Board) -> Answer:
    fast = {sparsity: gap(board.stops, ("imp", sparsity)).mean < 0 for sparsity in board.ladder()}
    claim = "They need as long as the dense network again at 3.6 %"
    return _until(claim, "stop before the dense network in the mean", fast, 3.6)


def _until(claim: str, does: str, holds: Mapping[float, bool], percent: float) -> Answer:
    last = last_before(holds)
    if last is None:
        return single(claim, LOTTERY, f"never {does}", NOT_SEEN)
    after = min((sparsity for sparsity in holds if sparsity > last), default=None)
    if after is None:
        return single(claim, LOTTERY, f"{does} down to {left(last)}, the last rung", NOT_SEEN)
    turned = any(is_near(one, percent) for one in (last, after))
    here = f"{does} down to {left(last)}, no longer at {left(after)}"
    return single(claim, LOTTERY, here, SEEN if turned else NOT_SEEN)


def better(board: Board) -> Answer:
    chosen, told = board.halves()
    best = max(board.ladder(), key=lambda sparsity: mean(chosen.stopped["imp", sparsity]))
    made = gap(told.stopped, ("imp", best))
    return single(
        "Their test accuracy rises by 0.3 points and more, most at P_m 13.5 %",
        LOTTERY,
        f"most at {left(best)}: {points(made)}",
        judged(made, 0.003) if is_near(best, 13.5) else NOT_SEEN,
    )


def worse_again(board: Board) -> Answer:
    good = {sparsity: gap(board.stopped, ("imp", sparsity)).mean >= 0 for sparsity in board.ladder()}
    claim = "It is back at the dense network's at 3.6 %"
    return _until(claim, "at or above the dense network's in the mean", good, 3.6)


def _at_each(claim: str, gaps: Mapping[float, Difference], text: Callable[[Difference], str]) -> Answer:
    """An answer with a verdict for each density."""
    return Answer(claim, LOTTERY, "", tuple(Part(left(one), text(made), judged(made)) for one, made in gaps.items()))


def reinitialized(board: Board) -> Iterator[Answer]:
    rungs = [sparsity for sparsity in board.ladder("imp-reinit") if sparsity > 0.75]
    later = {sparsity: gap(board.stops, ("imp-reinit", sparsity)) for sparsity in rungs}
    yield _at_each("The same masks with new weights learn slower than the dense network", later, iterations)
    lost = {sparsity: gap(board.stopped, DENSE, ("imp-reinit", sparsity)) for sparsity in rungs if sparsity > 0.85}
    yield _at_each("and lose accuracy early, below P_m 21 %", lost, points)


def against_reinitialized(board: Board) -> Iterator[Answer]:
    sparsity = min(board.ladder("imp-reinit"), key=lambda one: abs(1 - one - 0.21))
    ours, theirs = ("imp", sparsity), ("imp-reinit", sparsity)
    ratio = mean(board.stops[theirs]) / mean(board.stops[ours])
    steps, accuracy = gap(board.stops, theirs, ours), gap(board.stopped, ours, theirs)
    yield single(
        "At 21 % a ticket learns about 2.5 times as fast as its mask with new weights",
        LOTTERY,
        f"{ratio:.1f} times at {left(sparsity)}: {iterations(steps)}",
        judged(steps) if 2.5 / NEAR <= ratio <= 2.5 * NEAR else NOT_SEEN,
    )
    has_it = accuracy.low is not None and accuracy.high is not None and accuracy.low <= 0.005 <= accuracy.high
    yield single(
        "and is about 0.5 points better",
        LOTTERY,
        f"{points(accuracy)} at {left(sparsity)}",
        judged(accuracy) if has_it or judged(accuracy) != SEEN else NOT_SEEN,
    )


def one_shot(board: Board) -> Iterator[Answer]:
    made = {sparsity: gap(board.stopped, ("one-shot", sparsity)) for sparsity in board.ladder("one-shot")}
    within = {sparsity: one for sparsity, one in made.items() if 0.0517 <= 1 - sparsity <= 0.95}
    yield _at_each("Tickets of one shot are more accurate than the dense network from P_m 95 to 5.2 %", within, points)
    sparsest = max(made)
    against = gap(board.stopped, ("imp", sparsest), ("one-shot", sparsest))
    yield single(
        "but those found level by level stay accurate further",
        LOTTERY,
        f"level by level against one shot at {left(sparsest)}: {points(against)}",
        judged(against),
    )


def further(board: Board) -> Answer:
    claim = "Weights of winning tickets move further in the dense training than the others"
    if not board.moved:
        return single(claim, LOTTERY, "", NOT_RUN)
    ratios = {
        sparsity: fmean(ticket / rest for ticket, rest in seeds.values())
        for sparsity, seeds in overall(board.moved).items()
    }
    everywhere = all(one.ticket > one.rest for one in board.moved)
    low, high = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    where = "in every layer and seed" if everywhere else "not in every layer and seed"
    on_average = UNDECIDED if all(ratio > 1 for ratio in ratios.values()) else NOT_SEEN
    return single(
        claim,
        LOTTERY,
        f"{ratios[low]:.1f} times as far at {left(low)} to {ratios[high]:.1f} times at {left(high)}, {where}",
        SEEN if everywhere else on_average,
    )


def answers(board: Board) -> Iterator[Answer]:
    yield faster(board)
    yield slow_again(board)
    yield better(board)
    yield worse_again(board)
    yield from reinitialized(board)
    yield from against_reinitialized(board)
    yield from one_shot(board)
    yield further(board)


TICKET = {"ticket": "yes", "not": "no", "undecided": "undecided", None: "too few seeds"}


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
            f"{points(accuracy)} | {last} | {TICKET[verdict(steps, accuracy)]} |"
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


def cut_off(board: Board) -> list[str]:
    """A paragraph that names the rows whose loss may have fallen on."""
    found = []
    for (method, sparsity), stops in board.stops.items():
        late = sum(stop > CUT_OFF * board.steps for stop in stops.values())
        if late and method != FINETUNED:
            found.append(f"{method} at {left(sparsity)} ({late} of {len(stops)})")
    begin = f"The lowest loss comes in the last {1 - CUT_OFF:.0%} of the iterations, so that it may have fallen on, in "
    return wrapped(begin + (", ".join(found) or "no row") + ". In parentheses: seeds.")


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


def details(board: Board, other: dropout.Board, boards: Boards) -> Iterator[str]:
    yield from ("## Tickets", "")
    yield "The definition asks for a mask with which early stopping comes no later (j′ ≤ j) and is no less accurate"
    yield "(a′ ≥ a). *Yes* takes both to be shown, each by a one-sided bound of 95 %; *no* takes one to be refuted."
    yield from ("", *tickets(board), "")
    for what, plot in (("Iteration of", "stop"), ("Test accuracy at", "metric")):
        yield from (
            f"![{what} early stopping against sparsity]({boards.address(f'{BOARD}/mnist-lenet-early-{plot}.svg')})",
            "",
        )
    yield from ("## Controls", "", "The iteration of early stopping:", "", *controls(board, board.stops, 1, 0), "")
    yield from (
        "Test accuracy there, in percent:",
        "",
        *controls(board, board.stopped, 100, 2),
        "",
        *cut_off(board),
        "",
    )
    if board.moved:
        yield from _moved(board, boards)
    yield from ("## Dropout", "", *wrapped(DROPOUT.format(steps=other.steps)), "", *dropout.table(other))


def _moved(board: Board, boards: Boards) -> Iterator[str]:
    yield from ("## Movement", "")
    yield "How far weights went in the training of the dense network, the mean of |after − before|: those that the"
    yield "ticket of a density keeps, and the rest; the ratio of the two in the network and in each of its layers,"
    yield f"mean ± sample standard deviation over {len(board.stops[DENSE])} seeds. Every figure is in"
    yield f"[movement.csv]({boards.address(f'{BOARD}/{FILE}')})."
    yield from ("", *movement(board), "")


def draws(results: Iterable[Result]) -> int:
    """How many times new weights were drawn for a ticket."""
    return len({one.method for one in results if one.method == REDRAWN or one.method.startswith(f"{REDRAWN}-")})


def page(boards: Boards) -> Page:
    results, other = boards.results(BOARD), dropout.read(boards)
    board = Board(
        pooled(figures(results, "early_stop_step")),
        pooled(figures(results, "early_stop_accuracy")),
        pooled(figures(results, "accuracy")),
        read(Moved, boards.folder / BOARD / FILE),
        steps_of(results),
    )
    introduction = INTRODUCTION.format(
        lenet=boards.address(f"{BOARD}/README.md"),
        seeds=len(board.stops[DENSE]),
        conv=boards.address(f"{dropout.BOARD}/README.md"),
        dropout_seeds=len(other.plain.stops[DENSE]),
        near=NEAR,
        chosen=" and ".join(map(str, sorted(board.halves()[0].stops[DENSE]))),
        draws=draws(results),
    )
    pixels = (
        "" if results[0].params.get("task.dataset.normalize") == "unit" else ", normalized pixels instead of 0 to 1"
    )
    differs = f"{board.steps:,} iterations instead of 50,000{pixels}"
    own = (replace(one, differs=differs) for one in answers(board))
    return Page(introduction, {"": (*own, *dropout.answers(other))}, tuple(details(board, other, boards)))
