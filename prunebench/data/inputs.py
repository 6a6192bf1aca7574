"""Inputs of a batch: a tensor, or a dict of tensors by name where a network has several inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from prunebench.api.components import Input

Inputs = torch.Tensor | dict[str, torch.Tensor]


def each(inputs: Inputs, function: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
    """The inputs with each tensor in them changed by a function."""
    if isinstance(inputs, torch.Tensor):
        return function(inputs)
    return {name: function(value) for name, value in inputs.items()}


def tensors_of(inputs: Inputs) -> Iterator[torch.Tensor]:
    """The tensors in the inputs, one or several."""
    yield from [inputs] if isinstance(inputs, torch.Tensor) else inputs.values()


def as_floats(inputs: Inputs, device: torch.device, dtype: torch.dtype) -> Inputs:
    """The inputs on a device; those that are not numbers of tokens in a precision."""
    return each(inputs, lambda value: value.to(device, dtype if value.is_floating_point() else value.dtype))


def made(inputs: Sequence[Input], make: Callable[[Input], torch.Tensor]) -> Inputs:
    """Inputs that a function makes, each from its description."""
    if len(inputs) == 1 and not inputs[0].name:
        return make(inputs[0])
    return {given.name: make(given) for given in inputs}


def random_inputs(inputs: Sequence[Input], count: int) -> Inputs:
    """Random inputs on torch's default device, from its global generator: standard normal, and tokens."""

    def drawn(given: Input) -> torch.Tensor:
        shape = (count, *given.shape)
        return torch.randint(given.vocabulary, shape) if given.vocabulary else torch.randn(shape)

    return made(inputs, drawn)


def constant_inputs(inputs: Sequence[Input], count: int, value: float, dtype: torch.dtype = torch.float32) -> Inputs:
    """Inputs without data, on torch's default device: all numbers are the same, and all tokens are number 0."""

    def filled(given: Input) -> torch.Tensor:
        shape = (count, *given.shape)
        return torch.zeros(shape, dtype=torch.int64) if given.vocabulary else torch.full(shape, value, dtype=dtype)

    return made(inputs, filled)
