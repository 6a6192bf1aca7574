"""The local executor: one process an order, from a forkserver that has torch loaded.

A fresh process costs milliseconds, is killed without harm to its siblings, and leaves nothing behind: no memory, no
GPU context, no global state that a plugin changed.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

    from prunebench.execution.worker import Order

GRACE = 5.0
"""Seconds between asking a worker to stop and killing it."""


@dataclass(frozen=True)
class Finished:
    """An order that came to an end; `signal` is set when its process was killed."""

    key: str
    exitcode: int

    @property
    def signal(self) -> str:
        return signal.Signals(-self.exitcode).name if self.exitcode < 0 else ""


class LocalExecutor:
    """Runs orders on this machine, up to `slots` at a time. A context manager: leaving it stops all workers."""

    def __init__(self, slots: int, plugins: tuple[str, ...], blocked: tuple[str, ...], logs: Path) -> None:
        self.slots = slots
        self._logs = logs
        self._running: dict[str, BaseProcess] = {}
        # Set iteration and string hashing are the same in every worker of every run.
        os.environ.setdefault("PYTHONHASHSEED", "0")
        os.environ["PRUNEBENCH_PRELOAD"] = json.dumps([plugins, blocked])
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self._context = cast("ForkServerContext", multiprocessing.get_context(method))
        if method == "forkserver":
            self._context.set_forkserver_preload(["prunebench.execution.preload"])

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    @property
    def free(self) -> int:
        return self.slots - len(self._running)

    def submit(self, order: Order) -> None:
        """Start an order; call it only while a slot is free."""
        log = self._logs / f"{order.key}.log"
        process = self._context.Process(target=_child, args=(order, str(log)), name=order.key, daemon=False)
        process.start()
        self._running[order.key] = process

    def wait(self, timeout: float | None = None) -> list[Finished]:
        """The orders that ended, as soon as there is one, or none after `timeout` seconds."""
        wait([process.sentinel for process in self._running.values()], timeout)
        return list(self._reaped())

    def _reaped(self) -> Iterator[Finished]:
        for key, process in list(self._running.items()):
            if process.exitcode is not None:
                process.join()
                del self._running[key]
                yield Finished(key, process.exitcode)

    def shutdown(self) -> None:
        """Stop everything: politely, then for good."""
        for process in self._running.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        for process in self._running.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                _signal_group(process, signal.SIGKILL)
                process.join()
        self._running.clear()


def _signal_group(process: BaseProcess, number: signal.Signals) -> None:
    """A worker leads a process group of its own, so its data-loading children go with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        assert process.pid is not None
        os.killpg(process.pid, number)


def _child(order: Order, log: str) -> None:
    """The life of a worker process."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from prunebench.execution.worker import carry_out

    try:
        code = carry_out(order)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    if code:
        os._exit(code)
    if os.fstat(file).st_size == 0:
        os.unlink(log)  # noqa: PTH108 (the descriptor's own file)


def _die_with_parent() -> None:
    """A worker whose driver was killed stops too: its result would have nobody to go to."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
