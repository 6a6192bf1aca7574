"""The local executor: a process for each job, forked by a server that has torch loaded.

A new process costs milliseconds, is killed without harm to its siblings, and leaves nothing behind: no memory, no
GPU context, no global state that a plugin changed.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError
from prunebench.api.executors import ExitCode
from prunebench.api.plugins import foreign_names
from prunebench.execution import Messages, end_server, start_server, start_template
from prunebench.records import cores

LONGEST = (107 if sys.platform == "linux" else 103) - len("/pymp-12345678/listener-12345678")
"""Bytes of the name of a folder in which multiprocessing can make a folder with a socket."""
SHORT = ("/tmp", "/var/tmp", "/dev/shm")
"""Folders for those sockets where temporary files have one with a longer name."""

_log = logging.getLogger(__name__)


class Local(prunebench.Executor):
    """Processes on this machine; on a GPU each sees the one that it shares with the fewest others."""

    name = "local"

    slots_per_gpu: (
        Annotated[int, Ge(1), Doc("stages that share a GPU; by default as many as --workers asks for, or one")] | None
    ) = None

    def prepare(self) -> None:
        start_template()

    def open(self, context: prunebench.RunContext) -> prunebench.WorkerPool:
        if context.device == "cpu":
            return Processes(context, context.workers or max(1, cores() // context.threads))
        devices = visible_gpus()
        if not devices:
            raise PrunebenchError("--device cuda: torch finds no GPU on this machine")
        slots = self._slots(context, len(devices))
        return Processes(context, min(slots, context.workers or slots), devices)

    def _slots(self, context: prunebench.RunContext, gpus: int) -> int:
        """How many stages all GPUs together have room for."""
        if self.slots_per_gpu is not None:
            return gpus * self.slots_per_gpu
        if context.workers is not None:
            return context.workers
        return gpus * int(1 / min(1.0, context.resources.num_gpus or 1.0))


def visible_gpus() -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES calls the GPUs that this process may use."""
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return tuple(listed.split(",") if listed else map(str, range(count)))[:count]


@dataclass(frozen=True)
class Running:
    """A running job, and the GPU that it was given."""

    spec: prunebench.JobSpec
    gpu: str | None


