"""What a data set's own code answers: called so that nothing it does ends the caller, and compared with its facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.api.components import Arrays, DataFacts, Dataset, Files, Input
from prunebench.api.data_facts import broken, facts_of, guarded, in_short
from prunebench.api.errors import DataError
from prunebench.data.arrays import SPLITS
from prunebench.data.kinds import STORED, STORED_TARGETS, target_shape


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
    for split in SPLITS:
        examples = getattr(facts, split)
        for part, array, given in _inputs_of(dataset, facts, arrays, split):
            _check_array(dataset, part, array, (examples, *given.shape), STORED[given.kind])
            _check_tokens(dataset, part, array, given.vocabulary)
            _check_finite(dataset, part, array)
        part, targets = f"{split}_labels", getattr(arrays, f"{split}_labels")
        _check_array(dataset, part, targets, (examples, *target_shape(facts)), STORED_TARGETS[facts.targets])
        _check_finite(dataset, part, targets)
        if facts.targets == "classes":
            _check_labels(dataset, facts, part, targets)
        elif facts.targets == "tokens":
            _check_tokens(dataset, part, targets, facts.every_input[0].vocabulary)
        elif facts.targets == "labels" and not np.isin(targets, (0.0, 1.0)).all():
            raise broken(dataset, f"{part} are not all 0 or 1")
    return arrays


def _inputs_of(
    dataset: Dataset, facts: DataFacts, arrays: Arrays, split: str
) -> Iterator[tuple[str, np.ndarray, Input]]:
    """Each input of a split: what it is called, its array, and what it should be."""
    part, inputs = f"{split}_inputs", getattr(arrays, f"{split}_inputs")
    if not facts.inputs:
        yield part, inputs, facts.every_input[0]
        return
    names = {given.name for given in facts.inputs}
    if not isinstance(inputs, Mapping) or inputs.keys() != names:
        found = f"a dict of {', '.join(sorted(map(str, inputs)))}" if isinstance(inputs, Mapping) else in_short(inputs)
        raise broken(dataset, f"{part} is {found}, and should be a dict of {', '.join(sorted(names))}")
    for given in facts.inputs:
        yield f"{part}[{given.name!r}]", inputs[given.name], given


def _check_array(dataset: Dataset, part: str, array: Any, shape: tuple[int, ...], types: Sequence[str]) -> None:
    should = f"and should be {' or '.join(types)} of shape {shape}"
    if not isinstance(array, np.ndarray):
        raise broken(dataset, f"{part} is {in_short(array)}, {should}")
    if array.shape != shape or str(array.dtype) not in types:
        raise broken(dataset, f"{part} is {array.dtype} of shape {array.shape}, {should}")


def _check_tokens(dataset: Dataset, part: str, array: np.ndarray, vocabulary: int) -> None:
    if vocabulary and (array.min() < 0 or array.max() >= vocabulary):
        raise broken(dataset, f"{part} has tokens that are not all in 0..{vocabulary - 1}")


def _check_finite(dataset: Dataset, part: str, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise broken(dataset, f"{part} has values that are not finite")


def checked_files(dataset: Dataset, files: Any) -> Files:
    """The files that `files` returned; raises BrokenDataset for others than the facts say."""
    facts = facts_of(dataset)
    if facts.inputs or (facts.kind, facts.targets) != ("images", "classes"):
        raise broken(dataset, "`files` are for images with classes: return None, and the arrays from `load`")
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
