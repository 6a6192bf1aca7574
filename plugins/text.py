"""Text as bytes: documentation that comes with Python, a file or folder of one's own, and texts with labels."""

import csv
import io
import os
import platform
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import DataError

from .image_folder import class_names, files_below, missing, signature_of

VOCABULARY = 256
"""Tokens are bytes of UTF-8; byte 0, which is in no text, pads texts that are too short."""


class PyDoc(prunebench.Dataset):
    """The documentation of Python's language that comes with Python (`help("assert")`), as bytes.

    Paragraphs that several topics quote are taken once, so that no test text is trained on. The first nine tenths are
    for training. The text differs between versions of Python: its fingerprint, which is in all keys, says so.
    """

    name = "pydoc"
    version = 1
    reference = "docs.python.org/reference, in the module pydoc_data of Python's standard library"

    length: Annotated[int, Ge(2), Doc("bytes in one example")] = 64

    def facts(self) -> prunebench.DataFacts:
        windows = (len(_documentation()) - 1) // self.length
        return _facts_of_windows(self.length, windows - windows // 10, windows // 10)

    def load(self, root: Path | None) -> prunebench.Arrays:
        inputs, targets = windows_of(_documentation(), self.length)
        train = self.facts().train
        return prunebench.Arrays(inputs[:train], targets[:train], inputs[train:], targets[train:])

    def signature(self, root: Path | None) -> str:
        return platform.python_version()


@cache
def _documentation() -> bytes:
    from pydoc_data.topics import topics

    paragraphs = (one.strip("\n") for _, text in sorted(topics.items()) for one in text.split("\n\n"))
    return "\n\n".join(dict.fromkeys(one for one in paragraphs if one)).encode()


class Text(prunebench.Dataset):
    """Text of your own, as bytes: PATH is a file, or a folder whose files are read in the order of their names.

    The last `test` windows of `length` bytes are for testing, the `train` before them for training; what does not fill
    a window is left out at the end. A plan reads no data, so a suite says how many windows there are; if the text has
    others, the error says how many.
    """

    name = "text"
    version = 1

    path: Annotated[str, Doc("file or folder, below the folder of data sets")]
    train: Annotated[int, Ge(1), Doc("number of training windows")]
    test: Annotated[int, Ge(1), Doc("number of test windows")]
    length: Annotated[int, Ge(2), Doc("bytes in one window")] = 128

    def facts(self) -> prunebench.DataFacts:
        return _facts_of_windows(self.length, self.train, self.test)

    def load(self, root: Path | None) -> prunebench.Arrays:
        place = _place(self, root, self.path)
        content = b"\n".join(map(read, text_files(place))) if place.is_dir() else read(place)
        windows = max(0, len(content) - 1) // self.length
        if windows != self.train + self.test:
            raise DataError(
                f"data set {self.name!r}: {place} has {windows} windows of {self.length} bytes, and the suite says "
                f"train: {self.train} and test: {self.test}: together they must be {windows}"
            )
        inputs, targets = windows_of(content, self.length)
        return prunebench.Arrays(
            inputs[: self.train], targets[: self.train], inputs[self.train :], targets[self.train :]
        )

    def signature(self, root: Path | None) -> str:
        return signature_of(root and root / self.path)


class LabelledText(prunebench.Dataset):
    """Texts with a class each, as bytes: PATH/train and PATH/test, or test.csv and train.csv with `text,label` columns.

    A folder has a folder of text files for each class. Classes are numbered in the order of their names. Each text is
    cut at `length` bytes, and shorter ones are padded with zeros. A plan reads no data, so a suite says how many
    texts and classes there are; if there are others, the error says how many.
    """

    name = "labelled-text"
    version = 1

    path: Annotated[str, Doc("folder, below the folder of data sets")]
    classes: Annotated[int, Ge(2), Doc("how many classes there are")]
    train: Annotated[int, Ge(1), Doc("how many training texts there are")]
    test: Annotated[int, Ge(1), Doc("how many test texts there are")]
    length: Annotated[int, Ge(1), Doc("bytes of a text that a network is given")] = 256

    def facts(self) -> prunebench.DataFacts:
        return prunebench.DataFacts(
            (self.length,), self.classes, self.train, self.test, kind="tokens", vocabulary=VOCABULARY
        )

    def load(self, root: Path | None) -> prunebench.Arrays:
        folder = _place(self, root, self.path)
        texts = {split: list(labelled(folder, split)) for split in ("train", "test")}
        names = sorted({label for split in texts.values() for _, label in split})
        found = {"classes": len(names), **{split: len(found) for split, found in texts.items()}}
        if found != {key: getattr(self, key) for key in found}:
            numbers = ", ".join(f"{key}: {number}" for key, number in found.items())
            raise DataError(f"data set {self.name!r}: for {folder} the suite must say {{{numbers}}}")
        arrays = [(self._padded(split), self._numbers(split, names)) for split in texts.values()]
        return prunebench.Arrays(*arrays[0], *arrays[1])

    def _padded(self, texts: Sequence[tuple[bytes, str]]) -> np.ndarray:
        rows = [text[: self.length].replace(b"\0", b" ").ljust(self.length, b"\0") for text, _ in texts]
        return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), self.length)

    def _numbers(self, texts: Sequence[tuple[bytes, str]], names: Sequence[str]) -> np.ndarray:
        places = {name: place for place, name in enumerate(names)}
        return np.array([places[label] for _, label in texts], np.int64)

    def signature(self, root: Path | None) -> str:
        return signature_of(root and root / self.path)


