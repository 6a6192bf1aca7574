"""What ShrinkBench asks of anyone who compares pruning methods, answered from the data.

After Blalock et al. (2020, What is the State of Neural Network Pruning?, arXiv:2003.03033).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prunebench.api.objectives import ACCURACY, TOP5
from prunebench.leaderboard.tables.sections import Row, Section
from prunebench.records.results import Result

Answer = Literal["met", "partly", "not met"]

OPERATING_POINTS = 5
REPETITIONS = 3
LIBRARIES = ("prunebench", "torch", "torchvision", "timm", "numpy")
WRITTEN = ("model.name", "dataset.name", "recipe.augmentation")
RECORDED = ("data", "machine", "python", *LIBRARIES)
RANDOM, MAGNITUDE = "random", "magnitude"
"""The baselines that the checklist itself asks for by name."""


@dataclass(frozen=True)
class Point:
    """A point of the list, its answer, and the fact that decides."""

    asked: str
    answer: Answer
    fact: str


def checklist(section: Section, results: Sequence[Result]) -> list[Point]:
    """The points for one task.

    Args:
        results: those behind the section's rows.
    """
    done = [result for result in results if result.status == "done"]
    section = section.measured
    rows = [row for row in section.rows if row["n"] and not row["control"]]
    return [_answered(asked, answer, section, rows, done) for asked, answer in POINTS.items()]


Decision = tuple[Answer, str]
Decide = Callable[[Section, Sequence[Row], Sequence[Result]], Decision]


def _answered(asked: str, decide: Decide, section: Section, rows: Sequence[Row], done: Sequence[Result]) -> Point:
    answer, fact = decide(section, rows, done) if rows else ("not met", "no row is done")
    return Point(asked, answer, fact)


def _graded(count: int, of: int) -> Answer:
    return "met" if count == of and of else "partly" if count else "not met"


def _ratios(section: Section, rows: Sequence[Row], done: Sequence[Result]) -> Decision:
    both = sum(row["compression"] is not None and row["speedup"] is not None for row in rows)
    return _graded(both, len(rows)), f"{both} of {len(rows)} rows have both, each as original / new"


def _top_k(section: Section, rows: Sequence[Row], done: Sequence[Result]) -> Decision:
    first = sum(row["metric_mean"] is not None for row in rows)
    if section.metric.name != ACCURACY.name:
        return _graded(
            first, len(rows)
        ), f"the metric of this task is {section.metric.label}: in {first} of {len(rows)} rows"
    fifth = sum(row.get(TOP5.name) is not None for row in rows)
    if not fifth:
        return _graded(first, len(rows)), f"top-1 in {first} of {len(rows)} rows; too few classes for top-5"
    return _graded(min(first, fifth), len(rows)), f"top-1 in {first} and top-5 in {fifth} of {len(rows)} rows"


def _control(section: Section, rows: Sequence[Row], done: Sequence[Result]) -> Decision:
    complete = sum(row["status"] == "done" for row in section.controls)
    if complete:
        return "met", f"the dense network is trained in the same way, {section.controls[0]['n']} seeds"
    begun = any(row["n"] for row in section.controls)
    return ("partly" if begun else "not met"), "the dense network is " + ("incomplete" if begun else "missing")


def _curves(section: Section, rows: Sequence[Row], done: Sequence[Result]) -> Decision:
    curves = sum(sum(bool(row["n"]) for row in by.values()) > 1 for by in section.methods.values())
    said = f"{curves} of {len(section.methods)} methods have a curve on the same axes"
    return ("met" if curves > 1 else "partly" if curves else "not met"), said


def _points(section: Section, rows: Sequence[Row], done: Sequence[Result]) -> Decision:
    counts = [sum(bool(row["n"]) for row in by.values()) for by in section.methods.values()]
    enough = sum(count >= OPERATING_POINTS for count in counts)
    said = f"{enough} of {len(counts)} methods have {OPERATING_POINTS} or more; the least is {min(counts)}"
    return _graded(enough, len(counts)), said


def _repeated(section: Section, rows: Sequence[Row], done: Sequence[Result]) -> Decision:
    enough = sum(row["n"] >= REPETITIONS for row in rows)
    some = any(row["n"] > 1 for row in rows)
    answer = _graded(enough, len(rows))
    said = f"{enough} of {len(rows)} rows are means of {REPETITIONS} or more seeds, with their deviation"
    return ("partly" if answer == "not met" and some else answer), said


def _same(section: Section, rows: Sequence[Row], done: Sequence[Result]) -> Decision:
    names = (*LIBRARIES, "data")
    values = {name: {result.provenance.get(name) for result in done} for name in names}
    several = [name for name, found in values.items() if len(found) > 1]
    unknown = [name for name, found in values.items() if found == {None}]
    if several:
        return "partly", f"the training loop is one, but there are several versions of: {', '.join(several)}"
    if unknown:
        return "partly", f"the training loop is one; not recorded: {', '.join(unknown)}"
    return "met", "one training loop, one data fingerprint, one version of every library"


def _baselines(section: Section, rows: Sequence[Row], done: Sequence[Result]) -> Decision:
    has = {
        "random, global": _any(done, RANDOM, allocation="global"),
        "random, with the layer proportions of a method (shuffle)": _any(done, "", shuffle="True"),
        "magnitude pruning": _any(done, MAGNITUDE),
    }
    said = "; ".join(f"{name}: {'yes' if there else 'no'}" for name, there in has.items())
    return _graded(sum(has.values()), len(has)), said


def _any(done: Iterable[Result], name: str, **params: str) -> bool:
    """Whether a trial's method has the name, if one is given, and these params."""
    return any(
        (not name or result.params.get("method.name") == name)
        and all(str(result.params.get(f"method.{key}")) == value for key, value in params.items())
        for result in done
    )


def _written(section: Section, rows: Sequence[Row], done: Sequence[Result]) -> Decision:
    lacking = sorted(
        {name for result in done for name in WRITTEN if f"task.{name}" not in result.params}
        | {name for result in done for name in RECORDED if not result.provenance.get(name)}
    )
    answer: Answer = "met" if not lacking else "not met" if len(lacking) == len(WRITTEN) + len(RECORDED) else "partly"
    return answer, f"not written down: {', '.join(lacking)}" if lacking else "all of them stand in the protocol above"


POINTS: dict[str, Decide] = {
    "compression ratio and theoretical speed-up, both as original / new": _ratios,
    "top-1 accuracy, and top-5 where classes are many": _top_k,
    "the dense network as a control": _control,
    "trade-off curves, with competitors on the same axes": _curves,
    f"at least {OPERATING_POINTS} operating points": _points,
    "means and sample standard deviations over seeds": _repeated,
    "the same libraries, data loading and training for all": _same,
    "random and magnitude pruning as baselines": _baselines,
    "model, data set, augmentation, versions and hardware written down": _written,
}
"""What is asked, and what decides."""
