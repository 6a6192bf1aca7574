"""One law for the error of pruned networks of several widths and depths, fitted to the board `scaling`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy
from answers import NOT_RUN, NOT_SEEN, SEEN, Answer, Boards, Page, measure, percent, single, wrapped
from papers import ROSENFELD
from scipy.optimize import least_squares

from prunebench.records.results import Result

BOARD = "scaling"
METHOD = "imp"
WORST = 0.5
"""Errors above it are near chance, where no power law holds."""
DEVIATION, SPREAD = 0.02, 0.04
"""Mean and standard deviation of the relative deviations that the paper reports of its fits at most."""
SHAPES = {
    "width-25": (25, 2),
    "width-50": (50, 2),
    "width-100": (100, 2),
    "width-200": (200, 2),
    "depth-1": (100, 1),
    "depth-4": (100, 4),
}
"""Width and number of hidden layers of the tasks of the suite."""
INTRODUCTION = """\
Rosenfeld et al. fit one law to the error of all networks of a family that are pruned by magnitude with rewinding:
e = e_d · |(m − i p (e_p / e_d)^(1/g)) / (m − i p)|^g with m = depth^a · width^b · density, where e_d is the error of
the dense network, and e_p, p, g, a and b are fitted. It is fitted to the mean errors of {board} here, up to an error
of {worst}, by least squares of the logarithms."""


Numbers = Any
"""An array of floats."""


@dataclass(frozen=True)
class Point:
    """The mean errors of a pruned network and of its dense network."""

    width: float
    depth: float
    density: float
    error: float
    dense: float


def points(results: Sequence[Result]) -> Iterator[Point]:
    for task, (width, depth) in SHAPES.items():
        own = [result for result in results if result.task == task]
        if not own:
            continue
        accuracies = measure(own).figures
        errors = {row: 1 - fmean(values.values()) for row, values in accuracies.items()}
        (dense,) = (error for (method, _), error in errors.items() if method == "dense")
        for (method, sparsity), error in errors.items():
            if method == METHOD and 0 < error <= WORST:
                yield Point(width, depth, 1 - sparsity, error, dense)


def law(parameters: Numbers, found: Sequence[Point]) -> Numbers:
    """Logarithms of the errors by the law; parameters are those of e_p, p and g as logarithms, a and b."""
    top, place, exponent = (float(numpy.exp(value)) for value in parameters[:3])
    width, depth, density, dense = (
        numpy.array([getattr(point, name) for point in found]) for name in ("width", "depth", "density", "dense")
    )
    size = depth ** parameters[3] * width ** parameters[4] * density
    with numpy.errstate(over="ignore"):  # far from the solution
        above = numpy.hypot(size, place * (top / dense) ** (1 / exponent))
    return numpy.log(dense) + exponent * numpy.log(above / numpy.hypot(size, place))


def fitted(found: Sequence[Point]) -> Numbers:
    observed = numpy.log([point.error for point in found])
    starts = [(0.0, place, 0.0, 0.5, 1.0) for place in (-1.0, 0.0, 1.0, 2.0)]
    fits = [least_squares(lambda given: law(given, found) - observed, start) for start in starts]
    best: Numbers = min(fits, key=lambda fit: float(fit.cost)).x
    return best


def deviations(parameters: Numbers, found: Sequence[Point]) -> list[float]:
    """(fitted - observed) / observed."""
    return [
        float(numpy.exp(value)) / point.error - 1 for value, point in zip(law(parameters, found), found, strict=True)
    ]


def page(boards: Boards) -> Page:
    found = list(points(boards.results(BOARD)))
    address = boards.address(f"{BOARD}/README.md")
    introduction = INTRODUCTION.format(board=f"[the board {BOARD}]({address})", worst=percent(WORST))
    claim = "One law with width and depth describes the error of all pruned networks, to 2 % with a deviation of 4 %"
    differs = f"perceptrons on 8×8 digits; there {ROSENFELD.setting}"
    if len(found) <= 5:  # not more than the law has parameters
        return Page(introduction, {"": (single(claim, ROSENFELD, "", NOT_RUN, differs),)})
    parameters = fitted(found)
    away = deviations(parameters, found)
    number = f"{100 * fmean(away):+.1f} % ± {100 * stdev(away):.1f} % over {len(away)} networks"
    holds = abs(fmean(away)) <= DEVIATION and stdev(away) <= SPREAD
    answer = single(claim, ROSENFELD, number, SEEN if holds else NOT_SEEN, differs)
    return Page(introduction, {"": (answer, _alone(found, stdev(away), differs))}, tuple(_details(parameters, found)))


def _alone(found: Sequence[Point], together: float, differs: str) -> Answer:
    """Whether width and depth matter beyond the density: the same fit without them."""
    one = [Point(1.0, 1.0, point.density, point.error, point.dense) for point in found]
    away = stdev(deviations(fitted(one), one))
    number = f"a deviation of {100 * together:.1f} % with them, and of {100 * away:.1f} % without"
    verdict = SEEN if together < away else NOT_SEEN
    return single("Width and depth take the place of density", ROSENFELD, number, verdict, differs)


def _details(parameters: Numbers, found: Sequence[Point]) -> Iterator[str]:
    names = f"g = {numpy.exp(parameters[2]):.2f}, a = {parameters[3]:.2f} and b = {parameters[4]:.2f}"
    text = f"The law with {names}. The errors here are too low to determine e_p and p. Errors are in percent."
    yield from ("## The fit", "", *wrapped(text), "")
    yield "| network | density | error | by the law |"
    yield "|:--|--:|--:|--:|"
    labels: dict[tuple[float, float], str] = {shape: label for label, shape in SHAPES.items()}
    for point, away in zip(found, deviations(parameters, found), strict=True):
        label = labels[point.width, point.depth]
        by_law = point.error * (1 + away)
        yield f"| {label} | {100 * point.density:.3g} % | {100 * point.error:.1f} | {100 * by_law:.1f} |"
