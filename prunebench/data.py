"""Data sets, decoded once a machine, fingerprinted, and read from memory-mapped arrays after that.

What is too large for that is decoded while a network trains: see `prunebench.streaming`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from prunebench import seeds, streaming
from prunebench.augmentation import augment
from prunebench.components import Arrays, DataFacts, Dataset, Files
from prunebench.errors import DataError
from prunebench.identity import digest, source_hash
from prunebench.splits import Split
from prunebench.suite.values import Task

PARTS = ("train_inputs", "train_labels", "test_inputs", "test_labels")
Examples = Split | streaming.Stream


@dataclass(frozen=True)
class Prepared:
    """A data set on this machine: its arrays, or the names of its files, in `folder`; and the hash of all its bytes."""

    folder: Path
    fingerprint: str


def find(dataset: Dataset, root: Path | None, cache: Path) -> Prepared | None:
    """The data set if it was prepared here before; touches no data."""
    return _noted(_index(dataset, root, cache), cache)


def _noted(index: Path, cache: Path) -> Prepared | None:
    try:
        note = json.loads(index.read_text("utf-8"))
        fingerprint, folder = note["fingerprint"], cache / note.get("folder", note["fingerprint"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return Prepared(folder, fingerprint) if _is_whole(folder) or streaming.is_streamed(folder) else None


def _is_whole(folder: Path) -> bool:
    return all((folder / f"{part}.npy").is_file() for part in PARTS)


def prepare(dataset: Dataset, root: Path | None, cache: Path) -> Prepared:
    """The data set, loaded and written to `cache` unless that was done before; or its files, hashed and listed there.

    Raises DataError when the data is not there, or not what the data set says of itself.
    """
    index = _index(dataset, root, cache)  # before reading: what changes meanwhile is read again
    found = _noted(index, cache)
    if found is not None:
        return found
    files = dataset.files(root)
    prepared = _listed(dataset, files, index) if files is not None else _decoded(dataset, root, cache)
    note = {"dataset": dataset.name, "fingerprint": prepared.fingerprint, "folder": prepared.folder.name}
    index.with_suffix(".part").write_text(json.dumps(note), "utf-8")
    index.with_suffix(".part").replace(index)
    return prepared


def _decoded(dataset: Dataset, root: Path | None, cache: Path) -> Prepared:
    arrays = _checked(dataset, dataset.load(root))
    fingerprint = _fingerprint(arrays)
    folder = cache / fingerprint
    # The same data may have come by another root or name; what another run is reading is not taken away from it.
    if not _is_whole(folder):
        _written(folder, lambda aside: _save(arrays, aside))
    return Prepared(folder, fingerprint)


def _save(arrays: Arrays, folder: Path) -> None:
    for part in PARTS:
        np.save(folder / f"{part}.npy", getattr(arrays, part))


def _listed(dataset: Dataset, files: Files, index: Path) -> Prepared:
    facts = dataset.facts()
    for split, names, labels, expected in (
        ("train", files.train, files.train_labels, facts.train),
        ("test", files.test, files.test_labels, facts.test),
    ):
        if not len(names) == len(labels) == expected:
            raise DataError(
                f"data set {dataset.name!r}: there are {len(names)} {split} files with {len(labels)} labels, "
                f"and should be {expected}"
            )
        _check_labels(dataset, facts, f"{split}_labels", np.asarray(labels))
    # Where files lie is this machine's business: the folder is that of the root, and not of the bytes.
    folder = index.with_suffix(".files")
    _written(folder, lambda aside: streaming.write(files, aside))
    return Prepared(folder, streaming.fingerprint(files))


def _written(folder: Path, save: Callable[[Path], None]) -> None:
    """A folder that is there whole or not at all."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    aside.mkdir(parents=True, exist_ok=True)
    save(aside)
    shutil.rmtree(folder, ignore_errors=True)  # half of an earlier one
    aside.rename(folder)


def _index(dataset: Dataset, root: Path | None, cache: Path) -> Path:
    """Where this machine notes what it found: another root, or files that changed since, may hold other data."""
    code = source_hash(type(dataset))  # a version may not have been raised yet
    source = digest(dataset, code, str(root.resolve()) if root else "", dataset.signature(root))
    return cache / f"{dataset.name}-{source}.json"


