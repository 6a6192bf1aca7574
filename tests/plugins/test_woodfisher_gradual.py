"""Gradual pruning with WoodFisher: its densities, its chains, and what each step sees of the one before."""

from itertools import pairwise

import pytest
import torch

from prunebench import Initialize, Prune, Rewind, Train


def test_the_density_falls_along_a_cubic_from_that_of_the_first_step(method):
    assert method("woodfisher-gradual", prunings=3).densities(0.1) == [0.3, 0.125, 0.1]
    assert method("woodfisher-gradual", prunings=1).densities(0.1) == [0.1]


@pytest.mark.parametrize("target", [0.3, 0.5])
def test_a_target_that_the_first_step_reaches_is_one_step(method, target):
    assert method("woodfisher-gradual", prunings=3).densities(target) == [target]


def test_its_chain_fine_tunes_after_each_step(method, tiny):
    rule = method("woodfisher-gradual", prunings=3, between="1ep", finetune="2ep")
    assert list(rule.stages(tiny.trial(rule, sparsity=0.9))) == [
        Initialize(),
        Train(),
        Prune(by=rule, density=0.3),
        Train(until="+1ep"),
        Prune(by=rule, density=0.125),
        Train(until="+1ep"),
        Prune(by=rule, density=0.1),
        Train(until="+2ep"),
    ]


def test_its_learning_rate_is_rewound_if_that_is_wanted(method, tiny):
    rule = method("woodfisher-gradual", prunings=2, rewind_to="1ep")
    back = [Rewind(to="1ep", weights=False), Train()]
    assert list(rule.stages(tiny.trial(rule, sparsity=0.9))) == [
        Initialize(),
        Train(until="1ep"),
        Train(),
        Prune(by=rule, density=0.3),
        *back,
        Prune(by=rule, density=0.1),
        *back,
        Train(until="+0"),
    ]


@pytest.mark.parametrize("parameters", [{"between": "4it"}, {"rewind_to": "5it"}])
def test_what_a_step_removed_stays_removed_and_the_target_is_exact(method, tiny, run_chain, parameters):
    rule = method("woodfisher-gradual", prunings=3, gradients=10, **parameters)
    chain = run_chain(tiny.trial(rule, sparsity=0.9))
    masks = [chain.after(Prune, which).masks for which in range(3)]
    size = sum(mask.numel() for mask in masks[0].values())
    counts = [sum(int(mask.sum()) for mask in step.values()) for step in masks]
    assert counts == [round(0.3 * size), round(0.125 * size), round(0.1 * size)]
    for before, after in pairwise(masks):
        assert not any((after[name] & ~before[name]).any() for name in after)
    assert all(not chain.end.parameters[name][~mask].any() for name, mask in chain.end.masks.items())


def test_the_gradients_of_removed_weights_are_in_no_fisher_information(method, tiny, run_chain, monkeypatch):
    """Beside the damping, rows and columns of removed weights are 0, so that nothing is corrected through them."""
    seen = []
    rule = method("woodfisher-gradual", prunings=2, gradients=10, block=1, between="2it", damping=0.5)
    scores = type(rule).scores

    def noted(self, scoring):
        found = scores(self, scoring)
        seen.append({name: (scoring.memory[name].flatten(), scoring.masks[name].flatten()) for name in found})
        return found

    monkeypatch.setattr(type(rule), "scores", noted)
    run_chain(tiny.trial(rule, sparsity=0.9))
    first, second = seen
    assert all((fisher > 0.5).any() for fisher, _ in first.values())
    for fisher, mask in second.values():
        assert not mask.all()
        assert torch.equal(fisher[~mask], torch.full_like(fisher[~mask], 0.5))
        assert (fisher[mask] > 0.5).any()
