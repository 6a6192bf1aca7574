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
    import torch
    from torch import nn

    from prunebench.api.files import Weights


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


Kind = Literal["images", "features", "tokens", "text"]
"""Kinds of inputs; see `Input.kind`."""
Targets = Literal["classes", "labels", "numbers", "tokens"]
"""Kinds of targets; see `DataFacts.targets`."""


@dataclass(frozen=True)
class Input:
    """One input of a network, for one example."""

    shape: tuple[int, ...]
    """(channels, height, width) of images, (length,) of tokens and text, any shape of features."""
    kind: Kind = "images"
    """The kind of input, which determines the type of its arrays and of the tensors that are passed to the network:

    - `images`: uint8 arrays; float32 tensors, normalized by `mean` and `std` of each channel of the data set.
    - `features`: float32 arrays, such as the columns of a table; float32 tensors in which each feature has mean 0 and
      standard deviation 1 over the training examples.
    - `tokens`: uint8, int16, int32 or int64 arrays of numbers below `vocabulary`; int64 tensors.
    - `text`: like tokens, but the examples are consecutive windows of one text, in order. The last windows of the
      training set are held out for validation, and the augmentation `shift` moves windows.
    """
    vocabulary: int = 0
    """Number of different tokens; 0 for images and features."""
    name: str = ""
    """Name of the input if a network has several inputs, which are passed as a dict of tensors by these names."""


