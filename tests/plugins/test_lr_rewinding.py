"""Learning-rate rewinding: the weights stay, the learning rate goes back."""

import pytest
import torch

from prunebench import Initialize, Prune, Rewind, Train
from prunebench.api.tasks import Optimizer, Schedule
from prunebench.plan.planning import make_plan


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_its_chain_goes_back_in_time_without_the_weights(tiny, method):
    rewinding = method("lr-rewinding", rewind_to="5it")
    magnitude, back = method("magnitude"), Rewind(to="5it", weights=False)
    assert list(rewinding.stages(tiny.trial(rewinding, sparsity=0.36))) == [
        Initialize(),
        Train("5it"),
        Train(),
        Prune(by=magnitude, density=0.8),
        back,
        Train(),
        Prune(by=magnitude, density=0.64),
        back,
        Train(),
    ]


@pytest.mark.parametrize(
    ("parameters", "levels", "point"),
    [({}, 4, 0), ({"rewind_to": "25%"}, 4, 5), ({"rewind_to": "5it", "iterative": False}, 1, 5), ({"rate": 0.3}, 2, 0)],
)
def test_every_level_is_trained_again_from_there(tiny, method, run_chain, parameters, levels, point):
    chain = run_chain(tiny.trial(method("lr-rewinding", **parameters), sparsity=0.5))
    assert chain.end.cost.steps == 20 + levels * (20 - point)
    assert chain.after(Rewind).step == point
    assert chain.end.step == 20
    assert sum(chain.end.kept().values()) == 234


def test_weights_statistics_and_momentum_stay_at_their_last_values(tiny, method, run_chain):
    task = tiny.task(tiny.Conv(), steps=8)
    chain = run_chain(tiny.trial(method("lr-rewinding", rewind_to="3it"), task=task))
    for which in (0, -1):
        before, after = chain.before(Rewind, which), chain.after(Rewind, which)
        assert (before.step, after.step) == (8, 3)
        assert same(before.parameters, after.parameters)
        assert same(before.buffers, after.buffers)
        assert same(before.optimizer, after.optimizer)
        assert any(value.any() for value in after.optimizer.values())
    assert not same(chain.after(Rewind).parameters, chain.after(Train, 0).parameters)


def test_the_learning_rate_of_the_step_is_back_where_fine_tuning_keeps_the_last_one(tiny, method, run_chain):
    # From half of the training on nothing moves any more, unless the learning rate of an earlier step returns.
    optimizer = Optimizer(name="sgd", lr=0.05)
    task = tiny.task(optimizer=optimizer, schedule=Schedule(name="multistep", milestones=("50%",), gamma=1e-12))

    def moved(one):
        chain = run_chain(tiny.trial(one, task=task))
        pruned, end = chain.after(Prune).parameters, chain.end.parameters
        return max((pruned[name] - end[name]).abs().max().item() for name in pruned)

    assert moved(method("magnitude", finetune="100%")) < 1e-9
    assert moved(method("lr-rewinding", iterative=False, rewind_to="60%")) < 1e-9
    assert moved(method("lr-rewinding", iterative=False, rewind_to="45%")) > 1e-4
    assert moved(method("lr-rewinding", iterative=False)) > 1e-3


def test_it_shares_its_first_pruning_with_tickets_and_its_dense_training_with_all(tiny, method):
    plan = make_plan(
        [
            tiny.trial(method("imp"), label="imp"),
            tiny.trial(method("lr-rewinding"), label="lr-rewinding"),
            tiny.trial(method("magnitude"), label="magnitude"),
        ],
        {},
    )
    tickets, rewound, magnitude = (trial.chain for trial in plan.trials)
    assert tickets[:3] == rewound[:3]
    assert tickets[:2] == magnitude[:2]
    assert not set(tickets[3:]) & set(rewound[3:])


def test_new_weights_under_its_mask_are_trained_from_the_start(tiny, method, run_chain):
    chain = run_chain(tiny.trial(method("lr-rewinding", rewind_to="15it", iterative=False), reinitialize=True))
    assert chain.end.cost.steps == 20 + 20
    assert sum(chain.end.kept().values()) == 234


def test_presets_are_values_that_it_accepts(registry):
    cls, _ = registry.find("method", "lr-rewinding")
    assert cls(**cls.presets["paper"].values) == cls()
    assert (cls().rate, cls().rewind_to, cls().iterative) == (0.2, 0, True)
    assert not cls(**cls.presets["one-shot"].values).iterative
