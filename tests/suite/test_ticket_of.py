"""`ticket_of` in an entry of the methods."""

import json

import pytest

from prunebench.suite import from_plain, to_plain
from prunebench.suite.reading import trial_from_plain, trial_to_plain

OTHER = """\
  - label: other
    dataset: scans
    model: {name: net, hidden: [30, 10]}
    recipe: {epochs: 9, batch_size: 32, optimizer: {name: sgd, lr: 0.1}}
methods:
"""


@pytest.fixture
def moved(valid):
    """The valid suite with a second task, and keys in its second method."""
    return lambda keys: valid.replace("methods:\n", OTHER).replace("rate: 0.3}", f"rate: 0.3, {keys}}}")


def test_it_names_a_task_of_the_suite(read, moved, fakes):
    suite = read(moved("ticket_of: {task: other}"))
    given = suite.entries[-1].ticket_of
    assert (given.task, given.weights) == (suite.tasks[1], False)
    assert from_plain(json.loads(json.dumps(to_plain(suite))), fakes) == suite


def test_it_has_trials_in_all_other_tasks(read, moved):
    suite = read(moved("ticket_of: {task: other, weights: true}"))
    assert {one.task.label for one in suite.trials() if one.entry.ticket_of} == {"scans-net"}


def test_a_trial_knows_the_task_of_its_ticket_without_its_suite(read, moved, fakes):
    suite = read(moved("ticket_of: {task: other, weights: true}"))
    trial = next(one for one in suite.trials() if one.entry.ticket_of)
    assert trial.tasks == suite.tasks
    again = trial_from_plain(json.loads(json.dumps(trial_to_plain(trial))), fakes)
    assert again == trial
    assert again.entry.ticket_of.task.recipe.epochs == 9


def test_a_method_without_it_does_not_mention_it(read, valid):
    suite = read(valid)
    assert "ticket_of" not in to_plain(suite)["methods"][-1]
    assert "ticket_task" not in trial_to_plain(next(iter(suite.trials())))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("ticket_of: {task: othr}", "methods.1.ticket_of.task: unknown task 'othr'; did you mean 'other'?"),
        ("ticket_of: {task: 3}", "methods.1.ticket_of.task"),
        ("ticket_of: other", "methods.1.ticket_of"),
        ("ticket_of: {weights: true}", "methods.1.ticket_of.task: is missing"),
        ("ticket_of: {task: other, wieghts: true}", "did you mean 'weights'?"),
        ("ticket_of: {task: other, weights: 1}", "methods.1.ticket_of.weights"),
        ("ticket_of: {task: other}, distillation: {}", "distillation: cannot be combined with `ticket_of`"),
        ("ticket_of: {task: other, weights: true}, shuffle: true", "methods.1.shuffle: gives the ticket's masks other"),
        (
            "ticket_of: {task: other, weights: true}, reinitialize: 2",
            "methods.1.reinitialize: gives the ticket's",
        ),
    ],
)
def test_what_it_cannot_be_is_an_error_at_its_place(mistakes, moved, keys, message):
    assert any(message in line for line in mistakes(moved(keys))), mistakes(moved(keys))


def test_a_suite_of_one_task_has_nowhere_to_transfer_to(mistakes, valid):
    text = valid.replace("rate: 0.3}", "rate: 0.3, ticket_of: {task: scans-net}}")
    assert any("has no other task" in line for line in mistakes(text)), mistakes(text)


def test_the_control_begins_with_no_ticket(mistakes, moved):
    text = moved("rate: 0.3").replace("rate: 0.3, rate: 0.3", "rate: 0.3")
    text = text.replace("  - coin\n", "  - {name: dense, ticket_of: {task: other}}\n")
    assert any("'dense' is the control, which is not pruned" in line for line in mistakes(text)), mistakes(text)
