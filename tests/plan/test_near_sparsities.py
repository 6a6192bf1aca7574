"""Sparsities with too few digits to be shared are found, and what they cost is counted."""

import pytest

from prunebench import Prune
from prunebench.plan.near_sparsities import near_sparsities
from prunebench.plan.planning import make_plan


@pytest.fixture
def near(tiny, method):
    """What is found in a plan of tickets at some sparsities."""

    def found(*sparsities, seeds=1, **parameters):
        ticket = method("imp", **parameters)
        trials = [
            tiny.trial(ticket, label="imp", sparsity=sparsity, seed=seed)
            for sparsity in sparsities
            for seed in range(seeds)
        ]
        return near_sparsities(make_plan(trials, {}))

    return found


def test_a_rounded_sparsity_costs_each_seed_a_training(tiny, near):
    (one,) = near(0.672, 0.8, seeds=2)
    assert (one.method, one.written, one.passed) == ("imp", 0.672, 0.67232)  # 1 - 0.8 ** 5
    assert one.steps == 2 * tiny.task().clock.total
    assert str(one).startswith("imp: sparsity 0.672 is almost 0.67232, ")
    assert f"writing 0.67232 saves {one.steps:,} optimizer steps" in str(one)


def test_a_sparsity_that_is_rounded_up_adds_a_level(tiny, near):
    (one,) = near(0.673, 0.8)
    assert (one.written, one.passed, one.steps) == (0.673, 0.67232, tiny.task().clock.total)
    (alone,) = near(0.673)
    assert alone == one


def test_layers_with_rates_of_their_own_are_found_too(tiny, method, near):
    rates = {"scope": "layerwise", "output_rate": 0.1}
    plan = make_plan([tiny.trial(method("imp", **rates), sparsity=0.8)], {})
    second = [node.density for node in plan.nodes.values() if isinstance(node.stage, Prune)][1]
    assert second > 0.64  # the output layer keeps 0.9 ** 2
    exact = round(1 - second, 12)
    assert [one.passed for one in near(round(exact, 3) + 0.0005, 0.8, **rates)] == [exact]
    assert near(exact, 0.8, **rates) == []


@pytest.mark.parametrize(
    "sparsities",
    [
        pytest.param((0.67232, 0.8), id="exact"),
        pytest.param((0.7, 0.8), id="between two levels"),
        pytest.param((0.672,), id="on the way to nothing"),
        pytest.param((0.672, 0.67232, 0.8), id="both written"),
    ],
)
def test_other_sparsities_are_no_news(near, sparsities):
    assert near(*sparsities) == []


def test_a_method_that_prunes_once_passes_nothing(near):
    assert near(0.672, 0.8, iterative=False) == []
