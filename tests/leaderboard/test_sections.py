"""Each task's files have names of their own."""

import pytest

from prunebench.leaderboard import files, select, table
from prunebench.leaderboard.tables.sections import ENDINGS, sections


@pytest.fixture
def names(result):
    """The names of these (suite, task)s' files, in the order given."""

    def names(*places):
        results = [result(suite=suite, task=task, trial=f"{suite}/{task}") for suite, task in places]
        found = {(one.suite, one.task): one.file for one in sections(table(select(results)))}
        return [found[place] for place in places]

    return names


def owned(name):
    return {f"{name}{ending}.svg".lower() for ending in ENDINGS}


def test_a_name_is_the_title_in_plain_characters(names):
    assert names(("s", "digits")) == ["digits"]
    assert names(("s", "a b/c")) == ["a-b-c"]
    assert names(("one", "digits"), ("two", "digits")) == ["one-digits", "two-digits"]
    assert names(("s", "ranks")) == ["ranks"]
    assert names(("s", "..")) == ["task"]


@pytest.mark.parametrize(
    "places",
    [
        [("a", "b-c"), ("a-b", "c")],
        [("s", "a b"), ("s", "a-b"), ("s", "a/b")],
        [("s", "digits"), ("s", "digits-cost")],
        [("s", "digits"), ("s", "Digits")],
        [("s", "ranks"), ("s", "digits")],
        [("s", "."), ("s", "task")],
    ],
)
def test_files_of_two_tasks_never_have_one_name_whatever_the_order(names, places):
    found = names(*places)
    files = [file for name in found for file in owned(name)]
    assert len(files) == len({*files, "ranks.svg"}) - 1
    assert names(*reversed(places)) == found[::-1]


def test_only_what_is_mixed_up_is_renamed_and_always_to_the_same(names):
    first, second, other = names(("s", "a b"), ("s", "a/b"), ("s", "digits"))
    assert other == "digits"
    assert first.startswith("a-b-")
    assert names(("s", "a b"), ("s", "a-b"))[0] == first != second


def test_a_task_that_is_called_like_a_name_made_distinct_is_told_from_it(names):
    taken, _ = names(("s", "a b"), ("s", "a/b"))
    found = names(("s", "a b"), ("s", "a/b"), ("s", taken))
    assert len(set(found)) == 3


def test_a_long_title_is_cut_to_what_a_file_name_can_be(names):
    one, other = names(("s", "x" * 300), ("s", "x" * 299 + "y"))
    assert one != other
    assert max(len(file) for file in owned(one)) <= 255


def test_the_plots_of_two_such_tasks_are_all_published(result):
    board = files(
        result(suite=suite, task=task, trial=f"{suite}{task}{sparsity}", sparsity=sparsity)
        for suite, task in (("a", "b-c"), ("a-b", "c"))
        for sparsity in (0.8, 0.9)
    )
    drawn = [name for name in board if name.endswith(".svg") and name != "ranks.svg"]
    assert len(drawn) == 4
    page = board["README.md"].decode()
    assert all(page.count(f"]({name})") == 1 for name in drawn)


def test_every_plot_of_a_section_has_an_ending_that_is_reckoned_with(result):
    early = {"early_stop_step": 300.0, "early_stop_accuracy": 0.91, "density/fc1.weight": 0.25}
    board = files([result(method="unpruned", control=True, metrics=early), result(metrics=early)])
    assert {name for name in board if name.endswith(".svg")} <= owned("digits")
