"""How far tickets are to be rewound, compared with the board `rewinding`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from answers import (
    Answer,
    Boards,
    Claim,
    Page,
    Part,
    Source,
    every_row,
    interval,
    judged,
    percent,
    spread,
    wrapped,
)
from connectivity import FILE, Connected
from measurements import read
from papers import CONNECTED, LOTTERY, RENDA, STABLE

from prunebench.inspection.stability import STABLE as LARGEST_BARRIER
from prunebench.leaderboard.statistics import difference

BOARD = "rewinding"
ALL = (0.8, 0.9, 0.95, 0.98, 0.99)
HIGH = (0.95, 0.98, 0.99)
WEIGHTS, RATE, TUNED = "rewind-10", "lr-rewinding", "fine-tuned"
NETWORK = "a perceptron on 8×8 digits; there {}"
TUNING = f"{NETWORK}, and fine-tuning level by level; here it prunes at once"


def _claim(
    sentence: str, source: Source, better: str, worse: str, differs: str = NETWORK, margin: float = 0.0
) -> Claim:
    return Claim(sentence, source, better, worse, ALL, margin, differs=differs.format(source.setting))


CLAIMS = (
    *(
        _claim(f"Rewinding to {percent} % of the training beats rewinding to its start", STABLE, label, "rewind-0")
        for percent, label in ((1, "rewind-1"), (5, "rewind-5"), (10, "rewind-10"))
    ),
    _claim("Weight rewinding beats fine-tuning", RENDA, WEIGHTS, TUNED, TUNING),
    _claim("Learning-rate rewinding beats fine-tuning", RENDA, RATE, TUNED, TUNING),
    _claim(
        "Learning-rate rewinding is at least as good as weight rewinding, to 0.5 points",
        RENDA,
        RATE,
        WEIGHTS,
        f"{NETWORK}; the rate goes back to the start here, weights to 10 %",
        -0.5,
    ),
    Claim(
        "A ticket that is rewound to the start beats its mask with new weights",
        LOTTERY,
        "rewind-0",
        "rewind-0-reinit",
        HIGH,
        differs=NETWORK.format(LOTTERY.setting),
    ),
)


def page(boards: Boards) -> Page:
    results = boards.results(BOARD)
    introduction = (
        f"To which step tickets are rewound, asked of the board [{BOARD}]({boards.address(f'{BOARD}/README.md')}). "
        "Intervals are of differences of means (Welch's t). The papers need rewinding in deep networks; in small ones "
        "tickets are found at the start as well, so a perceptron may show no difference."
    )
    rows = ("## Every row", "", "Mean ± sample standard deviation, and the training cost.", "", *every_row(results))
    connected = read(Connected, boards.folder / BOARD / FILE)
    if not connected:
        return Page(introduction, {"": tuple(claim.answer(results) for claim in CLAIMS)}, rows)
    answers = (*(claim.answer(results) for claim in CLAIMS), stable(connected))
    return Page(introduction, {"": answers}, (*rows, *_connectivity(connected)))


def stable(connected: Sequence[Connected]) -> Answer:
    """Whether two trainings of the tickets that are rewound to the start end in one basin."""
    parts = []
    for sparsity in sorted({one.sparsity for one in connected}):
        barriers = {one.seed: one.barrier for one in connected if (one.step, one.sparsity) == (0, sparsity)}
        below = difference(dict.fromkeys(barriers, LARGEST_BARRIER), barriers)
        measured = difference(barriers, dict.fromkeys(barriers, 0.0))
        parts.append(Part(percent(sparsity), interval(measured, 100, 2) if measured else "", judged(below)))
    claim = "Small networks are stable from their initialization: a barrier below 2 % between two trainings"
    return Answer(claim, CONNECTED, "`rewind-0`, points of error", tuple(parts), NETWORK.format(CONNECTED.setting))


def _connectivity(connected: Sequence[Connected]) -> Iterator[str]:
    """The barriers by the step that tickets were rewound to."""
    text = (
        "Each ticket was trained twice more from where it was rewound to, with other noise (data order). The barrier "
        "is how far the test error rises on the straight line between the two networks, above the mean of both, in "
        f"points; mean ± sample standard deviation. The error is that mean, in percent. From {FILE} of the board."
    )
    sparsities = sorted({one.sparsity for one in connected})
    heads = " | ".join(f"{what} at {percent(sparsity)}" for sparsity in sparsities for what in ("barrier", "error"))
    yield from ("", "## Linear mode connectivity", "", *wrapped(text), "", f"| rewound to step | {heads} |")
    yield "|--:|" + "--:|--:|" * len(sparsities)
    for step in sorted({one.step for one in connected}):
        cells = []
        for sparsity in sparsities:
            own = [one for one in connected if (one.step, one.sparsity) == (step, sparsity)]
            cells += [spread([one.barrier for one in own], 100, 2), spread([one.error for one in own], 100, 1)]
        yield f"| {step} | {' | '.join(cells)} |"
