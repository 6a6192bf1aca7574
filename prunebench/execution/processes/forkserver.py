"""The fork server: starts a process for each job of a run, and ends all that belongs to it.

    driver ── template    has torch and the built-in plugins loaded; one for each driver
                 └── server    forked for a run, has that run's plugins loaded
                       └── worker    forked for a job, leads a session of its own

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
from prunebench.api.files import removed
from prunebench.execution.processes import descendants
from prunebench.execution.run_job import run_job

GRACE = 5.0
"""Seconds between asking a worker to stop and killing it."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
PIECE = 2**16
FORK = b"+"
"""What the template is told, along with a socket: fork a server that listens there."""


class Messages:
    """Both directions of a socket, in lines of JSON."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._rest = b""

    def send(self, **message: Any) -> None:
        """Raises OSError where nobody listens any more."""
        self.channel.sendall(json.dumps(message).encode() + b"\n")

    def received(self) -> list[dict[str, Any]] | None:
        """The messages that have come; None when the other side is gone."""
        try:
            piece = self.channel.recv(PIECE)
        except ConnectionError:
            return None
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [json.loads(line) for line in lines] if piece else None


class Bell:
    """Rings when a child ends: a pipe that `select` can wait for."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._read

    def silence(self) -> None:
        """Forget what rang."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, PIECE)

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
    bell, servers = Bell(), set[int]()
    with socket.socket(fileno=number) as channel:
        while True:
            ready = _ready(channel, bell)
            if bell in ready:
                bell.silence()
                servers.difference_update(pid for pid, _ in descendants.ended())
                descendants.kill(descendants.children() - servers)  # of a server that died
            if channel in ready:
                asked, handles, _, _ = socket.recv_fds(channel, len(FORK), 1)
                if not asked:
                    os._exit(0)
                servers.add(_forked_server(handles[0], channel, bell))


def _forked_server(number: int, channel: socket.socket, bell: Bell) -> int:
    if pid := os.fork():
        os.close(number)
        return pid
    try:
        channel.close()
        bell.close()
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
        self._bell = Bell()
        self._workers: dict[int, int] = {}
        """Process numbers of the workers, with the numbers that the driver gave their jobs."""
        self._codes: dict[int, int] = {}
        """What workers said of how their work ended; one that a method ends says nothing."""
        self._said, self._say = os.pipe()
        os.set_blocking(self._said, False)
        self._alive, self._life = os.pipe()
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

        if settings["sockets"]:
            process.current_process()._config["tempdir"] = settings["sockets"]  # type: ignore[attr-defined]
        preload.load(settings["plugins"], settings["blocked"])
        reason = preload.unfit()
        self._driver.send(ready=not reason, reason=reason)
        return not reason

    def _served(self) -> bool:
        """Do what the next messages ask for, and tell of workers that ended; False when the driver is gone."""
        messages, self._waiting = self._waiting, []
        if not messages:
            ready = _ready(self._driver.channel, self._bell)
            if self._bell in ready:
                self._reap()
            if self._driver.channel in ready:
                received = self._driver.received()
                if received is None:
                    return False
                messages = received
        for message in messages:
            if "order" in message:
                self._start(message["job"], message["order"], message["variables"])
            else:
                self._cancel(message["job"])
        return True

    def _start(self, job: int, order: str, variables: Mapping[str, str]) -> None:
        try:
            pid = os.fork()
        except OSError as error:  # too many processes, or no memory
            self._driver.send(job=job, code=ExitCode.NOT_RUN, cause=f"cannot start a process: {error.strerror}")
            return
        if not pid:
            self._work(order, variables)
        self._workers[pid] = job

    def _cancel(self, job: int) -> None:
        for pid, running in self._workers.items():
            if running == job:
                descendants.signal_group(pid, signal.SIGKILL)
                descendants.kill([pid])  # should it lead no group yet

    def _reap(self) -> None:
        """Tell of the workers that ended; what they left behind is ended too."""
        self._bell.silence()
        ended = [(pid, code) for pid, code in descendants.ended() if pid in self._workers]
        self._listen()
        for pid, code in ended:
            said = self._codes.pop(pid, None)
            self._driver.send(job=self._workers.pop(pid), **({"code": said} if said is not None else _unsaid(code)))
        descendants.kill(descendants.children() - self._workers.keys())

    def _listen(self) -> None:
        """Hear what workers say when their work has ended: shorter lines than what a pipe takes apart."""
        with contextlib.suppress(BlockingIOError):
            while lines := os.read(self._said, PIECE):
                self._codes.update(_pair(line) for line in lines.splitlines())

    def _end(self) -> None:
        """Stop all workers, politely and then for good."""
        for pid in self._workers:
            descendants.signal_group(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while self._workers and (left := deadline - time.monotonic()) > 0:
            for pid, _ in descendants.ended():
                self._workers.pop(pid, None)
            if self._workers:
                select.select([self._bell], [], [], min(left, 0.1))
                self._bell.silence()
        for pid in self._workers:
            descendants.signal_group(pid, signal.SIGKILL)
        descendants.kill(self._workers)
        descendants.kill_children()

    def _work(self, order: str, variables: Mapping[str, str]) -> NoReturn:
        """The life of a worker."""
        code: int = ExitCode.FAILED
        try:
            os.setsid()
            self._bell.close()
            self._driver.channel.close()
            os.close(self._life)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            descendants.adopt_orphans()
            threading.Thread(target=_end_with, args=(self._alive,), daemon=True).start()
            os.environ.update(variables)  # before anything touches CUDA
            code = _carried_out(JobSpec.from_json(order))
        except BaseException:
            traceback.print_exc()
        finally:
            # Said and not only returned: a method may end its process with any code. Nor are threads waited for, which
            # a method may have left behind.
            with contextlib.suppress(OSError):
                os.write(self._say, f"{os.getpid()} {code}\n".encode())
            os._exit(code)


def _pair(line: bytes) -> tuple[int, int]:
    pid, code = line.split()
    return int(pid), int(code)


def _unsaid(code: int) -> dict[str, Any]:
    """How the work of a process ended that did not say so: by a signal, or by an exit of the method's own."""
    if code < 0:
        return {"code": code}
    return {"code": ExitCode.FAILED, "cause": f"its worker stopped with exit code {code}"}


def _end_with(alive: int) -> None:
    """End this process, and all that it started, when the server that forked it ends."""
    os.read(alive, 1)
    descendants.kill_children(patience=1.0)
    os.killpg(0, signal.SIGKILL)


def _carried_out(order: JobSpec) -> int:
    """Carry out an order, with its log for what is printed; gives the exit code."""
    try:
        log = _open_log(order)
    except OSError as error:
        traceback.print_exc()
        return ExitCode.STORE_FULL if error.errno in NO_ROOM else ExitCode.FAILED
    code = run_job(order)
    with contextlib.suppress(OSError, ValueError):  # nothing that was printed is worth a result
        sys.stdout.flush()
        sys.stderr.flush()
        if os.fstat(log).st_size == 0:
            order.log.unlink()
    return code


def _open_log(order: JobSpec) -> int:
    """What the worker prints from now on goes to its log."""
    if order.log.is_symlink() or not order.log.is_file():
        removed(order.log)  # a link could lead to a file that is not a log
    file = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    return file
