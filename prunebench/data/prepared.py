"""Data sets, decoded once a machine, fingerprinted, and read from memory-mapped arrays after that.

Data that does not fit into memory is decoded while a network trains: see `prunebench.data.streaming`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from prunebench.api.components import Arrays, Dataset, Files
from prunebench.api.errors import DamagedData, DataError, StoreError
from prunebench.api.tasks import Task
from prunebench.data import seeds, streaming
from prunebench.data.augmentation import augment
from prunebench.data.checks import called, checked_arrays, checked_files, checked_signature
from prunebench.data.splits import Split
from prunebench.records.files import flush_folder, flushed_file, read_json, remove, write_store_file
from prunebench.records.keys import digest
from prunebench.records.sources import source_hash

PARTS = ("train_inputs", "train_labels", "test_inputs", "test_labels")
Examples = Split | streaming.Stream
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A data set on this machine: its arrays, or the names of its files, in `folder`; and the hash of all its bytes."""

    folder: Path
    fingerprint: str
    seal: str = field(default="", compare=False)
    """Times and sizes of the files when they were verified: while these are the same, the files are not read again."""


def find(dataset: Dataset, root: Path | None, cache: Path) -> Prepared | None:
    """The data set if it was prepared here before; touches no data."""
    try:
        return _noted(_index(dataset, root, cache), cache)
    except DataError:  # which preparing it reports
        return None


def _noted(index: Path, cache: Path) -> Prepared | None:
    fingerprint = noted_fingerprint(index)
    if fingerprint is None:
        return None
    listing = index.with_suffix(".files")
    folder = listing if streaming.is_streamed(listing) else cache / fingerprint
    return Prepared(folder, fingerprint) if folder == listing or _is_whole(folder) else None


def noted_fingerprint(index: Path) -> str | None:
    """The fingerprint that an index leads to; None for one that is missing or damaged."""
    note = read_json(index)
    if not isinstance(note, dict) or not isinstance(found := note.get("fingerprint"), str):
        return None
    sound = re.fullmatch("[0-9a-f]{32}", found) and note == _note(index, str(note.get("dataset")), found)
    return found if sound else None


def _note(index: Path, name: str, fingerprint: str) -> dict[str, str]:
    checksum = hashlib.sha256(json.dumps([index.name, name, fingerprint]).encode()).hexdigest()
    return {"dataset": name, "fingerprint": fingerprint, "checksum": checksum}


def _is_whole(folder: Path) -> bool:
    return all((folder / f"{part}.npy").is_file() for part in PARTS)


def prepare(dataset: Dataset, root: Path | None, cache: Path) -> Prepared:
    """The data set, loaded and written to `cache` unless that was done before; or its files, hashed and listed there.

    What was written before is read and verified; it is made again when it is damaged.

    Raises:
        DataError: when the data is not there, or not what the data set says of itself.
        StoreError: when the cache cannot be written.
    """
    index = _index(dataset, root, cache)  # before reading: what changes meanwhile is read again
    found = _noted(index, cache)
    if found is not None:
        try:
            return verified(found)
        except DamagedData as error:
            _log.warning("data set %r: %s", dataset.name, error)
    files = called(dataset, "files", root)
    prepared = _listed(dataset, files, index) if files is not None else _decoded(dataset, root, cache)
    try:
        write_store_file(index, json.dumps(_note(index, dataset.name, prepared.fingerprint)).encode())
    except OSError as error:
        raise StoreError(f"cannot write {index}: {error.strerror or error}") from error
    return prepared


# Verifying


def verified(prepared: Prepared) -> Prepared:
    """The same data with a seal, once its bytes are known to be those that were written.

    They are read unless the seal that it has is still right. Raises DamagedData.
    """
    found = _sealed(prepared.folder)  # before reading: what changes meanwhile breaks the seal
    if found and found == prepared.seal:
        return prepared
    if trouble := damage(prepared):
        raise DamagedData(trouble)
    return replace(prepared, seal=found)


