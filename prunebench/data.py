"""Data sets, decoded once a machine, fingerprinted, and read from memory-mapped arrays after that."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from prunebench import seeds
from prunebench.augmentation import augment
from prunebench.components import Arrays, Dataset
from prunebench.errors import DataError
from prunebench.identity import digest
from prunebench.suite.values import Task

PARTS = ("train_inputs", "train_labels", "test_inputs", "test_labels")
SHARE = 0.4
"""Of a GPU's free memory that one split may take."""


@dataclass(frozen=True)
class Prepared:
    """A data set on this machine: its arrays in `folder`, and the hash of every pixel and label."""

    folder: Path
    fingerprint: str


def find(dataset: Dataset, root: Path | None, cache: Path) -> Prepared | None:
    """The data set if it was prepared here before; touches no data."""
    return _noted(_index(dataset, root, cache), cache)


def _noted(index: Path, cache: Path) -> Prepared | None:
    try:
        fingerprint = json.loads(index.read_text("utf-8"))["fingerprint"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    folder = cache / fingerprint
    return Prepared(folder, fingerprint) if _is_whole(folder) else None


def _is_whole(folder: Path) -> bool:
    return all((folder / f"{part}.npy").is_file() for part in PARTS)


def prepare(dataset: Dataset, root: Path | None, cache: Path) -> Prepared:
    """The data set, loaded and written to `cache` unless that was done before.

    Raises DataError when the data is not there, or not what the data set says of itself.
    """
    index = _index(dataset, root, cache)  # before reading: what changes meanwhile is read again
    found = _noted(index, cache)
    if found is not None:
        return found
    arrays = _checked(dataset, dataset.load(root))
    fingerprint = _fingerprint(arrays)
    folder, aside = cache / fingerprint, cache / f".{fingerprint}.{os.getpid()}"
    # The same data may have come by another root or name; what another run is reading is not taken away from it.
    if not _is_whole(folder):
        aside.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            np.save(aside / f"{part}.npy", getattr(arrays, part))
        shutil.rmtree(folder, ignore_errors=True)  # half of an earlier one
        aside.rename(folder)
    index.with_suffix(".part").write_text(json.dumps({"dataset": dataset.name, "fingerprint": fingerprint}), "utf-8")
    index.with_suffix(".part").replace(index)
    return Prepared(folder, fingerprint)


def _index(dataset: Dataset, root: Path | None, cache: Path) -> Path:
    """Where this machine notes what it found: another root, or files that changed since, may hold other data."""
    source = digest(dataset, str(root.resolve()) if root else "", dataset.signature(root))
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
        labels = getattr(arrays, part)
        if labels.min() < 0 or labels.max() >= facts.classes:
            raise DataError(f"data set {dataset.name!r}: {part} are not all in 0..{facts.classes - 1}")
    return arrays


def _fingerprint(arrays: Arrays) -> str:
    state = hashlib.sha256()
    for part in PARTS:
        array = np.ascontiguousarray(getattr(arrays, part))
        state.update(f"{part}{array.shape}{array.dtype}".encode())
        state.update(array.data)
    return state.hexdigest()[:32]


@dataclass(frozen=True)
class Split:
    """Inputs as bytes, uint8 of shape (N, channels, height, width), and labels, int64 of shape (N,)."""

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: torch.Tensor) -> Split:
        """Some of the examples; on the labels' device, also from inputs that were left in the host's memory."""
        inputs = self.inputs[index.to(self.inputs.device)]
        return Split(inputs.to(self.labels.device), self.labels[index])


class Data:
    """A task's data on a device: splits, normalization, and the batch of any step."""

    def __init__(self, task: Task, prepared: Prepared, device: torch.device) -> None:
        arrays = {part: torch.from_numpy(_opened(prepared.folder / f"{part}.npy")) for part in PARTS}
        full = Split(arrays["train_inputs"], arrays["train_labels"])
        held_out = task.recipe.validation
        # The draw is the data set's own, not the trial's: every seed selects on the same examples.
        order = torch.randperm(len(full), generator=seeds.generator("validation", prepared.fingerprint))
        if held_out:
            train, validation = full.take(order[held_out:].sort().values), full.take(order[:held_out].sort().values)
        else:
            train, validation = full, full.take(order[:0])
        self.recipe = task.recipe
        self.classes = task.dataset.facts().classes
        self.train, self.validation = _on(train, device), _on(validation, device)
        self.test = _on(Split(arrays["test_inputs"], arrays["test_labels"]), device)
        self._mean = torch.tensor(task.dataset.mean, device=device).view(1, -1, 1, 1)
        self._scale = 1 / torch.tensor(task.dataset.std, device=device).view(1, -1, 1, 1)
        self._order: tuple[tuple[int, str, int], torch.Tensor] | None = None

    def normalized(self, inputs: torch.Tensor) -> torch.Tensor:
        """Bytes as the float32 that a network sees."""
        return (inputs.to(self._mean.device).float() - self._mean) * self._scale

    def batch(self, seed: int, stream: str, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The (inputs, labels) that a step trains on: which, from (seed, epoch); how augmented, from (seed, step)."""
        epoch, position = divmod(step, -(-len(self.train) // self.recipe.batch_size))
        order = self._epoch_order(seed, stream, epoch)
        chosen = self.train.take(order[position * self.recipe.batch_size :][: self.recipe.batch_size])
        inputs = chosen.inputs
        if self.recipe.augmentation:
            generator = seeds.generator(seed, stream, "augmentation", step)
            inputs = augment(inputs, self.recipe.augmentation, generator)
        return self.normalized(inputs), chosen.labels

    def _epoch_order(self, seed: int, stream: str, epoch: int) -> torch.Tensor:
        key = (seed, stream, epoch)
        if self._order is None or self._order[0] != key:
            order = torch.randperm(len(self.train), generator=seeds.generator(seed, stream, "order", epoch))
            self._order = key, order.to(self.train.labels.device)
        return self._order[1]


def _opened(path: Path) -> np.ndarray:
    """The array, memory-mapped; copy-on-write, since torch wants memory that could be written to."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); delete its folder, and it is made again") from error
    return array


def _on(split: Split, device: torch.device) -> Split:
    """The split on a device; inputs that would fill its memory stay where they are, and go there batch by batch."""
    fits = device.type != "cuda" or split.inputs.nbytes < SHARE * torch.cuda.mem_get_info(device)[0]
    return Split(split.inputs.to(device) if fits else split.inputs, split.labels.to(device))
