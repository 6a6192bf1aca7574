"""Base classes of plugins: `Model`, `Dataset`, and `Component`, the base of everything that a suite names.

Subclasses become frozen dataclasses without a decorator. Their annotated fields are the parameters; validation,
listings and keys read types, ranges and texts from the annotations:

    class Snip(prunebench.Method):
        name = "snip"
        batches: Annotated[int, Ge(1), Doc("mini-batches scored")] = 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, dataclass_transform

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
    """Base class of everything that a suite can name, with a name, a reference and typed parameters."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: ClassVar[str]
    """The name in suites: lower-case letters, digits, dots and hyphens."""
    reference: ClassVar[str] = ""
    """The paper that introduced it: authors, title, venue and year."""
    presets: ClassVar[Mapping[str, Preset]] = {}
    """Sets of parameter values by name, such as those of a paper."""
    variant: ClassVar[str] = ""
    """The parameter whose value is the part of a name after a slash, as in `timm/resnet18`; empty if there is none."""
    version: ClassVar[int | None] = None
    """Version of its behaviour, counted from 1: the same version and parameters promise the same results.

    Keys contain it instead of the code. Raise it whenever the same parameters give different numbers; moving, renaming
    and rewording code do not need a new version. It is not inherited: a class that does not declare one is keyed by the
    hash of its source.
    """
    origin: ClassVar[str] = ""
    """The distribution and version that it was loaded from; empty for built-in components and for plugin files.

    It is part of the keys of a component without a `version`, as a hash of Python files does not cover compiled code.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)


class Model(Component):
    """Base class of a network architecture. Override `build`, and `prunable` if other weights may be pruned."""

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return a freshly initialized network, on the CPU and in float32.

        Called once for each network that is described, initialized or loaded. The global torch generator is seeded
        before the call and restored after it, so weights may be drawn from it.

        Args:
            shape: of one input, without the batch: (channels, height, width).
            classes: number of logits.

        Returns:
            a module that maps float32 inputs of shape (N, *shape) to logits of shape (N, classes).
        """
        raise NotImplementedError

    def prunable(self, module: nn.Module) -> Sequence[str]:
        """Return the names of the weights that may be pruned, for a module that `build` returned.

        By default those of every convolution, linear, recurrent and multi-head attention layer. A weight behind a
        parametrization (weight norm, ...) may be named by its own name, `layer.weight`.
        """
        from prunebench.api.weights import prunable_by_default

        return prunable_by_default(module)


@dataclass(frozen=True)
class DataFacts:
    """Sizes and shapes of a data set, which planning needs before the data is read."""

    shape: tuple[int, ...]
    """(channels, height, width) of one input."""
    classes: int
    """Number of classes; labels are 0 to classes - 1."""
    train: int
    """Number of training examples, validation included."""
    test: int
    """Number of test examples."""
    targets: Literal["classes"] = field(default="classes", kw_only=True)
    """What is predicted for an example: one of the classes."""


@dataclass(frozen=True)
class Arrays:
    """A data set in memory, as bytes: a quarter of the size of floats, with an exact fingerprint.

    `train_inputs` and `test_inputs` are uint8 of shape (N, channels, height, width), labels are int64 of shape (N,).
    """

    train_inputs: np.ndarray
    train_labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Files:
    """A data set that is larger than memory: paths of its files relative to `folder`, and their labels."""

    folder: Path
    train: Sequence[str]
    train_labels: Sequence[int]
    test: Sequence[str]
    test_labels: Sequence[int]


class Dataset(Component):
    """Base class of a data set of images as bytes. Override `facts`, and `load`, or `files` and `decode`."""

    mean: ClassVar[tuple[float, ...]]
    """Mean of each channel, from 0 to 255; the inputs of a network are (bytes - mean) / std."""
    std: ClassVar[tuple[float, ...]]
    """Standard deviation of each channel, on the same scale."""

    def facts(self) -> DataFacts:
        """Return sizes and shapes without reading the data; called often, while suites are read and planned.

        An exception fails only the tasks of this data set.
        """
        raise NotImplementedError

    def load(self, root: Path | None) -> Arrays:
        """Read or download the data; called once on each machine, as the result is kept beside the store.

        An exception fails only the tasks of this data set.

        Args:
            root: the folder of data sets, from `--data` or PRUNEBENCH_DATA.

        Raises:
            DataError: what was looked for, where, and how to get it.
        """
        raise NotImplementedError

    def files(self, root: Path | None) -> Files | None:
        """Return the files of data that is too large to keep decoded; by default None, and `load` is called instead.

        The files are decoded during training, each time that an example is used.

        Raises:
            DataError: what was looked for, where, and how to get it.
        """
        return None

    def decode(self, path: Path, draw: int | None) -> np.ndarray:
        """Decode one of `files` to a uint8 array of the shape in `facts`; called in worker processes.

        Args:
            path: of the file.
            draw: seed of a random resized crop; None for the deterministic crop of evaluation.

        Raises:
            DataError: naming the file.
        """
        raise NotImplementedError(f"data set {self.name!r} has no files to decode")

    def signature(self, root: Path | None) -> str:
        """Return a text that changes whenever the result of `load` would change; the data is then read again.

        It is called often and must be fast: names, sizes and times of the files suffice. By default it is empty, for
        data that cannot change. It is in no key.
        """
        return ""