@dataclass(frozen=True)
class Interface:
    """The inputs and the output of a network for one example."""

    inputs: tuple[Input, ...]
    outputs: tuple[int, ...]
    """Shape of the output, which the objective of the task determines: (classes,) for logits."""

    @classmethod
    def of_images(cls, shape: tuple[int, ...], classes: int) -> Interface:
        """The interface for images of shape (channels, height, width) and a logit for each class."""
        return cls((Input(shape),), (classes,))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first input."""
        return self.inputs[0].shape


class Model(Component):
    """Base class of a network architecture. Override `build`, and `prunable` if other weights may be pruned.

    A network is called with one argument: a tensor of shape (N, *shape), or a dict of such tensors by name if the data
    has several inputs. `Input.kind` describes their types.
    """

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """Return a freshly initialized network, on the CPU and in float32.

        Called once for each network that is described, initialized or loaded. The global generators of
        torch, NumPy and Python are seeded before the call and restored after it, so weights may be drawn from them.

        Args:
            shape: shape of one input without the batch, (channels, height, width) for images.
            outputs: size of the output for one example, the number of classes for logits.

        Returns:
            a module that maps inputs of shape (N, *shape) to outputs of shape (N, outputs).
        """
        raise NotImplementedError

    def build_for(self, interface: Interface) -> nn.Module:
        """Return a freshly initialized network for these inputs and outputs; calls `build` by default.

        Override it instead of `build` if the network takes tokens or several inputs, or if its output for one example
        is not a vector.

        Raises:
            ValueError: with the reason, if the network does not support the inputs or the output.
        """
        if len(interface.inputs) != 1 or interface.inputs[0].vocabulary or len(interface.outputs) != 1:
            raise ValueError(f"the model supports one input of numbers and a vector as output, not {interface}")
        return self.build(interface.shape, interface.outputs[0])

    def prunable(self, module: nn.Module) -> Sequence[str]:
        """Return the names of the weights that may be pruned, for a module that `build` returned.

        By default those of every convolution, linear, recurrent and multi-head attention layer. A weight behind a
        parametrization (weight norm, ...) may be named by its own name, `layer.weight`.
        """
        from prunebench.api.weights import prunable_by_default

        return prunable_by_default(module)

    def blocks(self, module: nn.Module) -> Sequence[str]:
        """Return the names of the submodules that are pruned one after the other, for a module that `build` returned.

        Asked when a stage prunes or reconstructs layer by layer. A prunable weight that is in none of them is a block
        by itself. By default the list is empty, and the blocks are found: the elements of each `nn.Sequential` or
        `nn.ModuleList` that is a chain of layers or blocks, and all other layers one by one.
        """
        return []

    def starting_weights(self, interface: Interface) -> Weights | None:
        """Return the file of weights that trials start from if the task names none; by default None, random weights.

        Called when a suite is read. The file becomes `weights` of the task, as if the suite named it.

        Raises:
            ValueError: with the reason, if there is no such file or it does not fit.
        """
        return None

    def converted(self, tensors: Mapping[str, torch.Tensor], module: nn.Module) -> Mapping[str, torch.Tensor]:
        """Return the tensors of a file of weights by the names and in the shapes of the network's parameters.

        Called for every file that a task starts from, before its tensors are compared with the network; by default they
        are returned as they are. It must return a file that is in the form of the network unchanged.

        Args:
            tensors: by their names in the file, without the `prefix` of the task.
            module: what `build` returned, possibly on the meta device.
        """
        return tensors


@dataclass(frozen=True)
class DataFacts:
    """Sizes and shapes of a data set, which planning needs before the data is read."""

    shape: tuple[int, ...] = ()
    """Shape of one input, (channels, height, width) for an image."""
    classes: int = 0
    """Number of classes, so that targets are 0 to classes - 1; or number of labels."""
    train: int = 0
    """Number of training examples, validation included."""
    test: int = 0
    """Number of test examples."""
    kind: Kind = field(default="images", kw_only=True)
    """The kind of input; see `Input.kind`."""
    vocabulary: int = field(default=0, kw_only=True)
    """Number of different tokens, if the input or the targets are tokens."""
    inputs: tuple[Input, ...] = field(default=(), kw_only=True)
    """The inputs, if there are several; `shape`, `kind` and `vocabulary` are then not given."""
    targets: Targets = field(default="classes", kw_only=True)
    """The kind of target, which determines its array:

    - `classes`: one class for each example; int64.
    - `labels`: any number of labels; float32 of shape (classes,), 1 for labels that apply and 0 for others.
    - `numbers`: numbers of shape `target_shape`; float32.
    - `tokens`: tokens of shape `target_shape`, in the types of input tokens.
    """
    target_shape: tuple[int, ...] = field(default=(), kw_only=True)
    """Shape of one target of numbers or tokens."""

    @property
    def every_input(self) -> tuple[Input, ...]:
        """The inputs, one or several."""
        return self.inputs or (Input(self.shape, self.kind, self.vocabulary),)


@dataclass(frozen=True)
class Arrays:
    """A data set in memory, with inputs of shape (N, *shape) and targets of shape (N, *target shape).

    For images and classes, inputs are uint8 of shape (N, channels, height, width) and labels are int64 of shape (N,):
    bytes take a quarter of the memory of floats, and their fingerprint is exact. Several inputs are a dict of arrays by
    name. `labels` are targets of any kind.
    """

    train_inputs: np.ndarray | Mapping[str, np.ndarray]
    train_labels: np.ndarray
    test_inputs: np.ndarray | Mapping[str, np.ndarray]
    test_labels: np.ndarray


@dataclass(frozen=True)
class Files:
    """A data set of images that is larger than memory: paths of its files relative to `folder`, and their labels."""

    folder: Path
    train: Sequence[str]
    train_labels: Sequence[int]
    test: Sequence[str]
    test_labels: Sequence[int]


class Dataset(Component):
    """Base class of a data set. Override `facts`, and `load`, or `files` and `decode`; `mean` and `std` for images."""

    mean: ClassVar[tuple[float, ...]]
    """Images: mean of each channel, from 0 to 255; the inputs of a network are (bytes - mean) / std."""
    std: ClassVar[tuple[float, ...]]
    """Images: standard deviation of each channel, on the same scale."""
    made_for: ClassVar[str] = ""
    """Name of the only objective that the targets are for; empty if their kind says which objectives fit."""

    def facts(self) -> DataFacts:
        """Return sizes and shapes without reading the data. Called often while suites are read and planned.

        An exception fails only the tasks of this data set.
        """
        raise NotImplementedError

    def load(self, root: Path | None) -> Arrays:
        """Read or download the data. Called once on each machine, because the result is kept in the store.

        An exception fails only the tasks of this data set.

        Args:
            root: the folder of data sets, from `--data` or PRUNEBENCH_DATA.

        Raises:
            DataError: with what was looked for, where, and how to get it.
        """
        raise NotImplementedError

    def files(self, root: Path | None) -> Files | None:
        """Return the files of images that are too many to keep decoded; by default None, and `load` is called instead.

        The files are decoded during training, each time that an example is used.

        Raises:
            DataError: with what was looked for, where, and how to get it.
        """
        return None

    def decode(self, path: Path, draw: int | None) -> np.ndarray:
        """Decode one of `files` to a uint8 array of the shape in `facts`; called in worker processes. Only for images.

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
