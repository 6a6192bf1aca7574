"""Examples in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from prunebench.data.augmentation import on_device

SHARE = 0.4
"""Of a GPU's free memory that one split may take."""


@dataclass(frozen=True)
class Split:
    """Inputs as bytes, uint8 of shape (N, channels, height, width), and labels, int64 of shape (N,)."""

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: torch.Tensor) -> Split:
        """Some of the examples; on the labels' device, also from inputs that were left in the host's memory."""
        device = self.labels.device
        there = index if index.device == device else on_device(index, device)
        if self.inputs.device == device:
            return Split(self.inputs[there], self.labels[there])
        return Split(on_device(self.inputs[index.to(self.inputs.device)], device), self.labels[there])

    part = take

    def in_order(self, size: int) -> Iterator[Split]:
        """All examples, `size` at a time."""
        for start in range(0, len(self), size):
            yield Split(self.inputs[start : start + size], self.labels[start : start + size])

    def to(self, device: torch.device) -> Split:
        """On a device; inputs that would fill its memory stay where they are, and go there batch by batch."""
        fits = device.type != "cuda" or self.inputs.nbytes < SHARE * torch.cuda.mem_get_info(device)[0]
        return Split(self.inputs.to(device) if fits else self.inputs, self.labels.to(device))
