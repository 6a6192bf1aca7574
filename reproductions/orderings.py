"""Orderings that the literature reports, compared with the board `methods`."""

from __future__ import annotations

from dataclasses import replace

from answers import Boards, Claim, Page, steps_of
from papers import EVCI, LOTTERY, RENDA, TANAKA

SPARSE = (0.988,)
FIFTH = (0.8,)
INTRODUCTION = """\
What the literature finds robustly, compared with [every built-in method on LeNet-300-100 and MNIST]({board}), trained
for {steps:,} iterations. Intervals are of differences of means (Welch's t). Claims about ResNets and VGGs cannot be
seen on this board; rewinding, which is reported for ResNets, is only tried."""
CLAIMS = (
    Claim("A ticket beats its mask with new random weights, by 0.3 points", LOTTERY, "imp", "imp-reinit", SPARSE, 0.3),
    Claim("Pruning level by level beats one shot, by about 1 point", LOTTERY, "imp", "ticket-one-shot", SPARSE, 1.0),
    Claim("A ticket is far above its mask shuffled within the layers", LOTTERY, "imp", "imp-shuffle", SPARSE, 1.0),
    Claim(
        "A ticket of a fifth of the weights is as good as dense, to 0.3 points", LOTTERY, "imp", "dense", FIFTH, -0.3
    ),
    Claim(
        "and has its lowest validation loss earlier",
        LOTTERY,
        "imp",
        "dense",
        FIFTH,
        metric="early_stop_step",
        differs="; the loss is looked at every 1,000",
    ),
    *(
        Claim("SNIP and SynFlow beat uniform random pruning", TANAKA, name, "random-uniform", SPARSE)
        for name in ("snip", "synflow")
    ),
    *(
        Claim("Moving connections beats static ERK, by 1 point", EVCI, name, "static", SPARSE, 1.0)
        for name in ("set", "snfs", "rigl")
    ),
    Claim("ERK is far above uniform", EVCI, "random-erk", "random-uniform", SPARSE, 1.0),
    *(
        Claim("Rewinding beats fine-tuning", RENDA, name, "magnitude-iterative", SPARSE)
        for name in ("imp-rewind", "lr-rewinding")
    ),
)


def page(boards: Boards) -> Page:
    results = boards.results("methods")
    steps = steps_of(results)
    shorter = f"{steps:,} iterations instead of 50,000"
    claims = [replace(claim, differs=shorter + claim.differs) if claim.source is LOTTERY else claim for claim in CLAIMS]
    introduction = INTRODUCTION.format(board=boards.address("methods/README.md"), steps=steps)
    return Page(introduction, {"": tuple(claim.answer(results) for claim in claims)})