def _facts_of_windows(length: int, train: int, test: int) -> prunebench.DataFacts:
    return prunebench.DataFacts(
        (length,),
        train=train,
        test=test,
        kind="text",
        vocabulary=VOCABULARY,
        targets="tokens",
        target_shape=(length,),
    )


def windows_of(content: bytes, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Consecutive windows of a text, and for each byte the one that follows it: both uint8 of shape (N, length)."""
    count = (len(content) - 1) // length
    stream = np.frombuffer(content, np.uint8)
    return stream[: count * length].reshape(count, length), stream[1 : count * length + 1].reshape(count, length)


def _place(dataset: prunebench.Dataset, root: Path | None, path: str) -> Path:
    place = (root or Path("DIR")) / path
    if root is None or not place.exists():
        raise missing(dataset.name, [str(place)])
    return place


def text_files(folder: Path) -> list[Path]:
    """The files in a folder at any depth, in the order of their names; raises DataError if there is none."""
    found = sorted(files_below(folder))
    if not found:
        raise DataError(f"{folder} has no file")
    return found


def read(path: Path) -> bytes:
    """The content of a text file; raises DataError for a file that cannot be read, or is not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8: byte {error.start} is {content[error.start]:#04x}") from None
    return content


def labelled(folder: Path, split: str) -> Iterator[tuple[bytes, str]]:
    """The texts of a split and their labels, from a file or from a folder for each class; raises DataError."""
    table, place = folder / f"{split}.csv", folder / split
    if table.is_file():
        yield from _rows(table)
    elif place.is_dir():
        for name in class_names(place):
            yield from ((read(path), name) for path in text_files(place / name))
    else:
        raise DataError(f"{folder} has neither {split}.csv nor a folder {split}{os.sep}CLASS for each class")


def _rows(path: Path) -> Iterator[tuple[bytes, str]]:
    rows = csv.reader(io.StringIO(read(path).decode("utf-8-sig"), newline=""))
    try:
        header = next(rows, [])
        if sorted(header) != ["label", "text"]:
            raise DataError(f"{path} must begin with the columns text,label, and begins with {','.join(header)[:80]!r}")
        text, label = header.index("text"), header.index("label")
        for row in filter(None, rows):  # blank lines are no rows
            if len(row) != 2:
                raise DataError(f"{path}, line {rows.line_num}: there are {len(row)} columns, and should be 2")
            yield row[text].encode(), row[label]
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}, cannot be read as CSV: {error}") from error


@prunebench.hookimpl
def register_datasets() -> list[type[prunebench.Dataset]]:
    return [LabelledText, PyDoc, Text]
