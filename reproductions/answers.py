"""What published boards say of the claims of papers: differences, verdicts, and the tables that show them."""

from __future__ import annotations

import os
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev

from prunebench.leaderboard.boards.published import read_board
from prunebench.leaderboard.statistics import CONFIDENCE, FEWEST_PAIRS, Difference, difference
from prunebench.records.results import Result

Row = tuple[str, float]
"""A row of a board: a method and a target sparsity."""
Figures = Mapping[Row, Mapping[int, float]]
"""Values of rows by seed."""
DENSE: Row = ("dense", 0.0)
VERDICTS = SEEN, NOT_SEEN, UNDECIDED, NOT_RUN = "seen", "not seen", "undecided", "not run"
RULE = f"""\
A number is a difference with its interval ({CONFIDENCE:.0%}), positive on the side of the claim. *Seen*: the interval
excludes zero and the mean has the amount that is claimed; where the claim has a tolerance, such as "to 0.3 points", the
interval is above it. *Not seen*: the interval shows the opposite, or less than the claimed amount. *Undecided*:
neither, or fewer than {FEWEST_PAIRS} seeds. *Not run*: the board has no such trials. Each number is judged by itself:
of twenty comparisons without any true difference, about one is called seen or not seen."""
COLUMNS = ("claim", "source", "here", "verdict", "what differs")


@dataclass(frozen=True)
class Source:
    """A paper, and what it pruned."""

    name: str
    arxiv: str
    """Its number on arXiv, or an address."""
    setting: str = ""

    @property
    def link(self) -> str:
        return f"[{self.name}]({self.arxiv if ':' in self.arxiv else f'https://arxiv.org/abs/{self.arxiv}'})"


@dataclass(frozen=True)
class Part:
    """A comparison: the sparsity or other place that it was made at, its number, and the verdict."""

    where: str
    number: str
    verdict: str


@dataclass(frozen=True)
class Answer:
    """A claim, and what a board shows of it."""

    claim: str
    source: Source | None
    """None for a claim that has no single source."""
    compared: str
    """The methods and the unit of the numbers."""
    parts: tuple[Part, ...]
    differs: str = ""

    @property
    def row(self) -> str:
        numbers = "; ".join(filter(None, (": ".join(filter(None, (one.where, one.number))) for one in self.parts)))
        here = ": ".join(filter(None, (self.compared, numbers)))
        source = self.source.link if self.source else ""
        return f"| {self.claim} | {source} | {here} | {self.verdict} | {self.differs} |"

    @property
    def verdict(self) -> str:
        """The verdict of all parts, or each verdict with its places."""
        places: dict[str, list[str]] = defaultdict(list)
        for one in self.parts:
            places[one.verdict].append(one.where)
        if len(places) == 1:
            return _shown(self.parts[0].verdict)
        return "; ".join(f"{_shown(name)} at {', '.join(places[name])}" for name in VERDICTS if name in places)


def _shown(verdict: str) -> str:
    return f"**{verdict}**" if verdict in (SEEN, NOT_SEEN) else verdict


def single(claim: str, source: Source | None, here: str, verdict: str, differs: str = "") -> Answer:
    """An answer with one verdict."""
    return Answer(claim, source, "", (Part("", here, verdict),), differs)


@dataclass(frozen=True)
class Page:
    """The contents of a page."""

    introduction: str
    answers: Mapping[str, tuple[Answer, ...]]
    """By heading; an empty one for a page with one table."""
    details: tuple[str, ...] = ()
    """Lines below the tables."""


@dataclass(frozen=True)
class Boards:
    """Published boards, and the folder of the pages that link to them."""

    folder: Path
    pages: Path
    cache: dict[str, tuple[Result, ...]] = field(default_factory=dict, compare=False)
    """Results that were read already."""

    def has(self, name: str) -> bool:
        return (self.folder / name / "trials.jsonl").is_file()

    def results(self, name: str) -> tuple[Result, ...]:
        if name not in self.cache:
            self.cache[name] = read_board(self.folder / name).results
        return self.cache[name]

    def address(self, file: str) -> str:
        """The address of a file of a board, such as `digits/README.md`, in a page."""
        return Path(os.path.relpath(self.folder / file, self.pages)).as_posix()


def table(answers: Iterable[Answer]) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|:--" * len(COLUMNS) + "|"
    yield from (one.row for one in answers)


def every_row(results: Sequence[Result]) -> Iterator[str]:
    """A table of methods by sparsity: the metric of the task, and the training cost."""
    found, costs = measure(results), figures(results, "training_cost")
    rungs = sorted({sparsity for _, sparsity in found.figures})
    yield f"| | {' | '.join(percent(one) if one else 'dense' for one in rungs)} |"
    yield "|:--|" + "--:|" * len(rungs)
    for method in dict.fromkeys(name for name, _ in found.figures):
        rows = [(method, sparsity) for sparsity in rungs]
        cells = (
            f"{spread(found.figures[row], found.factor, 1)}, {mean(costs[row]):.2f}×" if row in found.figures else "–"
            for row in rows
        )
        yield f"| {method} | {' | '.join(cells)} |"


def counted(answers: Iterable[Answer]) -> str:
    """How many comparisons have each verdict."""
    found = Counter(part.verdict for one in answers for part in one.parts)
    return ", ".join(f"{found[name]} {name}" for name in VERDICTS if name in found)


# --- claims that one method is better than another


