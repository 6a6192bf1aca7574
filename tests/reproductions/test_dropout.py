"""The findings about dropout, asked of figures made by hand."""

from dataclasses import replace

import pytest

LADDER = (0.6, 0.8)


@pytest.fixture
def dropout(script):
    return script("dropout")


def rows(dense, *tickets, apart=0.001):
    """Figures of three seeds of a dense network and of its tickets; a row's seeds lie `apart` or twice as far."""
    made = {("dense", 0.0): {0: dense - apart, 1: dense, 2: dense + apart}}
    for sparsity, value in zip(LADDER, tickets, strict=True):
        made["imp", sparsity] = {0: value - 2 * apart, 1: value, 2: value + 2 * apart}
    return made


@pytest.fixture
def board(dropout):
    """One on which everything is as the paper says."""
    plain = dropout.Arm(rows(3000, 2000, 1500, apart=100), rows(0.68, 0.70, 0.69), rows(0.66, 0.68, 0.67))
    with_it = dropout.Arm(rows(6000, 5000, 4000, apart=100), rows(0.70, 0.71, 0.73), rows(0.70, 0.71, 0.72))
    return dropout.Board(plain, with_it, 6000)


def verdicts(dropout, board):
    return [answer.verdict.replace("*", "") for answer in dropout.answers(board)]


def test_everything_is_seen_on_a_board_like_the_papers(dropout, board):
    assert verdicts(dropout, board) == ["seen"] * 3


def test_each_density_is_compared_and_the_best_named(dropout, board):
    assert (board.plain.best, board.dropout.best) == (("imp", 0.6), ("imp", 0.8))
    alone, further, tickets = (answer.row.split(" | ")[2] for answer in dropout.answers(board))
    assert alone.startswith("+2.00 [")
    assert further.startswith("most at 20.0 %: +3.00 [")
    assert tickets.startswith("40.0 %: +1.00 [")
    assert "; 20.0 %: +4.00 [" in tickets


@pytest.mark.parametrize(
    ("stopped", "expected"),
    [
        (rows(0.67, 0.71, 0.73), ["not seen", "seen", "seen"]),
        (rows(0.70, 0.69, 0.68), ["seen", "not seen", "not seen"]),
        (rows(0.71, 0.71, 0.712), ["seen", "undecided", "seen"]),
        (rows(0.70, 0.71, 0.73, apart=0.02), ["undecided", "undecided", "undecided"]),
    ],
    ids=["dropout-harms", "pruning-harms", "the-best-of-two-is-no-answer", "chance-may-explain-it"],
)
def test_each_verdict(dropout, board, stopped, expected):
    assert verdicts(dropout, replace(board, dropout=replace(board.dropout, stopped=stopped))) == expected


def test_the_table_has_every_density_of_both(dropout, board):
    head, _, dense, *tickets = dropout.table(board)
    assert head.count("|") == dense.count("|")
    assert dense == (
        "| 100.0 % | 3000 ± 100 | 6000 ± 100 | 68.00 ± 0.10 | 70.00 ± 0.10 | +2.00 [+1.77, +2.23] points | "
        "66.00 ± 0.10 | 70.00 ± 0.10 |"
    )
    assert [line.split("|")[1].strip() for line in tickets] == ["40.0 %", "20.0 %"]
