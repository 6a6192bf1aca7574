"""`recipe` in an entry of the methods."""

import json

import pytest

from prunebench.suite import from_plain, to_plain
from prunebench.suite.reading import trial_from_plain, trial_to_plain


@pytest.fixture
def own(valid):
    """The valid suite, with a `recipe` in its second method."""
    return lambda values: valid.replace("rate: 0.3}", f"rate: 0.3, recipe: {values}}}")


def test_values_have_the_types_that_they_have_in_a_recipe(read, own, fakes):
    suite = read(own("{epochs: 9, optimizer.lr: 1, schedule: {name: cosine, warmup: 1ep}}"))
    given = dict(suite.entries[-1].recipe)
    assert list(given) == ["recipe.epochs", "recipe.optimizer.lr", "recipe.schedule"]
    assert isinstance(given["recipe.optimizer.lr"], float)
    assert (given["recipe.schedule"].name, given["recipe.schedule"].warmup) == ("cosine", "1ep")
    assert from_plain(json.loads(json.dumps(to_plain(suite))), fakes) == suite
    trial = next(trial for trial in suite.trials() if trial.entry.recipe)
    assert trial_from_plain(json.loads(json.dumps(trial_to_plain(trial))), fakes) == trial


def test_values_are_checked_together(read, own, mistakes):
    """A schedule of steps has milestones, which a cosine has not."""
    assert read(own("{schedule: {name: multistep, milestones: [50%]}}")).entries[-1].recipe
    assert any("milestones" in line for line in mistakes(own("{schedule: {name: multistep}}")))


def test_a_method_without_it_does_not_mention_it(read, valid):
    assert "recipe" not in to_plain(read(valid))["methods"][-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("{epoch: 9}", "methods.1.recipe.epoch: unknown value 'epoch' of a recipe; did you mean 'epochs'?"),
        ("{validation: 9}", "methods.1.recipe.validation: unknown value 'validation' of a recipe"),
        ("{optimizer.speed: 9}", "unknown key; choose from name, lr, weight_decay"),
        ("{optimizer.lr: -1}", "methods.1.recipe.'optimizer.lr': must be a number above 0, not -1"),
        ("{steps: 9}", "give either epochs or steps"),
        ("{}", "methods.1.recipe"),
        ("[1]", "methods.1.recipe"),
    ],
)
def test_what_a_recipe_cannot_have_is_an_error_at_its_place(mistakes, own, values, message):
    assert any(message in line for line in mistakes(own(values))), mistakes(own(values))


def test_the_control_trains_by_the_tasks_recipe(mistakes, valid):
    text = valid.replace("  - coin\n", "  - {name: dense, recipe: {epochs: 3}}\n")
    assert any("'dense' is the control, which is not pruned" in line for line in mistakes(text))
