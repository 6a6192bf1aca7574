"""`python -m prunebench.execution`: carry out the order whose JSON is on standard input."""

from __future__ import annotations

import os
import sys

from prunebench.api.executors import Order
from prunebench.execution.carry_out import carry_out
from prunebench.execution.processes import descendants

if __name__ == "__main__":
    descendants.adopt_orphans()
    code = carry_out(Order.from_json(sys.stdin.read()))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads and processes that a method has left are not waited for.
    descendants.kill_children()
    os._exit(code)
