"""What a data set's own code says of its data: called so that nothing it does ends the caller, and checked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import isfinite
from operator import index
from pathlib import Path
from typing import Any

from prunebench.api.components import DataFacts, Dataset
from prunebench.api.errors import BrokenDataset, DataError
from prunebench.messages import tracebacks


def facts_of(dataset: Dataset) -> DataFacts:
    """The facts of a data set, all sizes as int.

    Raises:
        DataError: the data set's own.
        BrokenDataset: for whatever else its code raises, an exit included, and for facts of which no network can be
            trained and tested.
    """
    facts = _checked(dataset, guarded(dataset, "`facts`", dataset.facts))
    _checked_numbers(dataset, "mean", facts.shape[0])
    if min(_checked_numbers(dataset, "std", facts.shape[0])) <= 0:
        raise broken(dataset, f"`std` is {dataset.std}, and should be above 0")
    return facts


def guarded(dataset: Dataset, what: str, call: Callable[[], Any]) -> Any:
    """What a call of the data set's code returns. Raises DataError, as `facts_of` does."""
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
    """A value that should be another one, for the message that says so."""
    text = repr(value)
    return "None" if value is None else text if len(text) <= 60 else f"a {type(value).__name__}"


def _checked(dataset: Dataset, facts: Any) -> DataFacts:
    if not isinstance(facts, DataFacts):
        raise broken(dataset, f"`facts` must return prunebench.DataFacts, and returned {in_short(facts)}")
    try:
        shape = tuple(index(size) for size in facts.shape)
        classes, train, test = index(facts.classes), index(facts.train), index(facts.test)
    except TypeError:
        raise broken(dataset, f"its facts are {facts}: sizes and shapes must be whole numbers") from None
    if len(shape) != 3 or min(*shape, classes) < 1:
        raise broken(dataset, f"its facts are {facts}: the shape is (channels, height, width), all numbers above 0")
    for split, examples in (("train", train), ("test", test)):
        if examples < 1:
            raise broken(dataset, f"its {split} set is empty")
    return DataFacts(shape=shape, classes=classes, train=train, test=test)


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
