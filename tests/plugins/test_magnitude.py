"""Magnitude pruning of the trained network."""

import pytest
import torch
from torch import nn

from prunebench import Initialize, Prune, Train
from prunebench.api.tasks import Optimizer, Schedule


def test_the_score_of_a_weight_is_its_size(method, scoring_of):
    module = nn.Linear(2, 2, bias=False)
    module.weight.data = torch.tensor([[0.5, -2.0], [-0.1, 1.0]])
    scores = method("magnitude").scores(scoring_of(module, (2,)))
    assert torch.equal(scores["weight"], torch.tensor([[0.5, 2.0], [0.1, 1.0]]))


def test_it_prunes_the_smallest_of_the_trained_weights_over_all_layers(tiny, method, run_chain):
    chain = run_chain(tiny.trial(method("magnitude"), sparsity=0.75))
    trained, masks = chain.before(Prune).parameters, chain.after(Prune).masks
    sizes = torch.cat([trained[name].abs().flatten() for name in masks])
    threshold = sizes.sort(descending=True).values[117 - 1]
    assert all(torch.equal(masks[name], trained[name].abs() >= threshold) for name in masks)
    assert sum(int(mask.sum()) for mask in masks.values()) == 117


def test_its_chain_trains_prunes_and_fine_tunes(tiny, method):
    magnitude = method("magnitude", finetune="3ep", allocation="uniform")
    assert list(magnitude.stages(tiny.trial(magnitude, sparsity=0.9))) == [
        Initialize(),
        Train(),
        Prune(by=magnitude, density=0.1, allocation="uniform"),
        Train("+3ep"),
    ]


def test_rounds_prune_equal_shares_down_to_exactly_the_target(tiny, method, run_chain):
    chain = run_chain(tiny.trial(method("magnitude", rounds=3, finetune="2it"), sparsity=0.9))
    kept = [sum(int(mask.sum()) for mask in chain.after(Prune, which).masks.values()) for which in range(3)]
    assert kept == [round(468 * 0.1 ** (done / 3)) for done in (1, 2, 3)]
    assert kept[-1] == 47
    assert (chain.end.step, chain.end.cost.steps) == (26, 26)


@pytest.mark.parametrize("nothing", [0, "0", "0it", "0%"])
def test_without_fine_tuning_the_pruned_network_is_the_end(tiny, method, run_chain, nothing):
    chain = run_chain(tiny.trial(method("magnitude", finetune=nothing)))
    assert isinstance(chain.nodes[-1].stage, Prune)
    assert sum(chain.end.kept().values()) == 234


def test_fine_tuning_goes_on_from_the_end_at_the_last_rate_with_fresh_batches(tiny, method, run_chain):
    # The rate falls to nothing in the last epoch: weights that move after it would have used an earlier rate.
    schedule = Schedule(name="multistep", milestones=("19it",), gamma=1e-30)
    task = tiny.task(optimizer=Optimizer(name="sgd", lr=0.05), schedule=schedule)
    chain = run_chain(tiny.trial(method("magnitude", finetune="50%"), task=task))
    assert (chain.after(Prune).step, chain.end.step) == (20, 30)
    assert all(torch.equal(chain.end.parameters[name], value) for name, value in chain.after(Prune).parameters.items())
    moving = run_chain(tiny.trial(method("magnitude", finetune="50%"), task=tiny.task()))
    assert not torch.equal(moving.end.parameters["1.weight"], moving.after(Prune).parameters["1.weight"])


def test_fine_tuning_keeps_the_optimizers_memory_of_what_is_left(tiny, method, run_chain):
    chain = run_chain(tiny.trial(method("magnitude")))
    state = chain.after(Prune)
    momentum = state.optimizer["momentum_buffer/1.weight"]
    assert momentum[state.masks["1.weight"]].any()
    assert not momentum[~state.masks["1.weight"]].any()


def test_keeping_the_smallest_instead_ruins_the_digits(tiny, method, run_chain, digits_task):
    right, wrong = (
        run_chain(tiny.trial(method("magnitude"), sparsity=0.9, task=digits_task(), invert=invert)).accuracy
        for invert in (False, True)
    )
    assert right > 0.8
    assert wrong < 0.5
