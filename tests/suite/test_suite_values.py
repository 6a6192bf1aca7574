"""Validated values: what they work out, and what they refuse when code makes them."""

import math

import pytest

from prunebench.api.tasks import Entry, Optimizer, Prunable, Recipe, Schedule, Suite, Task, Trial, parameters

ADAM = Optimizer(name="adam", lr=1e-3)


def recipe(**changes):
    return Recipe(**{"optimizer": ADAM, "batch_size": 64, "epochs": 4, **changes})


@pytest.fixture
def suite(fakes):
    dataset, _ = fakes.find("dataset", "scans")
    model, _ = fakes.find("model", "net")
    dense, _ = fakes.find("method", "dense")
    coin, _ = fakes.find("method", "coin")
    tasks = tuple(Task(label=label, dataset=dataset(), model=model(), recipe=recipe()) for label in "ab")
    entries = (Entry(label="dense", method=dense()), Entry(label="coin", method=coin()))
    return Suite(name="s", tasks=tasks, entries=entries, sparsities=(0.5, 0.9), seeds=(0, 7))


def test_the_grid_has_every_task_method_sparsity_and_seed_in_this_order(suite):
    assert [str(trial) for trial in suite.trials()] == [
        f"{task}/{method}/{seed}" for task in "ab" for method in ("dense/0", "coin/0.5", "coin/0.9") for seed in (0, 7)
    ]


def test_trials_carry_the_name_of_their_suite(suite):
    assert {trial.suite for trial in suite.trials()} == {"s"}


@pytest.mark.parametrize(("sparsity", "density"), [(0.9, 0.1), (0.98, 0.02), (0.995, 0.005), (0.0, 1.0)])
def test_a_density_has_no_error_of_subtraction(suite, sparsity, density):
    trial = Trial(suite="s", task=suite.tasks[0], entry=suite.entries[0], sparsity=sparsity, seed=0)
    assert trial.density == density


def test_a_ragged_last_batch_is_a_step():
    assert recipe(batch_size=64).clock(129).steps_per_epoch == 3
    assert recipe(batch_size=64).clock(128).steps_per_epoch == 2


def test_validation_examples_are_not_trained_on():
    clock = recipe(batch_size=50, validation=100).clock(1000)
    assert (clock.steps_per_epoch, clock.total) == (18, 72)


def test_a_recipe_in_steps_ends_at_that_step():
    assert recipe(epochs=None, steps=77).clock(1000).total == 77


def test_the_clock_of_a_task_is_that_of_its_data_set(suite):
    assert suite.tasks[0].clock == recipe().clock(1000)


@pytest.mark.parametrize("length", [{"epochs": None}, {"steps": 3}])
def test_a_recipe_has_either_epochs_or_steps(length):
    with pytest.raises(ValueError, match="either epochs or steps"):
        recipe(**length)


@pytest.mark.parametrize("time", ["0it", 0, "+1ep", "0.0ep"])
def test_evaluations_lie_some_time_apart(time):
    with pytest.raises(ValueError, match="evaluate_every is a time between evaluations"):
        recipe(evaluate_every=time)


def test_one_evaluation_at_the_end_is_enough():
    assert recipe(evaluate_every="end").evaluate_every == "end"


@pytest.mark.parametrize("schedule", [{"name": "multistep"}, {"name": "cosine", "milestones": ("2ep",)}])
def test_milestones_and_the_multistep_schedule_come_together(schedule):
    with pytest.raises(ValueError, match="milestones belong to the multistep schedule"):
        Schedule(**schedule)


@pytest.mark.parametrize("times", [{"warmup": "5"}, {"name": "multistep", "milestones": ("2ep", "soon")}])
def test_the_times_of_a_schedule_are_checked(times):
    with pytest.raises(ValueError, match="is not a time"):
        Schedule(**times)


def test_nesterov_needs_a_momentum():
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        Optimizer(name="sgd", lr=0.1, nesterov=True)
    assert Optimizer(name="sgd", lr=0.1, momentum=0.9, nesterov=True).nesterov


def test_exclusions_are_regular_expressions():
    with pytest.raises(ValueError, match=r"'\(' is not a regular expression"):
        Prunable(exclude=("layer", "("))
    with pytest.raises(ValueError, match=r"is not a regular expression"):
        Prunable(exclude=("a{99999999999}",))


def test_the_parameters_of_a_component_are_its_own_fields_in_order(fakes):
    ladder, _ = fakes.find("method", "ladder")
    found = parameters(ladder(rate=0.5))
    assert list(found) == ["rate", "rewind_to", "levels", "widths", "weight", "iterative"]
    assert math.isclose(found["rate"], 0.5)
