"""Weights from a file, which the trials of a task start from: read without running code, and compared with the network.

Files are safetensors, or what torch.save writes of a state dict; the latter are read by torch's `weights_only`, which
builds nothing but tensors and plain containers.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunebench.api.components import Interface, Model
from prunebench.api.errors import WeightsError
from prunebench.api.files import File, Weights
from prunebench.api.tasks import Task
from prunebench.api.weights import aliases
from prunebench.network.modules import build, called

NESTED = ("state_dict", "model_state_dict", "model", "module")
"""Keys of a checkpoint that hold a state dict beside other things."""
SHOWN = 20
"""Problems of one kind that are listed."""
Tensors = Mapping[str, torch.Tensor]


def check_start(task: Task, weights: Weights | None = None) -> None:
    """Compare a file of weights with a task's network, before anything runs.

    Args:
        weights: of a chain's first stage; by default those of the task, if it has some.

    Raises WeightsError, with every mismatch.
    """
    if (chosen := weights or task.weights) is not None:
        _check_fits(chosen, task.model, task.interface)


@lru_cache(maxsize=64)
def _check_fits(weights: Weights, model: Model, interface: Interface) -> None:
    """Once for all trials that start from the same file."""
    _matched(weights, _outline(model, interface), model)


@torch.no_grad()
def start_from(weights: Weights, module: nn.Module, model: Model) -> None:
    """Put the weights of a file into a network; what the file leaves out on purpose keeps its values.

    Raises WeightsError, with every mismatch.
    """
    values = dict(_named(module))
    for key, value in _matched(weights, module, model).items():
        values[key].copy_(value)


def read_weights(file: File) -> Tensors:
    """Return the tensors of a file by their names in it; they must not be changed.

    Files are safetensors, or what torch.save wrote of a state dict, alone or in a checkpoint. Nothing is executed.

    Raises:
        WeightsError: if it is not a file of weights, with the reason.
    """
    return _read(file)


@lru_cache(maxsize=1)
def _read(file: File) -> Tensors:
    content, name = file.read(), Path(file.path).name
    try:
        found = _safetensors(content) if _has_header(content) else _pickled(content)
    except Exception as error:  # whatever a parser makes of bytes that are something else
        raise WeightsError(f"{name} cannot be read as weights: {_reason(error)}") from None
    if wrong := [key for key, value in found.items() if not _is_plain(value)]:
        raise WeightsError(f"{name} has entries that are no dense tensors: {_listed(wrong)}")
    if not found:
        raise WeightsError(f"{name} holds no weights")
    return found


def _has_header(content: bytes) -> bool:
    """Whether a file begins as safetensors do: with the length of a JSON object, and that object."""
    length = int.from_bytes(content[:8], "little")
    return content[8:9] == b"{" and length <= len(content) - 8


def _reason(error: Exception) -> str:
    """What is wrong with a file, without what torch advises: to execute what is in it."""
    if isinstance(error, (pickle.UnpicklingError, EOFError, RuntimeError)):
        return "it is damaged, or it is neither safetensors nor a state dict of tensors alone that torch.save wrote"
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _safetensors(content: bytes) -> Tensors:
    import safetensors.torch

    # Copies: what lies at odd addresses, vectorized code may add up otherwise.
    return {name: value.clone() for name, value in safetensors.torch.load(content).items()}


def _pickled(content: bytes) -> Tensors:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about old formats
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return _state_dict(found)


def _state_dict(found: Any) -> Tensors:
    """The state dict itself, or the one inside of a checkpoint."""
    if not isinstance(found, Mapping):
        raise ValueError(f"it holds a {type(found).__name__} and not a state dict")
    if any(isinstance(value, torch.Tensor) for value in found.values()):
        return {str(name): value for name, value in found.items()}
    for key in NESTED:
        if isinstance(found.get(key), Mapping):
            return _state_dict(found[key])
    raise ValueError(f"it holds no state dict; its keys are {_listed([str(key) for key in found])}")


def _is_plain(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized


def _outline(model: Model, interface: Interface) -> nn.Module:
    """The network without memory for its weights, where it can be built so."""
    for device in ("meta", "cpu"):
        try:
            with torch.device(device), torch.random.fork_rng(devices=[]):
                return build(model, interface)
        except Exception:
            if device == "cpu":
                raise
    raise AssertionError("one of the two returns or raises")


def _named(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, each once, and the buffers that a state dict has."""
    yield from module.named_parameters()
    kept = module.state_dict(keep_vars=True)
    yield from ((name, buffer) for name, buffer in module.named_buffers() if name in kept)


