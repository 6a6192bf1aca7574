"""Settings for repeatable work on a GPU; the flags can be set and read without one."""

import os

import pytest
import torch
from torch import nn
from torch.utils import deterministic

from prunebench.execution import performing
from prunebench.execution.performing import measured, perform
from prunebench.plan.planning import resolve
from prunebench.training.arithmetic import repeatable
from prunebench.training.trial_context import TrialContext

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # put back after the test, whether or not it was there
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    return monkeypatch


def flags():
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "only warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fills": deterministic.fill_uninitialized_memory,
        "cudnn": torch.backends.cudnn.deterministic,
        "benchmarks": torch.backends.cudnn.benchmark,
        "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
    }


EXPECTED = {
    "deterministic": True,
    "only warns": True,
    "fills": False,
    "cudnn": True,
    "benchmarks": False,
    "tf32": False,
}


def test_a_gpu_is_asked_for_the_same_bits_and_for_whole_float32():
    before = flags()
    with repeatable(GPU):
        assert flags() == EXPECTED
    assert flags() == before != EXPECTED


def test_work_that_fails_leaves_nothing_behind():
    before = flags()
    with pytest.raises(RuntimeError, match="the work's own"), repeatable(GPU):
        raise RuntimeError("the work's own")
    assert flags() == before


def test_what_was_asked_for_already_stays_so():
    torch.use_deterministic_algorithms(True)
    try:
        with repeatable(GPU):
            assert flags() == EXPECTED
        assert torch.get_deterministic_debug_mode() == 2
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_cpu_is_asked_for_nothing():
    before = flags()
    with repeatable(torch.device("cpu")):
        assert flags() == before


def test_workspaces_are_set_unless_somebody_has_set_them(environment):
    with repeatable(GPU):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    environment.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with repeatable(GPU):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_stages_and_their_figures_are_computed_so(tiny, method, monkeypatch):
    seen = []
    monkeypatch.setattr(performing, "starting_model", lambda trial, weights: seen.append(flags()) or nn.Linear(2, 2))
    monkeypatch.setattr(performing, "check_lasting", lambda state, context: None)  # it builds the network on the GPU
    monkeypatch.setattr(performing, "final_figures", lambda state, context: seen.append(flags()) or {})
    trial = tiny.trial(method("dense"))
    first = next(resolve(trial, "root"))
    context = TrialContext(trial, GPU, lambda: None)
    measured(first.stage, perform(first, None, None, context), context)
    assert seen == [EXPECTED, EXPECTED]
