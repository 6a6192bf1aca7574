"""Data sets that do not fit into memory: files that worker processes decode while a network trains.

Which files a step uses, and how each is cropped, is drawn from (seed, epoch) and (seed, step), as for any other data:
results do not depend on the number of workers, nor on where in an epoch a training is resumed.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np
import torch
from torch.utils.data import DataLoader

from prunebench.api import components
from prunebench.api.errors import DamagedData, DataError
from prunebench.data import seeds
from prunebench.data.augmentation import on_device
from prunebench.data.checks import checked_picture
from prunebench.data.splits import Split
from prunebench.records.environment import cores
from prunebench.records.files import flushed_file, open_file, read_json

PARTS = ("train_names", "train_starts", "train_labels", "test_names", "test_starts", "test_labels")
"""The arrays of each split: all names as one run of bytes, where each begins and the last one ends, the labels."""
FOLDER = "folder.json"
"""Where the files themselves lie on this machine, their fingerprint, and a checksum of all that is kept of them."""
FILES = (*(f"{part}.npy" for part in PARTS), FOLDER)

Wanted = tuple[int, int | None]
"""A file by its number, and the seed of its crop; without one it is decoded as for a test."""


def fingerprint(files: components.Files) -> str:
    """A hash of every file's content and label, in order; raises DataError for a file that cannot be read."""

    def hashed(name: str) -> bytes:
        path = files.folder / name
        try:
            with open_file(path) as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error

    state = hashlib.sha256()
    with ThreadPoolExecutor(cores()) as pool:
        for names, labels in ((files.train, files.train_labels), (files.test, files.test_labels)):
            state.update(f"files {len(names)}".encode())
            for content in pool.map(hashed, names, chunksize=64):
                state.update(content)
            state.update(np.ascontiguousarray(labels, np.int64).data)
    return state.hexdigest()[:32]


def write(files: components.Files, folder: Path, fingerprint: str) -> None:
    """Write the names and labels of the files to a folder."""
    for split, names, labels in (("train", files.train, files.train_labels), ("test", files.test, files.test_labels)):
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        kept = {
            "names": np.frombuffer(b"".join(encoded), np.uint8),
            "starts": np.cumsum([0, *map(len, encoded)]),
            "labels": np.asarray(labels, np.int64),
        }
        for part, array in kept.items():
            with flushed_file(folder / f"{split}_{part}.npy") as file:
                np.save(file, array)
    note = {"folder": quote_from_bytes(os.fsencode(files.folder.resolve())), "fingerprint": fingerprint}
    with flushed_file(folder / FOLDER) as file:
        file.write(json.dumps({**note, "checksum": _checksum(folder, note)}).encode())


def _checksum(folder: Path, note: Mapping[str, Any]) -> str:
    """Of all that is kept of the files. Raises OSError."""
    state = hashlib.sha256(json.dumps([note["folder"], note["fingerprint"]]).encode())
    for part in PARTS:
        with (folder / f"{part}.npy").open("rb") as file:
            state.update(hashlib.file_digest(file, "sha256").digest())
    return state.hexdigest()


def damage(folder: Path, fingerprint: str) -> str:
    """What is wrong with the list of files; empty if nothing is. The files themselves are not read."""
    note = read_json(folder / FOLDER)
    try:
        if note["checksum"] == _checksum(folder, note) and note["fingerprint"] == fingerprint:
            return ""
    except (OSError, KeyError, TypeError):
        pass
    return f"{folder} is not what was written, its checksum differs; a run makes it again"


def files_of(folder: Path) -> Path:
    """Where the files lie whose names a folder holds. Raises DamagedData."""
    try:
        return Path(os.fsdecode(unquote_to_bytes(read_json(folder / FOLDER)["folder"])))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedData(f"{folder / FOLDER} is not what was written; a run makes it again") from error


def is_streamed(folder: Path) -> bool:
    """Whether a folder of prepared data holds the names of files, and not arrays."""
    return (folder / FOLDER).is_file() and all((folder / f"{part}.npy").is_file() for part in PARTS)


