"""The law of pruned networks: its limits, and that a fit finds the parameters that points were made by."""

import numpy
import pytest

TRUE = numpy.array([numpy.log(0.9), numpy.log(0.5), numpy.log(1.3), 0.4, 1.1])
"""e_p = 0.9, p = 0.5, g = 1.3, a = 0.4, b = 1.1."""


@pytest.fixture
def scaling(script):
    return script("scaling")


@pytest.fixture
def points(scaling):
    """Networks of three widths and two depths at six densities, whose errors are exactly those of the law."""
    shapes = [(width, depth, 0.3 / width**0.5) for width in (10, 30, 90) for depth in (1, 3)]
    bare = [
        scaling.Point(width, depth, density, 0.1, dense)
        for width, depth, dense in shapes
        for density in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
    ]
    errors = numpy.exp(scaling.law(TRUE, bare))
    return [
        scaling.Point(one.width, one.depth, one.density, float(error), one.dense)
        for one, error in zip(bare, errors, strict=True)
    ]


def test_the_law_goes_from_the_dense_error_to_the_one_of_nothing_left(scaling):
    dense = scaling.Point(1000.0, 4.0, 1e6, 0.1, 0.05)
    nothing = scaling.Point(1000.0, 4.0, 1e-12, 0.1, 0.05)
    assert numpy.exp(scaling.law(TRUE, [dense])) == pytest.approx([0.05])
    assert numpy.exp(scaling.law(TRUE, [nothing])) == pytest.approx([0.9])


def test_between_them_the_error_is_that_of_the_formula(scaling):
    point = scaling.Point(10.0, 3.0, 0.1, 0.1, 0.05)
    size = 3**0.4 * 10**1.1 * 0.1
    expected = 0.05 * abs((size - 0.5j * (0.9 / 0.05) ** (1 / 1.3)) / (size - 0.5j)) ** 1.3
    assert numpy.exp(scaling.law(TRUE, [point])) == pytest.approx([expected])


def test_a_fit_finds_the_powers_of_width_and_depth(scaling, points):
    found = scaling.fitted(points)
    assert found[3:] == pytest.approx(TRUE[3:], abs=0.02)
    assert max(map(abs, scaling.deviations(found, points))) < 0.01


def test_a_board_that_follows_the_law_shows_it(scaling, boards, rows, points):
    results = [
        result
        for label, (width, depth) in scaling.SHAPES.items()
        for result in rows(
            {("dense", 0.0): (1 - 0.3 / width**0.5,) * 3}
            | {("imp", 1 - density): (1 - error,) * 3 for density, error in law_of(scaling, width, depth)},
            task=label,
        )
    ]
    (answers,) = scaling.page(boards(scaling=results)).answers.values()
    assert [answer.verdict for answer in answers] == ["**seen**", "**seen**"]


def law_of(scaling, width, depth):
    """Densities, and the errors of the law there."""
    bare = [scaling.Point(width, depth, density, 0.1, 0.3 / width**0.5) for density in (0.5, 0.2, 0.1, 0.05)]
    return [(one.density, float(error)) for one, error in zip(bare, numpy.exp(scaling.law(TRUE, bare)), strict=True)]


def test_too_few_networks_are_not_fitted(scaling, boards, rows):
    results = rows({("dense", 0.0): (0.9,) * 3, ("imp", 0.5): (0.8,) * 3}, task="width-25")
    (answers,) = scaling.page(boards(scaling=results)).answers.values()
    assert [answer.verdict for answer in answers] == ["not run"]
