"""Orderings that papers on pruning after training report, compared with boards of one-shot pruning."""

from __future__ import annotations

from dataclasses import dataclass

from answers import NOT_RUN, Boards, Claim, Measure, Page, of_task
from papers import ADMM, ALPS, CBS, CHITA, DSNOT, OATS, OWL, PERP, RIA, SPARSEGPT, WANDA, WOODFISHER

from prunebench.leaderboard.statistics import Difference, difference

ERROR = "output_error"
HALF = (0.5,)
ALL = (0.5, 0.6, 0.7, 0.8, 0.9)
HIGH = (0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Gain(Claim):
    """A claim that more calibration examples lower the error of `better` by more than that of `worse`."""

    many: int = 1024
    few: int = 32

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(f"{name}-{count}" for name in (self.better, self.worse) for count in (self.many, self.few))

    @property
    def methods(self) -> str:
        many, few, others_many, others_few = self.rows
        return f"from `{few}` to `{many}` against from `{others_few}` to `{others_many}`"

    def gap(self, found: Measure, sparsity: float, paired: bool) -> Difference | None:
        """By how much more the error falls, over the seeds that all four methods have."""
        values = [found.figures.get((name, sparsity), {}) for name in self.rows]
        ours, theirs = (
            {seed: found.factor * (few[seed] - many[seed]) for seed in few if seed in many}
            for many, few in (values[:2], values[2:])
        )
        return difference(ours, theirs, paired)


LEAST_SQUARES = "Least squares on a given mask lower the error of the layers"
LOW_RANK = "A sparse part and one of low rank are better than as many weights"
CLAIMS: tuple[Claim, ...] = (
    Claim("Wanda has a lower error of the layers than magnitude", WANDA, "wanda", "magnitude-layerwise", ALL, 0, ERROR),
    Claim("SparseGPT has a lower error of the layers than Wanda", SPARSEGPT, "sparsegpt", "wanda", ALL, 0, ERROR),
    Claim("SparseGPT is better than Wanda with least squares", None, "sparsegpt", "wanda-reconstructed", ALL, 0, ERROR),
    *(
        Claim("ALPS has the lowest error of the layers", ALPS, "alps", other, ALL, 0, ERROR)
        for other in ("admm", "sparsegpt", "wanda-reconstructed")
    ),
    Claim(LEAST_SQUARES, ADMM, "magnitude-reconstructed", "magnitude-layerwise", ALL, 0, ERROR),
    Claim(LEAST_SQUARES, ADMM, "wanda-reconstructed", "wanda", ALL, 0, ERROR),
    Claim("Wanda is better than magnitude", WANDA, "wanda", "magnitude-layerwise", ALL),
    Claim("SparseGPT is better than Wanda", SPARSEGPT, "sparsegpt", "wanda", ALL),
    Claim("ALPS is better than SparseGPT", ALPS, "alps", "sparsegpt", ALL),
    Claim("RIA is better than Wanda", RIA, "ria", "wanda", ALL),
    Claim("DSnoT is better than Wanda, from whose mask it starts", DSNOT, "dsnot", "wanda", ALL),
    Claim("Low-rank factors trained under Wanda's mask repair some of its damage", PERP, "masklora", "wanda", HIGH),
    *(Claim(LOW_RANK, OATS, "oats", other, ALL) for other in ("wanda", "sparsegpt")),
    Claim("OWL helps at 70 % and more", OWL, "wanda-owl", "wanda", HIGH),
    *(
        Claim(
            "The second order of the loss is better than magnitude, all layers together",
            source,
            name,
            "magnitude-global",
            ALL,
        )
        for name, source in (("obd", WOODFISHER), ("woodfisher", WOODFISHER), ("chita", CHITA), ("cbs", CBS))
    ),
    *(
        Claim(f"Removing weights together is better than one by one{how}", source, name, other, HIGH)
        for other, how in (("woodfisher", ""), ("woodfisher-256", ", with equally many gradients"))
        for name, source in (("chita", CHITA), ("cbs", CBS))
    ),
    Claim("In 2:4, Wanda is better than magnitude", WANDA, "wanda-2-of-4", "magnitude-2-of-4", HALF),
    Claim("In 2:4, SparseGPT is better than Wanda", SPARSEGPT, "sparsegpt-2-of-4", "wanda-2-of-4", HALF),
    Claim("In 2:4, ALPS has a lower error than SparseGPT", ALPS, "alps-2-of-4", "sparsegpt-2-of-4", HALF, 0, ERROR),
    Claim("In 2:4, a permutation lowers the error", RIA, "ria-2-of-4-permuted", "ria-2-of-4", HALF, 0, ERROR),
    Claim("In 2:4, a permutation makes RIA better", RIA, "ria-2-of-4-permuted", "ria-2-of-4", HALF),
    *(
        Gain("More calibration data helps reconstruction more than selection", None, name, "wanda", ALL, 0, ERROR)
        for name in ("wanda-reconstructed", "sparsegpt")
    ),
)


def page(boards: Boards, board: str = "one-shot", everything: bool = True) -> Page:
    """The page of a board.

    Args:
        everything: whether claims about methods that the board lacks are shown too, as not run.
    """
    results = boards.results(board)
    introduction = (
        f"What papers on pruning after training report, compared with the board "
        f"[{board}]({boards.address(f'{board}/README.md')}). Differences are paired by seed (Student's t), since the "
        "methods prune the same trained network. The error of the layers is the mean of the relative squared errors of "
        "their outputs on held-out calibration examples."
    )
    if not everything:
        introduction += " Claims about methods that this board does not have are left out."
    answers = {}
    for task in dict.fromkeys(result.task for result in results):
        found = (claim.answer(of_task(results, task), paired=True) for claim in CLAIMS)
        answers[task] = tuple(one for one in found if everything or one.parts[0].verdict != NOT_RUN)
    return Page(introduction, answers)
