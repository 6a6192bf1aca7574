"""Carrying out an order to the end that a process can tell: its exit code."""

from __future__ import annotations

import traceback

from prunebench.api.executors import ExitCode, JobSpec


def run_job(order: JobSpec) -> int:
    """Do the work of an order in this process, which should be fresh; gives the exit code that is to be told.

    The state goes into the store, and so does the reason of a failure; what is printed belongs in `order.log`.
    """
    from prunebench.execution import worker  # torch comes with it

    try:
        return worker.run_job(order)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else ExitCode.FAILED
    except BaseException:
        traceback.print_exc()
        return ExitCode.FAILED
