"""Two boards side by side: which rows became better or worse, are new or gone, or cannot be compared, and why."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any, Literal

from tabulate import tabulate

from prunebench.api.objectives import ACCURACY, Metric
from prunebench.leaderboard.boards.published import Board
from prunebench.leaderboard.metrics import metric_of
from prunebench.leaderboard.rows import records, table
from prunebench.leaderboard.selection import changes, grouped, other_sources, select
from prunebench.leaderboard.statistics import FEWEST_PAIRS, SIGNIFICANCE, difference, holm, p_value, welch
from prunebench.leaderboard.tables.sections import Row, interval, percent, spread
from prunebench.messages.plain_text import escaped_json, visible
from prunebench.messages.plain_text import markdown as escaped
from prunebench.records.results import Result

Kind = Literal["better", "worse", "new", "gone", "not comparable", "same"]
MARKS: Mapping[Kind, str] = {"better": "▲", "worse": "▼", "new": "+", "gone": "−", "not comparable": "≠", "same": "="}
"""In the order in which they are shown."""

Place = tuple[str, str, str, float]

RULE = (
    f"Better and worse: p < {SIGNIFICANCE:g} in a two-sided t-test, paired by seed, after Holm's correction for all "
    f"rows that were tested; with fewer than {FEWEST_PAIRS} shared seeds, Welch's test of the two sets of seeds. "
    "Values are of each task's primary metric, mean ± sample standard deviation; better is higher or lower as it says."
)


@dataclass(frozen=True)
class Line:
    """What became of a row."""

    kind: Kind
    task: str
    method: str
    sparsity: float
    before: str = ""
    after: str = ""
    difference: float | None = None
    """The primary metric after minus before, as stored: paired where seeds are shared."""
    low: float | None = None
    high: float | None = None
    p: float | None = None
    note: str = ""
    metric: Metric = ACCURACY


@dataclass(frozen=True)
class Comparison:
    """All rows of two boards."""

    before: str
    after: str
    lines: tuple[Line, ...]

    @property
    def counts(self) -> Counter[str]:
        return Counter(line.kind for line in self.lines)


@dataclass(frozen=True)
class _Side:
    """A row of a board, and the results behind it."""

    row: Row
    results: Sequence[Result]

    @property
    def values(self) -> dict[int, float]:
        """The primary metric by seed."""
        name = metric_of(self.row).name
        found = {r.seed: r.metrics.get(name, math.nan) for r in self.results if r.status == "done"}
        return {seed: value for seed, value in found.items() if math.isfinite(value)}

    @property
    def shown(self) -> str:
        return spread(self.row, 0) or str(self.row["status"])


def compare(before: Board, after: Board, *, any_variant: bool = False) -> Comparison:
    """What became of the rows of one board in another.

    Args:
        any_variant: compare rows of one protocol though their method has changed.
    """
    by_suite = max(_suites(before), _suites(after)) > 1
    old, new = _sides(before, by_suite), _sides(after, by_suite)
    lines = [_line(place, old.get(place), new.get(place), any_variant) for place in sorted({*old, *new})]
    order = list(MARKS)
    judged = sorted(_corrected(lines), key=lambda one: (order.index(one.kind), one.task, one.method, one.sparsity))
    return Comparison(visible(before.name), visible(after.name), tuple(judged))


def _suites(board: Board) -> int:
    return len({result.suite for result in board.results})


def _sides(board: Board, by_suite: bool) -> dict[Place, _Side]:
    """The rows that have results, by their place."""
    selection = select(board.results, board.asked)
    groups = grouped(selection.results, lambda r: (r.suite, r.task, r.method, r.sparsity))
    found = {}
    for row in records(table(selection)):
        key = (row["suite"], row["task"], row["method"], row["target_sparsity"])
        if key in groups:
            found[(row["suite"] if by_suite else "", *key[1:])] = _Side(row, groups[key])
    return found


def _line(place: Place, old: _Side | None, new: _Side | None, any_variant: bool) -> Line:
    suite, task, method, sparsity = place
    line = Line("same", f"{suite}: {task}" if suite else task, method, sparsity)
    if old is None or new is None:
        there = new or old
        assert there is not None
        return replace(
            line,
            kind="gone" if new is None else "new",
            before=old.shown if old else "",
            after=new.shown if new else "",
        )
    line = replace(line, before=old.shown, after=new.shown, metric=metric_of(new.row))
    if old.row["protocol"] != new.row["protocol"]:
        return replace(line, kind="not comparable", note=_why("protocol", old, new))
    if old.row["variant"] != new.row["variant"]:
        if not any_variant:
            return replace(line, kind="not comparable", note=_why("variant", old, new))
        line = replace(line, note=_why("variant", old, new))
    return _compared(line, old, new)


def _why(kind: Literal["protocol", "variant"], old: _Side, new: _Side) -> str:
    found = ", ".join(changes(list(old.results), list(new.results), kind))
    return f"another {kind}: {found or 'nothing that is recorded differs but the hash'}"


def _compared(line: Line, old: _Side, new: _Side) -> Line:
    """Rows of one protocol and variant; whether a difference is large enough is said when all are known."""
    ours, theirs = new.values, old.values
    if not ours or not theirs:
        kind: Kind = "same" if bool(ours) == bool(theirs) else "better" if ours else "worse"
        return replace(line, kind=kind, note=_joined(line.note, _outcomes(old, new)))
    notes = [line.note, *_counted(old, new), *_sources(old, new)]
    if ours == theirs:
        return replace(line, difference=0.0, note=_joined(*notes, "equal"))
    found = difference(ours, theirs)
    if found is not None and found.pairs >= FEWEST_PAIRS:
        if all(ours[seed] == theirs[seed] for seed in ours.keys() & theirs.keys()):
            return replace(line, difference=0.0, note=_joined(*notes, f"equal in the {found.pairs} shared seeds"))
        p = p_value(ours, theirs)
        return replace(line, difference=found.mean, low=found.low, high=found.high, p=p, note=_joined(*notes))
    apart = fmean(ours.values()) - fmean(theirs.values())
    if min(len(ours), len(theirs)) >= FEWEST_PAIRS:
        return replace(line, difference=apart, p=welch(ours, theirs), note=_joined(*notes, "seeds are not shared"))
    return replace(line, difference=apart, note=_joined(*notes, "too few seeds to tell"))


def _outcomes(old: _Side, new: _Side) -> str:
    return "" if old.row["status"] == new.row["status"] else f"was {old.row['status']}, is {new.row['status']}"


def _counted(old: _Side, new: _Side) -> Iterator[str]:
    """What else of a row is another figure than before."""
    if old.row["status"] != new.row["status"]:
        yield _outcomes(old, new)
    for name, what in (("training_cost", "training cost"), ("sparsity", "sparsity")):
        before, after = old.row[name], new.row[name]
        if before is not None and after is not None and not math.isclose(before, after, rel_tol=1e-9):
            yield f"{what} {before:.4g} → {after:.4g}"


def _sources(old: _Side, new: _Side) -> Iterator[str]:
    """That rows which are compared were made by other source, under the same versions."""
    parts = other_sources([*old.results, *new.results])
    if old.row["variant"] != new.row["variant"]:
        parts = tuple(part for part in parts if not part.startswith("method"))  # which is another one anyway
    if parts:
        yield f"other source of the same version: {', '.join(parts)}"


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _corrected(lines: Sequence[Line]) -> list[Line]:
    """The lines with their p-values corrected, and what they say then."""
    adjusted = iter(holm([line.p for line in lines if line.p is not None]))
    found = []
    for line in lines:
        if line.p is not None:
            p = next(adjusted)
            apart = p < SIGNIFICANCE and line.difference
            gain = line.metric.sign * (line.difference or 0)
            kind: Kind = "same" if not apart else "better" if gain > 0 else "worse"
            note = line.note if apart else _joined(line.note, "not told apart")
            line = replace(line, kind=kind, p=p, note=note)
        found.append(line)
    return found


# As text


def summary(comparison: Comparison) -> str:
    """How many rows there are of each kind."""
    counts = comparison.counts
    said = ", ".join(f"{mark} {counts[kind]} {kind}" for kind, mark in MARKS.items() if counts[kind])
    return f"{comparison.before} → {comparison.after}: {said or 'no rows'}"


def as_text(comparison: Comparison, width: int = 80, everything: bool = False) -> str:
    """For a terminal of this width: the rows by kind; those that are the same are counted, or listed too."""
    blocks = [textwrap.wrap(summary(comparison), width)]
    for kind, mark in MARKS.items():
        lines = [line for line in comparison.lines if line.kind == kind]
        if lines and (everything or kind != "same"):
            shown = _reasons(lines) if kind == "not comparable" else map(_sentence, lines)
            block = [f"{mark} {kind}"]
            for one in shown:
                block += textwrap.wrap(one, width, initial_indent="  ", subsequent_indent="    ")
            blocks.append(block)
    if comparison.counts["better"] + comparison.counts["worse"]:
        blocks.append(textwrap.wrap(RULE, width))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _sentence(line: Line) -> str:
    figures = " → ".join(filter(None, (line.before, line.after)))
    parts = (f"{_row(line)}: {figures}", _points(line), _p(line), line.note)
    return ", ".join(filter(None, parts))


def _reasons(lines: Sequence[Line]) -> Iterator[str]:
    """The rows of one task that cannot be compared for one reason, together."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.task, line.note), []).append(line)
    for (task, note), some in groups.items():
        rows = f"{len(some)} rows" if len(some) > 1 else "1 row"
        yield f"{task}: {rows} of {', '.join(sorted({line.method for line in some}))}: {note}"


