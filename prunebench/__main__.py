"""`python -m prunebench` is `prunebench`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

from prunebench.cli import main
from prunebench.isolation import descendants

GRACE = 5.0
"""Seconds in which this process ends by itself after its command has."""


def run() -> None:
    """The command line. No thread or process that a plugin has left in this process keeps it from ending."""
    descendants.adopt_orphans()
    code: int | str | None = 1  # of an exception
    try:
        main()
    except SystemExit as stop:
        code = stop.code
        raise
    finally:
        _end_leftovers(code)


def _end_leftovers(code: int | str | None) -> None:
    """End child processes now, and this one soon, whatever waits for ever then."""
    if descendants.children():
        from prunebench.execution.processes import forking

        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises when a data loader's process ends
        forking.close()
        descendants.kill_children()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    number = code if isinstance(code, int) else int(code is not None)
    threading.Thread(target=_end_anyway, args=(number,), daemon=True).start()


def _end_anyway(code: int) -> None:
    time.sleep(GRACE)
    os._exit(code)


if __name__ == "__main__":
    run()
