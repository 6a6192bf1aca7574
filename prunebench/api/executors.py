"""Where jobs run: `Executor`, the `WorkerPool` that it opens for a run, and the values that pass between them.

The scheduler decides what runs, when, and what a failure means; an executor decides only where. It gets a `JobSpec`,
a plain value that any process with the same code can run, and returns how the job ended.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt
from typing_extensions import Doc

from prunebench.api.components import Component

CHECKPOINT_EVERY = 60.0
"""Seconds between two checkpoints of a training, unless one asks for others."""


class ExitCode(IntEnum):
    """How a worker ends, and what the scheduler does then."""

    DONE = 0
    FAILED = 1
    """An exception of the work itself: final, its reason is in the store."""
    STORE_FULL = 73
    """The store cannot be written: the run stops at once and records no failure; the last line of the log says why."""
    INPUT_MISSING = 74
    """An entry that the job needs was missing or damaged, and is discarded: it is computed again."""
    OUT_OF_MEMORY = 72
    """A GPU had too little free memory, which others may have used: tried again as if the worker was killed."""
    LOCKED = 75
    """Another run that is alive holds the lock of this job: it is tried again in about a second."""
    NOT_RUN = 76
    """The worker, or the process that starts workers, died for a reason unrelated to the job: tried again, not counted
    as an attempt."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one running stage takes of a machine. It decides where a stage runs and never what comes out."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    num_cpus: Annotated[float, Gt(0), Doc("processor cores; as many as threads by default")] | None = None
    num_gpus: Annotated[float, Ge(0), Doc("GPUs; 0.25 lets four stages share one")] | None = None


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """All that a worker needs, as plain values: it may run in another process or on another machine."""

    trial: dict[str, Any]
    """The trial that is worked on, as values."""
    network: dict[str, Any] = field(default_factory=dict)
    """The network of its task without the weights, as values."""
    stages: tuple[dict[str, Any], ...] = ()
    """The stages to perform, as values; without them the worker asks the trial's method for its chain."""
    checksum: str = ""
    """Of parameters, stages and code: a worker that has other code refuses the job."""
    protocol: str
    path: tuple[str, ...]
    """Keys of the stages to perform, first to last; the last one's state goes into the store."""
    parent: str | None
    """Key of the state to begin from."""
    needs: tuple[str, ...] = ()
    """Keys of all entries that are read from the store, the parent's among them."""
    plugins: tuple[str, ...]
    """Loose plugin files."""
    blocked: tuple[str, ...]
    """Plugins that are left out."""
    store: str
    data: str
    """Folder of the prepared arrays."""
    fingerprint: str
    """Of those arrays."""
    seal: str = ""
    """Of the arrays' files when they were verified; a worker that sees other files reads and verifies them itself."""
    device: str = "cpu"
    threads: int = 1
    environment: tuple[tuple[str, str], ...] = ()
    """Versions and machine, for the record."""
    checkpoint_every: float = CHECKPOINT_EVERY
    """Seconds between two checkpoints of a training; 0 for none."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """The key inputs, for the record."""

    @property
    def key(self) -> str:
        """The name of the job: the key of its last stage."""
        return self.path[-1]

    @property
    def log(self) -> Path:
        """The file for what its worker prints."""
        return Path(self.store) / "logs" / f"{self.key}.log"

    def to_json(self) -> str:
        """As text; `from_json` gives an equal job."""
        return json.dumps({one.name: getattr(self, one.name) for one in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """The job that `to_json` wrote."""
        return cls(**{name: _frozen(name, value) for name, value in json.loads(text).items()})


_LISTS = {one.name for one in fields(JobSpec) if "tuple" in str(one.type)}


def _frozen(name: str, value: Any) -> Any:
    if name not in _LISTS:
        return value
    return tuple(tuple(item) if isinstance(item, list) else item for item in value)


@dataclass(frozen=True)
class JobResult:
    """The end of a job's worker."""

    key: str
    exitcode: int
    """As the worker's process gave it: 0 is done; below 0 it was killed from outside, by the signal -exitcode."""
    cause: str = ""
    """What the executor knows of an end that the worker could not report itself, for the reason of a failed row."""

    @property
    def killer(self) -> str:
        """What killed the worker; nothing if it ended by itself."""
        if self.exitcode >= 0:
            return ""
        return self.cause or _signal_name(-self.exitcode)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The run that an executor opens a worker pool for."""

    store: Path
    workers: int | None = None
    """Jobs at a time, if the user gave a number."""
    threads: int = 1
    """Of each worker."""
    device: str = "cpu"
    plugins: tuple[str, ...] = ()
    """Loose plugin files."""
    blocked: tuple[str, ...] = ()
    """Plugins that are left out."""
    resources: Resources = field(default_factory=Resources)


class Executor(Component):
    """A place where jobs run. Its parameters are options of `prunebench run --executor NAME`."""

    def prepare(self) -> None:
        """Start what takes time to start, if anything; called while the plan is made, where jobs will have to run.

        `open` follows, unless no job has to run after all or the run fails before it. Calling it twice is harmless.
        """

    def open(self, context: RunContext) -> WorkerPool:
        """A new worker pool, for one run.

        Raises:
            PrunebenchError: what is not there, and what to do about it.
        """
        raise NotImplementedError(f"executor {self.name!r} opens no worker pool")


class WorkerPool:
    """Runs the jobs of one run. A context manager: leaving it stops all jobs that still run.

    A worker process calls `prunebench.run_job(job)`, which performs the job and returns the exit code;
    `python -m prunebench.execution` does the same with the JSON of a job on its standard input.
    """

    place: str = ""
    """Where jobs run, for people: `4 processes on this machine`."""

    @property
    def free(self) -> int:
        """How many more jobs could begin now."""
        raise NotImplementedError

    def submit(self, job: JobSpec) -> None:
        """Start a job; called only while `free` is above 0."""
        raise NotImplementedError

    def wait(self, timeout: float | None) -> list[JobResult]:
        """The jobs that ended: as soon as there is one, or none after `timeout` seconds.

        A job whose worker is lost has ended too; the scheduler decides whether it is tried again.
        """
        raise NotImplementedError

    def cancel(self, key: str) -> None:
        """Kill a job's worker and forget the job: `wait` no longer returns it."""
        raise NotImplementedError

    def begun(self, key: str) -> bool:
        """Whether a job that was submitted has begun: its time limit counts from then."""
        return True

    def shutdown(self) -> None:
        """Stop all workers, politely and then for good, within seconds."""
        raise NotImplementedError

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def chosen(resources: Resources, other: Mapping[str, float | None]) -> Resources:
    """The resources, changed by those of `other` that are given."""
    return Resources(**{**asdict(resources), **{name: value for name, value in other.items() if value is not None}})
