"""What Frankle & Carbin (2019, section 4) found on dropout, compared with the board `cifar10-dropout`.

The answers and the table are parts of lottery.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from answers import (
    DENSE,
    Answer,
    Boards,
    Figures,
    Part,
    Row,
    apart,
    figures,
    judged,
    ladder,
    left,
    mean,
    of_task,
    points,
    single,
    spread,
    steps_of,
)
from papers import CONV_DROPOUT

from prunebench.records.results import Result

BOARD, PLAIN, DROPOUT = "cifar10-dropout", "cifar10-conv-2", "cifar10-conv-2-dropout"


@dataclass(frozen=True)
class Arm:
    """The results of a network that was trained with dropout, or without."""

    stops: Figures
    """The iteration of the lowest validation loss."""
    stopped: Figures
    """Test accuracy at that iteration."""
    accuracy: Figures
    """Test accuracy at the end."""

    @property
    def best(self) -> Row:
        """The ticket with the highest mean accuracy at the lowest validation loss."""
        return max((("imp", sparsity) for sparsity in ladder(self.stopped)), key=lambda row: mean(self.stopped[row]))


@dataclass(frozen=True)
class Board:
    plain: Arm
    dropout: Arm
    steps: int


def read(boards: Boards) -> Board:
    results = boards.results(BOARD)
    return Board(_arm(results, PLAIN), _arm(results, DROPOUT), steps_of(results))


def _arm(results: Sequence[Result], task: str) -> Arm:
    own = of_task(results, task)
    return Arm(*(figures(own, metric) for metric in ("early_stop_step", "early_stop_accuracy", "accuracy")))


def answers(board: Board) -> Iterator[Answer]:
    plain, dropout, best = board.plain.stopped, board.dropout.stopped, board.dropout.best
    differs = f"{board.steps:,} iterations and {len(ladder(plain))} levels; there {CONV_DROPOUT.setting}"
    dense = apart(dropout[DENSE], plain[DENSE])
    claim = "Dropout makes the dense network better (Conv-2)"
    yield single(claim, CONV_DROPOUT, points(dense), judged(dense), differs)
    pruned = apart(dropout[best], dropout[DENSE])
    claim = "Pruning makes the network with dropout better still"
    yield single(claim, CONV_DROPOUT, f"most at {left(best[1])}: {points(pruned)}", judged(pruned), differs)
    tickets = {sparsity: apart(dropout["imp", sparsity], plain["imp", sparsity]) for sparsity in ladder(plain)}
    parts = tuple(Part(left(sparsity), points(made), judged(made)) for sparsity, made in tickets.items())
    yield Answer("and dropout makes tickets better", CONV_DROPOUT, "", parts, differs)


WITH = "with dropout"
COLUMNS = ("P_m", "early stop", WITH, "accuracy there, %", WITH, "with − without", "at the end, %", WITH)


def table(board: Board) -> Iterator[str]:
    """For each density without and with dropout: iteration of the lowest loss, accuracy there and at the end."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|--:" * len(COLUMNS) + "|"
    arms = board.plain, board.dropout
    for row in [DENSE, *(("imp", sparsity) for sparsity in ladder(board.plain.stopped))]:
        stops = (spread(arm.stops[row], 1, 0) for arm in arms)
        stopped = (spread(arm.stopped[row], 100, 2) for arm in arms)
        last = (spread(arm.accuracy[row], 100, 2) for arm in arms)
        made = points(apart(board.dropout.stopped[row], board.plain.stopped[row]))
        yield f"| {' | '.join([left(row[1]), *stops, *stopped, made, *last])} |"
