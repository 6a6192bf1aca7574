"""Static sparse training: a random mask that stays, and costs what its weights cost."""

import pytest
import torch
from prunebench_plugins.random import Random

from prunebench import Initialize, Prune, Train
from prunebench.network.description import describe
from prunebench.plan.planning import resolve
from prunebench.pruning.allocation import kept_counts


def test_its_chain_is_that_of_random_pruning_under_erk(tiny, method):
    static, random = method("static"), method("random", allocation="erk")
    trials = [tiny.trial(rule, sparsity=0.9) for rule in (static, random)]
    assert list(static.stages(trials[0])) == [
        Initialize(),
        Prune(by=Random(allocation="erk"), density=0.1, allocation="erk"),
        Train(),
    ]
    one, other = ([node.key for node in resolve(trial, "root")] for trial in trials)
    assert one == other


@pytest.mark.parametrize("allocation", ["erk", "er", "uniform"])
def test_every_layer_keeps_exactly_its_number_and_the_same_weights_to_the_end(tiny, method, run_chain, allocation):
    task = tiny.task(tiny.Conv())
    chain = run_chain(tiny.trial(method("static", allocation=allocation), sparsity=0.6, task=task))
    begun, ended = chain.after(Prune).masks, chain.end.masks
    assert {name: int(mask.sum()) for name, mask in begun.items()} == kept_counts(
        describe(task).layers, 0.4, allocation
    )
    assert all(torch.equal(begun[name], ended[name]) for name in begun)
    assert sum(chain.end.kept().values()) == round(0.4 * 276)


def test_a_step_costs_three_sparse_forward_passes(tiny, method, run_chain):
    chain = run_chain(tiny.trial(method("static"), sparsity=0.75))
    assert chain.end.cost.training_flops == pytest.approx(3 * 2 * 117 * 300)


def test_the_preset_keeps_the_first_layer_dense(tiny, method, run_chain):
    static = method("static", **method("static").presets["rigl-uniform"].values)
    chain = run_chain(tiny.trial(static, sparsity=0.05))
    assert {name: int(mask.sum()) for name, mask in chain.end.masks.items()} == {"1.weight": 432, "4.weight": 13}
