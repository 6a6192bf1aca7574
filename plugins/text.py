"""Text as bytes or tokens: documentation that comes with Python, your own files, and texts with labels."""

import csv
import io
import os
import platform
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Len
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import DataError
from prunebench.api.files import PACKAGE, File, located

from .image_folder import class_names, files_below, missing, signature_of
from .tokens import Tokenizer, token_inputs

PLACE = f"below the folder of data sets; {PACKAGE}NAME/PATH is in an installed package"
Tokenized = Annotated[File, Doc("tokenizer.json of the library tokenizers; without one, tokens are bytes")] | None
Labelled = Sequence[tuple[bytes, str]]
"""Texts in UTF-8, and their labels."""
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
        inputs, targets = windows_of(np.frombuffer(_documentation(), np.uint8), self.length)
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
    """Text of your own: PATH is a file, or a folder whose files are read in the order of their names.

    Tokens are bytes, or those of a tokenizer's file. The last `test` windows of `length` tokens are for testing, the
    `train` before them for training; what does not fill a window is left out at the end. A plan reads no data, so a
    suite says how many windows there are; if the text has others, the error says how many.
    """

    name = "text"
    version = 1

    path: Annotated[str, Doc(f"file or folder, {PLACE}")]
    train: Annotated[int, Ge(1), Doc("number of training windows")]
    test: Annotated[int, Ge(1), Doc("number of test windows")]
    length: Annotated[int, Ge(2), Doc("tokens in one window")] = 128
    tokenizer: Tokenized = prunebench.added_later(None)

    def __post_init__(self) -> None:
        if self.tokenizer is not None:
            Tokenizer(self.tokenizer)

    def facts(self) -> prunebench.DataFacts:
        vocabulary = VOCABULARY if self.tokenizer is None else Tokenizer(self.tokenizer).vocabulary
        return _facts_of_windows(self.length, self.train, self.test, vocabulary)

    def load(self, root: Path | None) -> prunebench.Arrays:
        place = place_of(self, root, self.path)
        content = b"\n".join(map(read, text_files(place))) if place.is_dir() else read(place)
        tokens = np.frombuffer(content, np.uint8)
        if self.tokenizer is not None:
            tokens = Tokenizer(self.tokenizer).running(content.decode("utf-8-sig"))
        windows = max(0, len(tokens) - 1) // self.length
        if windows != self.train + self.test:
            unit = "bytes" if self.tokenizer is None else "tokens"
            raise DataError(
                f"data set {self.name!r}: {place} has {windows} windows of {self.length} {unit}, and the suite says "
                f"train: {self.train} and test: {self.test}: together they must be {windows}"
            )
        inputs, targets = windows_of(tokens, self.length)
        return prunebench.Arrays(
            inputs[: self.train], targets[: self.train], inputs[self.train :], targets[self.train :]
        )

    def signature(self, root: Path | None) -> str:
        return signature_at(root, self.path)


class LabelledText(prunebench.Dataset):
    """Texts with a class each: PATH/train and PATH/test, or train.csv and test.csv with `text,label` columns.

    A folder has a folder of text files for each class. PATH may also be one CSV file: `train` and `test` of its rows
    are drawn, the same for every seed, and of rows with the same text only the first is used. Classes are numbered in
    the order of their names. A plan reads no data, so a suite says how many texts and classes there are; if there are
    others, the error says how many.

    Tokens are bytes, and shorter texts are padded with zeros. With a tokenizer's file they are its tokens, with its
    special ones, and `attention_mask` is a second input, 0 for padding. Each text is cut at `length` tokens.
    """

    name = "labelled-text"
    version = 1

    path: Annotated[str, Doc(f"folder or CSV file, {PLACE}")]
    classes: Annotated[int, Ge(2), Doc("how many classes there are")]
    train: Annotated[int, Ge(1), Doc("how many training texts there are, or are drawn from one file")]
    test: Annotated[int, Ge(1), Doc("how many test texts there are, or are drawn from one file")]
    length: Annotated[int, Ge(1), Doc("tokens of a text that a network is given")] = 256
    tokenizer: Tokenized = prunebench.added_later(None)
    mask: Annotated[
        bool, Doc("with a tokenizer, two inputs, input_ids and attention_mask; false: the tokens alone")
    ] = prunebench.added_later(True)
    columns: Annotated[tuple[str, ...], Len(2, 2), Doc("names of the columns of text and label")] = (
        prunebench.added_later(("text", "label"))
    )
    where: Annotated[str, Doc("COLUMN=VALUE: only the rows of a CSV file that have this value")] = (
        prunebench.added_later("")
    )

    def __post_init__(self) -> None:
        if self.tokenizer is not None:
            Tokenizer(self.tokenizer)
        if (self.where and not self.where.partition("=")[0].strip()) or "=" not in (self.where or "="):
            raise ValueError(f"{self.where!r} is not a condition on rows: write COLUMN=VALUE")

    @property
    def masked(self) -> bool:
        """Whether there are two inputs."""
        return self.tokenizer is not None and self.mask

    def facts(self) -> prunebench.DataFacts:
        vocabulary = VOCABULARY if self.tokenizer is None else Tokenizer(self.tokenizer).vocabulary
        if not self.masked:
            return prunebench.DataFacts(
                (self.length,), self.classes, self.train, self.test, kind="tokens", vocabulary=vocabulary
            )
        return prunebench.DataFacts(
            inputs=token_inputs(self.length, vocabulary), classes=self.classes, train=self.train, test=self.test
        )

    def load(self, root: Path | None) -> prunebench.Arrays:
        place = place_of(self, root, self.path)
        texts = self._drawn(place) if place.is_file() else self._split(place)
        names = sorted({label for split in texts for _, label in split})
        found = {"classes": len(names), "train": len(texts[0]), "test": len(texts[1])}
        if found != {key: getattr(self, key) for key in found}:
            numbers = ", ".join(f"{key}: {number}" for key, number in found.items())
            raise DataError(f"data set {self.name!r}: for {place} the suite must say {{{numbers}}}")
        train, test = ((self._inputs([text for text, _ in split]), self._numbers(split, names)) for split in texts)
        return prunebench.Arrays(*train, *test)

    def _split(self, folder: Path) -> list[Labelled]:
        return [list(labelled(folder, split, self.columns, self.where)) for split in ("train", "test")]

    def _drawn(self, table: Path) -> list[Labelled]:
        """Training and test texts of one file, without repeated ones; RandomState draws the same in all of NumPy."""
        first: dict[bytes, str] = {}
        for text, label in rows_of(table, self.columns, self.where):
            first.setdefault(text, label)
        rows = list(first.items())
        if len(rows) < self.train + self.test:
            raise DataError(
                f"data set {self.name!r}: {table} has {len(rows)} different texts, and the suite asks for "
                f"train: {self.train} and test: {self.test}"
            )
        order = np.random.RandomState(0).permutation(len(rows))
        chosen = [rows[place] for place in order[: self.train + self.test]]
        return [chosen[: self.train], chosen[self.train :]]

    def _inputs(self, texts: Sequence[bytes]) -> np.ndarray | dict[str, np.ndarray]:
        if self.tokenizer is None:
            rows = [text[: self.length].replace(b"\0", b" ").ljust(self.length, b"\0") for text in texts]
            return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), self.length)
        found = Tokenizer(self.tokenizer).padded([text.decode() for text in texts], self.length)
        return found if self.mask else found["input_ids"]

    def _numbers(self, texts: Labelled, names: Sequence[str]) -> np.ndarray:
        places = {name: place for place, name in enumerate(names)}
        return np.array([places[label] for _, label in texts], np.int64)

    def signature(self, root: Path | None) -> str:
        return signature_at(root, self.path)


