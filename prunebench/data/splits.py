"""Examples in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

import torch

from prunebench.data.augmentation import on_device
from prunebench.data.inputs import Inputs, each, tensors_of

SHARE = 0.4
"""Of a GPU's free memory that one split may take."""


@dataclass(frozen=True)
class Split:
    """Inputs and targets as they are stored, each with the examples in its first dimension."""

    inputs: Inputs
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: torch.Tensor) -> Split:
        """Some of the examples; on the targets' device, also from inputs that were left in the host's memory."""
        device = self.targets.device
        there = index if index.device == device else on_device(index, device)

        def taken(values: torch.Tensor) -> torch.Tensor:
            return values[there] if values.device == device else on_device(values[index.to(values.device)], device)

        return Split(each(self.inputs, taken), self.targets[there])

    part = take

    def shifted(self, index: torch.Tensor, offset: torch.Tensor) -> Split:
        """Windows of a running text that begin a number of tokens after those of some examples.

        What would reach over the end of the text begins earlier.
        """
        assert isinstance(self.inputs, torch.Tensor), "windows of text are the only input"
        count, length = self.inputs.shape
        first = (index * length + offset).clamp(max=(count - 1) * length)
        places = first[:, None] + torch.arange(length)
        device = self.targets.device
        inputs, targets = (
            on_device(values.flatten()[on_device(places, values.device)], device)
            for values in (self.inputs, self.targets)
        )
        return Split(inputs, targets)

    def in_order(self, size: int) -> Iterator[Split]:
        """All examples, `size` at a time."""
        for start in range(0, len(self), size):
            place = slice(start, start + size)
            yield Split(each(self.inputs, itemgetter(place)), self.targets[place])

    def to(self, device: torch.device) -> Split:
        """On a device; inputs that would fill its memory stay where they are, and go there batch by batch."""
        size = sum(values.nbytes for values in tensors_of(self.inputs))
        fits = device.type != "cuda" or size < SHARE * torch.cuda.mem_get_info(device)[0]
        inputs = each(self.inputs, lambda values: values.to(device)) if fits else self.inputs
        return Split(inputs, self.targets.to(device))