def _matched(weights: Weights, module: nn.Module, model: Model) -> Tensors:
    """The values of a file by the names of the network. Raises WeightsError."""
    expected, names = dict(_named(module)), aliases(module)
    named = _without_prefix(read_weights(weights.file), weights, called(model))
    given = _plain_names(model.converted(named, module), expected)
    matched: dict[str, torch.Tensor] = {}
    missing, unlike = [], []
    for name, value in expected.items():
        here = [alias for alias in names.get(name, (name,)) if alias in given]
        if _any(weights.fresh, name):
            continue
        if not here:
            if not name.endswith("num_batches_tracked"):  # which older files lack, and nothing depends on
                missing.append(name)
            continue
        found = given[here[0]]
        if unequal := [alias for alias in here[1:] if not torch.equal(given[alias], found)]:
            unlike.append(f"{here[0]} (one weight in the network, and not the same as {_listed(unequal)} in the file)")
        elif reason := _difference(found, value):
            unlike.append(f"{name} ({reason})")
        else:
            matched[name] = found
    known = {alias for name in expected for alias in names.get(name, (name,))}
    unknown = [name for name in given if name not in known and not _any(weights.ignore, name)]
    problems = {
        "not in the file (`fresh` leaves them as they are drawn)": missing,
        "not in the network (`ignore` leaves them out)": unknown,
        "other in the file": unlike,
    }
    problems["patterns that match nothing"] = [
        *(pattern for pattern in weights.fresh if not any(re.search(pattern, name) for name in expected)),
        *(pattern for pattern in weights.ignore if not any(re.search(pattern, name) for name in given)),
    ]
    if any(problems.values()):
        parts = [f"{what}: {_listed(found)}" for what, found in problems.items() if found]
        raise WeightsError(f"{Path(weights.file.path).name} does not fit model {called(model)!r}; {'; '.join(parts)}")
    return matched


def _without_prefix(given: Tensors, weights: Weights, model: str) -> Tensors:
    """The tensors whose names begin with the prefix, without it."""
    found = {
        name.removeprefix(weights.prefix): value for name, value in given.items() if name.startswith(weights.prefix)
    }
    if not found:
        raise WeightsError(
            f"{Path(weights.file.path).name} does not fit model {model!r}; no name in it begins with "
            f"{weights.prefix!r}: {_listed(sorted(given))}"
        )
    return found


def _plain_names(given: Tensors, expected: Mapping[str, object]) -> Tensors:
    """The tensors, with the product of what torch.nn.utils.prune stores as `_orig` and `_mask`."""
    found = dict(given)
    for name, mask in given.items():
        plain = name.removesuffix("_mask")
        original = given.get(f"{plain}_orig")
        of_prune = name.endswith("_mask") and original is not None and original.shape == mask.shape
        if of_prune and plain not in given and name not in expected:
            found[plain] = found.pop(f"{plain}_orig") * found.pop(name)
    return found


def _difference(found: torch.Tensor, expected: torch.Tensor) -> str:
    """What makes a tensor of the file no value for one of the network."""
    if found.shape != expected.shape:
        return f"{_shaped(found)} in the file, {_shaped(expected)} in the network"
    if found.is_floating_point() != expected.is_floating_point() or found.is_complex() != expected.is_complex():
        types = (str(value.dtype).removeprefix("torch.") for value in (found, expected))
        return "{} in the file, {} in the network".format(*types)
    return "" if bool(found.isfinite().all()) else "not all finite"


def _shaped(value: torch.Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a single number"


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:100] for name in names[:SHOWN]) + more
