"""How far tickets are to be rewound, compared with the board `rewinding`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from answers import (
    NOT_SEEN,
    SEEN,
    UNDECIDED,
    Answer,
    Boards,
    Claim,
    Page,
    Part,
    Source,
    every_row,
    interval,
    percent,
    spread,
    wrapped,
)
from connectivity import FILE, Barriers, Connected, barriers
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
    connected = barriers(boards.folder / BOARD)
    answers = (*(claim.answer(results) for claim in CLAIMS), *([stable(connected)] if connected else []))
    return Page(introduction, {"": answers}, (*rows, *_connectivity(connected)))


def stable(connected: Barriers) -> Answer:
    """Whether two trainings of the tickets that are rewound to the start end in one basin."""
    parts = []
    for sparsity, seeds in connected["rewind-0"].items():
        found = difference({seed: one.barrier for seed, one in seeds.items()}, dict.fromkeys(seeds, 0.0))
        assert found is not None, f"nothing was measured at {sparsity}"
        verdict = UNDECIDED if found.high is None else SEEN if found.high < LARGEST_BARRIER else NOT_SEEN
        parts.append(Part(percent(sparsity), interval(found, 100, 2), verdict))
    claim = "Small networks are stable from their initialization: a barrier below 2 % between two trainings"
    return Answer(claim, CONNECTED, "`rewind-0`, points of error", tuple(parts), NETWORK.format(CONNECTED.setting))


def _connectivity(connected: Barriers) -> Iterator[str]:
    """The barriers by the step that tickets were rewound to."""
    if not connected:
        return
    text = (
        "Each ticket was trained twice more from where it was rewound to, with other noise (data order). The barrier "
        "is how far the test error rises on the straight line between the two networks, above the mean of both, in "
        f"points; mean ± sample standard deviation. The error is that mean, in percent. From {FILE} of the board."
    )
    sparsities = sorted({sparsity for rows in connected.values() for sparsity in rows})
    heads = " | ".join(f"{what} at {percent(sparsity)}" for sparsity in sparsities for what in ("barrier", "error"))
    yield from ("", "## Linear mode connectivity", "", *wrapped(text), "", f"| rewound to step | {heads} |")
    yield "|--:|" + "--:|--:|" * len(sparsities)
    for rows in sorted(connected.values(), key=_step):
        cells = [
            spread({seed: getattr(one, name) for seed, one in rows[sparsity].items()}, 100, digits)
            for sparsity in sparsities
            for name, digits in (("barrier", 2), ("error", 1))
        ]
        yield f"| {_step(rows)} | {' | '.join(cells)} |"


def _step(rows: Mapping[float, Mapping[int, Connected]]) -> int:
    return next(one.step for seeds in rows.values() for one in seeds.values())
