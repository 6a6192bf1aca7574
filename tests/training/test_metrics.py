"""Metrics of a training: evaluations count examples, and no FLOPs are lost in the sums."""

import dataclasses

import pytest
import torch
from torch.nn.functional import cross_entropy

from prunebench import Train
from prunebench.training import metrics
from prunebench.training.metrics import MetricsLog, evaluate
from prunebench.training.state import State


@pytest.mark.parametrize("batch", [1, 8, 24, 25, 1000])
def test_accuracy_and_loss_count_examples_whatever_the_batches(tiny, run_stages, monkeypatch, batch):
    monkeypatch.setattr(metrics, "EVALUATION_BATCH", batch)
    chain = run_stages(tiny.task(steps=3, evaluate_every="end", validation=13), Train())
    (figures,) = chain.end.history
    for split in ("validation", "test"):
        examples = getattr(chain.context.data, split)
        logits = chain.module(chain.context.data.normalized(examples.inputs))
        right = int((logits.argmax(1) == examples.targets).sum())
        assert 0 < right < len(examples)
        assert figures[f"{split}_accuracy"] == right / len(examples)
        assert figures[f"{split}_loss"] == pytest.approx(cross_entropy(logits, examples.targets).item(), rel=1e-5)


FAR_TOO_MANY = 8_178_240_001  # FLOPs that float32 cannot tell from their neighbours


@pytest.mark.parametrize(
    "given",
    [
        float(FAR_TOO_MANY),
        torch.tensor(FAR_TOO_MANY, dtype=torch.float64),
        torch.tensor(FAR_TOO_MANY, dtype=torch.int64),
    ],
    ids=["number", "float64", "int64"],
)
def test_no_flops_are_lost_however_many_there_are(given):
    log = MetricsLog(State(0, {}, {}, {}), torch.device("cpu"))
    for _ in range(5000):
        log.add(torch.tensor(1.0), 128, given)
    assert log.fields(5000)["unbooked"].training_flops == 5000 * 128 * FAR_TOO_MANY


def test_small_floats_of_an_updater_lose_nothing_on_the_way():
    log = MetricsLog(State(0, {}, {}, {}), torch.device("cpu"))
    for _ in range(5000):
        log.add(torch.tensor(1.0), 129, torch.tensor(1e9, dtype=torch.float32))
    assert log.fields(5000)["unbooked"].training_flops == 5000 * 129 * 1e9


def test_flops_that_know_their_gradients_do_not_keep_the_steps_behind_them():
    soft = torch.tensor(0.5, requires_grad=True)
    log = MetricsLog(State(0, {}, {}, {}), torch.device("cpu"))
    log.add(torch.tensor(1.0), 4, soft * 10.0)
    assert not log._flops.requires_grad
    assert log.fields(1)["unbooked"].training_flops == 20.0


def test_many_classes_are_measured_by_their_five_best_too(tiny, data_of):
    class Many(tiny.Blobs):
        def facts(self):
            return dataclasses.replace(super().facts(), classes=100)

    class Ranked(torch.nn.Module):
        """Takes class 6 for the best, then 5, 4, ...; so class 2 is among the five best, and class 1 is not."""

        def forward(self, inputs):
            return -(torch.arange(100.0) - 6.2).abs().expand(len(inputs), 100)

    few, many = data_of(tiny.task()), data_of(tiny.task(dataset=Many(), validation=20))
    for data in (few, many):
        for split in (data.validation, data.test):
            split.targets.fill_(1)
            split.targets[: len(split) // 2] = 6
            split.targets[: len(split) // 5] = 5
    assert "test_accuracy_top5" not in evaluate(Ranked(), few, 0)
    figures = evaluate(Ranked(), many, 0)
    assert (figures["validation_accuracy"], figures["validation_accuracy_top5"]) == (6 / 20, 10 / 20)
    assert (figures["test_accuracy"], figures["test_accuracy_top5"]) == (7 / 25, 12 / 25)
