"""Kinds of inputs and targets: how they are stored and augmented, and what a network and its loss are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from prunebench.api.components import DataFacts, Dataset, Kind
from prunebench.data.inputs import Inputs

TOKEN_TYPES = ("uint8", "int16", "int32", "int64")
STORED: Mapping[Kind, Sequence[str]] = {
    "images": ("uint8",),
    "features": ("float32",),
    "tokens": TOKEN_TYPES,
    "text": TOKEN_TYPES,
}
"""The types of arrays that hold inputs of a kind."""
STORED_TARGETS: Mapping[str, Sequence[str]] = {
    "classes": ("int64",),
    "labels": ("float32",),
    "numbers": ("float32",),
    "tokens": TOKEN_TYPES,
}
"""The types of arrays that hold targets of a kind."""

Convert = Callable[[torch.Tensor], torch.Tensor]
Moments = tuple[torch.Tensor, torch.Tensor]
"""Mean and standard deviation."""


def target_shape(facts: DataFacts) -> tuple[int, ...]:
    """The shape of one target, as it is stored."""
    if facts.targets == "labels":
        return (facts.classes,)
    return () if facts.targets == "classes" else facts.target_shape


def converters(moments: Mapping[str, Moments], facts: DataFacts, device: torch.device) -> Mapping[str, Convert]:
    """For each input by name, what turns a stored batch into what a network is given, on a device."""
    found: dict[str, Convert] = {}
    for given in facts.every_input:
        if given.vocabulary:
            found[given.name] = partial(_as_numbers, device=device)
        else:
            mean, deviation = (one.to(device) for one in moments[given.name])
            found[given.name] = partial(_normalized, mean=mean, scale=1 / deviation, device=device)
    return found


def moments_of(facts: DataFacts, dataset: Dataset, train: Inputs) -> Mapping[str, Moments]:
    """Mean and standard deviation by which inputs are normalized, by name; tokens have none.

    Args:
        train: the training examples as they are stored, which features are standardized by.
    """
    found: dict[str, Moments] = {}
    for given in facts.every_input:
        if given.kind == "images":
            mean, deviation = (torch.tensor(one).view(1, -1, 1, 1) for one in (dataset.mean, dataset.std))
            found[given.name] = mean, deviation
        elif given.kind == "features":
            found[given.name] = _moments(train if isinstance(train, torch.Tensor) else train[given.name])
    return found


def _as_numbers(tokens: torch.Tensor, device: torch.device) -> torch.Tensor:
    return tokens.to(device).long()


def _normalized(values: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor, device: torch.device) -> torch.Tensor:
    return (values.to(device).float() - mean) * scale


def _moments(values: torch.Tensor) -> Moments:
    """Of each feature; the deviation is 1 for a feature that is always the same."""
    values = values.double()
    deviation = values.std(0, correction=0)
    return values.mean(0).float(), torch.where(deviation > 0, deviation, 1.0).float()


def as_target(facts: DataFacts, targets: torch.Tensor) -> torch.Tensor:
    """Stored targets as a loss is given them."""
    return targets.long() if facts.targets == "tokens" else targets
