"""The sentences at the top of a task."""

import pytest

from prunebench.leaderboard import rows
from prunebench.leaderboard.tables.markdown import inline
from prunebench.leaderboard.tables.sections import sections
from prunebench.leaderboard.tables.summary import summary


def said(results):
    (section,) = sections(rows(results))
    return [inline(text) for text in summary(section)]


@pytest.fixture
def board(seeds):
    def some(center, method, sparsity, cost):
        values = (center - 0.001, center, center + 0.001)
        return seeds(*values, method=method, sparsity=sparsity, metrics={"training_cost": cost})

    return [
        *seeds(0.95, 0.95, 0.95, method="unpruned", control=True),
        *some(0.940, "tickets", 0.8, 4.0),
        *some(0.939, "gradual", 0.8, 0.4),
        *some(0.800, "random", 0.8, 0.2),
        *some(0.930, "tickets", 0.9, 5.0),
        *some(0.928, "gradual", 0.9, 0.25),
        *some(0.700, "random", 0.9, 0.1),
        *some(0.690, "shuffled", 0.9, 5.0),
        *some(0.900, "tickets", 0.95, 5.5),
    ]


def test_the_best_are_named_at_each_sparsity_and_for_each_cost(board):
    found = said(board)
    assert found[0] == ("**Best at each sparsity**: tickets at 80 to 90 % (94.0 to 93.0).")
    # 90 % is the sparsity at which the most methods are complete.
    assert found[1] == (
        "**Best for a training cost** (in dense trainings), at 90 %: from 0.1×, random (70.0 ± 0.1); from 0.25×, "
        "gradual (92.8 ± 0.1); from 5×, tickets (93.0 ± 0.1)."
    )


def test_a_few_more_rows_at_a_low_sparsity_do_not_move_the_comparison_of_costs_there(board, seeds):
    """Such as the rows of 2:4 at 50 %: at 90 % there are four of the five that it has."""
    low = [
        row
        for method in ("tickets", "gradual", "random", "shuffled", "two-of-four")
        for row in seeds(0.9, 0.91, 0.92, method=method, sparsity=0.5, metrics={"training_cost": 1.0})
    ]
    assert "**Best for a training cost** (in dense trainings), at 90 %" in said([*board, *low])[1]
    many = [
        row
        for number in range(3)
        for row in seeds(0.9, 0.91, 0.92, method=f"m{number}", sparsity=0.5, metrics={"training_cost": 0.1})
    ]
    assert not any("at 90 %: from" in text for text in said([*board, *low, *many]))


def test_a_cheap_method_that_is_nearly_as_good_is_named_with_what_is_known(board):
    assert "**Nearly as good**: gradual is 0.20 points behind tickets (shown to be small) at 1/20 of its cost." in said(
        board
    )


def test_what_a_cheaper_method_equals_is_not_worth_its_cost(board):
    assert said(board)[-1] == (
        "**Not worth their cost** at 90 %, by their means: shuffled (69.0, 5×) beside random (70.0, 0.1×)."
    )


def test_equivalent_methods_are_named_beside_the_best(seeds):
    results = [
        *seeds(0.930, 0.931, 0.932, method="best"),
        *seeds(0.929, 0.930, 0.931, method="close"),
        *seeds(0.5, 0.6, 0.7, method="far"),
    ]
    assert said(results)[0] == "**Best at each sparsity**: best at 90 % (93.1), and equivalent close."


def test_nothing_is_said_of_one_method_or_of_incomplete_rows(seeds, result):
    assert said(seeds(0.9, 0.91, 0.92, method="alone")) == []
    assert said([*seeds(0.9, 0.8, 0.7, method="a"), *seeds(0.6, 0.6, method="b")]) == []
    assert said([result(method="a", status="failed"), result(method="b", status="failed")]) == []
