"""A task may be trained for anything that adds up over examples: here an error, of which less is better."""

from dataclasses import replace

import pytest
import torch

import prunebench
from prunebench import Deploy, Prune, Train
from prunebench.api.errors import PluginError
from prunebench.execution.performing import final_figures, measured
from prunebench.training.metrics import evaluate


class Distance(prunebench.Objective):
    """The distance between the number of the class and the first output, which is to be the number."""

    name = "distance"
    targets = ("classes",)

    def outputs(self, facts):
        return (3,)

    def metrics(self, facts):
        return [prunebench.Metric(name="distance", label="distance", direction="lower")]

    def loss(self, outputs, targets):
        return (outputs[:, 0] - targets).square().mean()

    def sums(self, outputs, targets):
        distance = outputs[:, 0] - targets
        return {"loss": distance.square().sum(), "distance": distance.abs().sum()}


class Centred(Distance):
    """Counts from the mean of the training targets."""

    def fitted(self, targets):
        return _From(targets.double().mean().item())


class _From(Centred):
    mean: float = 0.0

    def __init__(self, mean):
        object.__setattr__(self, "mean", mean)

    def loss(self, outputs, targets):
        return super().loss(outputs, targets - self.mean)

    def sums(self, outputs, targets):
        return super().sums(outputs + self.mean, targets)


class Wordless(Distance):
    def values(self, sums, examples):
        return {"loss": sums["loss"] / examples}


@pytest.fixture(scope="module")
def trained(run_stages, tiny):
    task = replace(tiny.task(steps=40, validation=12), objective=Distance())
    return run_stages(task, Train())


def test_a_network_is_trained_for_the_objective_of_its_task(trained):
    first, *_, last = trained.end.history
    assert last["test_distance"] < first["test_distance"]
    assert last["test_distance"] < 0.5
    assert "test_accuracy" not in last


def test_figures_are_sums_over_examples_whatever_the_batches(trained, monkeypatch):
    data, targets = trained.context.data, trained.context.data.test.targets
    with torch.no_grad():
        outputs = trained.module(data.normalized(data.test.inputs))
    expected = float((outputs[:, 0] - targets).abs().double().mean())
    for size in (1, 7, 1000):
        monkeypatch.setattr("prunebench.training.metrics.EVALUATION_BATCH", size)
        assert evaluate(trained.module, data, 0)["test_distance"] == pytest.approx(expected, rel=1e-6)


def test_the_figures_of_a_deployed_network_are_the_objectives(trained):
    figures, _ = measured(Deploy(batch=2), trained.end, trained.context)
    assert figures["test_distance"] == pytest.approx(final_figures(trained.end, trained.context)["test_distance"])


def test_an_objective_may_follow_the_training_targets_without_validation(run_stages, tiny):
    task = replace(tiny.task(steps=1, validation=12), objective=Centred())
    data = run_stages(task, Train()).context.data
    assert data.objective.mean == pytest.approx(float(data.train.targets.double().mean()))
    assert len(data.train) == 60 - 12


def test_the_gradient_of_a_scoring_method_is_that_of_the_objective(run_stages, tiny, method):
    task = replace(tiny.task(), objective=Distance())
    chain = run_stages(task, Prune(by=method("snip", batch_size=60), density=0.2))
    kept = chain.end.masks["4.weight"]
    assert kept[0].any()
    assert not kept[1:].any()  # only the first output is in the loss


def test_label_smoothing_is_a_matter_of_the_objective(tiny, run_stages):
    with pytest.raises(NotImplementedError):
        run_stages(replace(tiny.task(label_smoothing=0.1, steps=1), objective=Distance()), Train())


def test_an_objective_that_leaves_out_a_value_is_named(run_stages, tiny):
    with pytest.raises(PluginError, match="objective 'distance': its values lack 'distance'"):
        run_stages(replace(tiny.task(steps=1), objective=Wordless()), Train())


def test_an_objective_is_part_of_the_key_and_the_default_is_not(tiny):
    from prunebench.plan.planning import protocol

    plain = tiny.task()
    assert protocol(replace(plain, objective=prunebench.Classification()), "data") == protocol(plain, "data")
    keys = {
        protocol(replace(plain, objective=one), "data")
        for one in (prunebench.Classification(), prunebench.Classification(top5_from=10), Distance())
    }
    assert len(keys) == 3
