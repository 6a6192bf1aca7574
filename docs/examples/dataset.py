"""A data set: facts for planning, and arrays of bytes for training."""

from typing import Annotated

import numpy as np
from annotated_types import Ge
from typing_extensions import Doc

import prunebench


class Stripes(prunebench.Dataset):
    """Noisy stripes of 8x8 pixels; the class is their direction."""

    name = "stripes"
    mean = (128.0,)
    std = (64.0,)

    directions: Annotated[int, Ge(2), Doc("number of classes")] = 4

    def facts(self) -> prunebench.DataFacts:
        return prunebench.DataFacts(shape=(1, 8, 8), classes=self.directions, train=400, test=200)

    def load(self, root):
        numbers = np.random.default_rng(0)
        labels = numbers.integers(0, self.directions, 600)
        angles = np.pi * labels[:, None, None] / self.directions
        rows, columns = np.mgrid[:8, :8]
        waves = np.sin(np.cos(angles) * rows + np.sin(angles) * columns + numbers.uniform(0, 6, (600, 1, 1)))
        noisy = 128 + 64 * waves + numbers.normal(0, 32, (600, 8, 8))
        inputs = noisy.clip(0, 255).astype(np.uint8)[:, None]
        return prunebench.Arrays(inputs[:400], labels[:400], inputs[400:], labels[400:])


@prunebench.hookimpl
def register_datasets():
    return [Stripes]