def _row(line: Line) -> str:
    return f"{line.task}: {line.method} at {percent(line.sparsity)} %"


def _points(line: Line) -> str:
    found = {"difference": line.difference, "difference_low": line.low, "difference_high": line.high}
    return interval(found, "difference", line.metric.factor, line.metric.decimals) if line.difference else ""


def _p(line: Line) -> str:
    return "" if line.p is None else "p < 0.001" if line.p < 0.001 else f"p = {line.p:.3f}"


def as_markdown(comparison: Comparison, everything: bool = False) -> str:
    """A table for a pull request."""
    shown = [line for line in comparison.lines if everything or line.kind != "same"]
    body = [
        [
            f"{MARKS[line.kind]} {line.kind}",
            *map(escaped, (_row(line), line.before, line.after)),
            _points(line),
            _p(line),
            escaped(line.note),
        ]
        for line in shown
    ]
    header = ["", "row", "before", "after", "difference", "p", ""]
    text = tabulate(body, header, tablefmt="pipe", disable_numparse=True) if body else ""
    return "\n\n".join(filter(None, (escaped(summary(comparison)), text, RULE))) + "\n"


def as_json(comparison: Comparison) -> str:
    """Every row with its figures."""
    value: dict[str, Any] = {
        "before": comparison.before,
        "after": comparison.after,
        "counts": {kind: comparison.counts[kind] for kind in MARKS},
        "rows": [asdict(line) | {"metric": line.metric.name} for line in comparison.lines],
    }
    return escaped_json(value, indent=1, allow_nan=False) + "\n"
