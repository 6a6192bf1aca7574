"""What plugins subclass: `Model`, `Dataset`, and `Component`, which every named part of a suite is.

A subclass is a frozen dataclass without saying so: its annotated fields are its parameters, with types, ranges and
texts that the suite's validation, the listings and the keys all read from here:

    class Snip(prunebench.Method):
        name = "snip"
        batches: Annotated[int, Ge(1), Doc("mini-batches scored")] = 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from prunebench.api.versions import added_later

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@dataclass(frozen=True)
class Preset:
    """Named parameter values, and the paper or repository that they follow."""

    source: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, added_later))
@dataclass(frozen=True, kw_only=True)
class Component:
    """Something that a suite can name: a name, a reference, typed parameters."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: ClassVar[str]
    """How a suite calls it: lower case, digits and hyphens."""
    reference: ClassVar[str] = ""
    """The paper it comes from."""
    presets: ClassVar[Mapping[str, Preset]] = {}
    variant: ClassVar[str] = ""
    """The parameter that the part of a name after a slash fills: `timm/resnet18`."""
    version: ClassVar[int | None] = None
    """Of what it computes, counted from 1: a promise that results of one version and the same parameters are equal.

    Keys hold it instead of the code. Raise it whenever the same parameters give other numbers; moving, renaming and
    rewording need no other version. It is not inherited: a class that
    declares none itself is keyed by the hash of its source.
    """
    origin: ClassVar[str] = ""
    """The distribution and version that it was loaded from; part of the keys of a component that declares no
    `version`, as there is code that no hash of Python files sees. None for the built-in ones and for loose files."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)


class Model(Component):
    """A network architecture."""

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A freshly initialized network.

        Args:
            shape: of one input, without the batch: (channels, height, width).
            classes: the number of logits.

        The global torch generator is seeded before the call, and put back after it.
        """
        raise NotImplementedError

    def prunable(self, module: nn.Module) -> Sequence[str]:
        """Names of the weights that may be pruned.

        By default those of every convolution, linear, recurrent and multi-head attention layer. A weight behind a
        parametrization (weight norm, ...) may be called by its own name, `layer.weight`.
        """
        from prunebench.api.weights import prunable_by_default

        return prunable_by_default(module)


@dataclass(frozen=True)
class DataFacts:
    """What a plan needs to know of a data set, without touching it."""

    shape: tuple[int, ...]
    """(channels, height, width) of one input."""
    classes: int
    train: int
    """Number of training examples, validation included."""
    test: int


@dataclass(frozen=True)
class Arrays:
    """A data set in memory: bytes, not floats, so that it is small and its fingerprint exact.

    `train_inputs` and `test_inputs` are uint8 of shape (N, channels, height, width), labels int64 of shape (N,).
    """

    train_inputs: np.ndarray
    train_labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Files:
    """A data set that no memory holds: the names of its files, seen from `folder`, and their labels."""

    folder: Path
    train: Sequence[str]
    train_labels: Sequence[int]
    test: Sequence[str]
    test_labels: Sequence[int]


class Dataset(Component):
    """A data set of images as bytes."""

    mean: ClassVar[tuple[float, ...]]
    """Per channel, on the bytes' own scale; a network sees (bytes - mean) / std."""
    std: ClassVar[tuple[float, ...]]

    def facts(self) -> DataFacts:
        """Sizes and shapes, without touching the data."""
        raise NotImplementedError

    def load(self, root: Path | None) -> Arrays:
        """Read (or download) the data; called once a machine, the result is kept beside the store.

        Whatever it raises fails the tasks of this data set, and no others.

        Args:
            root: the folder of data sets, from `--data` or PRUNEBENCH_DATA.

        Raises:
            DataError: what was looked for, where, and how to get it.
        """
        raise NotImplementedError

    def files(self, root: Path | None) -> Files | None:
        """The files of data that is too large to be kept decoded; None, as here, where `load` reads it at once.

        They are decoded while a network trains, each time that it sees them, and `load` is not called.

        Raises:
            DataError: what was looked for, where, and how to get it.
        """
        return None

    def decode(self, path: Path, draw: int | None) -> np.ndarray:
        """One of `files` as bytes of the shape that `facts` says; called in other processes.

        Args:
            draw: the seed of a random resized crop; None for what a test sees.

        Raises:
            DataError: naming the file.
        """
        raise NotImplementedError(f"data set {self.name!r} has no files to decode")

    def signature(self, root: Path | None) -> str:
        """Changes when what `load` would read changes, so that it is then read again; cheap, as it is often asked for.

        Names, sizes and times of the files will do; nothing, as here, for data that cannot change. No key holds it.
        """
        return ""
