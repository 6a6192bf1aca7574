"""Tables of a task beside that of its metric: tickets, deployed networks, ShrinkBench's list; ranks across tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prunebench.leaderboard.metrics import difference_title
from prunebench.leaderboard.ranks import Ranking
from prunebench.leaderboard.statistics import CONFIDENCE, FEWEST_PAIRS, SIGNIFICANCE
from prunebench.leaderboard.tables.checklist import checklist
from prunebench.leaderboard.tables.model import Table, said
from prunebench.leaderboard.tables.sections import Row, Section, deviating, interval, percent
from prunebench.records.results import Result

TICKETS = f"""\
The two properties of a winning ticket (Frankle & Carbin 2019): stopped early, at the iteration of its lowest validation
loss, the sparse network comes no later (j′ ≤ j) and is no worse on the test set (a′ ≥ a for accuracies) than the
dense network. *ticket*: both are shown, each by the one-sided {CONFIDENCE:.0%} bound of the difference. *not*: one is
refuted, by its two-sided {CONFIDENCE:.0%} interval. *undecided*: neither, with these seeds. Fewer than {FEWEST_PAIRS}
shared seeds give no verdict. An iteration is known to the interval of the evaluations, and counts from the recipe's
beginning. Whether the weights were the original ones is the method's affair, not the verdict's."""
NO_VALIDATION = """\
Not applicable: early stopping takes a validation split, which the recipe of this task does not set aside
(`validation`)."""
DEPLOYED = """\
Measured, not counted. Size is that of the file, zeros left out where that is shorter. Latency is the median of one
pass after a warm-up, ± the interquartile range of the passes, timed in turn with the dense network on the machine that
the row names; the ratio is the mean over seeds ± its sample standard deviation."""
BLOCKS = f"""\
Ranks of the methods' means within each block of task and sparsity, averaged over the blocks (Demšar 2006).
Friedman's test says whether they differ at all (p < {SIGNIFICANCE:g}); if so, mean ranks further apart than Nemenyi's
critical difference do. Blocks of one task are alike, so this is evidence for these tasks rather than for tasks at
large. Only methods that are complete in all blocks have a rank."""


def tickets(section: Section) -> Table | None:
    """Early stopping and its verdict; None where nothing stopped early."""
    rows = [row for row in section.rows if row["early_stop_step"] is not None]
    metric = section.metric
    header = (
        "method",
        "target %",
        "iteration",
        "above dense",
        f"{metric.label} there {metric.unit}".rstrip(),
        difference_title(metric),
        "ticket",
    )
    body = tuple(
        (
            row["method"],
            percent(row["target_sparsity"]),
            deviating(row, "early_stop_step", 1, 0),
            interval(row, "early_stop_step_difference", 1, 0),
            deviating(row, "early_stop_metric", metric.factor, metric.decimals),
            interval(row, "early_stop_metric_difference", metric.factor, metric.decimals),
            row["ticket"] or "",
        )
        for row in rows
    )
    return Table(header, body, caption=said(TICKETS)) if body else None


def deployed(section: Section) -> Table | None:
    """Size and latency of the networks that were deployed; None where none was."""
    rows = [row for row in section.rows if row["size_bytes"] is not None]
    header = ("method", "target %", "size kB", "of dense", "latency ms", "dense ms", "dense / deployed")
    body = tuple(
        (
            row["method"],
            percent(row["target_sparsity"]),
            f"{row['size_bytes'] / 1000:,.1f}",
            f"{row['size_bytes'] / row['size_bytes_dense']:.1%}" if row["size_bytes_dense"] else "",
            *_latency(row),
        )
        for row in rows
    )
    return Table(header, body, caption=said(DEPLOYED)) if body else None


def _latency(row: Row) -> list[str]:
    if row["latency_ms"] is None:
        return [f"not applicable: {row['latency_note'] or 'not measured'}", "", ""]
    return [
        _measured(row["latency_ms"], row["latency_ms_iqr"]),
        _measured(row["latency_ms_dense"], row["latency_ms_dense_iqr"]) or "not measured",
        _ratio(row),
    ]


def _measured(median: float | None, range_: float | None) -> str:
    """A latency with its interquartile range, where there is one."""
    if median is None:
        return ""
    return f"{median:.3g}" if range_ is None else f"{median:.3g} ± {range_:.2g}"


def _ratio(row: Row) -> str:
    center, _, deviation = deviating(row, "latency_ratio", 1, 2).partition(" ")
    return " ".join(filter(None, (f"{center}×" if center else "", deviation)))


def answers(section: Section, results: Sequence[Result]) -> Table:
    """ShrinkBench's list, answered."""
    points = checklist(section, results)
    return Table(("ShrinkBench asks for", "answer", "because"), tuple((p.asked, p.answer, p.fact) for p in points))


def ranks(ranked: Ranking) -> Table:
    """The methods by mean rank, and what the test says of them."""
    tested = f"{ranked.blocks} blocks; Friedman's p = {ranked.p_value:.2g}. "
    if math.isinf(ranked.critical):
        tested += "No difference between the methods is shown."
    else:
        tested += f"Critical difference: {ranked.critical:.2f}."
    body = [(label, f"{rank:.2f}", "") for label, rank in ranked.ranks.items()]
    body += [(label, "", why) for label, why in ranked.left_out.items()]
    return Table(("method", "mean rank", "no rank, because"), tuple(body), caption=said(tested))