def _facts_of_windows(length: int, train: int, test: int, vocabulary: int = VOCABULARY) -> prunebench.DataFacts:
    return prunebench.DataFacts(
        (length,),
        train=train,
        test=test,
        kind="text",
        vocabulary=vocabulary,
        targets="tokens",
        target_shape=(length,),
    )


def windows_of(stream: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Consecutive windows of a stream of tokens, and for each token the one that follows it: both (N, length)."""
    count = (len(stream) - 1) // length
    return stream[: count * length].reshape(count, length), stream[1 : count * length + 1].reshape(count, length)


def place_of(dataset: prunebench.Dataset, root: Path | None, path: str) -> Path:
    """The file or folder at the path of a data set. Raises DataError if it is not there."""
    if path.startswith(PACKAGE):
        try:
            return located(path)
        except ValueError as error:
            raise DataError(f"data set {dataset.name!r}: {error}") from None
    place = (root or Path("DIR")) / path
    if root is None or not place.exists():
        raise missing(dataset.name, [str(place)])
    return place


def signature_at(root: Path | None, path: str) -> str:
    """The signature of the file or folder at the path of a data set."""
    try:
        return signature_of(located(path) if path.startswith(PACKAGE) else root and root / path)
    except ValueError:
        return ""


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


def labelled(folder: Path, split: str, columns: Sequence[str], where: str) -> Iterator[tuple[bytes, str]]:
    """The texts of a split and their labels, from a file or from a folder for each class; raises DataError."""
    table, place = folder / f"{split}.csv", folder / split
    if table.is_file():
        yield from rows_of(table, columns, where)
    elif place.is_dir():
        for name in class_names(place):
            yield from ((read(path), name) for path in text_files(place / name))
    else:
        raise DataError(f"{folder} has neither {split}.csv nor a folder {split}{os.sep}CLASS for each class")


def rows_of(path: Path, columns: Sequence[str], where: str) -> Iterator[tuple[bytes, str]]:
    """The texts and labels in the rows of a CSV file that fulfil a condition; raises DataError."""
    rows = csv.reader(io.StringIO(read(path).decode("utf-8-sig"), newline=""))
    condition, _, value = (part.strip() for part in where.partition("="))
    try:
        header = next(rows, [])
        wanted = [*columns, *([condition] if condition else [])]
        if any(header.count(name) != 1 for name in wanted):
            raise DataError(
                f"{path} must begin with the names of its columns, {','.join(wanted)} among them, and begins with "
                f"{','.join(header)[:80]!r}"
            )
        text, label, *tested = map(header.index, wanted)
        for row in filter(None, rows):  # blank lines are no rows
            if len(row) != len(header):
                raise DataError(
                    f"{path}, line {rows.line_num}: there are {len(row)} columns, and should be {len(header)}"
                )
            if all(row[column] == value for column in tested):
                yield row[text].encode(), row[label]
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}, cannot be read as CSV: {error}") from error


@prunebench.hookimpl
def register_datasets() -> list[type[prunebench.Dataset]]:
    return [LabelledText, PyDoc, Text]
