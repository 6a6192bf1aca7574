"""`python -m prunebench.execution`: perform the job whose JSON is on standard input."""

from __future__ import annotations

import os
import sys

from prunebench.api.executors import JobSpec
from prunebench.execution.processes import descendants
from prunebench.execution.run_job import run_job

if __name__ == "__main__":
    descendants.adopt_orphans()
    code = run_job(JobSpec.from_json(sys.stdin.read()))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads and processes that a method has left are not waited for.
    descendants.kill_children()
    os._exit(code)
