"""Calls of MLflow that are made again while it fails now and then."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from prunebench.api.errors import Unavailable
from prunebench.tracking.connection import translated

Given = TypeVar("Given")

PATIENCE = 20.0
"""Seconds for which a server may fail without a break until it is given up."""
_FIRST, _LONGEST = 0.25, 4.0
"""Seconds between two attempts: at first, and at most; they double in between."""


def insisted(call: Callable[[], Given], patience: float) -> Given:
    """What a call returns, made again while it raises Unavailable, until that has lasted for `patience` seconds."""
    deadline, pause = time.monotonic() + patience, _FIRST
    while True:
        try:
            return call()
        except Unavailable:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            time.sleep(min(left, pause * random.uniform(0.5, 1.0)))  # so that clients do not come back all at once
            pause = min(2 * pause, _LONGEST)


@dataclass(frozen=True)
class Insistent:
    """A client each of whose calls is insisted on; made twice, a call does what it does once, but for `create_run`."""

    client: Any
    uri: str
    patience: float

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.client, name)

        @wraps(call)
        def again(*args: Any, **kwargs: Any) -> Any:
            def once() -> Any:
                with translated(self.uri):
                    return call(*args, **kwargs)

            return insisted(once, self.patience)

        return again
