"""`tune` in an entry of the methods."""

import json

import pytest

from prunebench.api.tasks import Tuning
from prunebench.suite import from_plain, to_plain
from prunebench.suite.reading import trial_from_plain, trial_to_plain


@pytest.fixture
def tuned(valid):
    """The valid suite with a validation split, and with a space for its second method."""

    def text(space, trials=4, validation=10):
        held_out = valid.replace("batch_size: 64,", f"batch_size: 64, validation: {validation},")
        return held_out.replace("rate: 0.3}", f"rate: 0.3, tune: {{trials: {trials}, space: {space}}}}}")

    return text


def test_values_have_the_types_that_they_have_in_a_suite(read, tuned, fakes):
    suite = read(tuned("{lr: [1, 0.01], rate: [0.5], widths: [[1, 2]], recipe.schedule.name: [cosine]}"))
    tune = suite.entries[-1].tune
    assert tune == Tuning(
        trials=4,
        space=(
            ("recipe.optimizer.lr", (1.0, 0.01)),
            ("rate", (0.5,)),
            ("widths", ((1, 2),)),
            ("recipe.schedule.name", ("cosine",)),
        ),
    )
    assert isinstance(dict(tune.space)["recipe.optimizer.lr"][0], float)
    assert from_plain(json.loads(json.dumps(to_plain(suite))), fakes) == suite
    trial = next(trial for trial in suite.trials() if trial.entry.tune)
    assert trial_from_plain(json.loads(json.dumps(trial_to_plain(trial))), fakes) == trial


def test_a_method_without_it_does_not_mention_it(read, valid):
    assert "tune" not in to_plain(read(valid))["methods"][-1]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{rat: [0.1]}", "methods.1.tune.space.rat: unknown parameter 'rat'; did you mean 'rate'?"),
        ("{recipe.validation: [20]}", "unknown parameter 'recipe.validation'"),
        ("{recipe.optimizer.speed: [20]}", "unknown key; choose from name, lr, weight_decay"),
        ("{rate: [0.5, 2.0]}", "methods.1.tune.space.rate.1: must be a number above 0 and below 1, not 2.0"),
        ("{lr: [0.1, -1.0]}", "methods.1.tune.space.lr.1: must be a number above 0, not -1.0"),
        ("{rate: []}", "methods.1.tune.space.rate"),
        ("{rate: 0.5}", "methods.1.tune.space.rate"),
        ("{}", "methods.1.tune.space"),
        ("{recipe.steps: [10]}", "give either epochs or steps"),
        ("{levels: [13]}", "methods.1.tune.space.levels.0: 13 levels bring no luck"),
        ("{levels: [14]}", "methods.1.tune.space.levels.0: method 'ladder' cannot have it: ZeroDivisionError"),
        (f"{{rate: {[number / 200 for number in range(1, 102)]}, lr: {list(range(1, 102))}}}", "10,201 points"),
    ],
)
def test_what_cannot_be_tuned_is_an_error_at_its_place(mistakes, tuned, space, message):
    assert any(message in line for line in mistakes(tuned(space))), mistakes(tuned(space))


def test_without_validation_data_there_is_nothing_to_choose_on(mistakes, tuned):
    [message] = mistakes(tuned("{lr: [0.1]}", validation=0))
    assert message.endswith(
        "methods.1.tune: chooses on validation data, and task scans-net holds none out: set recipe.validation there"
    )


def test_the_test_set_is_refused(mistakes, tuned):
    text = tuned("{lr: [0.1]}").replace("space: {lr: [0.1]}", "space: {lr: [0.1]}, on: test")
    assert any("methods.1.tune.on" in line for line in mistakes(text))


def test_one_candidate_is_no_choice_and_the_control_is_not_tuned(mistakes, tuned, valid):
    assert any("methods.1.tune.trials" in line for line in mistakes(tuned("{lr: [0.1]}", trials=1)))
    text = tuned("{lr: [0.1]}").replace("  - coin\n", "  - {name: dense, tune: {trials: 2, space: {lr: [0.1]}}}\n")
    assert any("'dense' is the control, which is not pruned" in line for line in mistakes(text))
