"""The fork server: starts a process for each job of a run, and ends all that belongs to it.

    driver ── template    has torch and the built-in plugins loaded; one for each driver
                 └── server    forked for a run, has that run's plugins loaded
                       └── worker    forked for a job, leads its own session

Python's own `multiprocessing` has a fork server too. It imports the main script again in each child, has one server for
all that a program starts, leaves behind what children started, and fails in many ways when it is killed.

The driver talks to each by a socket, in lines of JSON. The end of the driver is the end of that conversation, upon
which a server ends its workers and itself. The end of a server is seen by its workers, which end themselves.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from multiprocessing import process
from typing import Any, NoReturn

from prunebench.api.executors import ExitCode, JobSpec
from prunebench.isolation import descendants
from prunebench.records.files import remove

GRACE = 5.0
"""Seconds between asking a worker to stop and killing it."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
CHUNK = 2**16
FORK = b"+"
"""Sent to the template along with a socket: fork a server that listens there."""


class Messages:
    """Both directions of a socket, in lines of JSON."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._rest = b""

    def send(self, **message: Any) -> None:
        """Raises OSError if the other end is closed."""
        self.channel.sendall(json.dumps(message).encode() + b"\n")

    def received(self) -> list[dict[str, Any]] | None:
        """The messages that have come; None when the other side is gone."""
        try:
            chunk = self.channel.recv(CHUNK)
        except ConnectionError:
            return None
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [json.loads(line) for line in lines] if chunk else None


class ChildSignal:
    """Readable when a child ends: a pipe that `select` can wait for."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._read

    def clear(self) -> None:
        """Forget the ends that were signalled."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, CHUNK)

    def close(self) -> None:
        """In a child, which has no use for it."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)


def _ready(*sources: Any) -> list[Any]:
    """Those that have something to read, as soon as there is one."""
    return select.select(sources, [], [])[0]


