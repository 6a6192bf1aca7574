"""How fast a training went."""

import importlib
import time
from types import SimpleNamespace

import pytest
import torch

from prunebench.execution.measuring.throughput import reported, throughput, watched
from prunebench.training.cost import Cost
from prunebench.training.state import State


def state(examples, seconds):
    return State(0, {}, {}, {}, cost=Cost(examples=examples, wall_seconds=seconds))


def test_it_is_of_the_training_alone_and_not_of_what_came_before():
    found = throughput(state(100, 13.0), state(200, 18.0), [])
    assert found == {"examples": 100, "seconds": 5.0}
    assert reported({"pace": found}) == {"examples_per_second": 20.0}


def test_a_stage_that_trains_nothing_has_no_pace():
    assert throughput(None, state(0, 0.1), [50.0]) == throughput(state(10, 1.0), state(10, 2.0), []) == {}
    assert reported({"pace": {}}) == reported({}) == {}


def test_the_utilization_of_a_gpu_is_the_mean_of_what_was_seen():
    found = throughput(state(0, 0.0), state(10, 2.0), [40, 60])
    assert reported({"pace": found}) == {"examples_per_second": 5.0, "gpu_utilization": 0.5}


def test_a_gpu_is_looked_at_as_long_as_the_work_goes_on(monkeypatch):
    monkeypatch.setattr("prunebench.execution.measuring.throughput.INTERVAL", 0.001)
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 70)
    with watched(torch.device("cuda")) as samples:
        while len(samples) < 3:
            time.sleep(0.001)
    seen = len(samples)
    time.sleep(0.02)
    assert samples == [70.0] * seen
    with watched(torch.device("cpu")) as none:
        time.sleep(0.01)
    assert none == []


def test_what_is_installed_with_us_reads_the_driver(monkeypatch):
    pynvml = importlib.import_module("pynvml")  # torch brings no reader of the driver, and fails without one
    monkeypatch.setattr("prunebench.execution.measuring.throughput.INTERVAL", 0.001)
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", lambda handle: SimpleNamespace(gpu=30 + handle))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with watched(torch.device("cuda", 1)) as samples:
        for _ in range(10_000):
            if samples:
                break
            time.sleep(0.001)
    assert set(samples) == {31.0}


def test_a_driver_that_does_not_tell_costs_nothing(monkeypatch):
    def missing(device):
        raise ModuleNotFoundError("pynvml does not seem to be installed")

    monkeypatch.setattr("prunebench.execution.measuring.throughput.INTERVAL", 0.001)
    monkeypatch.setattr(torch.cuda, "utilization", missing)
    with watched(torch.device("cuda")) as samples, pytest.raises(RuntimeError, match="the work's own"):
        raise RuntimeError("the work's own")
    assert samples == []
