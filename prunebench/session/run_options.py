"""How a suite is run: where, with what, and for how long. Results do not depend on it, last bits on `threads` aside."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from prunebench.api.executors import CHECKPOINT_EVERY, Executor
from prunebench.execution.scheduler import EXECUTOR

STORE = Path(".prunebench")
"""Where states and data are kept by default."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `run_suite`; each is an option of `prunebench run` too."""

    store: Path = STORE
    """Where states and data are kept."""
    data: Path | None = None
    """The folder of data sets; PRUNEBENCH_DATA by default."""
    output: Path | None = None
    """The folder that the leaderboard is written to; by default it is only returned."""
    executor: str | Executor = EXECUTOR
    """Where stages run: the name of an executor, or one with parameters."""
    workers: int | None = None
    """Stages at a time; by default as many as the executor has room for, on this machine one for each core."""
    threads: int = 1
    """Of each worker; the last bits of a result depend on it, so leave it at 1 where they matter."""
    device: str = "cpu"
    """`cpu` or `cuda`."""
    num_cpus: float | None = None
    """Cores of one running stage, for executors that count them; overrides the suite's `resources`."""
    num_gpus: float | None = None
    """GPUs of one running stage, likewise."""
    retry_failed: bool = False
    """Try again what failed in an earlier run."""
    measure_again: bool = False
    """Measure again what was measured in runtimes, with the networks that are in the store."""
    timeout: float | None = None
    """Seconds after which a job is killed; its trials have then failed."""
    checkpoint_every: float = CHECKPOINT_EVERY
    """Seconds between two checkpoints of a training; 0 for none."""
    stop: threading.Event | None = None
    """Set it in another thread to stop the run, within about a second. Finished trials stay in the store and are on the
    board; the next run continues."""
    budget: float | None = None
    """Seconds after which the run stops. A job that would not end by then, as far as estimates say, does not begin;
    except one that takes longer than the whole budget, which the next run continues from its checkpoint."""
