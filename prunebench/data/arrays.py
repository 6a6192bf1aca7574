"""The arrays of a data set in a folder: for each split a file of each input, and one of the targets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from prunebench.api.components import Arrays
from prunebench.api.errors import DamagedData
from prunebench.data.inputs import Inputs
from prunebench.data.splits import Split
from prunebench.records.files import flushed_file

SPLITS = ("train", "test")
PARTS = ("train_inputs", "train_labels", "test_inputs", "test_labels")
"""The files of data with one input, without `.npy`. The inputs of several are `train_inputs-NAME`."""
_FILE = re.compile(r"(?:train|test)_(?:inputs(?:-(?P<name>[a-z][a-z0-9_]*))?|labels)\.npy")


def parts_of(names: Iterable[str] = ()) -> tuple[str, ...]:
    """The parts of data in a fixed order: with one input, or with several of these names."""
    inputs = [f"inputs-{name}" for name in sorted(names)] or ["inputs"]
    return tuple(f"{split}_{part}" for split in SPLITS for part in (*inputs, "labels"))


def named(arrays: Arrays) -> dict[str, np.ndarray]:
    """All arrays by the names of their parts, in the order of these."""
    found: dict[str, np.ndarray] = {}
    for split in SPLITS:
        inputs = getattr(arrays, f"{split}_inputs")
        several = isinstance(inputs, Mapping)
        found |= (
            {f"{split}_inputs-{name}": inputs[name] for name in sorted(inputs)}
            if several
            else {f"{split}_inputs": inputs}
        )
        found[f"{split}_labels"] = getattr(arrays, f"{split}_labels")
    return found


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """A hash of all bytes, shapes and types of arrays by the names of their parts."""
    state = hashlib.sha256()
    for part, given in arrays.items():
        array = np.ascontiguousarray(given)
        state.update(f"{part}{array.shape}{array.dtype}".encode())
        state.update(array.data)
    return state.hexdigest()[:32]


def save(arrays: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write each array to a separate file. Raises OSError."""
    for part, array in arrays.items():
        with flushed_file(folder / f"{part}.npy") as file:
            np.save(file, array)


def files_in(folder: Path) -> list[str]:
    """The names of the files in a folder that hold arrays. Raises OSError."""
    return sorted(path.name for path in folder.iterdir() if _FILE.fullmatch(path.name))


def parts_in(folder: Path) -> tuple[str, ...]:
    """The parts that a folder should have, by those that it has."""
    try:
        found = [_FILE.fullmatch(name) for name in files_in(folder)]
    except OSError:
        return PARTS
    return parts_of({match["name"] for match in found if match and match["name"]})


def is_whole(folder: Path) -> bool:
    """Whether a folder has a file for each part."""
    return all((folder / f"{part}.npy").is_file() for part in parts_in(folder))


def read(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of a folder, memory-mapped. Raises DamagedData."""
    return {part: _mapped(folder / f"{part}.npy") for part in parts_in(folder)}


def opened(folder: Path, split: str) -> Split:
    """All examples of a split. Raises DamagedData."""
    found = {part: torch.from_numpy(array) for part, array in read(folder).items()}
    prefix = f"{split}_inputs-"
    several = {part.removeprefix(prefix): value for part, value in found.items() if part.startswith(prefix)}
    inputs: Inputs = several or found[f"{split}_inputs"]
    return Split(inputs, found[f"{split}_labels"])


def _mapped(path: Path) -> np.ndarray:
    """The array of a file, memory-mapped; copy-on-write, since torch wants memory that could be written to."""
    try:
        if not path.is_file():
            raise FileNotFoundError("the file does not exist")
        return np.lib.format.open_memmap(path, mode="c")  # unlike np.load, it reads arrays alone
    except Exception as error:  # whatever NumPy's parser makes of a header that is not one
        raise DamagedData(f"{path} is damaged ({error}); a run makes it again") from error