def _checked(dataset: Dataset, arrays: Arrays) -> Arrays:
    facts = dataset.facts()
    expected = {
        "train_inputs": ((facts.train, *facts.shape), np.uint8),
        "train_labels": ((facts.train,), np.int64),
        "test_inputs": ((facts.test, *facts.shape), np.uint8),
        "test_labels": ((facts.test,), np.int64),
    }
    for part, (shape, kind) in expected.items():
        array = getattr(arrays, part)
        if array.shape != shape or array.dtype != kind:
            raise DataError(
                f"data set {dataset.name!r}: {part} is {array.dtype} of shape {array.shape}, "
                f"and should be {np.dtype(kind)} of shape {shape}"
            )
    for part in ("train_labels", "test_labels"):
        _check_labels(dataset, facts, part, getattr(arrays, part))
    return arrays


def _check_labels(dataset: Dataset, facts: DataFacts, part: str, labels: np.ndarray) -> None:
    if labels.min() < 0 or labels.max() >= facts.classes:
        raise DataError(f"data set {dataset.name!r}: {part} are not all in 0..{facts.classes - 1}")


def _fingerprint(arrays: Arrays) -> str:
    state = hashlib.sha256()
    for part in PARTS:
        array = np.ascontiguousarray(getattr(arrays, part))
        state.update(f"{part}{array.shape}{array.dtype}".encode())
        state.update(array.data)
    return state.hexdigest()[:32]


class Data:
    """A task's data on a device: splits, normalization, and the batch of any step."""

    def __init__(self, task: Task, prepared: Prepared, device: torch.device) -> None:
        full, test = _splits(task.dataset, prepared.folder)
        held_out = task.recipe.validation
        # The draw is the data set's own, not the trial's: every seed selects on the same examples.
        order = torch.randperm(len(full), generator=seeds.generator("validation", prepared.fingerprint))
        validation = full.part(order[:held_out].sort().values).to(device)
        train = (full.part(order[held_out:].sort().values) if held_out else full).to(device)
        self.recipe = task.recipe
        self._steps_per_epoch = task.clock.steps_per_epoch
        self.classes = task.dataset.facts().classes
        self.train, self.validation, self.test = train, validation, test.to(device)
        self._feeder = streaming.Feeder(train) if isinstance(train, streaming.Stream) else None
        self._mean = torch.tensor(task.dataset.mean, device=device).view(1, -1, 1, 1)
        self._scale = 1 / torch.tensor(task.dataset.std, device=device).view(1, -1, 1, 1)
        self._order: tuple[tuple[int, str, int], torch.Tensor] | None = None

    def normalized(self, inputs: torch.Tensor) -> torch.Tensor:
        """Bytes as the float32 that a network sees."""
        return (inputs.to(self._mean.device).float() - self._mean) * self._scale

    def batch(self, seed: int, stream: str, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The (inputs, labels) that a step trains on: which, from (seed, epoch); how augmented, from (seed, step)."""
        kinds = self.recipe.augmentation
        if self._feeder is not None:
            cropped = "resized-crop" in kinds
            chosen = partial(self._chosen, seed, stream)
            inputs, labels = self._feeder.batch(seed, stream, step, cropped, chosen)
            kinds = tuple(kind for kind in kinds if kind != "resized-crop")
        else:
            batch = self.train.take(self._chosen(seed, stream, step))
            inputs, labels = batch.inputs, batch.labels
        if kinds:
            inputs = augment(inputs, kinds, seeds.generator(seed, stream, "augmentation", step))
        return self.normalized(inputs), labels

    def in_order(self, split: Examples, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All of a split as (inputs, labels), in batches of `size`, neither shuffled nor augmented."""
        for batch in split.in_order(size):
            yield self.normalized(batch.inputs), batch.labels

    def _chosen(self, seed: int, stream: str, step: int) -> torch.Tensor:
        """Which training examples a step sees."""
        size = self.recipe.batch_size
        epoch, position = divmod(step, self._steps_per_epoch)
        return self._epoch_order(seed, stream, epoch)[position * size :][:size]

    def _epoch_order(self, seed: int, stream: str, epoch: int) -> torch.Tensor:
        key = (seed, stream, epoch)
        if self._order is None or self._order[0] != key:
            order = torch.randperm(len(self.train), generator=seeds.generator(seed, stream, "order", epoch))
            self._order = key, order
        return self._order[1]


def _splits(dataset: Dataset, folder: Path) -> tuple[Examples, Examples]:
    """All training examples, and all test examples."""
    if streaming.is_streamed(folder):
        return streaming.opened(dataset, folder, "train"), streaming.opened(dataset, folder, "test")
    arrays = {part: torch.from_numpy(_opened(folder / f"{part}.npy")) for part in PARTS}
    return (
        Split(arrays["train_inputs"], arrays["train_labels"]),
        Split(arrays["test_inputs"], arrays["test_labels"]),
    )


def _opened(path: Path) -> np.ndarray:
    """The array, memory-mapped; copy-on-write, since torch wants memory that could be written to."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); delete its folder, and it is made again") from error
    return array