def damage(prepared: Prepared) -> str:
    """What is wrong with the bytes of prepared data, or nothing; reads all of it."""
    folder, fingerprint = prepared.folder, prepared.fingerprint
    if folder.suffix == ".files":
        return streaming.damage(folder, fingerprint)
    try:
        found = _fingerprint(Arrays(*(_mapped(folder / f"{part}.npy") for part in PARTS)))
    except DamagedData as error:
        return str(error)
    return "" if found == fingerprint else f"{folder} is not what was written, its hash differs; a run makes it again"


def _sealed(folder: Path) -> str:
    """A hash of the sizes, times and numbers of the files in a folder; nothing where one cannot be seen."""
    parts = (*streaming.FILES, *(f"{part}.npy" for part in PARTS))
    try:
        names = sorted({path.name for path in folder.iterdir()} & {*parts})
        stats = [(folder / name).stat() for name in names]
    except OSError:
        return ""
    facts = [(one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for one in stats]
    return hashlib.sha256(json.dumps([names, facts]).encode()).hexdigest()


# Writing


def _decoded(dataset: Dataset, root: Path | None, cache: Path) -> Prepared:
    arrays = checked_arrays(dataset, called(dataset, "load", root))
    fingerprint = _fingerprint(arrays)
    prepared = Prepared(cache / fingerprint, fingerprint)
    try:
        # The same data may have come by another root or name; what another run is reading is not taken away from it.
        return verified(prepared)
    except DamagedData:
        _written(prepared.folder, lambda aside: _save(arrays, aside))
    return verified(prepared)


def _save(arrays: Arrays, folder: Path) -> None:
    for part in PARTS:
        with flushed_file(folder / f"{part}.npy") as file:
            np.save(file, getattr(arrays, part))


def _listed(dataset: Dataset, given: Files, index: Path) -> Prepared:
    files = checked_files(dataset, given)
    # Where files lie is this machine's business: the folder is that of the root, and not of the bytes.
    prepared = Prepared(index.with_suffix(".files"), streaming.fingerprint(files))
    _written(prepared.folder, lambda aside: streaming.write(files, aside, prepared.fingerprint))
    return verified(prepared)


def _written(folder: Path, save: Callable[[Path], None]) -> None:
    """A folder that is there whole or not at all. Raises StoreError."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        remove(aside)  # half of an earlier one
        aside.mkdir(parents=True)
        save(aside)
        flush_folder(aside)
        remove(folder)
        aside.rename(folder)
        flush_folder(folder.parent)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _index(dataset: Dataset, root: Path | None, cache: Path) -> Path:
    """Where this machine notes what it found: another root, or files that changed since, may hold other data."""
    code = source_hash(type(dataset))  # a version may not have been raised yet
    source = digest(dataset, code, str(root.resolve()) if root else "", checked_signature(dataset, root))
    return cache / f"{dataset.name}-{source}.json"


def _fingerprint(arrays: Arrays) -> str:
    state = hashlib.sha256()
    for part in PARTS:
        array = np.ascontiguousarray(getattr(arrays, part))
        state.update(f"{part}{array.shape}{array.dtype}".encode())
        state.update(array.data)
    return state.hexdigest()[:32]


class EpochOrder:
    """Which training examples each step sees, drawn from (seed, epoch)."""

    def __init__(self, examples: int, batch_size: int, steps_per_epoch: int) -> None:
        self._examples, self._batch_size, self._steps_per_epoch = examples, batch_size, steps_per_epoch
        self._last: tuple[tuple[int, str, int], torch.Tensor] | None = None

    def examples(self, seed: int, stream: str, step: int) -> torch.Tensor:
        """Indices of the examples in the batch of a step, counted from 0."""
        epoch, position = divmod(step, self._steps_per_epoch)
        return self._of(seed, stream, epoch)[position * self._batch_size :][: self._batch_size]

    def _of(self, seed: int, stream: str, epoch: int) -> torch.Tensor:
        key = (seed, stream, epoch)
        if self._last is None or self._last[0] != key:
            order = torch.randperm(self._examples, generator=seeds.generator(seed, stream, "order", epoch))
            self._last = key, order
        return self._last[1]


class Data:
    """A task's data on a device: splits, normalization, the batch of any step, and the objective for it.

    Raises DamagedData when the prepared bytes are not those that were written.
    """

    def __init__(self, task: Task, prepared: Prepared, device: torch.device) -> None:
        self._prepared = verified(prepared)
        full, test = _splits(task.dataset, prepared.folder)
        held_out = task.recipe.validation
        # The draw is the data set's own, not the trial's: every seed selects on the same examples.
        order = torch.randperm(len(full), generator=seeds.generator("validation", prepared.fingerprint))
        validation = full.part(order[:held_out].sort().values).to(device)
        train = (full.part(order[held_out:].sort().values) if held_out else full).to(device)
        self.task, self.recipe = task, task.recipe
        self.objective = task.objective.fitted(train.labels.cpu())
        self.classes = task.facts.classes
        self.train, self.validation, self.test = train, validation, test.to(device)
        self._order = EpochOrder(len(train), task.recipe.batch_size, task.clock.steps_per_epoch)
        self._prefetcher = streaming.Prefetcher(train) if isinstance(train, streaming.Stream) else None
        self._mean = torch.tensor(task.dataset.mean, device=device).view(1, -1, 1, 1)
        self._scale = 1 / torch.tensor(task.dataset.std, device=device).view(1, -1, 1, 1)

    def close(self) -> None:
        """Stop the processes that decode files ahead, if there are any; the next batch starts them again."""
        if self._prefetcher is not None:
            self._prefetcher.close()

    def check(self) -> None:
        """Raise DamagedData when the prepared bytes were changed since this was opened."""
        verified(self._prepared)

    def normalized(self, inputs: torch.Tensor) -> torch.Tensor:
        """Bytes as the float32 that a network sees."""
        return (inputs.to(self._mean.device).float() - self._mean) * self._scale

    def batch(self, seed: int, stream: str, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The (inputs, labels) that a step trains on: which, from (seed, epoch); how augmented, from (seed, step)."""
        kinds = self.recipe.augmentation
        if self._prefetcher is not None:
            cropped = "resized-crop" in kinds
            chosen = partial(self._order.examples, seed, stream)
            inputs, labels = self._prefetcher.batch(seed, stream, step, cropped, chosen)
            kinds = tuple(kind for kind in kinds if kind != "resized-crop")
        else:
            batch = self.train.take(self._order.examples(seed, stream, step))
            inputs, labels = batch.inputs, batch.labels
        if kinds:
            inputs = augment(inputs, kinds, seeds.generator(seed, stream, "augmentation", step))
        return self.normalized(inputs), labels

    def in_order(self, split: Examples, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All of a split as (inputs, labels), in batches of `size`, neither shuffled nor augmented."""
        for batch in split.in_order(size):
            yield self.normalized(batch.inputs), batch.labels


def _splits(dataset: Dataset, folder: Path) -> tuple[Examples, Examples]:
    """All training examples, and all test examples."""
    if streaming.is_streamed(folder):
        return streaming.opened(dataset, folder, "train"), streaming.opened(dataset, folder, "test")
    arrays = {part: torch.from_numpy(_mapped(folder / f"{part}.npy")) for part in PARTS}
    return (
        Split(arrays["train_inputs"], arrays["train_labels"]),
        Split(arrays["test_inputs"], arrays["test_labels"]),
    )


def _mapped(path: Path) -> np.ndarray:
    """The array of a file, memory-mapped; copy-on-write, since torch wants memory that could be written to."""
    try:
        if not path.is_file():
            raise FileNotFoundError("the file does not exist")
        return np.lib.format.open_memmap(path, mode="c")  # unlike np.load, it reads arrays alone
    except Exception as error:  # whatever NumPy's parser makes of a header that is not one
        raise DamagedData(f"{path} is damaged ({error}); a run makes it again") from error
