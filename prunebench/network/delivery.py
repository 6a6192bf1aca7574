"""A finished network that runtimes run: the model, examples for it, and what it is as an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from prunebench.api.components import Input
from prunebench.api.errors import PrunebenchError, Unsupported
from prunebench.data.inputs import Inputs, as_floats, constant_inputs
from prunebench.network.modules import copied
from prunebench.network.onnx_files import as_onnx

CPU = torch.device("cpu")


@dataclass(frozen=True)
class FinishedNetwork:
    """The `Delivery` of a network.

    Args:
        module: the network without parametrizations, in evaluation mode; it stays as it is.
        batches: returns some mini-batches of training inputs, by their number and size.
    """

    module: nn.Module
    inputs: tuple[Input, ...]
    zeros: float
    threads: int
    batches: Callable[[int, int], Iterator[Inputs]]

    @property
    def model(self) -> nn.Module:
        return copied(self.module).to(CPU, torch.float32).eval()

    @property
    def example(self) -> Inputs:
        return constant_inputs(self.inputs, 2, 0.0)

    def calibration(self, batches: int, batch_size: int) -> Iterator[Inputs]:
        for inputs in self.batches(batches, batch_size):
            yield as_floats(inputs, CPU, torch.float32)

    def onnx(self) -> bytes:
        return self._onnx

    @cached_property
    def _onnx(self) -> bytes:
        """Made once: torch's exporter takes seconds."""
        try:
            found: bytes = as_onnx(self.model, self.inputs).SerializeToString(deterministic=True)
        except PrunebenchError:
            raise
        except Exception as error:  # torch's exporter has no exception class for what it cannot trace
            raise Unsupported(f"torch cannot export this network to ONNX: {first_line(error)}") from error
        return found


def first_line(error: BaseException) -> str:
    """The first line of a library's error, or of the error behind it, of at most 200 characters."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
