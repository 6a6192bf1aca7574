"""How long a plan takes: jobs that wait for each other, devices, and what was measured."""

import pytest

from prunebench import session
from prunebench.execution import estimates
from prunebench.execution.estimates import duration, estimate
from prunebench.plan.jobs import missing_jobs
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


@pytest.fixture
def multiplying(monkeypatch):
    """A FLOP a second, and nothing for steps and jobs."""
    for name in ("SECONDS_A_STEP", "SECONDS_A_LAYER"):
        monkeypatch.setattr(estimates, name, {"cpu": 0.0})
    monkeypatch.setattr(estimates, "FLOPS_A_SECOND", {"cpu": 1.0})
    monkeypatch.setattr(estimates, "SECONDS_A_JOB", 0.0)


FORWARD = 2 * (64 * 12 + 12 * 10)
"""FLOPs of an example."""
EVALUATION = 797 * FORWARD


def seconds_of(methods, tmp_path, recipe="evaluate_every: 1ep"):
    """Seconds of the pruning that follows the training of the dense network."""
    text = "name: one\ntasks:\n  - label: tiny\n    dataset: digits\n    model: {name: mlp, hidden: [12]}\n"
    text += f"    recipe: {{epochs: 2, batch_size: 100, optimizer: {{name: sgd, lr: 0.1}}, {recipe}}}\n"
    text += f"methods: [{methods}]\nsparsities: [0.5]\nseeds: 1\n"
    plan = session.plan_suite(session.load_suite(runs.write_suite(tmp_path, text)), {})
    dense = next(one.key for one in plan.trials if one.trial.entry.method.control)
    whole, _ = estimates.seconds_of(plan, Store(tmp_path / "none"), "cpu")
    jobs = missing_jobs(plan, lambda _: False, [one.key for one in plan.trials])
    return whole(jobs.pop(dense)), sum(map(whole, jobs.values()))


def test_a_training_is_multiplied_and_evaluated_as_often_as_its_recipe_says(multiplying, tmp_path):
    trained = 2 * 1000 * 3 * FORWARD
    for every, evaluations in (("1ep", 2), ("5it", 4), ("end", 1)):
        seconds, _ = seconds_of("{name: magnitude, finetune: 0}", tmp_path, f"evaluate_every: {every}")
        assert seconds == pytest.approx(trained + evaluations * EVALUATION)


def test_a_pruning_without_training_takes_its_passes_and_an_evaluation(multiplying, tmp_path):
    assert seconds_of("{name: magnitude, finetune: 0}", tmp_path)[1] == pytest.approx(EVALUATION)
    layerwise = estimates.PASSES_LAYERWISE * (50 + 128) * FORWARD
    assert seconds_of("{name: wanda, examples: 50}", tmp_path)[1] == pytest.approx(layerwise + EVALUATION)
    few, many = (seconds_of(f"{{name: synflow, iterations: {rounds}}}", tmp_path)[1] for rounds in (10, 110))
    assert many - few == pytest.approx(100 * 3 * FORWARD)
    gradients = 40 * 2 * 3 * FORWARD
    assert seconds_of("{name: obd, gradients: 40, batch_size: 2}", tmp_path)[1] == pytest.approx(gradients + EVALUATION)


def test_an_estimate_has_the_time_of_its_device(plan, simple, tmp_path):
    store = Store(tmp_path / "none")
    assert estimate(plan, store).seconds == duration(plan, store, "cpu").seconds
    assert estimate(plan, store, "cuda").seconds == duration(plan, store, "cuda").seconds


def test_jobs_that_do_not_wait_for_each_other_overlap(simple, tmp_path):
    text = runs.SUITE.replace("[0.5, 0.7]", "[0.5]")
    loaded = session.load_suite(runs.write_suite(tmp_path, text), only=["method=magnitude"])
    found = duration(session.plan_suite(loaded, {}), Store(tmp_path / "none"), "cpu")
    assert (found.seconds, found.longest) == (pytest.approx(100), pytest.approx(50))
