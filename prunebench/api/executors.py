"""Where jobs run: `Executor`, the `WorkerPool` that it opens for a run, and the values that pass between them.

The scheduler decides which job runs next and what a failure means; an executor decides only where a job runs. It is
passed a `JobSpec`, a plain value that any process with the same code can run, and returns how the job ended.
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
"""The default number of seconds between two checkpoints of a training."""


class ExitCode(IntEnum):
    """How a worker ended; the scheduler acts on it."""

    DONE = 0
    FAILED = 1
    """The job raised an exception. It is not retried; the reason is in the store."""
    STORE_FULL = 73
    """The store cannot be written. The run stops at once and records no failure; the last line of the log says why."""
    INPUT_MISSING = 74
    """An entry that the job needs was missing or damaged. It is discarded and computed again."""
    OUT_OF_MEMORY = 72
    """A GPU had too little free memory, which other processes may have used. The job is retried as if it was killed."""
    LOCKED = 75
    """Another active run holds the lock of this job. It is retried in about a second."""
    NOT_RUN = 76
    """The worker, or the process that starts workers, died for a reason unrelated to the job. The job is retried, and
    this does not count as an attempt."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources of one running stage. They determine where it runs, and do not affect the result."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    num_cpus: Annotated[float, Gt(0), Doc("processor cores; as many as threads by default")] | None = None
    num_gpus: Annotated[float, Ge(0), Doc("GPUs; 0.25 lets four stages share one")] | None = None


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job as plain values, with everything that a worker in another process or on another machine needs."""

    trial: dict[str, Any]
    """The trial, as plain values."""
    network: dict[str, Any] = field(default_factory=dict)
    """The network of its task without the weights, as plain values."""
    stages: tuple[dict[str, Any], ...] = ()
    """The stages to perform, as plain values; if empty, the worker asks the trial's method for its chain."""
    checksum: str = ""
    """Hash of parameters, stages and code; a worker with other code refuses the job."""
    protocol: str
    path: tuple[str, ...]
    """Keys of the stages to perform, in order; the state of the last one is stored."""
    parent: str | None
    """Key of the state to start from."""
    needs: tuple[str, ...] = ()
    """Keys of all entries that are read from the store, the parent included."""
    plugins: tuple[str, ...]
    """Paths of plugin files that are not installed."""
    blocked: tuple[str, ...]
    """Names of installed plugins that are not loaded."""
    store: str
    data: str
    """Folder of the prepared arrays."""
    fingerprint: str
    """Hash of the contents of those arrays."""
    seal: str = ""
    """Sizes and times of the verified array files. A worker that finds others verifies the files itself."""
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
        """The key of the last stage, which identifies the job."""
        return self.path[-1]

    @property
    def log(self) -> Path:
        """The file that the output of the worker is written to."""
        return Path(self.store) / "logs" / f"{self.key}.log"

    def to_json(self) -> str:
        """The job as JSON; `from_json` returns an equal job."""
        return json.dumps({one.name: getattr(self, one.name) for one in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """The job in a text that `to_json` returned."""
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
    """Exit code of the worker process (see `ExitCode`); if it is negative, the signal -exitcode killed the process."""
    cause: str = ""
    """Why the worker ended, if it could not report that itself; it becomes the reason of a failed row."""

    @property
    def killer(self) -> str:
        """What killed the worker; empty if it was not killed."""
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
    """Settings of the run that an executor opens a worker pool for."""

    store: Path
    workers: int | None = None
    """Number of jobs at a time, if the user specified it."""
    threads: int = 1
    """Threads of each worker."""
    device: str = "cpu"
    plugins: tuple[str, ...] = ()
    """Paths of plugin files that are not installed."""
    blocked: tuple[str, ...] = ()
    """Names of installed plugins that are not loaded."""
    resources: Resources = field(default_factory=Resources)


class Executor(Component):
    """A place where jobs run. Its parameters are options of `prunebench run --executor NAME`."""

    def prepare(self) -> None:
        """Start anything that takes time to start. Called while the suite is planned, if jobs will have to run.

        `open` is called afterwards, unless no job has to run or the run fails first. A second call must be harmless.
        """

    def open(self, context: RunContext) -> WorkerPool:
        """Return a new worker pool for one run.

        Raises:
            PrunebenchError: what is missing, and how to provide it.
        """
        raise NotImplementedError(f"executor {self.name!r} opens no worker pool")


class WorkerPool:
    """Runs the jobs of one run. It is a context manager, which stops all running jobs on exit.

    A worker process calls `prunebench.run_job(job)`, which performs the job and returns the exit code;
    `python -m prunebench.execution` does the same with the JSON of a job on its standard input.
    """

    place: str = ""
    """Description of where jobs run, such as `4 processes on this machine`."""

    @property
    def free(self) -> int:
        """Number of jobs that can be submitted now."""
        raise NotImplementedError

    def submit(self, job: JobSpec) -> None:
        """Start a job; called only while `free` is above 0."""
        raise NotImplementedError

    def wait(self, timeout: float | None) -> list[JobResult]:
        """Wait until a job has ended, for at most `timeout` seconds, and return the results of all jobs that ended.

        A job whose worker is lost has ended too; the scheduler decides whether to retry it.
        """
        raise NotImplementedError

    def cancel(self, key: str) -> None:
        """Kill the worker of a job; `wait` does not return the job any more."""
        raise NotImplementedError

    def begun(self, key: str) -> bool:
        """Return whether a submitted job has started; its time limit counts from then."""
        return True

    def shutdown(self) -> None:
        """Stop all workers within seconds: ask them to terminate, then kill them."""
        raise NotImplementedError

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def chosen(resources: Resources, other: Mapping[str, float | None]) -> Resources:
    """The resources, with the values of `other` that are not None."""
    return Resources(**{**asdict(resources), **{name: value for name, value in other.items() if value is not None}})
