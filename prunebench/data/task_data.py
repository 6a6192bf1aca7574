"""The data of a task on a device: its splits, and the batch of any step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from prunebench.api.components import Dataset
from prunebench.api.tasks import Task
from prunebench.data import arrays, kinds, seeds, streaming
from prunebench.data.augmentation import augment
from prunebench.data.inputs import Inputs
from prunebench.data.prepared import Prepared, verified
from prunebench.data.splits import Split

Examples = Split | streaming.Stream
Batch = tuple[Inputs, torch.Tensor]
"""Inputs as a network is given them, and targets as a loss is."""


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

    Args:
        seed: that of the trial, which the held-out examples depend on where the recipe says so (`validation_draw`).

    Raises DamagedData when the prepared bytes are not those that were written.
    """

    def __init__(self, task: Task, prepared: Prepared, device: torch.device, seed: int = 0) -> None:
        self._prepared = verified(prepared)
        full, test = _splits(task.dataset, prepared.folder)
        self.task, self.recipe, self.facts = task, task.recipe, task.facts
        held_out, order = task.recipe.validation, self._order_of_selection(len(full), seed)
        validation = full.part(order[:held_out].sort().values).to(device)
        train = full.part(order[held_out:].sort().values) if held_out else full
        self.objective = task.objective.fitted(kinds.as_target(self.facts, train.targets))
        stored = torch.empty(0) if isinstance(train, streaming.Stream) else train.inputs
        self._moments = kinds.moments_of(self.facts, task.dataset, stored)
        self._convert = kinds.converters(self._moments, self.facts, device)
        self.train, self.validation, self.test = train.to(device), validation, test.to(device)
        self._order = EpochOrder(len(train), task.recipe.batch_size, task.clock.steps_per_epoch)
        self._prefetcher = streaming.Prefetcher(self.train) if isinstance(self.train, streaming.Stream) else None

    def _order_of_selection(self, examples: int, seed: int) -> torch.Tensor:
        """The order in which training examples are held out for validation.

        By default the draw is the data set's own, not the trial's: every seed selects on the same examples. Windows of
        a running text are held out from its end, so that no training window reaches into a held-out one.
        """
        if self.facts.every_input[0].kind == "text":
            return torch.arange(examples).flip(0)
        drawn_by = [seed] if self.recipe.validation_draw == "seed" else []
        return torch.randperm(examples, generator=seeds.generator("validation", self._prepared.fingerprint, *drawn_by))

    def close(self) -> None:
        """Stop the processes that decode files ahead, if there are any; the next batch starts them again."""
        if self._prefetcher is not None:
            self._prefetcher.close()

    def check(self) -> None:
        """Raise DamagedData when the prepared bytes were changed since this was opened."""
        verified(self._prepared)

    def moments(self, name: str = "") -> kinds.Moments:
        """The mean and the standard deviation that an input is normalized by."""
        return self._moments[name]

    def normalized(self, inputs: Inputs) -> Inputs:
        """Stored inputs as a network is given them."""
        if isinstance(inputs, torch.Tensor):
            return self._convert[""](inputs)
        return {name: self._convert[name](value) for name, value in inputs.items()}

    def batch(self, seed: int, stream: str, step: int) -> Batch:
        """The (inputs, targets) that a step trains on: which, from (seed, epoch); how augmented, from (seed, step)."""
        if self._prefetcher is not None:
            return self._streamed(self._prefetcher, seed, stream, step)
        chosen, augmentation = self._order.examples(seed, stream, step), self.recipe.augmentation
        generator = seeds.generator(seed, stream, "augmentation", step)
        assert isinstance(self.train, Split), "files are read ahead"
        if "shift" in augmentation:
            length = self.facts.every_input[0].shape[0]
            return self._given(self.train.shifted(chosen, torch.randint(length, chosen.shape, generator=generator)))
        batch = self.train.take(chosen)
        if augmentation:
            assert isinstance(batch.inputs, torch.Tensor), "augmented data has one input"
            batch = Split(augment(batch.inputs, augmentation, generator), batch.targets)
        return self._given(batch)

    def _streamed(self, prefetcher: streaming.Prefetcher, seed: int, stream: str, step: int) -> Batch:
        """The batch of a step whose images are decoded, and some of them cropped, in other processes."""
        augmentation = self.recipe.augmentation
        chosen = partial(self._order.examples, seed, stream)
        inputs, targets = prefetcher.batch(seed, stream, step, "resized-crop" in augmentation, chosen)
        rest = tuple(kind for kind in augmentation if kind != "resized-crop")
        if rest:
            inputs = augment(inputs, rest, seeds.generator(seed, stream, "augmentation", step))
        return self._given(Split(inputs, targets))

    def examples(self, split: Examples, index: torch.Tensor) -> Batch:
        """Some examples of a split as (inputs, targets), not augmented."""
        return self._given(split.take(index))

    def in_order(self, split: Examples, size: int) -> Iterator[Batch]:
        """All of a split as (inputs, targets), in batches of `size`, neither shuffled nor augmented."""
        return map(self._given, split.in_order(size))

    def _given(self, batch: Split) -> Batch:
        return self.normalized(batch.inputs), kinds.as_target(self.facts, batch.targets)


def _splits(dataset: Dataset, folder: Path) -> tuple[Examples, Examples]:
    """All training examples, and all test examples."""
    if streaming.is_streamed(folder):
        return streaming.opened(dataset, folder, "train"), streaming.opened(dataset, folder, "test")
    return arrays.opened(folder, "train"), arrays.opened(folder, "test")
