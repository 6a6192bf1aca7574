"""The handwritten digits that come with scikit-learn: a task that needs no download."""

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le, Len
from typing_extensions import Doc

import prunebench

Digit = Annotated[int, Ge(0), Le(9)]


class Digits(prunebench.Dataset):
    """1,797 scans of 8x8 pixels in ten classes; the first 1,000 train, the last 797 test (other writers' hands)."""

    name = "digits"
    version = 1
    reference = "Alpaydin & Kaynak 1998, UCI Optical Recognition of Handwritten Digits"
    mean = (0.0,)
    std = (16.0,)
    train_counts: ClassVar[tuple[int, ...]] = (99, 102, 100, 104, 98, 100, 101, 99, 98, 99)
    """Training examples of each digit."""
    test_counts: ClassVar[tuple[int, ...]] = (79, 80, 77, 79, 83, 82, 80, 80, 76, 81)

    classes: Annotated[
        tuple[Digit, ...], Len(2, 10), Doc("the digits that are in it, such as [0, 1, 2, 3, 4]; by default all")
    ] = prunebench.added_later(tuple(range(10)))

    def __post_init__(self) -> None:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("each of the classes is listed once")

    def facts(self) -> prunebench.DataFacts:
        train, test = (sum(counts[digit] for digit in self.classes) for counts in (self.train_counts, self.test_counts))
        return prunebench.DataFacts(shape=(1, 8, 8), classes=len(self.classes), train=train, test=test)

    def load(self, root: Path | None) -> prunebench.Arrays:
        from sklearn.datasets import load_digits  # a second to import, needed once a machine

        scans = load_digits()
        inputs = scans.images.astype(np.uint8)[:, None]
        numbers = np.full(10, -1, np.int64)
        numbers[list(self.classes)] = np.arange(len(self.classes))
        labels = numbers[scans.target]
        train, test = (part[labels[part] >= 0] for part in np.split(np.arange(len(labels)), [1000]))
        return prunebench.Arrays(inputs[train], labels[train], inputs[test], labels[test])


@prunebench.hookimpl
def register_datasets() -> list[type[prunebench.Dataset]]:
    return [Digits]
