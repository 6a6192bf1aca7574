"""Random pruning: exact counts, and a draw that depends on the seed alone."""

import pytest
import torch

import prunebench
from prunebench import Initialize, Prune, Train
from prunebench.data.seeds import generator
from prunebench.network.description import describe
from prunebench.pruning.allocation import kept_counts


def masks(chain):
    return chain.after(Prune).masks


def counts(chain):
    return {name: int(mask.sum()) for name, mask in masks(chain).items()}


def test_scores_are_uniform_draws_of_the_seed_and_nothing_else(method, scoring_of):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    found = method("random").scores(scoring_of(module, (3,), seed=5, purpose="random"))
    draw = generator(5, "random")
    expected = {"0.weight": torch.rand(4, 3, generator=draw), "1.weight": torch.rand(2, 4, generator=draw)}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_random_pruning_prunes_at_initialization_and_trains(tiny, method):
    random = method("random", allocation="erk")
    stages = list(random.stages(tiny.trial(random, sparsity=0.9)))
    assert stages == [Initialize(), Prune(by=random, density=0.1, allocation="erk"), Train()]


@pytest.mark.parametrize("allocation", ["uniform", "er", "erk"])
def test_each_layer_keeps_exactly_its_number(tiny, method, run_chain, allocation):
    task = tiny.task(tiny.Conv(), steps=1)
    chain = run_chain(tiny.trial(method("random", allocation=allocation), sparsity=0.7, task=task))
    assert counts(chain) == kept_counts(describe(task).layers, 0.3, allocation)


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.87, 0.99])
@pytest.mark.parametrize("allocation", ["global", "uniform", "er", "erk"])
def test_the_network_keeps_exactly_the_density(tiny, method, run_chain, allocation, sparsity):
    task = tiny.task(tiny.Conv(), steps=2)
    chain = run_chain(tiny.trial(method("random", allocation=allocation), sparsity=sparsity, task=task))
    kept = round((1 - sparsity) * 276)
    assert sum(counts(chain).values()) == kept
    assert sum(chain.end.kept().values()) == kept


def test_one_global_draw_leaves_every_layer_about_the_same_share(tiny, method, run_chain):
    task = tiny.task(tiny.MLP(hidden=(300, 200, 100)), steps=1)
    chain = run_chain(tiny.trial(method("random"), sparsity=0.8, task=task))
    shares = [float(mask.float().mean()) for mask in masks(chain).values()]
    assert all(0.15 < share < 0.25 for share in shares[:3])
    assert len(set(shares)) > 1


def test_another_seed_is_another_mask_and_the_same_seed_the_same(tiny, method, run_chain):
    task = tiny.task(steps=1)
    found = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        found.append(masks(run_chain(tiny.trial(method("random"), task=task, seed=seed))))
    one, again, other = found
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_the_mask_is_the_same_in_another_recipe_and_after_other_work(tiny, method, run_chain):
    alone = masks(run_chain(tiny.trial(method("random"), task=tiny.task(steps=1))))
    run_chain(tiny.trial(method("snip"), task=tiny.task(steps=3)))
    after = masks(run_chain(tiny.trial(method("random"), task=tiny.task(steps=2, batch_size=7, label="other"))))
    assert all(torch.equal(alone[name], after[name]) for name in alone)


def test_the_mask_knows_nothing_of_the_weights(tiny, method, run_chain):
    task = tiny.task(tiny.MLP(hidden=(300, 100)), steps=1)
    chain = run_chain(tiny.trial(method("random"), task=task))
    weight, mask = chain.after(Initialize).parameters["1.weight"].abs(), masks(chain)["1.weight"]
    assert float(weight[mask].mean()) == pytest.approx(float(weight[~mask].mean()), rel=0.05)


def test_it_is_only_a_method(method):
    assert isinstance(method("random"), prunebench.Method)
    assert method("random").scoring_flops(None, 1.0) == 0.0
