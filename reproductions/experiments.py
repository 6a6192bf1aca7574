"""Experiments that are told in full by comparisons of two rows each, compared with the boards of their suites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from answers import Boards, Claim, Page, Source
from papers import EARLY_BIRD, EVCI, LOTTERY, MISSING, MORCOS, SNIP_ITERATIVE, TANAKA

COLLAPSED = (0.96838, 0.99, 0.99684)
MIDDLE = (0.8, 0.9, 0.95, 0.98)
SPARSE = (0.9, 0.95, 0.98, 0.99)
NETWORK = "a perceptron on 8×8 digits; there {}"


def _claims(source: Source, sparsities: tuple[float, ...], *rows: tuple[str, str, str, float]) -> Iterator[Claim]:
    for sentence, better, worse, margin in rows:
        differs = NETWORK.format(source.setting)
        yield Claim(sentence, source, better, worse, sparsities, margin, differs=differs)


def _collapse() -> Iterator[Claim]:
    others = (("magnitude-init", "magnitude pruning"), ("snip", "SNIP"), ("grasp", "GraSP"))
    yield from _claims(
        TANAKA,
        COLLAPSED,
        *((f"SynFlow still trains where {name} has cut layers off", "synflow", label, 0.0) for label, name in others),
        ("Many iterations are what keeps SynFlow from cutting layers off", "synflow", "synflow-one-shot", 0.0),
        ("and an even share of random weights is not better", "synflow", "random-erk", 0.0),
    )
    yield from _claims(
        SNIP_ITERATIVE, COLLAPSED, ("SNIP in many iterations is better than at once", "snip-iterative", "snip", 0.0)
    )


def _initialization() -> Iterator[Claim]:
    methods = {
        "magnitude-init": "Magnitude pruning before training",
        "snip": "SNIP",
        "grasp": "GraSP",
        "synflow": "SynFlow",
    }
    for label, name in methods.items():
        yield from _claims(
            MISSING,
            MIDDLE,
            (
                f"{name} is as good with its mask shuffled within layers, to 0.5 points",
                f"{label}-shuffled",
                label,
                -0.5,
            ),
            (f"{name} is as good with new weights under its mask, to 0.5 points", f"{label}-reinit", label, -0.5),
        )
    yield from _claims(
        MISSING,
        MIDDLE,
        ("GraSP is as good if it keeps the lowest scores, to 0.5 points", "grasp-inverted", "grasp", -0.5),
        ("SNIP is worse if it keeps the lowest scores", "snip", "snip-inverted", 0.0),
        *(
            (f"{name} is worse than tickets of magnitude pruning", "ticket", label, 0.0)
            for label, name in methods.items()
        ),
        ("Tickets lose by shuffling", "ticket", "ticket-shuffled", 0.0),
    )
    yield from _claims(LOTTERY, MIDDLE, ("Tickets lose by new weights", "ticket", "ticket-reinit", 0.0))


def _ablations() -> Iterator[Claim]:
    allocations = (("", "ERK"), ("-er", "ER"), ("-uniform", "the same density in every layer"))
    again = "rigl-ticket-rigl"
    yield from _claims(
        EVCI,
        SPARSE,
        *((f"RigL beats static masks, with {name}", f"rigl{end}", f"static{end}", 0.0) for end, name in allocations),
        ("ERK is the best allocation for RigL", "rigl", "rigl-uniform", 0.0),
        ("New weights of 0 are at least as good as random ones, to 0.5 points", "rigl", "rigl-random-init", -0.5),
        ("A share that decays is better than a constant one", "rigl", "rigl-constant", 0.0),
        ("Moving 30 % is better than 10 %", "rigl", "rigl-10-percent", 0.0),
        ("and at least as good as 50 %, to 0.5 points", "rigl", "rigl-50-percent", -0.5),
        ("An update every 16 steps is better than every 64", "rigl", "rigl-every-64", 0.0),
        ("and at least as good as every 4, to 0.5 points", "rigl", "rigl-every-4", -0.5),
        ("RigL is as good from any first masks as from those that it found, to 0.5 points", "rigl", again, -0.5),
        ("and from those it is better than if they stay", again, "rigl-ticket-static", 0.0),
        ("For the cost of both, RigL for twice as long is better", "rigl-2x", again, 0.0),
        ("A ticket of magnitude pruning is better if RigL moves its masks", "ticket-rigl", "ticket-static", 0.0),
    )


def _early() -> Iterator[Claim]:
    shares = (2, 5, 10, 25)
    yield from _claims(
        EARLY_BIRD,
        MIDDLE,
        *(
            (
                f"Masks found after {share} % of the training are as good as after all of it, to 1 point",
                label,
                whole,
                -1.0,
            )
            for share in shares
            for label, whole in [(f"rewound-{share}", "rewound-100")]
        ),
        *(
            (f"Pruned after {share} % and trained on is as good as pruned at the end, to 1 point", label, whole, -1.0)
            for share in shares
            for label, whole in [(f"onward-{share}", "retrained")]
        ),
        ("Early-bird tickets are as good as pruning at the end, to 1 point", "early-bird", "retrained", -1.0),
        ("and better than pruning before any training", "early-bird", "onward-0", 0.0),
    )


def _transfer() -> Iterator[Claim]:
    halves = {
        "Tickets of other data are as good as its own, to 1 point": (
            "ticket-of-high-digits",
            "ticket",
            -1.0,
        ),
        "and better than random masks": ("ticket-of-high-digits", "random", 0.0),
        "and than the task's own masks, shuffled within layers": ("ticket-of-high-digits", "ticket-shuffled", 0.0),
        "and than the task's own masks under new weights": ("ticket-of-high-digits", "ticket-reinit", 0.0),
        "Rewound tickets of other data are as good, to 1 point": ("rewound-of-high-digits", "rewound", -1.0),
    }
    optimizers = {
        "Tickets of SGD are as good for Adam as its own, to 1 point": ("ticket-of-sgd", "ticket", -1.0),
        "and better than random masks": ("ticket-of-sgd", "random", 0.0),
    }
    for task, rows in (("low-digits", halves), ("low-digits-sgd", halves), ("low-digits", optimizers)):
        for sentence, row in rows.items():
            for claim in _claims(MORCOS, MIDDLE, (sentence, *row)):
                yield replace(claim, task=task)


EXPERIMENTS = {
    "layer-collapse": (
        "At which sparsities methods that prune at initialization remove all of a layer, so that nothing is learned.",
        _collapse,
    ),
    "at-initialization": (
        "Whether pruning at initialization chooses weights, or only how many each layer keeps: its ablations.",
        _initialization,
    ),
    "rigl-ablations": (
        "What matters in RigL. The steps of the intervals are those of a training of 384 steps.",
        _ablations,
    ),
    "transfer": (
        "Whether lottery tickets are good for other data, and for another optimizer, than they were found with.",
        _transfer,
    ),
    "early-pruning": ("How early in training a mask can be found.", _early),
}


def page(boards: Boards, board: str) -> Page:
    """The page of an experiment; boards and pages have its name."""
    about, claims = EXPERIMENTS[board]
    introduction = (
        f"{about} Asked of [the board {board}]({boards.address(f'{board}/README.md')}). Intervals are of differences "
        "of means (Welch's t)."
    )
    found: Iterable[Claim] = claims()
    results = boards.results(board)
    return Page(introduction, {"": tuple(claim.answer(results) for claim in found)})
