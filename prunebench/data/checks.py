"""What a data set's own code answers: called so that nothing it does ends the caller, and compared with its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.api.components import Arrays, DataFacts, Dataset, Files
from prunebench.api.data_facts import broken, facts_of, guarded, in_short
from prunebench.api.errors import DataError


def called(dataset: Dataset, name: str, root: Path | None) -> Any:
    """What a method of a data set returns for the folder of data sets.

    Raises:
        DataError: the data set's own.
        BrokenDataset: for whatever else it raises, an exit included.
    """
    return guarded(dataset, f"`{name}`", lambda: getattr(dataset, name)(root))


def checked_arrays(dataset: Dataset, arrays: Any) -> Arrays:
    """The arrays that `load` returned; raises BrokenDataset for others than the facts say."""
    facts = facts_of(dataset)
    if not isinstance(arrays, Arrays):
        raise broken(dataset, f"`load` must return prunebench.Arrays, and returned {in_short(arrays)}")
    expected: Mapping[str, tuple[tuple[int, ...], Any]] = {
        "train_inputs": ((facts.train, *facts.shape), np.uint8),
        "train_labels": ((facts.train,), np.int64),
        "test_inputs": ((facts.test, *facts.shape), np.uint8),
        "test_labels": ((facts.test,), np.int64),
    }
    for part, (shape, kind) in expected.items():
        array = getattr(arrays, part)
        should = f"and should be {np.dtype(kind)} of shape {shape}"
        if not isinstance(array, np.ndarray):
            raise broken(dataset, f"{part} is {in_short(array)}, {should}")
        if array.shape != shape or array.dtype != kind:
            raise broken(dataset, f"{part} is {array.dtype} of shape {array.shape}, {should}")
    for part in ("train_labels", "test_labels"):
        _check_labels(dataset, facts, part, getattr(arrays, part))
    return arrays


def checked_files(dataset: Dataset, files: Any) -> Files:
    """The files that `files` returned; raises BrokenDataset for others than the facts say."""
    facts = facts_of(dataset)
    if not isinstance(files, Files):
        raise broken(dataset, f"`files` must return prunebench.Files or None, and returned {in_short(files)}")
    _check_split(dataset, facts, "train", files.train, files.train_labels)
    _check_split(dataset, facts, "test", files.test, files.test_labels)
    return files


def _check_split(dataset: Dataset, facts: DataFacts, split: str, names: Sequence[str], labels: Sequence[int]) -> None:
    expected = getattr(facts, split)
    if not len(names) == len(labels) == expected:
        text = f"there are {len(names)} {split} files with {len(labels)} labels, and should be {expected}"
        raise broken(dataset, text)
    _check_labels(dataset, facts, f"{split}_labels", np.asarray(labels))


def _check_labels(dataset: Dataset, facts: DataFacts, part: str, labels: np.ndarray) -> None:
    if labels.dtype.kind not in "iu":
        raise broken(dataset, f"{part} are {labels.dtype}, and should be whole numbers")
    if labels.min() < 0 or labels.max() >= facts.classes:
        raise broken(dataset, f"{part} are not all in 0..{facts.classes - 1}")


def checked_signature(dataset: Dataset, root: Path | None) -> str:
    """The data set's signature; raises BrokenDataset for one that is not text."""
    signature = called(dataset, "signature", root)
    if not isinstance(signature, str):
        raise broken(dataset, f"`signature` must return text, and returned {in_short(signature)}")
    return signature


def checked_picture(dataset: Dataset, path: Path, draw: int | None) -> np.ndarray:
    """A file as `decode` returns it; raises DataError, naming it, for anything but bytes of the facts' shape."""
    try:
        picture = dataset.decode(path, draw)
    except (DataError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise broken(dataset, f"`decode` of {path} raised {type(error).__name__}: {error}") from error
    shape = facts_of(dataset).shape
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape != shape:
        found = f"{picture.dtype} of shape {picture.shape}" if isinstance(picture, np.ndarray) else in_short(picture)
        raise broken(dataset, f"`decode` of {path} returned {found}, and should return uint8 of shape {shape}")
    return picture
