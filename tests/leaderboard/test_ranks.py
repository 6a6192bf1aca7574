"""Mean ranks across tasks, against figures worked out by hand."""

import math

import numpy as np
import pytest

from prunebench.leaderboard import rows
from prunebench.leaderboard.ranks import Ranking, critical_difference, friedman, ranking
from prunebench.leaderboard.tables.sections import sections


@pytest.fixture
def ranked(result):
    """The ranking of accuracies by method, task and sparsity."""

    def rank(table, **changes):
        return ranking(
            sections(
                rows(
                    result(method=method, task=task, sparsity=sparsity, accuracy=accuracy, **changes)
                    for method, cells in table.items()
                    for (task, sparsity), accuracy in cells.items()
                )
            )
        )

    return rank


BLOCKS = [("a", 0.8), ("a", 0.9), ("b", 0.8), ("b", 0.9)]


def cells(*accuracies):
    return dict(zip(BLOCKS, accuracies, strict=True))


def test_ranks_are_means_over_blocks_and_ties_share(ranked):
    found = ranked({"x": cells(0.9, 0.9, 0.9, 0.5), "y": cells(0.8, 0.8, 0.9, 0.6), "z": cells(0.1, 0.1, 0.1, 0.1)})
    # x: 1, 1, 1.5, 2; y: 2, 2, 1.5, 1; z: always 3.
    assert found.ranks == {"x": 1.375, "y": 1.625, "z": 3.0}
    assert list(found.ranks) == ["x", "y", "z"]
    assert found.blocks == 4


def test_friedmans_statistic_by_hand():
    # Always 1, 2, 3 in 4 blocks: 12/(4·3·4) · (16 + 64 + 144) - 3·4·4 = 56 - 48 = 8; chi² with 2 degrees: exp(-4).
    assert friedman(np.array([[0.9, 0.8, 0.7]] * 4)) == pytest.approx(math.exp(-4))


def test_two_methods_are_compared_by_the_sign_test_and_equal_ones_do_not_differ():
    assert friedman(np.array([[0.9, 0.8]] * 6)) == pytest.approx(2 / 64)
    assert friedman(np.array([[0.9, 0.9, 0.9]] * 6)) == 1.0


def test_the_critical_difference_is_that_of_demsars_table():
    # Demšar (2006), table 5: q 2.569 for 4 methods; his example has 14 data sets: 2.569 · sqrt(4·5 / (6·14)) = 1.25.
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)
    # 2.343 for 3 methods, 3.164 for 10.
    assert critical_difference(3, 2) == pytest.approx(2.343, abs=1e-3)
    assert critical_difference(10, 1) == pytest.approx(3.164 * math.sqrt(110 / 6), abs=6e-3)


def test_a_method_that_lacks_a_block_has_no_rank_and_says_why(ranked):
    short = cells(0.9, 0.9, 0.9, 0.9)
    del short["b", 0.9]
    found = ranked({"x": cells(0.9, 0.9, 0.9, 0.5), "y": cells(0.8, 0.8, 0.9, 0.6), "short": short})
    assert set(found.ranks) == {"x", "y"}
    assert found.left_out == {"short": "1 of 4 blocks are not complete; the first is b at 90 %: not asked for"}


def test_a_sparsity_of_one_method_alone_is_no_block(ranked):
    odd = {("a", 0.5): 0.9, ("b", 0.5): 0.9}
    found = ranked({"x": cells(0.9, 0.9, 0.9, 0.5), "y": cells(0.8, 0.8, 0.9, 0.6), "odd": odd})
    assert (found.blocks, set(found.ranks), set(found.left_out)) == (4, {"x", "y"}, {"odd"})


def test_one_task_has_no_ranking(ranked):
    assert ranked({"x": {("a", 0.8): 0.9, ("a", 0.9): 0.9}, "y": {("a", 0.8): 0.8, ("a", 0.9): 0.8}}) is None


def test_methods_closer_than_the_critical_difference_are_one_group():
    found = Ranking({"a": 1.0, "b": 1.8, "c": 2.5, "d": 4.0}, 9, 0.01, 1.0, {})
    assert found.groups == [("a", "b"), ("b", "c")]


def test_where_friedmans_test_finds_nothing_all_are_one_group(ranked):
    found = ranked({"x": cells(0.9, 0.8, 0.9, 0.5), "y": cells(0.8, 0.9, 0.8, 0.6)})
    assert found.critical == math.inf
    assert found.groups == [("x", "y")]
