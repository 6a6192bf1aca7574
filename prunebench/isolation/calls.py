"""Calls a plugin's code in a child process: it may exit, crash or hang, and no process that it started is left.

caller ── supervisor    adopts what the code leaves behind, and ends all of it
             └── child     calls the code, and sends what it returned or raised
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn, TypeVar

from prunebench.isolation import descendants

T = TypeVar("T")
GRACE = 2 * descendants.PATIENCE
"""Seconds in which a supervisor has ended everything."""


class NoAnswer(Exception):
    """The process of a call ended, or took too long; the message says which."""


def call_in_child(function: Callable[[], T], patience: float | None = None) -> T:
    """What a function returns in a child process; both it and what it raises must be picklable.

    It is called in this process where the system is not Linux.

    Args:
        patience: seconds until the call is given up; None waits for as long as it takes.

    Raises:
        NoAnswer: for a call that ended its process, or took longer than that.
        Exception: whatever the function raises.
    """
    if sys.platform != "linux":
        return function()
    context = multiprocessing.get_context("fork")  # the classes of a loose file cannot be sent by their names
    answers, sender = context.Pipe(duplex=False)
    lifeline, ours = context.Pipe(duplex=False)
    supervisor = context.Process(target=_supervise, args=(function, sender, lifeline, (answers, ours)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # later versions of Python warn of forking beside threads
        supervisor.start()
    sender.close()
    lifeline.close()
    try:
        value: T = _received(answers, patience)
        return value
    finally:
        answers.close()
        ours.close()
        supervisor.join(GRACE)
        supervisor.kill()
        supervisor.join()


def _received(answers: Connection, patience: float | None) -> Any:
    if not answers.poll(patience):
        raise NoAnswer(f"it took longer than {patience:g} s")
    try:
        value, error, ended = answers.recv()
    except EOFError:  # the supervisor was killed, and the child with it
        ended = "its process was killed"
    if ended:
        raise NoAnswer(ended)
    if error is not None:
        raise error
    return value


def _supervise(
    function: Callable[[], Any], sender: Connection, lifeline: Connection, others: tuple[Connection, ...]
) -> NoReturn:
    """The life of the supervisor; it ends with the caller, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a command's handler would raise KeyboardInterrupt here
    for connection in others:
        connection.close()
    descendants.adopt_orphans()
    child = multiprocessing.get_context("fork").Process(target=_answer, args=(function, sender))
    child.start()
    if child.sentinel in wait([child.sentinel, lifeline]):
        child.join()
        with contextlib.suppress(OSError):  # the caller closes the pipe once it has the answer
            sender.send((None, None, f"its process ended with {_written(child.exitcode)}"))
    descendants.kill_children()
    os._exit(0)


def _answer(function: Callable[[], Any], sender: Connection) -> NoReturn:
    """Send what the function returns or raises."""
    descendants.end_with_parent()
    try:
        message: tuple[Any, Exception | None, str] = (function(), None, "")
    except Exception as error:
        message = (None, error, "")
    sender.send(message)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)  # threads that it has left are not waited for


def _written(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
