"""A small synthetic data set: easy to learn, with nothing to download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prunebench.api.components import Arrays, DataFacts, Dataset

TRAIN, TEST, CLASSES = 200, 100, 4


class Pictures(Dataset):
    """Noisy pictures of 8x8 pixels in three channels; each class has a pattern, of which a picture is made."""

    name = "pictures"
    mean = (128.0, 128.0, 128.0)
    std = (60.0, 60.0, 60.0)

    def facts(self) -> DataFacts:
        return DataFacts(shape=(3, 8, 8), classes=CLASSES, train=TRAIN, test=TEST)

    def load(self, root: Path | None) -> Arrays:
        numbers = np.random.default_rng(0)
        labels = numbers.integers(0, CLASSES, TRAIN + TEST)
        patterns = numbers.normal(0, 30, (CLASSES, 3, 8, 8))
        inputs = 128 + patterns[labels] + numbers.normal(0, 60, (TRAIN + TEST, 3, 8, 8))
        pixels = inputs.clip(0, 255).astype(np.uint8)
        return Arrays(pixels[:TRAIN], labels[:TRAIN], pixels[TRAIN:], labels[TRAIN:])
