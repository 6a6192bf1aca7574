"""Performing a job in a process whose exit code says how it ended."""

from __future__ import annotations

import traceback

from prunebench.api.executors import ExitCode, JobSpec


def run_job(job: JobSpec) -> int:
    """Perform a job in this process, which should be a new one; returns its exit code.

    The state goes into the store, and so does the reason of a failure; what is printed belongs in `job.log`.
    """
    from prunebench.execution import worker  # torch comes with it

    try:
        return worker.run_job(job)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else ExitCode.FAILED
    except BaseException:
        traceback.print_exc()
        return ExitCode.FAILED
