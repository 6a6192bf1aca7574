"""Augmentation of a whole batch of bytes at once, on the device it is on; normalized only after that."""

from __future__ import annotations

from collections.abc import Sequence

import torch

PADDING = 4
"""How far `crop` may shift an image, in pixels; the border it uncovers is black."""
AREAS = (0.08, 1.0)
"""The least and the largest share of an image that `resized-crop` shows."""


def augment(inputs: torch.Tensor, kinds: Sequence[str], generator: torch.Generator) -> torch.Tensor:
    """A batch of bytes, (N, channels, height, width), with each image cropped, shifted or flipped on its own.

    Bytes stay bytes, but for `resized-crop`: what lies between two pixels is a float.
    """
    if "resized-crop" in kinds:
        inputs = _resized(inputs, generator)
    if "crop" in kinds:
        inputs = _shifted(inputs, generator)
    if "flip" in kinds:
        mirrored = on_device(torch.rand(len(inputs), generator=generator), inputs.device) < 0.5
        inputs = torch.where(mirrored[:, None, None, None], inputs.flip(-1), inputs)
    return inputs


def on_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Values of the host's on a device, without waiting for it: a copy from ordinary memory would."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def _resized(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random rectangle of each image, enlarged to the whole; areas and ratios of Szegedy et al. 2015."""
    inputs = inputs.float()
    area, ratio, across, down = on_device(torch.rand(4, len(inputs), generator=generator), inputs.device)
    area = AREAS[0] + (AREAS[1] - AREAS[0]) * area
    stretch = (4 / 3) ** (ratio - 0.5)  # the square root of a ratio of width to height between 3/4 and 4/3
    aspect = (inputs.shape[2] / inputs.shape[3]) ** 0.5
    width = (area.sqrt() * stretch * aspect).clamp(max=1)
    height = (area.sqrt() / stretch / aspect).clamp(max=1)
    zero = torch.zeros_like(width)
    # The image spans -1..1; a rectangle of width w may have its centre anywhere in -(1 - w)..(1 - w).
    rows = [width, zero, (1 - width) * (2 * across - 1), zero, height, (1 - height) * (2 * down - 1)]
    places = torch.nn.functional.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(inputs.shape), False)
    return torch.nn.functional.grid_sample(inputs, places, padding_mode="border", align_corners=False)


def _shifted(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    count, _, height, width = inputs.shape
    padded = torch.nn.functional.pad(inputs, (PADDING,) * 4)
    offsets = on_device(torch.randint(0, 2 * PADDING + 1, (2, count, 1), generator=generator), inputs.device)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: each window of each image
    return windows[torch.arange(count, device=inputs.device), :, offsets[0, :, 0], offsets[1, :, 0]]
