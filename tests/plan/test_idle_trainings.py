"""Fine-tuning at a learning rate of almost 0 is found, and nothing else is."""

import pytest

from prunebench.api.tasks import Optimizer, Schedule
from prunebench.plan.idle_trainings import idle_trainings
from prunebench.plan.planning import make_plan


@pytest.fixture
def idle(tiny, method):
    """What is found where two seeds of a method are trained by a recipe of 1,000 steps with a schedule."""

    def found(schedule, name="magnitude", **parameters):
        task = tiny.task(optimizer=Optimizer(name="sgd", lr=0.1), steps=1000, epochs=None, schedule=schedule)
        trials = [tiny.trial(method(name, **parameters), task=task, label=name, seed=seed) for seed in range(2)]
        return idle_trainings(make_plan(trials, {}))

    return found


@pytest.mark.parametrize("name", ["cosine", "one-cycle"])
def test_fine_tuning_after_a_schedule_that_ends_near_0_is_named(idle, name):
    (one,) = idle(Schedule(name=name), finetune="100it")
    assert (one.method, one.steps, one.schedule) == ("magnitude", 200, name)
    assert one.rate < 0.1 * 1e-3
    assert f"magnitude fine-tunes for 200 steps at a learning rate of {one.rate:.2g}" in str(one)


@pytest.mark.parametrize(
    "schedule",
    [Schedule(), Schedule(name="multistep", milestones=("50%", "75%")), Schedule(name="one-cycle", final=0.01)],
    ids=["constant", "multistep", "one-cycle that ends higher"],
)
def test_fine_tuning_at_a_rate_that_trains_is_no_news(idle, schedule):
    assert idle(schedule, finetune="100it") == []


def test_a_rate_that_was_gone_back_to_and_no_fine_tuning_are_no_news(idle):
    cosine = Schedule(name="cosine")
    assert idle(cosine, "lr-rewinding", iterative=False, rewind_to="75%") == []
    assert idle(cosine, finetune=0) == []
    assert idle(cosine, "random") == []


def test_a_method_that_ignores_the_learning_rate_is_no_news(idle):
    assert idle(Schedule(name="cosine"), "masklora", finetune="100it") == []
