"""What passes between a walk and an executor: plain values."""

import json

import pytest

import prunebench
from prunebench.api.executors import chosen

ORDER = prunebench.JobSpec(
    trial={"task": {"label": "t"}, "seed": 3},
    protocol="p",
    path=("a", "b"),
    parent=None,
    needs=("x", "y"),
    plugins=("/mine.py",),
    blocked=(),
    store="/store",
    data="/data",
    fingerprint="f",
    environment=(("torch", "2"), ("python", "3")),
    inputs={"seed": 3},
)


def test_an_order_is_the_same_after_a_journey_as_text():
    text = ORDER.to_json()
    json.loads(text)
    assert prunebench.JobSpec.from_json(text) == ORDER


def test_an_order_is_called_like_its_last_node_and_has_a_log():
    assert ORDER.key == "b"
    assert str(ORDER.log) == "/store/logs/b.log"


@pytest.mark.parametrize(
    ("end", "killer"),
    [
        (prunebench.JobResult("k", 0), ""),
        (prunebench.JobResult("k", 1, "a cause"), ""),
        (prunebench.JobResult("k", -9), "SIGKILL"),
        (prunebench.JobResult("k", -9, "the loss of its node"), "the loss of its node"),
        (prunebench.JobResult("k", -99), "signal 99"),
    ],
)
def test_an_end_knows_who_killed_it(end, killer):
    assert end.killer == killer


def test_what_is_asked_for_goes_before_what_the_suite_says():
    suite = prunebench.Resources(num_cpus=2, num_gpus=0.5)
    assert chosen(suite, {"num_cpus": None, "num_gpus": 0.0}) == prunebench.Resources(num_cpus=2, num_gpus=0.0)
