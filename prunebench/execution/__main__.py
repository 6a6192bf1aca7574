"""`python -m prunebench.execution`: carry out the order whose JSON is on standard input."""

from __future__ import annotations

import sys

from prunebench.execution.orders import carry_out
from prunebench.executors import Order

if __name__ == "__main__":
    sys.exit(carry_out(Order.from_json(sys.stdin.read())))
