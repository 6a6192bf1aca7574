"""The candidates of a tuned trial, and what their chains have in common."""

from dataclasses import dataclass, replace

import pytest

import prunebench
from prunebench.api.errors import PrunebenchError
from prunebench.api.tasks import Tuning
from prunebench.plan.jobs import missing_jobs
from prunebench.plan.planning import make_plan
from prunebench.plan.tuning import AS_WRITTEN, Choose, candidates, shared, words

LR = "recipe.optimizer.lr"


@pytest.fixture
def tuned(tiny, method):
    """A tuned trial of gradual pruning on the tiny task, whose learning rate is 0.05."""

    def trial(space, trials=8, seed=0, **changes):
        plain = tiny.trial(method("gradual", interval="5it"), seed=seed, **changes)
        return replace(plain, entry=replace(plain.entry, tune=Tuning(trials=trials, space=tuple(space.items()))))

    return trial


def test_the_first_candidate_is_the_trial_as_written_and_the_others_are_all_points(tuned):
    found = candidates(tuned({LR: (0.5, 0.02), "until": ("50%", "90%")}))
    assert list(found) == [
        AS_WRITTEN, "lr=0.5, until=50%", "lr=0.5, until=90%", "lr=0.02, until=50%", "lr=0.02, until=90%",
    ]  # fmt: skip
    assert [(one.task.recipe.optimizer.lr, one.entry.method.until) for one in found.values()] == [
        (0.05, "75%"), (0.5, "50%"), (0.5, "90%"), (0.02, "50%"), (0.02, "90%"),
    ]  # fmt: skip
    assert all(one.entry.tune is None and one.measure is None for one in found.values())


def test_a_point_that_changes_nothing_is_no_second_candidate(tuned):
    assert list(candidates(tuned({LR: (0.05, 0.2)}))) == [AS_WRITTEN, "lr=0.2"]


def test_of_a_large_space_the_seed_draws_as_many_points_as_trials_are_left(tuned):
    space = {LR: tuple(number / 100 for number in range(11, 21)), "until": ("50%", "60%", "90%")}
    drawn = [list(candidates(tuned(space, trials=5, seed=seed))) for seed in (0, 0, 1)]
    assert [len(some) for some in drawn] == [5, 5, 5]
    assert drawn[0] == drawn[1] != drawn[2]
    everything = list(candidates(tuned(space, trials=31)))
    assert len(everything) == 31
    assert [name for name in everything if name in drawn[0]] == drawn[0]


def test_values_of_the_same_last_name_are_told_apart():
    assert words({"recipe.schedule.name": "cosine", "name": "a"}) == "recipe.schedule.name=cosine, name=a"


@dataclass(frozen=True)
class Point:
    key: str
    stop: int = 0
    trajectory: str = ""


def test_chains_that_begin_alike_share_the_last_state_before_they_part():
    start, trained = Point("start"), Point("trained", 10, "t")
    assert shared([[start, trained, Point("a")], [start, trained, Point("b")], [start, Point("c")]]) == (
        "trained",
        "start",
    )
    assert shared([[start], [Point("another")]]) == ()


@pytest.mark.parametrize(("first", "second", "common"), [(5, 10, "t5"), (10, 5, "t5"), (5, 5, "t5")])
def test_two_stops_of_one_training_share_it_up_to_the_earlier_one(first, second, common):
    start = Point("start")
    chains = [
        [start, Point(f"t{stop}", stop, "t"), Point(f"end {place}")] for place, stop in enumerate((first, second))
    ]
    assert shared(chains) == (common,)


def test_all_candidates_are_nodes_like_those_of_rows_and_the_choice_needs_their_ends(tuned, tiny, method):
    trial = tuned({LR: (0.5,)})
    written = tiny.trial(method("gradual", interval="5it"))
    recipe = replace(written.task.recipe, optimizer=replace(written.task.recipe.optimizer, lr=0.5))
    other = replace(written, task=replace(written.task, recipe=recipe, label="other").with_facts(written.task.facts))
    plan = make_plan([trial, written, other], {"tiny": "0" * 32, "other": "0" * 32})
    chosen, first, second = plan.trials
    choice = plan.nodes[chosen.key]
    assert choice.stage == Choose("accuracy", 1, (AS_WRITTEN, "lr=0.5"))
    assert choice.sources == (first.key, second.key)
    assert set(chosen.chain) == {*first.chain, *second.chain, chosen.key}
    jobs = missing_jobs(plan, lambda key: False, [chosen.key])
    assert jobs[chosen.key].needs == {first.key, second.key}
    assert chosen.protocol == first.protocol != second.protocol


def test_a_deployed_network_is_not_tuned(tiny, method):
    chain = (prunebench.Initialize(), prunebench.Train(), prunebench.Deploy())
    plain = tiny.trial(tiny.Chained(chain=chain))
    trial = replace(plain, entry=replace(plain.entry, tune=Tuning(trials=2, space=((LR, (0.5,)),))))
    with pytest.raises(PrunebenchError, match="`tune` compares networks before they are deployed"):
        make_plan([trial], {"tiny": "0" * 32})
