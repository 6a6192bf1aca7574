"""The handwritten digits that come with scikit-learn: a task that needs no download."""

from pathlib import Path

import numpy as np

import prunebench


class Digits(prunebench.Dataset):
    """1,797 scans of 8x8 pixels in ten classes; the first 1,000 train, the last 797 test (other writers' hands)."""

    name = "digits"
    version = 1
    reference = "Alpaydin & Kaynak 1998, UCI Optical Recognition of Handwritten Digits"
    mean = (0.0,)
    std = (16.0,)

    def facts(self) -> prunebench.DataFacts:
        return prunebench.DataFacts(shape=(1, 8, 8), classes=10, train=1000, test=797)

    def load(self, root: Path | None) -> prunebench.Arrays:
        from sklearn.datasets import load_digits  # a second to import, needed once a machine

        scans = load_digits()
        inputs = scans.images.astype(np.uint8)[:, None]
        labels = scans.target.astype(np.int64)
        return prunebench.Arrays(inputs[:1000], labels[:1000], inputs[1000:], labels[1000:])


@prunebench.hookimpl
def register_datasets() -> list[type[prunebench.Dataset]]:
    return [Digits]
