"""The driver's side of the fork server: one template for the whole program, and a server for each run."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.util import _args_from_interpreter_flags  # type: ignore[attr-defined]
from pathlib import Path

from prunebench.execution.processes.forkserver import FORK, Messages

CODE = "import sys; sys.path[:] = {path!r}; "
CODE += "from prunebench.execution.processes.forkserver import serve_as_template as serve; "
PATIENCE = 10.0
"""Seconds in which a server has ended what it runs."""


def start_python(code: str, descriptor: int) -> subprocess.Popen[bytes]:
    """Start Python in a new session to run this code. It inherits the open file of this descriptor.

    Ctrl-C is the driver's to handle, also while the template is loading. Set iteration and string hashing are the same
    in every worker of every run.
    """
    return subprocess.Popen(
        [sys.executable, *_args_from_interpreter_flags(), "-c", code],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        env={"PYTHONHASHSEED": "0", **os.environ},
        start_new_session=True,
    )


class Template:
    """A process that has torch loaded, and forks servers."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = start_python(CODE.format(path=sys.path) + f"serve({theirs.fileno()})", theirs.fileno())

    @property
    def is_alive(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def fork(self, theirs: socket.socket) -> None:
        """Have a server forked that listens there. Raises OSError where the template is gone."""
        socket.send_fds(self._channel, [FORK], [theirs.fileno()])

    def close(self) -> None:
        """End it; servers go on for as long as their own socket is open."""
        if self.owner == os.getpid():
            with contextlib.suppress(OSError):  # it is gone
                self._channel.shutdown(socket.SHUT_RDWR)  # children that plugins forked have the socket open too
        self._channel.close()
        if self.owner == os.getpid():
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


_template: Template | None = None
_lock = threading.Lock()


def start_server(plugins: Sequence[str], blocked: Sequence[str], sockets: str = "") -> Messages:
    """A connection to a new fork server, which loads these plugins.

    Args:
        plugins: loose plugin files.
        blocked: plugins that are left out.
        sockets: the folder in which multiprocessing keeps its sockets, if it is not the usual one.

    Raises OSError where no process can be started.
    """
    ours, theirs = socket.socketpair()
    with theirs, _lock:
        try:
            _running_template().fork(theirs)
        except OSError:  # it has died since
            _new_template().fork(theirs)
    connection = Messages(ours)
    connection.send(plugins=list(plugins), blocked=list(blocked), sockets=sockets, folder=_folder())
    return connection


def _folder() -> str:
    """The folder of this process, which the paths of a suite are relative to.

    If it is gone, the root, where such paths lead nowhere: in another folder they could lead to other files.
    """
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return os.sep


def start_template() -> None:
    """Start the template, if there is none: it loads torch while this process does something else.

    A failure is left to `start_server`, which reports it.
    """
    with _lock, contextlib.suppress(OSError):
        _running_template()


def _running_template() -> Template:
    return _template if _template is not None and _template.is_alive else _new_template()


def _new_template() -> Template:
    global _template
    close()
    _template = Template()
    return _template


def close() -> None:
    """End the template, if there is one."""
    global _template
    if _template is not None:
        _template.close()
        _template = None


def end_server(connection: Messages) -> None:
    """Have a server end what it runs and itself, and wait until it has."""
    try:
        connection.channel.shutdown(socket.SHUT_WR)
        connection.channel.settimeout(PATIENCE)
        while connection.received() is not None:
            pass
    except OSError:  # it is gone, or does not answer
        pass
    finally:
        connection.channel.close()


atexit.register(close)
