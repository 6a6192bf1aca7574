"""How far tickets are to be rewound, compared with the board `rewinding`."""

from __future__ import annotations

from answers import Boards, Claim, Page, Source, every_row
from papers import LOTTERY, RENDA, STABLE

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
    return Page(introduction, {"": tuple(claim.answer(results) for claim in CLAIMS)}, rows)
