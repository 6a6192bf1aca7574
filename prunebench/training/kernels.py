"""Products with a matrix of which only the kept weights are stored, compiled by numba.

A matrix is stored by rows: the weights of row i are `value[order[at]]` for `at` from start[i] to start[i + 1] - 1, and
they are in the columns `column[at]`. With another order the same values are the transposed matrix. Inputs and outputs
have one row for each feature and one column for each example, so that the innermost loops run over examples, which lie
next to each other.

Each element of a result is summed up in the order of the stored weights (or of the examples) by a single thread. The
bits depend on the arguments and on the type of the processor, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

STORED = "int32[::1], int32[::1], int32[::1]"
"""The types of `start`, `column` and `order`."""
FAST = {"contract", "nsz", "reassoc"}
"""What the compiler may do to use vector instructions; not-a-number and infinity still mean what they say."""


def _compiled(signature: str) -> Callable[[Callable[..., None]], Any]:
    """Compile a function for these types alone; the result is kept beside this file, or wherever numba may write."""

    def compiled(function: Callable[..., None]) -> Any:
        try:
            return numba.njit([signature], cache=True, fastmath=FAST)(function)
        except RuntimeError:  # there is no folder to keep it in: each process compiles it again
            return numba.njit([signature], fastmath=FAST)(function)

    return compiled


@_compiled(f"void({STORED}, float32[::1], float32[:, ::1], float32[::1], float32[:, ::1])")
def multiply(start: Any, column: Any, order: Any, value: Any, inputs: Any, bias: Any, outputs: Any) -> None:
    """Write the matrix times `inputs`, plus `bias` in each column, to `outputs`.

    Args:
        inputs: of shape (columns of the matrix, examples).
        bias: of shape (rows of the matrix,).
        outputs: of shape (rows of the matrix, examples).
    """
    rows, examples = outputs.shape
    for row in range(rows):
        output = outputs[row]
        for one in range(examples):
            output[one] = bias[row]
        at, end = start[row], start[row + 1]
        while at + 4 <= end:  # four weights at a time: a quarter of the reads and writes of the output
            a, b = value[order[at]], value[order[at + 1]]
            c, d = value[order[at + 2]], value[order[at + 3]]
            p, q = inputs[column[at]], inputs[column[at + 1]]
            r, s = inputs[column[at + 2]], inputs[column[at + 3]]
            for one in range(examples):
                output[one] += (a * p[one] + b * q[one]) + (c * r[one] + d * s[one])
            at += 4
        while at < end:
            a, p = value[order[at]], inputs[column[at]]
            for one in range(examples):
                output[one] += a * p[one]
            at += 1


@_compiled(f"void({STORED}, float32[:, ::1], float32[:, ::1], float32[::1], float32[::1])")
def gradients(start: Any, column: Any, order: Any, errors: Any, inputs: Any, found: Any, biases: Any) -> None:
    """Write the gradients of stored weights and biases: sums over examples of error times input, and of the error.

    Args:
        errors: gradients of the outputs, of shape (rows of the matrix, examples).
        inputs: of shape (columns of the matrix, examples).
        found: one number for each stored weight.
        biases: one number for each row of the matrix.
    """
    rows, examples = errors.shape
    zero = np.float32(0)
    for row in range(rows):
        error = errors[row]
        a = zero
        for one in range(examples):
            a += error[one]
        biases[row] = a
        at, end = start[row], start[row + 1]
        while at + 4 <= end:  # four weights at a time: a quarter of the reads of the error
            p, q = inputs[column[at]], inputs[column[at + 1]]
            r, s = inputs[column[at + 2]], inputs[column[at + 3]]
            a, b, c, d = zero, zero, zero, zero
            for one in range(examples):
                a += error[one] * p[one]
                b += error[one] * q[one]
                c += error[one] * r[one]
                d += error[one] * s[one]
            found[order[at]], found[order[at + 1]] = a, b
            found[order[at + 2]], found[order[at + 3]] = c, d
            at += 4
        while at < end:
            a, p = zero, inputs[column[at]]
            for one in range(examples):
                a += error[one] * p[one]
            found[order[at]] = a
            at += 1