@dataclass(frozen=True)
class Stream:
    """Some of the files of a split. `take` decodes them as for a test: neither augmented nor in any other order."""

    decode: Callable[[Path, int | None], np.ndarray]
    folder: Path
    names: np.ndarray
    starts: np.ndarray
    numbers: np.ndarray
    """Which of the split's files are meant."""
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def part(self, index: torch.Tensor) -> Stream:
        """Fewer of them."""
        numbers = self.numbers[index.cpu().numpy()]
        return replace(self, numbers=numbers, targets=self.targets[index])

    def to(self, device: torch.device) -> Stream:
        """The same files, with their labels on a device."""
        return replace(self, targets=self.targets.to(device))

    def path(self, index: int) -> Path:
        """That of the file at an index."""
        number = self.numbers[index]
        name = self.names[self.starts[number] : self.starts[number + 1]].tobytes()
        return self.folder / name.decode("utf-8", "surrogateescape")

    def take(self, index: torch.Tensor) -> Split:
        """Some of the examples, decoded as for a test."""
        (inputs,) = self.loaded([[(place, None) for place in index.tolist()]])
        return Split(inputs, self.targets[index.to(self.targets.device)])

    def in_order(self, size: int) -> Iterator[Split]:
        """All of them, `size` at a time, decoded as for a test."""
        places = [range(start, min(start + size, len(self))) for start in range(0, len(self), size)]
        wanted: list[list[Wanted]] = [[(index, None) for index in place] for place in places]
        for place, inputs in zip(places, self.loaded(wanted), strict=True):
            yield Split(inputs, self.targets[place.start : place.stop])

    def loaded(self, batches: Iterable[Sequence[Wanted]]) -> Generator[torch.Tensor, None, None]:
        """Each batch as bytes, (N, channels, height, width), on the labels' device; decoded ahead by other processes.

        The processes end with the generator: at its last batch, or when it is closed.

        Raises DataError for a file that cannot be decoded.
        """
        device = self.targets.device
        for decoded in self._decoded(batches, loaders(device)):
            if isinstance(decoded, DataError):
                raise decoded
            yield on_device(decoded, device)

    def _decoded(self, batches: Iterable[Sequence[Wanted]], workers: int) -> Iterable[torch.Tensor | DataError]:
        if not workers:
            return (_stacked([self[wanted] for wanted in batch]) for batch in batches)
        return DataLoader(
            self,  # type: ignore[arg-type]
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=_stacked,
            num_workers=workers,
            generator=torch.Generator(),  # the global one would be drawn from, and with it dropout's
            multiprocessing_context=_context(),
        )

    def __getitem__(self, wanted: Wanted) -> torch.Tensor | DataError:
        """An example, or the error: torch changes an exception that is raised in a worker process."""
        index, draw = wanted
        try:
            return torch.from_numpy(np.ascontiguousarray(self.decode(self.path(index), draw)))
        except DataError as error:
            return error


def _stacked(decoded: Sequence[torch.Tensor | DataError]) -> torch.Tensor | DataError:
    examples = [one for one in decoded if isinstance(one, torch.Tensor)]
    errors = [one for one in decoded if isinstance(one, DataError)]
    return errors[0] if errors else torch.stack(examples)


def _context() -> str | None:
    """Workers are forked where that is possible: not every class of a plugin can be pickled by name."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None


def loaders(device: torch.device) -> int:
    """Number of worker processes: one for each thread that this process may use, but for one that trains on a CPU."""
    return torch.get_num_threads() - (device.type == "cpu")


def opened(dataset: components.Dataset, folder: Path, split: str) -> Stream:
    """A split of prepared files, which were verified before. Raises DamagedData when they are damaged meanwhile."""
    try:
        paths = (folder / f"{split}_{part}.npy" for part in ("names", "starts", "labels"))
        names, starts, labels = (np.lib.format.open_memmap(path, mode="r") for path in paths)
    except Exception as error:  # whatever NumPy's parser makes of a header that is not one
        raise DamagedData(f"{folder} is damaged ({error}); a run makes it again") from error
    files, decode = files_of(folder), partial(checked_picture, dataset)
    return Stream(decode, files, names, starts, np.arange(len(labels)), torch.from_numpy(labels.copy()))


class Prefetcher:
    """The batches of one training, decoded ahead as long as they are requested one after the other."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._next: tuple[int, str, int] | None = None
        self._ahead: deque[torch.Tensor] = deque()
        self._batches = _nothing()

    def batch(
        self, seed: int, stream: str, step: int, cropped: bool, chosen: Callable[[int], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A step's pictures as bytes, and its labels.

        Args:
            cropped: whether each picture is a random part of what is on file.
            chosen: which examples a step sees.
        """
        if self._next != (seed, stream, step):
            self.close()
            wanted = _wanted(seed, stream, step, cropped, chosen, self._ahead)
            self._batches = self._stream.loaded(wanted)
        self._next = seed, stream, step + 1
        inputs = next(self._batches)
        return inputs, self._stream.targets[on_device(self._ahead.popleft(), inputs.device)]

    def close(self) -> None:
        """Stop the processes that decode, and wait for their end; the next batch starts new ones."""
        self._batches.close()
        self._batches, self._next = _nothing(), None
        self._ahead.clear()


def _nothing() -> Generator[torch.Tensor, None, None]:
    yield from ()


def _wanted(
    seed: int,
    stream: str,
    first: int,
    cropped: bool,
    chosen: Callable[[int], torch.Tensor],
    ahead: deque[torch.Tensor],
) -> Iterator[list[Wanted]]:
    """The files of each step, each with its own seed: a file is cropped the same in any process and order.

    Not a method: a reference back to the prefetcher would keep the processes alive until the garbage collector runs.

    Args:
        ahead: is given the examples of each step.
    """
    for step in count(first):
        index = chosen(step)
        ahead.append(index)
        purpose = (seed, stream, "resized-crop", step)
        draws = [seeds.derive(*purpose, place) if cropped else None for place in range(len(index))]
        yield list(zip(index.tolist(), draws, strict=True))
