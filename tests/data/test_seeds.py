"""Randomness from names."""

import random

import numpy as np
import pytest
import torch

from prunebench.data import seeds


def test_a_seed_is_the_same_in_every_process_and_release():
    assert seeds.derive(3, "order", 7) == 8_403_337_869_328_738_062


def test_every_part_of_the_name_counts():
    names = [(0, "order", 1), (1, "order", 1), (0, "order", 2), (0, "augmentation", 1), (0, "order"), (0, "order", 11)]
    drawn = {seeds.derive(*name) for name in names}
    assert len(drawn) == len(names)
    assert all(0 <= seed < 2**63 for seed in drawn)


def test_a_generator_draws_the_same_each_time_and_not_from_the_global_one():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = torch.rand(5, generator=seeds.generator(0, "mask"))
    assert torch.equal(first, torch.rand(5, generator=seeds.generator(0, "mask")))
    assert torch.equal(before, torch.get_rng_state())


def test_the_global_generator_is_put_back_after_a_seeded_block():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with seeds.seeded(0, "initialize"):
        first = torch.rand(5)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    with seeds.seeded(0, "initialize"):
        assert torch.equal(first, torch.rand(5))


def drawn():
    return random.random(), np.random.rand(), float(torch.rand(()))


def test_the_generators_of_python_and_numpy_are_seeded_and_put_back_too():
    with seeds.seeded(0, "initialize"):
        first = drawn()
    before = random.getstate(), np.random.get_state()[1].tolist()
    with seeds.seeded(0, "initialize"):
        assert drawn() == first
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    with seeds.seeded(1, "initialize"):
        assert not set(drawn()) & set(first)
    with seeds.restored():
        seeds.reseed(torch.device("cpu"), 0, "initialize")
        assert drawn() == first


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs on paper; the list has each whose generator is read or put back."""
    calls = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: calls.append(("get", device)))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: calls.append(("set", device)))
    return calls


def test_a_seeded_block_does_not_start_cuda(gpus):
    with seeds.seeded(0, "initialize"):
        pass
    assert gpus == []


def test_the_generator_of_the_gpu_in_use_is_put_back_too(gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: gpus.append("seed"))
    with seeds.seeded(0, "initialize"):
        pass
    assert gpus == [("get", 1), "seed", ("set", 1)]
