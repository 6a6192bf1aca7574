"""Tickets of another task in the plan: what they share, what is in their keys, and what they cannot be."""

from dataclasses import replace

import pytest

from prunebench import Initialize, Prune, Shuffle, Train
from prunebench.api.tasks import Prunable, TicketSource
from prunebench.plan.chain import Adopt
from prunebench.plan.planning import make_plan

PRINTS = {"tiny": "0" * 32, "other": "1" * 32}


@pytest.fixture
def other(tiny):
    return replace(tiny.task(), label="other", recipe=tiny.recipe(batch_size=20))


@pytest.fixture
def moved(tiny, other):
    """A trial of the tiny task that begins with a ticket of another one."""

    def make(method, task=None, source=None, weights=False, **ablations):
        trial = tiny.trial(method, task=task)
        given = TicketSource(task=source or other, weights=weights)
        return replace(trial, entry=replace(trial.entry, ticket_of=given, **ablations))

    return make


def planned(*trials, prints=PRINTS):
    plan = make_plan(trials, prints)
    return plan, [one.skipped for one in plan.trials]


def own_chain(plan, trial=-1):
    """The nodes of a trial in its own task."""
    nodes = [plan.nodes[key] for key in plan.trials[trial].chain]
    return [node for node in nodes if node.trial.task.label == "tiny"]


def test_the_ticket_is_found_once_with_that_tasks_own_trial(tiny, method, moved, other):
    theirs = tiny.trial(method("imp"), task=other)
    plan, _ = planned(theirs, moved(method("imp")))
    own, ticket = plan.trials[0].chain, plan.nodes[plan.trials[1].chain[-2]].sources
    assert len(plan.nodes) == len(own) + 3
    assert ticket == (own[-2],)
    assert plan.nodes[ticket[0]].stop == 0


def test_it_is_taken_over_at_the_initialization_and_trained_by_the_whole_recipe(method, moved):
    plan, _ = planned(moved(method("imp")))
    chain = own_chain(plan)
    assert [type(node.stage) for node in chain] == [Initialize, Adopt, Train]
    assert (chain[-1].start, chain[-1].stop) == (0, chain[-1].trial.task.clock.total)
    assert [node.density for node in chain] == [1.0, 0.5, 0.5]


def test_ablations_follow_where_it_is_taken_over_and_inversion_where_it_is_found(method, moved):
    plan, _ = planned(moved(method("imp", iterative=False), shuffle=True, invert=True))
    chain = own_chain(plan)
    assert [type(node.stage) for node in chain] == [Initialize, Adopt, Shuffle, Train]
    assert chain[2].source == chain[0].key
    found = [node for node in plan.nodes.values() if isinstance(node.stage, Prune)]
    assert [node.stage.invert for node in found] == [True]


def keys(trial, prints=PRINTS):
    return planned(trial, prints=prints)[0].trials[0].key


def test_what_finds_the_ticket_is_in_the_keys_and_its_label_is_not(tiny, method, moved, other):
    same = keys(moved(method("imp")))
    assert same == keys(moved(method("imp"), source=replace(other, label="else")), PRINTS | {"else": "1" * 32})
    others = {
        keys(moved(method("imp", rate=0.4))),
        keys(moved(method("imp"), weights=True)),
        keys(moved(method("imp"), source=replace(other, recipe=tiny.recipe(batch_size=10)))),
        keys(moved(method("imp")), PRINTS | {"other": "2" * 32}),
        keys(moved(method("imp")), PRINTS | {"tiny": "2" * 32}),
        keys(tiny.trial(method("imp"))),
    }
    assert len(others | {same}) == 7


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("slimming", {}, "removes channels: another task has no place for its masks"),
        ("oats", {}, "adds factors of low rank: another task has no place for its masks"),
        ("dense", {}, "makes no masks that another task could train"),
    ],
)
def test_a_method_without_masks_that_fit_another_task_is_skipped(tiny, method, moved, other, name, parameters, reason):
    conv = tiny.task(tiny.Conv())
    trial = moved(method(name, **parameters), task=conv, source=replace(conv, label="other"))
    assert reason in planned(trial)[1][0]


def test_a_training_that_only_adds_a_penalty_makes_no_masks(tiny, method, moved, other):
    conv = tiny.task(tiny.Conv())
    penalty = tiny.Chained(chain=(Initialize(), Train(by=method("slimming"), density=0.5), Train(until="+1ep")))
    assert "makes no masks" in planned(moved(penalty, task=conv, source=replace(conv, label="other")))[1][0]


def test_a_network_with_other_layers_is_skipped_and_each_of_them_is_named(tiny, method, moved, other):
    wide = replace(other, model=tiny.MLP(hidden=(13,)))
    reason = planned(moved(method("imp"), source=wide))[1][0]
    assert "1.weight is 13×36 in other and 12×36 here" in reason
    dense_first = replace(other, prunable=Prunable(first=False))
    assert "1.weight is not prunable in other" in planned(moved(method("imp"), source=dense_first))[1][0]


def test_a_network_whose_only_layer_is_another_one_is_skipped(tiny, method, moved, other):
    here, there = tiny.task(tiny.MLP(hidden=())), replace(other, model=tiny.MLP(hidden=(), bias=False))
    assert planned(moved(method("imp"), task=here, source=there))[1] == [""]

    class Pair(tiny.Blobs):
        name = "pair"

        def facts(self):
            return replace(super().facts(), classes=2)

    there = replace(there, dataset=Pair())
    assert "no layer is the same in other and here" in planned(moved(method("imp"), task=here, source=there))[1][0]
