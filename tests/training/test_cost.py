"""The ledger, by hand."""

from dataclasses import asdict

import pytest

from prunebench.network.description import describe
from prunebench.training.cost import Cost, dense_training_flops, examples_between, training_flops


def test_costs_add_up_in_every_column():
    one = Cost(training_flops=1.0, scoring_flops=2.0, steps=3, examples=4, wall_seconds=5.0)
    other = Cost(training_flops=10.0, scoring_flops=20.0, steps=30, examples=40, wall_seconds=50.0)
    assert one + other == Cost(training_flops=11.0, scoring_flops=22.0, steps=33, examples=44, wall_seconds=55.0)
    assert (one + other).flops == 33.0
    assert Cost() + one == one


def test_processor_seconds_add_up_and_are_unknown_where_a_part_is():
    one, other = Cost(processor_seconds=1.5), Cost(processor_seconds=2.0)
    assert (one + other).processor_seconds == 3.5
    assert (one + Cost(processor_seconds=None)).processor_seconds is None
    assert Cost.stored(asdict(one)) == one
    plain = {name: value for name, value in asdict(one).items() if name != "processor_seconds"}
    assert Cost.stored(plain).processor_seconds is None


def test_a_training_step_costs_a_forward_pass_and_twice_that_backward():
    assert training_flops(1000.0, 7) == 21_000.0


@pytest.mark.parametrize(
    ("start", "stop", "examples"),
    [(0, 0, 0), (0, 1, 16), (0, 3, 48), (0, 4, 60), (3, 4, 12), (3, 5, 28), (2, 9, 12 + 16 + 60 + 16), (0, 20, 300)],
)
def test_the_last_batch_of_an_epoch_is_counted_as_it_is(tiny, start, stop, examples):
    assert examples_between(tiny.task(), start, stop) == examples


def test_validation_examples_are_not_trained_on(tiny):
    task = tiny.task(validation=20)  # 16 + 16 + 8
    assert [examples_between(task, 0, step) for step in (2, 3, 4)] == [32, 40, 56]


def test_examples_are_counted_as_the_loop_counts_them(tiny, run_chain, method):
    task = tiny.task(validation=7, steps=11)
    cost = run_chain(tiny.trial(method("dense"), task=task)).end.cost
    assert cost.examples == examples_between(task, 0, 11)


def test_a_dense_training_costs_exactly_one_dense_training(tiny, run_chain, method):
    task = tiny.task(tiny.Conv(), validation=7)
    cost = run_chain(tiny.trial(method("dense"), task=task)).end.cost
    assert cost.flops == pytest.approx(dense_training_flops(task, describe(task)), rel=1e-12)


def test_a_ticket_costs_all_of_its_trainings(tiny, run_chain, method):
    task = tiny.task()
    cost = run_chain(tiny.trial(method("imp"), sparsity=0.5, task=task)).end.cost
    kept = [468, round(0.8 * 468), round(0.64 * 468), round(0.512 * 468), 234]
    assert cost.flops / dense_training_flops(task, describe(task)) == pytest.approx(sum(kept) / 468)