def serve_as_template(number: int) -> None:
    """The life of a template: fork servers until the socket of this number is closed at its other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    descendants.adopt_orphans()
    from prunebench.execution.processes import preload  # noqa: F401

    # Garbage collection in a child would write to, and so copy, the memory of all that is loaded.
    gc.collect()
    gc.freeze()
    child_signal, servers = ChildSignal(), set[int]()
    with socket.socket(fileno=number) as channel:
        while True:
            ready = _ready(channel, child_signal)
            if child_signal in ready:
                child_signal.clear()
                servers.difference_update(pid for pid, _ in descendants.ended())
                descendants.kill(descendants.children() - servers)  # of a server that died
            if channel in ready:
                request, handles, _, _ = socket.recv_fds(channel, len(FORK), 1)
                if not request:
                    os._exit(0)
                servers.add(_forked_server(handles[0], channel, child_signal))


def _forked_server(number: int, channel: socket.socket, child_signal: ChildSignal) -> int:
    if pid := os.fork():
        os.close(number)
        return pid
    try:
        channel.close()
        child_signal.close()
        with socket.socket(fileno=number) as own:
            Server(Messages(own)).serve()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


class Server:
    """Forks a worker for each job of one run."""

    def __init__(self, driver: Messages) -> None:
        descendants.adopt_orphans()
        self._driver = driver
        self._child_signal = ChildSignal()
        self._workers: dict[int, int] = {}
        """Process numbers of the workers, with the numbers that the driver gave their jobs."""
        self._codes: dict[int, int] = {}
        """Exit codes that workers reported; a worker that a method ended reports none."""
        self._codes_reader, self._codes_writer = os.pipe()
        os.set_blocking(self._codes_reader, False)
        self._lifeline, self._lifeline_writer = os.pipe()
        """Closed for good when this process ends."""

    def serve(self) -> None:
        """Serve until the driver is gone, or what is loaded cannot be forked."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            settings = self._settings()
            if settings is not None and self._loaded(settings):
                while self._served():
                    pass
        self._end()

    def _settings(self) -> dict[str, Any] | None:
        while not (messages := self._driver.received()):
            if messages is None:
                return None
        self._waiting = messages[1:]
        return messages[0]

    def _loaded(self, settings: Mapping[str, Any]) -> bool:
        """Load the plugins of the run; whether processes can be forked after that."""
        from prunebench.execution.processes import preload

        os.chdir(settings["folder"])  # the template is in the one where the program was when it started its first run
        if settings["sockets"]:
            process.current_process()._config["tempdir"] = settings["sockets"]  # type: ignore[attr-defined]
        preload.load(settings["plugins"], settings["blocked"])
        reason = preload.unfit()
        self._driver.send(ready=not reason, reason=reason)
        return not reason

    def _served(self) -> bool:
        """Handle the next messages, and report workers that ended; False when the driver is gone."""
        messages, self._waiting = self._waiting, []
        if not messages:
            ready = _ready(self._driver.channel, self._child_signal)
            if self._child_signal in ready:
                self._reap()
            if self._driver.channel in ready:
                received = self._driver.received()
                if received is None:
                    return False
                messages = received
        for message in messages:
            if "spec" in message:
                self._start(message["job"], message["spec"], message["variables"])
            else:
                self._cancel(message["job"])
        return True

    def _start(self, job: int, spec: str, variables: Mapping[str, str]) -> None:
        try:
            pid = os.fork()
        except OSError as error:  # too many processes, or no memory
            self._driver.send(job=job, code=ExitCode.NOT_RUN, cause=f"cannot start a process: {error.strerror}")
            return
        if not pid:
            self._work(spec, variables)
        self._workers[pid] = job

    def _cancel(self, job: int) -> None:
        for pid, running in self._workers.items():
            if running == job:
                descendants.signal_group(pid, signal.SIGKILL)
                descendants.kill([pid])  # should it lead no group yet

    def _reap(self) -> None:
        """Report the workers that ended; processes that they left are ended too."""
        self._child_signal.clear()
        ended = [(pid, code) for pid, code in descendants.ended() if pid in self._workers]
        self._read_codes()
        for pid, code in ended:
            reported = self._codes.pop(pid, None)
            self._driver.send(
                job=self._workers.pop(pid), **({"code": reported} if reported is not None else _unreported(code))
            )
        descendants.kill(descendants.children() - self._workers.keys())

    def _read_codes(self) -> None:
        """Read the codes that workers reported: lines so short that a pipe never splits them."""
        with contextlib.suppress(BlockingIOError):
            while lines := os.read(self._codes_reader, CHUNK):
                self._codes.update(_parse_report(line) for line in lines.splitlines())

    def _end(self) -> None:
        """Stop all workers, politely and then for good."""
        for pid in self._workers:
            descendants.signal_group(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while self._workers and (left := deadline - time.monotonic()) > 0:
            for pid, _ in descendants.ended():
                self._workers.pop(pid, None)
            if self._workers:
                select.select([self._child_signal], [], [], min(left, 0.1))
                self._child_signal.clear()
        for pid in self._workers:
            descendants.signal_group(pid, signal.SIGKILL)
        descendants.kill(self._workers)
        descendants.kill_children()

    def _work(self, spec: str, variables: Mapping[str, str]) -> NoReturn:
        """The life of a worker."""
        code: int = ExitCode.FAILED
        try:
            os.setsid()
            self._child_signal.close()
            self._driver.channel.close()
            os.close(self._lifeline_writer)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            descendants.adopt_orphans()
            threading.Thread(target=_end_with, args=(self._lifeline,), daemon=True).start()
            os.environ.update(variables)  # before anything touches CUDA
            code = _run_with_log(JobSpec.from_json(spec))
        except BaseException:
            traceback.print_exc()
        finally:
            # Reported and not only returned, as a method may end its process with any code. Threads that a method
            # left are not waited for.
            with contextlib.suppress(OSError):
                os.write(self._codes_writer, f"{os.getpid()} {code}\n".encode())
            os._exit(code)


def _parse_report(line: bytes) -> tuple[int, int]:
    pid, code = line.split()
    return int(pid), int(code)


def _unreported(code: int) -> dict[str, Any]:
    """How a worker ended that reported nothing: by a signal, or because the method exited."""
    if code < 0:
        return {"code": code}
    return {"code": ExitCode.FAILED, "cause": f"its worker stopped with exit code {code}"}


def _end_with(lifeline: int) -> None:
    """End this process, and all that it started, when the server that forked it ends."""
    os.read(lifeline, 1)
    descendants.kill_children(patience=1.0)
    os.killpg(0, signal.SIGKILL)


def _run_with_log(spec: JobSpec) -> int:
    """Perform a job, with what is printed going to its log; returns the exit code."""
    from prunebench.execution import (
        worker,  # loaded by the template; the driver, which imports this module, needs no torch
    )

    try:
        log = _open_log(spec)
    except OSError as error:
        traceback.print_exc()
        return ExitCode.STORE_FULL if error.errno in NO_ROOM else ExitCode.FAILED
    code = worker.run_job(spec)
    with contextlib.suppress(OSError, ValueError):  # nothing that was printed is worth a result
        sys.stdout.flush()
        sys.stderr.flush()
        if os.fstat(log).st_size == 0:
            spec.log.unlink()
    return code


def _open_log(spec: JobSpec) -> int:
    """What the worker prints from now on goes to its log."""
    if spec.log.is_symlink() or not spec.log.is_file():
        remove(spec.log)  # a link could lead to a file that is not a log
    file = os.open(spec.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    return file
