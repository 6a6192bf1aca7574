"""Runtimes, which run a finished network as it is delivered, and the stage that measures networks in them.

A runtime writes the files that would be shipped, and returns a program that was read from them, so that what is
measured is what is delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol

from annotated_types import Ge, Len
from typing_extensions import Doc

from prunebench.api.components import Component, Input
from prunebench.api.stages import Stage

if TYPE_CHECKING:
    import torch
    from torch import nn

    Batch = torch.Tensor | dict[str, torch.Tensor]
    """Inputs of a network: a tensor, or a dict of tensors by name where it has several inputs."""


class Delivery(Protocol):
    """A finished network, which is passed to `Runtime.deploy`."""

    @property
    def model(self) -> nn.Module:
        """The network, to be changed as one likes: float32, on the CPU, in evaluation mode, pruned weights are zero."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What each input is; see `prunebench.Input`."""

    @property
    def example(self) -> Batch:
        """Inputs of two examples, as the network is given them."""

    @property
    def zeros(self) -> float:
        """Share of the prunable weights that is exactly zero."""

    @property
    def threads(self) -> int:
        """The number of threads that the program may use."""

    def calibration(self, batches: int, batch_size: int) -> Iterator[Batch]:
        """Yield mini-batches of training examples, on the CPU, from which ranges of activations are measured."""

    def onnx(self) -> bytes:
        """Return the network as an ONNX file: any batch size, inputs under their names (`input` for a single one).

        Raises:
            Unsupported: if torch cannot export the network.
            PrunebenchError: if the packages that this needs are not installed.
        """


@dataclass(frozen=True, kw_only=True)
class Program:
    """A network as a runtime runs it."""

    run: Callable[[Batch], torch.Tensor]
    """Maps a batch of any number of examples, on `device`, to the network's outputs as a tensor."""
    device: str = "cpu"
    """Where the inputs are expected."""
    half: bool = False
    """Whether numbers are expected as float16 instead of float32."""
    note: str = ""
    """A remark, such as the kernels that are used and what stayed float32."""


class Runtime(Component):
    """Base class of a runtime, in which finished networks are measured and delivered. Override `deploy`.

    A suite names runtimes in `runtimes: [...]`, and `prunebench export --runtime NAME` writes the files of one. The
    parameters are keys beside the name; `precision: int8` is the usual one for 8-bit integers.
    """

    requires: ClassVar[Mapping[str, str]] = {}
    """Modules that it needs, and the command that installs each. A run checks them before it trains anything."""
    reading: ClassVar[str] = ""
    """Lines of Python that read the files back in their folder and call the network with `inputs`, for the card of a
    delivered network; empty if its files cannot be delivered."""

    def deploy(self, network: Delivery, folder: Path) -> Program:
        """Write the files that would be shipped to `folder`, and return the program that was read from them.

        Called for the pruned network, and for the dense one beside which it is timed. Without `load` it is called once
        more for each, in another process, where its memory is measured.

        Raises:
            Unsupported: in one sentence, why this network cannot be run here or has no kernel here.
        """
        raise NotImplementedError(f"runtime {self.name!r} deploys nothing")

    def load(self, folder: Path, threads: int) -> Program:
        """Read back what `deploy` wrote, for `prunebench.load_program` and where the program's memory is measured.

        Raises:
            PrunebenchError: in one sentence, if the files are damaged.
        """
        raise NotImplementedError(f"the files of runtime {self.name!r} cannot be read back")

    def skips_zeros(self, network: Delivery) -> bool:
        """Return whether the program has kernels that skip the zeros of this network; by default there are none."""
        return False

    def dense(self) -> Runtime:
        """Return the runtime that runs the dense float32 network beside it; by default the runtime itself."""
        return self

    def int8(self) -> Runtime | None:
        """Return the runtime that runs the dense network in 8-bit integers, as a control; None if there is none."""
        return None

    @property
    def tolerance(self) -> float:
        """The largest difference from torch's outputs, relative to the largest of them, that is no error."""
        return 1e-3

    @property
    def title(self) -> str:
        """The label that it has in results if the suite gives none."""
        precision = getattr(self, "precision", "float32")
        return self.name if precision == "float32" else f"{self.name}-{precision}"


@dataclass(frozen=True, kw_only=True)
class RuntimeEntry:
    """A runtime with its label in results."""

    label: str
    runtime: Runtime


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How latencies are measured in the runtimes of a suite."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    batch_sizes: Annotated[tuple[Annotated[int, Ge(1)], ...], Len(1, 8), Doc("numbers of examples in a timed pass")] = (
        1,
    )
    threads: Annotated[int, Ge(1), Doc("threads of a pass")] = 1


@dataclass(frozen=True)
class Measure(Stage):
    """Measure the network in runtimes: the last stage of each trial of a suite with `runtimes`.

    The state is not changed. Nothing else of the run is performed at the same time.
    """

    runtimes: tuple[RuntimeEntry, ...]
    latency: Latency = field(default_factory=Latency)
