"""Stages: small frozen values that describe one operation on a state.

A method turns a trial into a chain of stages. A stage does nothing by itself; `prunebench.execution` performs it.
Times in a stage are written as in `prunebench.api.times`: `0`, `500it`, `2ep`, `5%`, `end`, `+5ep`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Interval

from prunebench.api import times
from prunebench.api.components import Component
from prunebench.api.errors import Unreachable
from prunebench.api.layers import Layer

Allocation = Literal["global", "uniform", "er", "erk"]
"""How a density is distributed over the layers; see `prunebench.pruning.allocation`."""

Share = Annotated[float, Interval(gt=0, le=1)]
Shares = tuple[tuple[str, Share], ...]
"""An allocation by hand, as (layer, share): that layer keeps share ** x of its weights, where x is the one number at
which the density is exact. A layer that is not named stays dense.

Shares that are densities, and add up to the requested density, are kept as they are (x = 1). Shares that are
what a pruning round leaves of each layer (0.8, and 0.9 of the last one) give the same ladder as the rounds (x = 1, 2,
...), and what lies between two of its rungs.
"""


@dataclass(frozen=True)
class Structure:
    """N:M sparsity: `n` of every `m` weights are kept, in groups of consecutive input channels.

    A group is `m` weights of one output and, in a convolution, of one place of the kernel: along dimension 1, and in a
    transposed convolution along dimension 0. A layer in which the number of inputs of an output is not divisible by `m`
    (a stem of three channels, a depthwise convolution) stays as dense as it is.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    n: Annotated[int, Ge(1)]
    m: Annotated[int, Ge(1)]

    def __post_init__(self) -> None:
        if self.n > self.m:
            raise ValueError(f"{self} would keep more than all: n is at most m")

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def density(self) -> float:
        """Of a layer that it fits."""
        return self.n / self.m

    def fits(self, layer: Layer) -> bool:
        """Whether a layer has whole groups."""
        return layer.inputs % self.m == 0

    def kept(self, layers: Iterable[Layer]) -> int:
        """How many weights of some dense layers are kept; those of the layers that it does not fit among them."""
        return sum(layer.size * self.n // self.m if self.fits(layer) else layer.size for layer in layers)

    def check(self, density: float, layers: Sequence[Layer]) -> None:
        """Raise Unreachable for a density that is not n/m, or that the layers which it does not fit put out of reach.

        A twentieth of the weights may be in such layers.
        """
        size = sum(layer.size for layer in layers)
        if abs(density - self.density) > 1e-4:
            raise Unreachable(f"{self} has a sparsity of {1 - self.density:g}, and no other")
        if size > 1.05 * sum(layer.size for layer in layers if self.fits(layer)):
            reached = 1 - self.kept(layers) / size
            misfits = ", ".join(layer.name for layer in layers if not self.fits(layer))
            raise Unreachable(
                f"{self} has a sparsity of {reached:.4g} here, and no other: the input channels of {misfits} are not "
                f"divisible by {self.m}"
            )


class Stage:
    """Base class of the stages of a chain, which are the classes below."""

    calls: ClassVar[str] = ""
    """The function of the method in `by` that the stage calls, if it has one."""


@dataclass(frozen=True)
class Initialize(Stage):
    """Fresh weights, drawn from the trial's seed; step 0, no mask, no cost."""


@dataclass(frozen=True)
class Train(Stage):
    """Train by the task's recipe from the state's step on.

    Args:
        until: time at which to stop; beyond the recipe's end the learning rate stays at its last value (fine-tuning).
        stream: name of the random stream of data order, augmentation and dropout; another name gives another draw from
            the same state.
        by: the method whose `updater` changes the masks during the training; None for fixed masks.
        density: share of all prunable weights that this method is to keep in the end, if it makes masks of its own.
    """

    calls = "updater"

    until: times.Moment = "end"
    stream: str = "train"
    by: Component | None = None
    density: float | None = None


@dataclass(frozen=True)
class Prune(Stage):
    """Keep the weights that score highest; exactly round(density * N) of them, ties broken by index.

    Args:
        by: the method whose `scores` rank the weights. Pruned weights stay pruned.
        density: share of all prunable weights that is kept afterwards.
        allocation: how that number is distributed over the layers: the name of a rule, or `Shares`.
        rounds: prune in this many rounds, scoring again before each; the density falls geometrically.
        invert: keep the lowest instead (the ablation that shows that a score matters).
        structure: keep N of every M weights in each layer that this fits; `allocation` is then ignored.
    """

    calls = "scores"

    by: Component
    density: float
    allocation: Allocation | Shares = "global"
    rounds: Annotated[int, Ge(1)] = 1
    invert: bool = False
    structure: Structure | None = None


@dataclass(frozen=True)
class Shuffle(Stage):
    """The same number of weights in each layer, at random places (the random-mask control).

    Their values are those of the last state that was not pruned.
    """


@dataclass(frozen=True)
class Rewind(Stage):
    """Go back to an earlier point of this chain, keeping the mask and the cost so far.

    Args:
        to: the step to go back to; the chain must have stopped there.
        weights: restore weights and BatchNorm statistics; without it only the step, hence the learning rate, goes back.
        optimizer: restore the optimizer's state too (momentum); otherwise it starts at zero with restored weights, and
            is kept with the present ones.
    """

    to: times.Time = 0
    weights: bool = True
    optimizer: bool = False


@dataclass(frozen=True)
class Reinitialize(Stage):
    """New random weights under the same mask, back to step 0 (the random-reinitialization control)."""


@dataclass(frozen=True)
class Deploy(Stage):
    """Measure the network as it would be deployed; the state, and everything after it, is not changed.

    The accuracy and loss at this point of the chain are then those of the deployed network. Its size on disk and its
    latency are recorded too, both with those of the dense float32 network.

    Args:
        by: the method whose `deploy` converts the network, such as to 8-bit integers; None for the float32 network,
            whose zeros are left out of the file and multiplied like any other number.
        batch: number of examples in a pass whose latency is measured.
    """

    calls = "deploy"

    by: Component | None = None
    batch: Annotated[int, Ge(1)] = 1
