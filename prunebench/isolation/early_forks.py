"""Calls in children of a process that was forked early, before this one has loaded anything more."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import warnings
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Generic, NoReturn, TypeVar

from prunebench.isolation import descendants
from prunebench.isolation.calls import GRACE, NoAnswer, call_in_child

A = TypeVar("A")
T = TypeVar("T")


class EarlyFork(Generic[A, T]):
    """A copy of this process as it is now, which calls a function later, each time in a child.

    What this process has loaded meanwhile is not in the memory of such a child. A context manager; for Linux.

    Args:
        function: takes an argument that can be pickled; what it returns and raises must be picklable too.
        patience: seconds until a call is given up.
    """

    def __init__(self, function: Callable[[A], T], patience: float) -> None:
        context = multiprocessing.get_context("fork")
        self._calls, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(function, patience, theirs, self._calls))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # later versions of Python warn of forking beside threads
            self._process.start()
        theirs.close()

    def call(self, argument: A) -> T:
        """What the function returns. Raises what it raises, and NoAnswer as `call_in_child` does."""
        try:
            self._calls.send(argument)
            value, error = self._calls.recv()
        except (EOFError, OSError):
            raise NoAnswer("the process that was forked for it has ended") from None
        if error is not None:
            raise error
        found: T = value
        return found

    def __enter__(self) -> EarlyFork[A, T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.close()
        self._process.join(GRACE)
        self._process.kill()
        self._process.join()


def _serve(function: Callable[[Any], Any], patience: float, calls: Connection, other: Connection) -> NoReturn:
    """Answer until the other end is closed."""
    descendants.end_with_parent()
    other.close()
    with contextlib.suppress(EOFError, OSError):
        while True:
            argument = calls.recv()
            try:
                message: tuple[Any, Exception | None] = (call_in_child(partial(function, argument), patience), None)
            except Exception as error:
                message = (None, error)
            calls.send(message)
    os._exit(0)
