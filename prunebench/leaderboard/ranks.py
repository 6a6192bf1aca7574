"""Methods across tasks: mean ranks over blocks of (task, sparsity), and which of them differ.

After Demšar (2006, Statistical Comparisons of Classifiers over Multiple Data Sets): Friedman's test whether ranks
differ at all, then Nemenyi's critical difference.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from prunebench.leaderboard.metrics import metric_of
from prunebench.leaderboard.statistics import SIGNIFICANCE
from prunebench.leaderboard.tables.sections import Row, Section

Block = tuple[str, str, float]
"""A suite's task at a sparsity."""


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of the methods that are complete in all blocks, 1 the best."""

    ranks: Mapping[str, float]
    """The best first."""
    blocks: int
    p_value: float
    """Friedman's: how likely ranks that differ so much are if the methods do not."""
    critical: float
    """Mean ranks further apart than this differ, by Nemenyi's test; infinite where Friedman's finds nothing."""
    left_out: Mapping[str, str]
    """The other methods, and why they have no rank."""

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The largest sets of two or more methods that do not differ significantly, best first."""
        labels = list(self.ranks)
        spans = [
            tuple(one for one in labels[start:] if self.ranks[one] - self.ranks[labels[start]] <= self.critical)
            for start in range(len(labels))
        ]
        return [
            span
            for index, span in enumerate(spans)
            if len(span) > 1 and not any(set(span) <= set(other) for other in spans[:index])
        ]


def ranking(sections: Sequence[Section]) -> Ranking | None:
    """The ranking over all blocks of two or more tasks; None where there is nothing to rank."""
    if len({(section.suite, section.task) for section in sections}) < 2:
        return None
    scores, blocks, left_out = _scores(sections)
    if len(scores) < 2 or len(blocks) < 2:
        return None
    labels = sorted(scores)
    table = np.array([[scores[label][block] for label in labels] for block in blocks])
    means = scipy.stats.rankdata(-table, axis=1).mean(axis=0)
    order = sorted(range(len(labels)), key=lambda index: (means[index], labels[index]))
    p = friedman(table)
    return Ranking(
        ranks={labels[index]: float(means[index]) for index in order},
        blocks=len(blocks),
        p_value=p,
        critical=critical_difference(len(labels), len(blocks)) if p < SIGNIFICANCE else math.inf,
        left_out=left_out,
    )


def friedman(table: np.ndarray) -> float:
    """Friedman's p-value for a table of blocks by methods; 1 where no block tells any methods apart."""
    if (table == table[:, :1]).all():
        return 1.0
    if table.shape[1] == 2:  # Friedman's test takes three; of two it is the sign test
        wins = int((table[:, 0] > table[:, 1]).sum())
        decided = int((table[:, 0] != table[:, 1]).sum())
        return float(scipy.stats.binomtest(wins, decided).pvalue)
    return float(scipy.stats.friedmanchisquare(*table.T).pvalue)


def critical_difference(methods: int, blocks: int) -> float:
    """Nemenyi's: q / sqrt(2) * sqrt(k (k + 1) / 6 N), q of the studentized range with infinite degrees of freedom."""
    q = float(scipy.stats.studentized_range.ppf(1 - SIGNIFICANCE, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * blocks))


def _scores(sections: Sequence[Section]) -> tuple[dict[str, dict[Block, float]], list[Block], dict[str, str]]:
    """Means by method and block, higher ones better, of the methods that have them all; the blocks; what others lack.

    What fewer than half of the methods were asked for, such as the one sparsity of a structure, is no block.
    """
    found: dict[str, dict[Block, Row]] = defaultdict(dict)
    for section in (one.measured for one in sections):
        alone = [(name, rows) for label, rows in section.methods.items() for name in _names(section, label)]
        for label, rows in alone:
            found[label] |= {(section.suite, section.task, sparsity): row for sparsity, row in rows.items()}
    asked = Counter(block for rows in found.values() for block in rows)
    blocks = sorted(block for block, count in asked.items() if 2 * count > len(found))
    lacks = {label: _lack(rows, blocks) for label, rows in sorted(found.items())}
    scores = {
        label: {block: metric_of(rows[block]).sign * rows[block]["metric_mean"] for block in blocks}
        for label, rows in found.items()
        if not lacks[label]
    }
    return scores, blocks, {label: lack for label, lack in lacks.items() if lack}


def _names(section: Section, label: str) -> tuple[str, ...]:
    """The methods that have one row together, each by its own name."""
    names = section.names.get(label, (label,))
    return names if len(names) > 1 else (label,)


def _lack(rows: Mapping[Block, Row], blocks: Sequence[Block]) -> str:
    """What a method is short of a rank, in the first block that lacks it."""
    short = [
        (block, "not asked for" if block not in rows else str(rows[block]["status"]))
        for block in blocks
        if block not in rows or rows[block]["status"] != "done" or rows[block]["metric_mean"] is None
    ]
    if not short:
        return ""
    (_, task, sparsity), state = short[0]
    return (
        f"{len(short)} of {len(blocks)} blocks are not complete; the first is {task} at {100 * sparsity:.4g} %: {state}"
    )
