"""The command line in processes that are forked from one that has imported all it uses: each starts in milliseconds.

Importing torch, MLflow and the rest takes ten seconds of processor time for every suite that is run: once for the
command and once for its fork server. Here they are imported once; a fork then changes folder, environment and output,
and does what `python -m prunebench` does. It brings along a second fork, which waits and becomes the template of the
command's workers when it starts one.

    python tests/forked.py      serve the requests that come over the socket that is standard input
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import gc
import json
import logging
import math
import multiprocessing.process
import os
import runpy
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

from prunebench import cli
from prunebench.api import plugins
from prunebench.execution.processes import forking
from prunebench.records import sources
from prunebench.records.environment import installed
from prunebench.tracking import addresses, connection

IMPORTED = (
    *(target.partition(":")[0] for target, _ in cli.COMMANDS.values()),
    *(point.value for point in entry_points(group="prunebench") if point.dist and point.dist.name == "prunebench"),
    *("torch._dynamo", "torchvision", "sklearn.datasets", "scipy.stats", "pandas", "vl_convert"),
    *("mlflow.store.tracking.sqlalchemy_store", "prunebench.session", "prunebench.leaderboard"),
    "prunebench.execution.processes.preload",
)
HIGH = 500
"""Descriptors from here on are nobody's."""
LONGEST = 1 << 20


def named(environment: Mapping[str, str]) -> list[str]:
    """The folders of modules that an environment names."""
    return list(filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)))


BASE = [path for path in sys.path[1:] if path not in named(os.environ)]
"""Where Python looks for modules in any environment."""


class Running:
    """A command that was begun; to be used as a `subprocess.Popen` whose output is kept in files."""

    def __init__(self, words: socket.socket, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self._words, self._outputs = words, (stdout, stderr)
        self.pid = self._word()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._words], [], [], 0)[0]:
            self.returncode = self._word()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._words], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("prunebench", timeout or 0)
            self.returncode = self._word()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it has printed, once it has ended."""
        self.wait(timeout)
        stdout, stderr = ((file.seek(0), file.read().decode())[1] for file in self._outputs)
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _word(self) -> int:
        word = self._words.recv(64)
        assert word, "the process that runs commands has ended"
        return int(word)


class Server:
    """The process that has imported all; it ends with this one."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own = ("MLFLOW_", "PRUNEBENCH_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        environment["PYTHONHASHSEED"] = "0"  # as the local executor sets it for its workers
        folder = Path(__file__).parents[1]
        subprocess.Popen([sys.executable, __file__], stdin=theirs, env=environment, cwd=folder)
        theirs.close()

    def begin(self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], script: str = "") -> Running:
        """Call the command line, or a script that does, with nothing for it to read."""
        request = {"arguments": arguments, "cwd": str(cwd), "environment": dict(environment), "script": script}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stdout, stderr = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            files = [theirs.fileno(), stdout.fileno(), stderr.fileno()]
            socket.send_fds(self._socket, [json.dumps(request).encode()], files)
        return Running(ours, stdout, stderr)


@functools.cache
def server() -> Server:
    """This process's server, started when it is first asked for."""
    return Server()


def serve(requests: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork a process for each request; returns in that process, with the request and its output's descriptors.

    Between the two is a process that tells the number of the command's and its exit code over the request's socket.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those between
    while True:
        message, files, _, _ = socket.recv_fds(requests, LONGEST, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            follow(socket.socket(fileno=files[0]))
            return json.loads(message), files[1:]
        for file in files:
            os.close(file)


def follow(words: socket.socket) -> None:
    """Fork the process of a command, and say how it ends; returns in the command's alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process == 0:
        words.close()
        return
    words.send(str(process).encode())
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(BrokenPipeError):
        words.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


class Spare:
    """A fork of this process, taken while it has but one thread, which becomes a Python started with some code."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._requests.close()
            become_python(theirs)
        theirs.close()

    def start(self, code: str, descriptor: int) -> None:
        """Run this code there, as `forking.start_python` has a new Python run it."""
        environment = {"PYTHONHASHSEED": "0", **os.environ}
        request = {"code": code, "environment": environment, "descriptor": descriptor, "cwd": str(Path.cwd())}
        with self._requests:
            socket.send_fds(self._requests, [json.dumps(request).encode()], [1, 2, descriptor])

    def poll(self) -> int | None:
        return self._waited(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("the template", timeout or 0)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _waited(self, options: int) -> int | None:
        if self.returncode is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, options)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def lend_template() -> None:
    """Have the command's first template be a fork of this process, taken now."""
    spares, start = [Spare()], forking.start_python

    def start_python(code: str, descriptor: int) -> Any:
        if not spares:
            return start(code, descriptor)
        spare = spares.pop()
        spare.start(code, descriptor)
        return spare

    forking.start_python = start_python


def become_python(requests: socket.socket) -> NoReturn:
    """Wait for a request, and run its code as a Python that was started with it would."""
    message, files, _, _ = socket.recv_fds(requests, LONGEST, 3)
    requests.close()
    if not message:
        os._exit(0)
    request = json.loads(message)
    os.setsid()
    put_on(files, [1, 2, request["descriptor"]])
    settle(request["environment"], Path(request["cwd"]))
    sys.argv = ["-c"]
    end_with(lambda: exec(request["code"], {"__name__": "__main__"}))


def copy_databases() -> None:
    """Have MLflow's new databases be copies of one, which is made now: that takes a second."""
    with tempfile.TemporaryDirectory() as folder:
        connection._create(Path(folder, "mlflow.db"))
        original = Path(folder, "mlflow.db").read_bytes()

    def copied(file: Path) -> None:
        aside = file.with_name(f".{file.name}.new")
        aside.write_bytes(original)
        with contextlib.closing(sqlite3.connect(aside)) as database, database:
            location = f"{addresses.artifact_location(file.parent / 'mlruns')}/0"
            database.execute("UPDATE experiments SET artifact_location = ?", [location])
        aside.rename(file)

    connection._create = copied


def put_on(files: Sequence[int], numbers: Sequence[int]) -> None:
    """Give open files these numbers, and no others."""
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, HIGH) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(high, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)


def settle(environment: Mapping[str, str], cwd: Path) -> None:
    """What Python would have found in this folder and environment."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    multiprocessing.process.ORIGINAL_DIR = str(cwd)
    sys.path[:] = [str(cwd), *named(environment), *BASE]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def end_with(work: Callable[[], object]) -> NoReturn:
    """Do this, then end as Python ends, but for taking every imported module apart, which takes half a second."""
    try:
        work()
        code: object = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def main() -> None:
    requests = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it starts a thread
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own dependencies
        for module in IMPORTED:
            import_module(module)
    for cached in (plugins.load, installed):  # the command's PYTHONPATH may name other distributions
        cached.cache_clear()
    sources.core_source()  # hashes all modules of the core, which takes a second
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    copy_databases()
    assert threading.active_count() == 1, f"importing has started {threading.enumerate()}"
    gc.freeze()
    request, files = serve(requests)
    lend_template()
    put_on(files, [1, 2])
    settle(request["environment"], Path(request["cwd"]))
    sys.argv = ["prunebench", *request["arguments"]]
    if request["script"]:
        sys.modules["__main__"] = ModuleType("__main__")  # as `python -c` has it: it is no file
        end_with(lambda: exec(request["script"], {"__name__": "__main__"}))
    end_with(lambda: runpy.run_module("prunebench", run_name="__main__", alter_sys=True))


if __name__ == "__main__":
    main()
