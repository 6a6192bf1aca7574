"""How fast trainings go: examples a second, and what a GPU says of its own utilization meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch

from prunebench.records.results import THROUGHPUT
from prunebench.training.cost import Cost
from prunebench.training.state import State

INTERVAL = 1.0
"""Seconds between two measurements of a GPU."""


def throughput(before: State | None, after: State, samples: Iterable[float]) -> dict[str, float]:
    """Examples and seconds of a training, evaluations included; nothing for a stage that trains nothing.

    Args:
        before: the state that it began from, which may be a checkpoint of this training.
        samples: a GPU's utilization in percent.
    """
    begun = before.cost if before else Cost()
    examples, seconds = after.cost.examples - begun.examples, after.cost.wall_seconds - begun.wall_seconds
    if not examples or seconds <= 0:
        return {}
    seen = list(samples)
    return {"examples": examples, "seconds": seconds} | ({"gpu_utilization": fmean(seen) / 100} if seen else {})


def reported(record: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of THROUGHPUT that an entry's record gives."""
    found = record.get("pace") or {}
    rate = {"examples_per_second": found["examples"] / found["seconds"]} if found else {}
    return rate | {name: found[name] for name in THROUGHPUT if name in found}


@contextmanager
def watched(device: torch.device) -> Iterator[list[float]]:
    """A list that fills with the utilization of a GPU; it stays empty on a CPU, and where no driver tells."""
    samples: list[float] = []
    if device.type != "cuda":
        yield samples
        return
    over = threading.Event()
    watcher = threading.Thread(target=_sample, args=(device, samples, over), name="utilization", daemon=True)
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join()


def _sample(device: torch.device, samples: list[float], over: threading.Event) -> None:
    while not over.wait(INTERVAL):
        try:
            samples.append(float(torch.cuda.utilization(device)))
        except Exception:  # whatever pynvml raises: no work is lost for a figure beside it
            return