@dataclass(frozen=True)
class Measure:
    """A metric of the rows of a task, and how it is shown."""

    figures: Figures
    sign: int
    """1 if higher values are better, -1 if lower ones are."""
    factor: float
    digits: int
    unit: str

    def gap(self, ours: Row, theirs: Row, paired: bool) -> Difference | None:
        """By how much the first row is better, as it is shown."""
        return difference(self._scaled(ours), self._scaled(theirs), paired)

    def _scaled(self, row: Row) -> dict[int, float]:
        return {seed: self.sign * self.factor * value for seed, value in self.figures.get(row, {}).items()}


def measure(results: Sequence[Result], metric: str = "") -> Measure:
    """A metric of the results of a task; the one that its methods are ranked by, if no other is named."""
    if metric == "output_error":
        return Measure(figures(results, metric), -1, 100, 2, "% of the outputs")
    if metric == "early_stop_step":
        return Measure(figures(results, metric), -1, 1, 0, "iterations")
    own = results[0].primary
    unit = "points" if own.unit == "%" else own.unit
    return Measure(figures(results, own.name), own.sign, own.factor, 2, unit)


@dataclass(frozen=True)
class Claim:
    """A claim that one method is better than another at some sparsities."""

    sentence: str
    source: Source | None
    better: str
    worse: str
    sparsities: tuple[float, ...]
    margin: float = 0.0
    """The least amount that is claimed, in the unit of the metric; a negative one is how much worse still counts."""
    metric: str = ""
    differs: str = ""
    task: str = ""
    """The task that is asked, of a board with several."""

    @property
    def methods(self) -> str:
        return f"`{self.better}` against `{self.worse}`" + f" in {self.task}" * bool(self.task)

    def gap(self, found: Measure, sparsity: float, paired: bool) -> Difference | None:
        ours = self.better, sparsity
        controls = [row for row in found.figures if row[0] == self.worse and self.worse.startswith("dense")]
        return found.gap(ours, controls[0] if len(controls) == 1 else (self.worse, sparsity), paired)

    def answer(self, results: Sequence[Result], paired: bool = False) -> Answer:
        found = measure(of_task(results, self.task) if self.task else results, self.metric)
        gaps = {sparsity: self.gap(found, sparsity, paired) for sparsity in self.sparsities}
        parts = [
            Part(percent(sparsity), interval(gap, 1, found.digits), judged(gap, self.margin))
            for sparsity, gap in gaps.items()
            if gap is not None
        ]
        compared = ", ".join(filter(None, (self.methods, found.unit)))
        differs = self.differs or elsewhere(self.source)
        return Answer(self.sentence, self.source, compared, tuple(parts) or (Part("", "", NOT_RUN),), differs)


def elsewhere(source: Source | None) -> str:
    """What differs, if nothing more is known than what a paper pruned."""
    return f"there {source.setting}" if source and source.setting else ""


def judged(gap: Difference | None, margin: float = 0.0) -> str:
    """The verdict on a difference that is claimed to be at least the margin."""
    if gap is None:
        return NOT_RUN
    if gap.low is None or gap.high is None or gap.pairs < FEWEST_PAIRS:
        return UNDECIDED
    if gap.low > min(0.0, margin) and gap.mean >= margin:
        return SEEN
    return NOT_SEEN if gap.high < margin else UNDECIDED


# --- figures and text


def figures(results: Iterable[Result], metric: str) -> Figures:
    """A metric of every trial that has it."""
    found: dict[Row, dict[int, float]] = defaultdict(dict)
    for result in results:
        if metric in result.metrics:
            found[result.method, result.sparsity][result.seed] = result.metrics[metric]
    return dict(found)


def steps_of(results: Iterable[Result]) -> int:
    (steps,) = {int(result.params["task.recipe.steps"]) for result in results}
    return steps


def of_task(results: Iterable[Result], task: str) -> list[Result]:
    return [result for result in results if result.task == task]


def mean(found: Mapping[int, float]) -> float:
    return fmean(found.values())


def ladder(found: Figures, method: str = "imp") -> list[float]:
    """The sparsities of a method, ascending."""
    return sorted(sparsity for name, sparsity in found if name == method)


def gap(found: Figures, ours: Row, theirs: Row = DENSE) -> Difference:
    """The difference of two rows of a board."""
    return apart(found[ours], found[theirs])


def apart(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference:
    """The difference of two means over the seeds that both have; seeds of these boards hardly correlate."""
    made = difference(ours, theirs, paired=False)
    assert made is not None, f"{ours} and {theirs} share no seed"
    return made


def wrapped(paragraph: str, indent: str = "") -> list[str]:
    """The lines of a paragraph in a page."""
    return textwrap.wrap(paragraph, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def left(sparsity: float) -> str:
    """P_m, the share of remaining weights, as text."""
    return f"{100 * (1 - sparsity):.1f} %"


def interval(gap: Difference, factor: float, digits: int) -> str:
    """A mean with its confidence interval."""
    text = f"{factor * gap.mean:+.{digits}f}"
    if gap.low is not None and gap.high is not None:
        text += f" [{factor * gap.low:+.{digits}f}, {factor * gap.high:+.{digits}f}]"
    return text


def points(made: Difference) -> str:
    return f"{interval(made, 100, 2)} points"


def spread(found: Mapping[int, float] | Sequence[float], scale: float, digits: int) -> str:
    """Mean and sample standard deviation."""
    values = list(found.values()) if isinstance(found, Mapping) else found
    deviation = f" ± {scale * stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * fmean(values):.{digits}f}{deviation}"
