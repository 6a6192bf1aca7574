"""Compare what Frankle & Carbin (2019, arXiv:1803.03635, section 4) found on dropout with the board `cifar10-dropout`.

lottery.py writes the results into lottery.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from answers import DENSE, Finding, Row, apart, is_above, ladder, left, listed, mean, points, spread
from movement import steps_of
from orderings import Figures, figures

from prunebench.leaderboard.boards.published import read_board
from prunebench.records.results import Result

BOARD = Path(__file__).parent / "cifar10-dropout"
PLAIN, DROPOUT = "cifar10-conv-2", "cifar10-conv-2-dropout"


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


def read(folder: Path) -> Board:
    results = read_board(folder).results
    return Board(_arm(results, PLAIN), _arm(results, DROPOUT), steps_of(results))


def _arm(results: Sequence[Result], task: str) -> Arm:
    own = [result for result in results if result.task == task]
    return Arm(*(figures(own, metric) for metric in ("early_stop_step", "early_stop_accuracy", "accuracy")))


def findings(board: Board) -> Iterator[Finding]:
    plain, dropout, best = board.plain.stopped, board.dropout.stopped, board.dropout.best
    dense = apart(dropout[DENSE], plain[DENSE])
    yield Finding("Dropout makes the dense network better (Conv-2)", points(dense), dense.mean > 0, is_above(dense))
    pruned = apart(dropout[best], dropout[DENSE])
    # The best of several densities has a positive mean by chance alone, so the interval decides.
    yield Finding(
        "Pruning makes the network with dropout better still",
        f"most at {left(best[1])}: {points(pruned)}",
        is_above(pruned),
    )
    tickets = {sparsity: apart(dropout["imp", sparsity], plain["imp", sparsity]) for sparsity in ladder(plain)}
    yield Finding(
        "and dropout makes tickets better",
        listed({sparsity: points(made) for sparsity, made in tickets.items()}),
        all(made.mean > 0 for made in tickets.values()),
        all(map(is_above, tickets.values())),
    )


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
