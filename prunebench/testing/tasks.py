"""What the small networks are trained on: synthetic data that is easy to learn, with nothing to download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from prunebench.api.components import Arrays, DataFacts, Dataset, Model
from prunebench.api.objectives import Classification, Metric, Objective

TRAIN, TEST, CLASSES = 200, 100, 4
LENGTH, VOCABULARY = 16, 16
FEATURES = 16


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


class Sentences(Dataset):
    """A running text of sixteen tokens, each of which is mostly followed by the same other one."""

    name = "sentences"

    def facts(self) -> DataFacts:
        targets = {"target_shape": (LENGTH,), "train": TRAIN, "test": TEST}
        return DataFacts((LENGTH,), kind="text", vocabulary=VOCABULARY, targets="tokens", **targets)  # type: ignore[arg-type]

    def load(self, root: Path | None) -> Arrays:
        numbers = np.random.default_rng(0)
        following, count = numbers.permutation(VOCABULARY), (TRAIN + TEST) * LENGTH
        usual, others = numbers.random(count) < 0.8, numbers.integers(0, VOCABULARY, count + 1)
        text = others.astype(np.uint8)
        for place in np.flatnonzero(usual):
            text[place + 1] = following[text[place]]
        inputs, targets = text[:-1].reshape(-1, LENGTH), text[1:].reshape(-1, LENGTH)
        return Arrays(inputs[:TRAIN], targets[:TRAIN], inputs[TRAIN:], targets[TRAIN:])


class Table(Dataset):
    """Rows of sixteen numbers, and a number that depends on some of them."""

    name = "table"

    def facts(self) -> DataFacts:
        return DataFacts((FEATURES,), train=TRAIN, test=TEST, kind="features", targets="numbers")

    def load(self, root: Path | None) -> Arrays:
        features = np.random.default_rng(0).normal(size=(TRAIN + TEST, FEATURES)).astype(np.float32)
        targets = features[:, 0] + np.sin(2 * features[:, 1]) + features[:, 2] * features[:, 3]
        return Arrays(features[:TRAIN], targets[:TRAIN], features[TRAIN:], targets[TRAIN:])


class NextToken(Objective):
    """Cross-entropy at each position."""

    name = "next-token"
    targets = ("tokens",)

    def outputs(self, facts: DataFacts) -> tuple[int, ...]:
        return (*facts.target_shape, facts.vocabulary)

    def metrics(self, facts: DataFacts) -> Sequence[Metric]:
        return [Metric(name="cross_entropy", label="cross-entropy", direction="lower", decimals=3)]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(outputs.flatten(0, 1), targets.flatten())

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        found = len(targets) * self.loss(outputs, targets)
        return {"loss": found, "cross_entropy": found}


class SquaredError(Objective):
    """The square of the difference of a number and the output."""

    name = "squared-error"
    targets = ("numbers",)

    def outputs(self, facts: DataFacts) -> tuple[int, ...]:
        return (1,)

    def metrics(self, facts: DataFacts) -> Sequence[Metric]:
        return [Metric(name="squared_error", label="squared error", direction="lower", decimals=3)]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs[:, 0] - targets).square().mean()

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        found = (outputs[:, 0] - targets).square().sum()
        return {"loss": found, "squared_error": found}


DATASETS: Sequence[type[Dataset]] = (Pictures, Sentences, Table)
OBJECTIVES: Sequence[type[Objective]] = (Classification, NextToken, SquaredError)
_OTHERS: Mapping[str, tuple[Dataset, Objective]] = {
    "language": (Sentences(), NextToken()),
    "regression": (Table(), SquaredError()),
}


def task_of(network: Model) -> tuple[Dataset, Objective]:
    """The data that a network is tried on and what it is trained for: pictures and their classes, but for two."""
    return _OTHERS.get(network.name, (Pictures(), Classification()))
