"""Several boards as one."""

from dataclasses import replace

from prunebench.leaderboard.boards.merging import merge, older_protocols
from prunebench.leaderboard.boards.published import Board


def test_a_trial_that_two_have_is_there_once(seeds):
    one, two = seeds(0.9, 0.8), seeds(0.9, 0.8, 0.7)
    merged = merge([Board("a", tuple(one)), Board("b", tuple(two))])
    assert (len(merged.board.results), merged.doubles, merged.conflicts) == (3, 2, ())
    assert merged.board.name == "a, b"


def test_what_a_clock_says_is_no_conflict(result):
    other = result(metrics={"wall_seconds": 9.0, "latency_ms": 5.0}, finished=1e9)
    assert merge([Board("a", (result(),)), Board("b", (other,))]).conflicts == ()


def test_a_figure_that_only_one_has_is_no_conflict(result):
    other = result(metrics={"density/1.weight": 0.5}, finished=1e9)
    assert merge([Board("a", (result(),)), Board("b", (other,))]).conflicts == ()


def test_other_figures_of_the_same_trial_are_told_and_the_newer_are_kept(result):
    old, new = result(accuracy=0.5, finished=1.0), result(accuracy=0.625, metrics={"loss": 1.5}, finished=2.0)
    for boards in ([Board("a", (old,)), Board("b", (new,))], [Board("b", (new,)), Board("a", (old,))]):
        merged = merge(boards)
        assert merged.board.results == (new,)
        (conflict,) = merged.conflicts
        assert conflict.names == ("accuracy", "loss")
        assert str(conflict) == (
            "digits/snipper/0.9/seed 0: accuracy is 0.625 in b, which is kept, and 0.5 in a and 1 more"
        )


def test_a_done_trial_stands_against_a_newer_failure(result):
    done, failed = result(finished=1.0), result(status="failed", finished=2.0)
    merged = merge([Board("a", (failed,)), Board("b", (done,))])
    assert merged.board.results == (done,)
    assert merged.conflicts == ()


def test_suites_stay_apart_unless_they_get_one_name(result):
    one, two = result(), replace(result(), suite="z")
    assert len(merge([Board("a", (one,)), Board("b", (two,))]).board.results) == 2
    merged = merge([Board("a", (one,)), Board("b", (two,))], "all")
    assert [found.suite for found in merged.board.results] == ["all"]
    assert merged.board.name == "all"


def test_what_any_board_was_asked_for_is_asked_for(result):
    asked = frozenset({("digits", "missing", 0.5, 3)})
    merged = merge([Board("a", (result(),)), Board("b", (), asked)])
    assert merged.board.asked == asked | {("digits", "snipper", 0.9, 0)}
    assert merge([Board("a", (result(),))]).board.asked is None


def test_two_machines_add_up_to_the_seeds_of_both(result):
    here = tuple(result(seed=seed) for seed in (0, 1))
    there = tuple(replace(result(seed=seed), provenance={"machine": "other"}) for seed in (2, 3))
    assert sorted(one.seed for one in merge([Board("a", here), Board("b", there)]).board.results) == [0, 1, 2, 3]


def test_trials_of_an_older_protocol_are_kept_and_told(result):
    old, new = result(), result(seed=1)
    new = replace(new, protocol="p1", provenance=new.provenance | {"protocol.version": "1"})
    merged = merge([Board("a", (old,)), Board("b", (new,))])
    assert len(merged.board.results) == 2
    assert older_protocols(merged.board.results) == (
        "of an older protocol (version none (older)) than the others (version 1): 1 trial, which is kept and not "
        "compared"
    )
    assert older_protocols([old]) == older_protocols([new, new]) == older_protocols([]) == ""
