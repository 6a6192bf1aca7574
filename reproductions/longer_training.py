"""Sparse training that is longer, compared with the board `longer-training`."""

from __future__ import annotations

from collections.abc import Sequence

from answers import (
    NOT_RUN,
    NOT_SEEN,
    SEEN,
    Answer,
    Boards,
    Claim,
    Page,
    Part,
    every_row,
    figures,
    ladder,
    mean,
    percent,
    wrapped,
)
from papers import EVCI

from prunebench.records.results import Result

BOARD = "longer-training"
INTRODUCTION = """\
What Evci et al. report of sparse training that is longer, compared with [the board longer-training]({board}). Intervals
are of differences of means (Welch's t). Costs are in dense trainings by the task's recipe."""
ROWS = """\
Mean ± sample standard deviation, and the training cost. `dense-2x` and `dense-5x` are controls that the paper does not
have, dense networks that are trained as long; they are not pruned, whatever their column says."""
ALL = (0.9, 0.95, 0.98, 0.99)
DIFFERS = "a perceptron on 8×8 digits, 90 to 99 % sparsity; there ResNet-50 on ImageNet, 80 to 96.5 %"
LENGTHS = {"": "", "-2x": ", twice as long", "-5x": ", five times as long"}
DYNAMIC = (
    ("rigl", "RigL", "set", "SET"),
    ("rigl", "RigL", "static", "static masks"),
    ("set", "SET", "static", "static masks"),
)
LONGEST = "Five times as long, RigL"
COSTS_LESS = f"{LONGEST} still costs less than a dense training"


def _claim(sentence: str, better: str, worse: str, margin: float = 0.0) -> Claim:
    return Claim(sentence, EVCI, better, worse, ALL, margin, differs=DIFFERS)


CLAIMS = (
    *(
        _claim(f"{name} is better than {other_name} at equal cost{how}", f"{label}{length}", f"{other}{length}")
        for label, name, other, other_name in DYNAMIC
        for length, how in LENGTHS.items()
    ),
    _claim("RigL is better if it is trained twice as long", "rigl-2x", "rigl"),
    _claim("and better still if it is trained five times as long", "rigl-5x", "rigl-2x"),
    _claim(f"{LONGEST} comes up to the dense network, to 0.5 points", "rigl-5x", "dense", -0.5),
    _claim(f"{LONGEST} exceeds the dense network", "rigl-5x", "dense"),
    _claim(f"{LONGEST} is better than gradual pruning", "rigl-5x", "gradual"),
)


def costs_less(results: Sequence[Result]) -> Answer:
    costs = figures(results, "training_cost")
    parts = tuple(
        Part(percent(sparsity), f"{cost:.2f} times", SEEN if cost < 1 else NOT_SEEN)
        for sparsity in ladder(costs, "rigl-5x")
        for cost in [mean(costs["rigl-5x", sparsity])]
    )
    return Answer(COSTS_LESS, EVCI, "", parts or (Part("", "", NOT_RUN),), DIFFERS)


def page(boards: Boards) -> Page:
    results = boards.results(BOARD)
    introduction = INTRODUCTION.format(board=boards.address(f"{BOARD}/README.md"))
    answers = (*(claim.answer(results) for claim in CLAIMS), costs_less(results))
    return Page(introduction, {"": answers}, ("## Every row", "", *wrapped(ROWS), "", *every_row(results)))
