"""How long a plan takes: jobs that wait for each other, devices, and what was measured."""

import pytest

from prunebench import session
from prunebench.execution import estimates
from prunebench.execution.estimates import duration, estimate
from prunebench.store.entries import Store
from tests import runs


@pytest.fixture
def plan(tmp_path):
    """Of a dense network and magnitude pruning of one seed: 2 epochs of 10 steps, then one of fine-tuning."""
    text = runs.SUITE.replace("seeds: 2", "seeds: 1").replace("[0.5, 0.7]", "[0.5]")
    loaded = session.load_suite(runs.write_suite(tmp_path, text), only=["method=magnitude"])
    return session.plan_suite(loaded, {})


@pytest.fixture
def simple(monkeypatch):
    """A second for each step, ten for each job, and nothing for FLOPs."""
    monkeypatch.setattr(estimates, "SECONDS_A_STEP", {"cpu": 1.0, "cuda": 2.0})
    monkeypatch.setattr(estimates, "SECONDS_A_LAYER", {"cpu": 0.0, "cuda": 3.0})
    monkeypatch.setattr(estimates, "FLOPS_A_SECOND", {"cpu": 1e30, "cuda": 1e30})
    monkeypatch.setattr(estimates, "SECONDS_A_JOB", 10.0)


def test_a_chain_of_jobs_takes_as_long_as_its_jobs_together(plan, simple, tmp_path):
    found = duration(plan, Store(tmp_path / "none"), "cpu")
    # The dense network is a job of 20 steps; pruning and fine-tuning it is one of 10.
    assert found.seconds == pytest.approx(10 + 20 + 10 + 10)
    assert found.longest == pytest.approx(50)
    assert found.basis == "a guess: nothing of this suite was measured yet"


def test_on_a_gpu_each_layer_of_a_step_takes_its_time(plan, simple, tmp_path):
    found = duration(plan, Store(tmp_path / "none"), "cuda")
    assert found.seconds == pytest.approx(2 * 10 + 30 * (2 + 2 * 3))  # two layers


def test_an_estimate_has_the_time_of_its_device(plan, simple, tmp_path):
    store = Store(tmp_path / "none")
    assert estimate(plan, store).seconds == duration(plan, store, "cpu").seconds
    assert estimate(plan, store, "cuda").seconds == duration(plan, store, "cuda").seconds


def test_jobs_that_do_not_wait_for_each_other_overlap(simple, tmp_path):
    text = runs.SUITE.replace("[0.5, 0.7]", "[0.5]")
    loaded = session.load_suite(runs.write_suite(tmp_path, text), only=["method=magnitude"])
    found = duration(session.plan_suite(loaded, {}), Store(tmp_path / "none"), "cpu")
    assert (found.seconds, found.longest) == (pytest.approx(100), pytest.approx(50))
