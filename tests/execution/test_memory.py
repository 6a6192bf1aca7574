"""A worker keeps the memory that it frees."""

import ctypes
import os
import subprocess
import sys

import pytest

from prunebench.execution.processes import memory

STEPS = """
import resource, sys
import torch
from prunebench.execution.processes.memory import keep_freed
print(int(keep_freed()) if sys.argv[1] == "kept" else 0)
def step():
    blocks = [torch.zeros(2_000_000 * size) for size in range(1, 6)]  # up to 40 MB
    del blocks[::2], blocks
for _ in range(10):  # until the largest free piece fits the largest step
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


OWN = (*memory.VARIABLES, "GLIBC_TUNABLES")


def faults(how):
    """Whether memory is kept, and the pages that ten steps have the system fill."""
    environment = {name: value for name, value in os.environ.items() if name not in OWN}
    command = [sys.executable, "-c", STEPS, how]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return tuple(map(int, done.stdout.split()))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_what_a_step_frees_the_next_one_has_without_asking_the_system():
    given_back, kept = faults("given back"), faults("kept")
    assert (given_back[0], kept[0]) == (0, 1)
    assert kept[1] < given_back[1] / 10


@pytest.fixture
def settings(monkeypatch):
    """What mallopt is called with; it takes no more than 32 MiB, as an old glibc's."""
    calls = []

    class Library:
        def __init__(self, name):
            pass

        @staticmethod
        def mallopt(name, value):
            calls.append((name, value))
            return int(value <= 32 << 20)

    for name in OWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", Library)
    return calls


def test_an_old_glibc_gets_the_largest_size_that_it_takes(settings):
    assert memory.keep_freed()
    assert settings == [(-3, 1 << 30), (-3, 32 << 20), (-1, -1)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
    ],
)
def test_settings_of_the_environment_are_left_alone(settings, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not memory.keep_freed()
    assert settings == []


def test_other_settings_do_not_matter(settings, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert memory.keep_freed()


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed()
