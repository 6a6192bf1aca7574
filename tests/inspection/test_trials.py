"""Finding a trial that has ended, and the states of its chain."""

import shutil
from dataclasses import replace

import pytest
import torch

from prunebench import Initialize, Prune, Reinitialize, Rewind, Train
from prunebench.api.errors import PrunebenchError, StoreError
from prunebench.inspection.trials import narrowed, open_trial
from prunebench.session import load_suite
from prunebench.store.entries import Store
from tests import runs


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_suite(runs.write_suite(tmp_path_factory.mktemp("suite")))


def test_a_trial_that_was_not_run_is_an_error_that_says_what_runs_it(loaded, tmp_path):
    with pytest.raises(StoreError) as caught:
        open_trial(loaded, "tiny/imp/0.5/1", tmp_path, command="prunebench run tiny.yaml")
    assert "`prunebench run tiny.yaml --only task=tiny,method=imp,sparsity=0.5,seed=1` runs it" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny/imp/0.5/7", r"no trial 'tiny/imp/0\.5/7'; did you mean 'tiny/imp/0\.5/[01]'"),
        ("tiny/imq/0.5/0", r"did you mean 'tiny/imp/0\.5/[01]'"),
        ("imp", "'imp' is not a trial: write task/method/sparsity/seed, such as tiny/dense/0/0"),
        ("tiny/imp/x/y", "has no trial"),
    ],
)
def test_a_name_that_the_suite_does_not_have_is_an_error(loaded, tmp_path, name, message):
    with pytest.raises(PrunebenchError, match=message):
        open_trial(loaded, name, tmp_path)


def test_a_number_may_be_written_otherwise(loaded, tmp_path):
    with pytest.raises(StoreError, match=r"sparsity=0\.5,seed=1"):
        open_trial(loaded, " tiny/imp/0.50/1", tmp_path)


def test_only_a_seed_narrows_a_control(loaded):
    assert narrowed(loaded.trials[0]) == "task=tiny,seed=0"


def test_states_between_are_made_again_and_trainings_are_not(tiny, method, finished, run_chain):
    trial = tiny.trial(method("imp", iterative=False), task=tiny.task(tiny.Conv(), steps=6))
    chain = run_chain(trial)
    one = finished(trial, chain)
    for node in chain.nodes:
        made, kept = one.state(node.key), chain.states[node.key]
        for part in ("parameters", "buffers", "masks", "optimizer"):
            assert all(torch.equal(value, getattr(kept, part)[name]) for name, value in getattr(made, part).items())
    fresh = replace(one, _states={})
    dense = next(node for node in chain.nodes if isinstance(node.stage, Train))
    shutil.rmtree(Store(one.store.root).folder(dense.key))
    with pytest.raises(StoreError, match=r"no longer has the state of tiny/mine/0\.5/0 at step 6"):
        fresh.state(dense.key)


def test_the_origin_is_what_the_weights_were_trained_from(tiny, method, finished, run_chain):
    task = tiny.task(steps=6)
    rewound = tiny.trial(method("imp", iterative=False, rewind_to="2it"), task=task)
    chain = run_chain(rewound)
    origin = finished(rewound, chain).origin(len(chain.nodes))
    assert origin.step == 2
    assert torch.equal(origin.parameters["1.weight"], chain.after(Train, 0).parameters["1.weight"])
    by_rate = tiny.trial(method("lr-rewinding", iterative=False), task=task)
    chain = run_chain(by_rate)
    origin = finished(by_rate, chain).origin(len(chain.nodes))
    assert torch.equal(origin.parameters["1.weight"], chain.after(Initialize).parameters["1.weight"])


def test_the_origin_of_redrawn_weights_is_the_new_draw_before_it_is_masked(tiny, finished, run_chain):
    chain = (Initialize(), Prune(by=tiny.ByChance(), density=0.5), Reinitialize(), Train())
    trial = tiny.trial(tiny.Chained(chain=chain), task=tiny.task(steps=2))
    ran = run_chain(trial)
    origin, redrawn = finished(trial, ran).origin(4), ran.after(Reinitialize)
    assert bool(origin.parameters["1.weight"].all())
    assert torch.equal(origin.parameters["1.weight"] * redrawn.masks["1.weight"], redrawn.parameters["1.weight"])
    assert not any(isinstance(node.stage, Rewind) for node in ran.nodes)