class Processes(prunebench.WorkerPool):
    """Runs jobs on this machine, up to `slots` at a time, each in a process that a fork server starts."""

    def __init__(self, context: prunebench.RunContext, slots: int, gpus: tuple[str, ...] = ()) -> None:
        self.slots = slots
        self.place = f"{slots} worker{'s' * (slots > 1)}" + (f" on {len(gpus)} GPU{'s' * (len(gpus) > 1)}" * bool(gpus))
        self._gpus = gpus
        self._running: dict[int, Running] = {}
        """By a number that each attempt at a job gets."""
        self._jobs = itertools.count()
        self._ended: list[prunebench.JobResult] = []
        self._failures: Counter[str | None] = Counter()
        """How many jobs failed on each GPU: on a broken one all end at once, so it would be given every next one."""
        self._sockets = _socket_folder()
        self._plugins = _plugins_to_load(context)
        self._fallback = (), (*context.blocked, *foreign_names())
        """What can always be loaded."""
        self._ready = False
        self._server: Messages | None = None

    @property
    def free(self) -> int:
        return self.slots - len(self._running)

    def submit(self, spec: prunebench.JobSpec) -> None:
        job = next(self._jobs)
        self._running[job] = Running(spec, self._least_used())
        try:
            self._send(job)
        except OSError as error:
            self._lose_all(_cannot_start(error))

    def _send(self, job: int) -> None:
        """Raises OSError where there is no server, and none can be started."""
        if self._server is None:
            self._server = start_server(*self._plugins, self._sockets)
        spec, gpu = self._running[job].spec, self._running[job].gpu
        variables = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        self._server.send(job=job, spec=spec.to_json(), variables=variables)

    def _least_used(self) -> str | None:
        used = Counter(running.gpu for running in self._running.values())
        return min(self._gpus, key=lambda gpu: (used[gpu], self._failures[gpu]), default=None)

    def begun(self, key: str) -> bool:
        return self._ready

    def wait(self, timeout: float | None) -> list[prunebench.JobResult]:
        if not self._ended and self._server is not None:
            self._receive(self._server, timeout)
        ended, self._ended = self._ended, []
        return ended

    def _receive(self, server: Messages, timeout: float | None) -> None:
        """Receive the server's messages within so many seconds."""
        server.channel.settimeout(None if timeout is None else max(timeout, 1e-3))
        try:
            messages = server.received()
        except TimeoutError:
            return
        server.channel.settimeout(None)
        if messages is None:
            self._lose_all("the process that starts workers died")
        for message in messages or ():
            if "ready" in message:
                self._on_ready(message["ready"], message["reason"])
            else:
                self._record(message["job"], message["code"], message.get("cause", ""))

    def _on_ready(self, ready: bool, reason: str) -> None:
        """The server has loaded the plugins; where it cannot be forked after that, each worker loads them itself."""
        self._ready = ready
        if ready:
            return
        _log.debug("%s: it is imported by each worker", reason)
        self._stop_server()
        self._plugins = self._fallback
        try:
            for job in self._running:
                self._send(job)
        except OSError as error:
            self._lose_all(_cannot_start(error))

    def _record(self, job: int, code: int, cause: str) -> None:
        """Record the end of a job, unless it was cancelled."""
        if (running := self._running.pop(job, None)) is not None:
            self._failures[running.gpu] += code not in (ExitCode.DONE, ExitCode.LOCKED, ExitCode.NOT_RUN)
            self._ended.append(prunebench.JobResult(running.spec.key, code, cause))

    def _lose_all(self, cause: str) -> None:
        """Every job ended with the server. One that died while it loaded plugins is not given them again."""
        if self._server is not None and not self._ready:
            self._plugins = self._fallback
        self._stop_server()
        for job in list(self._running):
            self._record(job, ExitCode.NOT_RUN, cause)

    def _stop_server(self) -> None:
        if self._server is not None:
            end_server(self._server)
        self._server, self._ready = None, False

    def cancel(self, key: str) -> None:
        for job, running in list(self._running.items()):
            if running.spec.key == key:
                del self._running[job]
                with contextlib.suppress(OSError):  # a server that is gone has ended it
                    assert self._server is not None
                    self._server.send(job=job)

    def shutdown(self) -> None:
        self._running.clear()
        self._stop_server()


def _cannot_start(error: OSError) -> str:
    return f"cannot start a process: {error.strerror or error}"


def _plugins_to_load(context: prunebench.RunContext) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The loose plugin files that workers have from the start, and the installed plugins that they do not.

    A third party's module may use a GPU when it is imported, and CUDA does not work in processes forked after that:
    where workers need it, each imports such modules itself.
    """
    if context.device == "cpu":
        return context.plugins, context.blocked
    return (), (*context.blocked, *foreign_names())


def _socket_folder() -> str:
    """The folder in which multiprocessing keeps its sockets, if names in the usual one are longer than is allowed.

    Workers that decode data start processes, which send them tensors. Raises PrunebenchError where there
    is no such folder.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST:
        return ""
    for folder in SHORT:
        tempfile.tempdir = folder
        try:
            made = util.get_temp_dir()  # made once, and kept in mind by this process and its children
        except OSError:
            continue
        finally:
            tempfile.tempdir = usual
        if len(os.fsencode(Path(made).parent)) <= LONGEST:
            return str(made)
    raise PrunebenchError(
        f"the name of the folder of temporary files, {usual}, is too long for the sockets of worker processes, and "
        f"nothing can be written to {', '.join(SHORT)}: set TMPDIR to a folder whose name has at most {LONGEST} bytes"
    )


@prunebench.hookimpl
def register_executors() -> list[type[prunebench.Executor]]:
    return [Local]
