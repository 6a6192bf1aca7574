"""The facts of a data set: calls its code so that no error in it ends the caller, and checks the result."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from operator import index
from pathlib import Path
from typing import Any

from prunebench.api.components import DataFacts, Dataset, Input, Kind
from prunebench.api.errors import BrokenDataset, DataError
from prunebench.messages import tracebacks

DIMENSIONS: Mapping[str, tuple[str, range]] = {
    "images": ("(channels, height, width)", range(3, 4)),
    "features": ("the shape of the features of one example", range(1, 9)),
    "tokens": ("(length,)", range(1, 2)),
    "text": ("(length,)", range(1, 2)),
}
"""Meaning of the shape of an input of each kind, and its possible numbers of dimensions."""
AUGMENTATIONS: Mapping[Kind, Sequence[str]] = {
    "images": ("flip", "crop", "resized-crop"),
    "features": (),
    "tokens": (),
    "text": ("shift",),
}
"""The augmentations for each kind of input. Augmented data has one input."""


def facts_of(dataset: Dataset) -> DataFacts:
    """The facts of a data set, with all sizes as int.

    Raises:
        DataError: the data set's own.
        BrokenDataset: for whatever else its code raises, an exit included, and for facts of which no network can be
            trained and tested.
    """
    facts = _checked(dataset, guarded(dataset, "`facts`", dataset.facts))
    for given in facts.every_input:
        if given.kind == "images":
            _checked_numbers(dataset, "mean", given.shape[0])
            if min(_checked_numbers(dataset, "std", given.shape[0])) <= 0:
                raise broken(dataset, f"`std` is {dataset.std}, and should be above 0")
    return facts


def guarded(dataset: Dataset, what: str, call: Callable[[], Any]) -> Any:
    """The result of a call of the data set's code. Raises DataError as `facts_of` does."""
    try:
        return call()
    except (DataError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise broken(dataset, f"{what} raised {tracebacks.description(error, _files(dataset))}") from error


def _files(dataset: Dataset) -> set[Path]:
    """The files of the data set's class and of its bases."""
    modules = [sys.modules.get(cls.__module__) for cls in type(dataset).__mro__ if issubclass(cls, Dataset)]
    return {Path(module.__file__) for module in modules if module is not None and module.__file__}


def broken(dataset: Dataset, text: str) -> BrokenDataset:
    return BrokenDataset(f"data set {dataset.name!r}: {text}")


def in_short(value: Any) -> str:
    """An unexpected value, shortened for a message."""
    text = repr(value)
    return "None" if value is None else text if len(text) <= 60 else f"a {type(value).__name__}"


def _checked(dataset: Dataset, facts: Any) -> DataFacts:
    if not isinstance(facts, DataFacts):
        raise broken(dataset, f"`facts` must return prunebench.DataFacts, and returned {in_short(facts)}")
    try:
        found = _whole(facts)
    except TypeError:
        raise broken(dataset, f"its facts are {facts}: sizes and shapes must be whole numbers") from None
    for reason in (*map(_wrong_input, found.every_input), _wrong_names(found), _wrong_targets(found)):
        if reason:
            raise broken(dataset, f"its facts are {facts}: {reason}")
    for split in ("train", "test"):
        if getattr(found, split) < 1:
            raise broken(dataset, f"its {split} set is empty")
    return found


def _whole(facts: DataFacts) -> DataFacts:
    """The facts with every size as int. Raises TypeError."""
    return replace(
        facts,
        shape=_sizes(facts.shape),
        target_shape=_sizes(facts.target_shape),
        inputs=tuple(replace(one, shape=_sizes(one.shape), vocabulary=index(one.vocabulary)) for one in facts.inputs),
        classes=index(facts.classes),
        train=index(facts.train),
        test=index(facts.test),
        vocabulary=index(facts.vocabulary),
    )


def _sizes(shape: Iterable[Any]) -> tuple[int, ...]:
    return tuple(map(index, shape))


def _wrong_input(given: Input) -> str:
    """The error of an input; empty if it is valid."""
    if given.kind not in DIMENSIONS:
        return f"the kind of an input is one of {', '.join(DIMENSIONS)}, and not {given.kind!r}"
    meaning, dimensions = DIMENSIONS[given.kind]
    if len(given.shape) not in dimensions or min(given.shape) < 1:
        return f"the shape is {meaning}, all numbers above 0"
    if (given.vocabulary < 1) == (given.kind in ("tokens", "text")):
        return "tokens have a vocabulary, the number of different ones, and other inputs have none"
    return ""


def _wrong_names(facts: DataFacts) -> str:
    """The error of several inputs; empty if they are valid."""
    names = [given.name for given in facts.inputs]
    if facts.inputs and facts.shape:
        return "it has either a shape, or several inputs that have one each"
    if len(set(names)) < len(names) or not all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names):
        return "several inputs have different names, of lower-case letters, digits and _"
    if len(names) > 1 and any(given.kind == "text" for given in facts.inputs):
        return "windows of a running text are the only input"
    return ""


def _wrong_targets(facts: DataFacts) -> str:
    if facts.targets in ("classes", "labels"):
        return "" if facts.classes >= 1 else "the number of classes must be above 0"
    if facts.targets not in ("numbers", "tokens"):
        return f"targets are classes, labels, numbers or tokens, and not {facts.targets!r}"
    if facts.classes or min(facts.target_shape, default=1) < 1:
        return f"targets that are {facts.targets} have a `target_shape`, all numbers above 0, and no classes"
    if facts.targets == "tokens" and not (facts.target_shape and facts.every_input[0].vocabulary):
        return "targets that are tokens have a length, and belong to inputs that are tokens"
    if facts.every_input[0].kind == "text" and facts.target_shape not in ((), facts.every_input[0].shape):
        return "the targets of a window of text have its length"
    return ""


def _checked_numbers(dataset: Dataset, name: str, channels: int) -> list[float]:
    """`mean` or `std`, which are one number for each channel."""
    values = guarded(dataset, f"`{name}`", lambda: getattr(dataset, name, ()))
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != channels or not all(map(isfinite, numbers)):
        raise broken(dataset, f"`{name}` is {values}, and should be one finite number for each of {channels} channels")
    return numbers
