"""The local executor: one process an order, from a forkserver that has torch loaded.

A fresh process costs milliseconds, is killed without harm to its siblings, and leaves nothing behind: no memory, no
GPU context, no global state that a plugin changed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from annotated_types import Ge
from typing_extensions import Doc

import prunebench
from prunebench.environment import cores
from prunebench.errors import PrunebenchError
from prunebench.execution import exits
from prunebench.registry import foreign_names

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

GRACE = 5.0
"""Seconds between asking a worker to stop and killing it."""
LONGEST = (107 if sys.platform == "linux" else 103) - len("/pymp-12345678/listener-12345678")
"""Bytes of the name of a folder in which multiprocessing can make a folder with a socket."""
SHORT = ("/tmp", "/var/tmp", "/dev/shm")
"""Folders for those sockets where temporary files have one with a longer name."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Local(prunebench.Executor):
    """Processes on this machine; on a GPU each sees the one that it shares with the fewest others."""

    name = "local"

    slots_per_gpu: (
        Annotated[int, Ge(1), Doc("stages that share a GPU; by default as many as --workers asks for, or one")] | None
    ) = None

    def open(self, site: prunebench.Site) -> prunebench.Crew:
        if site.device == "cpu":
            return Processes(site, site.workers or max(1, cores() // site.threads))
        devices = visible_gpus()
        if not devices:
            raise PrunebenchError("--device cuda: torch finds no GPU on this machine")
        places = self._places(site, len(devices))
        return Processes(site, min(places, site.workers or places), devices)

    def _places(self, site: prunebench.Site, gpus: int) -> int:
        """How many stages all GPUs together have room for."""
        if self.slots_per_gpu is not None:
            return gpus * self.slots_per_gpu
        if site.workers is not None:
            return site.workers
        return gpus * int(1 / min(1.0, site.resources.num_gpus or 1.0))


def visible_gpus() -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES calls the GPUs that this process may use."""
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return tuple(listed.split(",") if listed else map(str, range(count)))[:count]


@dataclass(frozen=True)
class Running:
    """A worker process, and the GPU that it was given."""

    process: BaseProcess
    gpu: str | None


class Processes(prunebench.Crew):
    """Runs orders on this machine, up to `slots` at a time."""

    def __init__(self, site: prunebench.Site, slots: int, gpus: tuple[str, ...] = ()) -> None:
        self.slots = slots
        self.place = f"{slots} worker{'s' * (slots > 1)}" + (f" on {len(gpus)} GPU{'s' * (len(gpus) > 1)}" * bool(gpus))
        self._gpus = gpus
        self._running: dict[str, Running] = {}
        self._troubles: Counter[str | None] = Counter()
        """How many orders failed on each GPU: one that is broken ends all at once, and would get every next one."""
        # Set iteration and string hashing are the same in every worker of every run.
        os.environ.setdefault("PYTHONHASHSEED", "0")
        os.environ["PRUNEBENCH_PRELOAD"] = json.dumps(_preloaded(site))
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self._context = cast("ForkServerContext", multiprocessing.get_context(method))
        if method == "forkserver":
            _make_room_for_sockets()
            self._context.set_forkserver_preload(["prunebench.execution.preload"])

    @property
    def free(self) -> int:
        return self.slots - len(self._running)

    def submit(self, order: prunebench.Order) -> None:
        gpu = self._least_used()
        variables = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        process = self._context.Process(target=_child, args=(order, variables), name=order.key, daemon=False)
        process.start()
        self._running[order.key] = Running(process, gpu)

    def _least_used(self) -> str | None:
        used = Counter(running.gpu for running in self._running.values())
        return min(self._gpus, key=lambda gpu: (used[gpu], self._troubles[gpu]), default=None)

    def wait(self, timeout: float | None) -> list[prunebench.Ended]:
        wait([running.process.sentinel for running in self._running.values()], timeout)
        return list(self._reaped())

    def _reaped(self) -> Iterator[prunebench.Ended]:
        for key, running in list(self._running.items()):
            if (code := running.process.exitcode) is not None:
                running.process.join()
                del self._running[key]
                self._troubles[running.gpu] += code not in (exits.DONE, exits.BUSY)
                yield prunebench.Ended(key, code)

    def cancel(self, key: str) -> None:
        process = self._running.pop(key).process
        _signal_group(process, signal.SIGKILL)
        process.join()

    def shutdown(self) -> None:
        processes = [running.process for running in self._running.values()]
        for process in processes:
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                _signal_group(process, signal.SIGKILL)
                process.join()
        self._running.clear()


def _preloaded(site: prunebench.Site) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The loose plugin files that workers have from the start, and the installed plugins that they do not.

    A stranger's module may ask for a GPU as it is imported, and CUDA works in no process that was forked after that:
    where workers need it, each imports strangers' modules itself.
    """
    if site.device == "cpu":
        return site.plugins, site.blocked
    return (), (*site.blocked, *foreign_names())


def _make_room_for_sockets() -> None:
    """Have multiprocessing keep its sockets where their names are no longer than the system allows.

    Raises PrunebenchError where there is no such folder.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST:
        return
    for folder in SHORT:
        tempfile.tempdir = folder
        try:
            made = util.get_temp_dir()  # made once, and kept in mind by this process and its children
        except OSError:
            continue
        finally:
            tempfile.tempdir = usual
        if len(os.fsencode(Path(made).parent)) <= LONGEST:
            return
    raise PrunebenchError(
        f"the name of the folder of temporary files, {usual}, is too long for the sockets of worker processes, and "
        f"nothing can be written to {', '.join(SHORT)}: set TMPDIR to a folder whose name has at most {LONGEST} bytes"
    )


def _signal_group(process: BaseProcess, number: signal.Signals) -> None:
    """A worker leads a process group of its own, so its data-loading children go with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        assert process.pid is not None
        os.killpg(process.pid, number)


def _child(order: prunebench.Order, variables: Mapping[str, str]) -> None:
    """The life of a worker process."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(variables)  # before anything touches CUDA
    _die_with_parent()
    try:
        log = _open_log(order)
    except OSError as error:
        traceback.print_exc()
        os._exit(exits.FULL if error.errno in NO_ROOM else exits.FAILED)
    code = prunebench.carry_out(order)
    with contextlib.suppress(OSError):  # nothing that was printed is worth a result
        sys.stdout.flush()
        sys.stderr.flush()
        if os.fstat(log).st_size == 0:
            order.log.unlink()
    if code:
        os._exit(code)


def _open_log(order: prunebench.Order) -> int:
    """What the worker prints from now on goes to its log."""
    file = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    return file


def _die_with_parent() -> None:
    """A worker whose driver was killed stops too: its result would have nobody to go to."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@prunebench.hookimpl
def register_executors() -> list[type[prunebench.Executor]]:
    return [Local]
