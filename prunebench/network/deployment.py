"""A network as it is delivered: its metrics, its size on disk and its latency, measured beside the dense network's."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from statistics import quantiles
from typing import Any, TypeVar

import torch
from torch import nn

from prunebench.api.methods import Deployed
from prunebench.data.inputs import Inputs, as_floats, tensors_of
from prunebench.data.task_data import Data
from prunebench.pruning.masks import pack

K = TypeVar("K", bound=Hashable)

WARM_UP = 5
"""Passes before any is timed."""
ROUNDS, SECONDS = 5, 0.1
"""Timings are interleaved, so that background load affects both networks."""


def measure(deployed: Deployed, dense: nn.Module, data: Data, batch: int) -> dict[str, float]:
    """Size and latency of a deployed network, beside those of the dense one.

    Args:
        dense: the network that it was made from, on the data's device.
        batch: examples in a pass that is timed.
    """
    figures: dict[str, float] = {"size_bytes": stored_bytes(deployed.model), "size_bytes_dense": dense_bytes(dense)}
    if "latency_ms" in deployed.notes:
        return figures
    given, _ = data.examples(data.test, torch.arange(batch, device=data.test.targets.device) % len(data.test))
    inputs = as_floats(given, deployed.device, deployed.dtype)
    networks = {"latency_ms": deployed.model, "latency_ms_dense": dense.to(deployed.device, deployed.dtype)}
    return figures | latencies(networks, inputs)


class Delivered(nn.Module):
    """A deployed network with the inputs and outputs of any other network."""

    def __init__(self, deployed: Deployed) -> None:
        super().__init__()
        self.deployed = deployed

    def forward(self, inputs: Inputs) -> torch.Tensor:
        outputs: torch.Tensor = self.deployed.model(as_floats(inputs, self.deployed.device, self.deployed.dtype))
        return outputs.to(next(tensors_of(inputs)).device)


def latencies(networks: Mapping[str, nn.Module], inputs: Inputs) -> dict[str, float]:
    """Milliseconds of one pass: the median under each network's name, the interquartile range under <name>_iqr."""
    figures: dict[str, float] = {}
    for name, (median, spread) in interleaved({name: (model, inputs) for name, model in networks.items()}).items():
        figures |= {name: median, f"{name}_iqr": spread}
    return figures


def interleaved(passes: Mapping[K, tuple[Callable[[Any], object], Inputs]]) -> dict[K, tuple[float, float]]:
    """Milliseconds of a call with its inputs, by name: the median and the interquartile range."""
    found: dict[K, list[float]] = {name: [] for name in passes}
    with torch.inference_mode():
        for call, inputs in passes.values():
            for _ in range(WARM_UP):
                _seconds(call, inputs)
        for _ in range(ROUNDS):
            for name, (call, inputs) in passes.items():
                until = time.perf_counter() + SECONDS
                while time.perf_counter() < until:
                    found[name].append(_seconds(call, inputs))
    quarters = {name: quantiles(seconds, n=4) for name, seconds in found.items()}
    return {name: (1e3 * middle, 1e3 * (third - first)) for name, (first, middle, third) in quarters.items()}


def _seconds(call: Callable[[Any], object], inputs: Inputs) -> float:
    """Time of one pass, until its outputs are ready."""
    begun = time.perf_counter()
    call(inputs)
    device = next(tensors_of(inputs)).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def dense_bytes(model: nn.Module) -> int:
    """Size of a safetensors file of all parameters and buffers, zeros included."""
    return _file_size({name: value.detach().cpu() for name, value in _entries(model)})


def stored_bytes(model: nn.Module) -> int:
    """Size of a safetensors file of the network.

    Quantized weights are bytes in it, with their scales; a tensor of which enough is zero is a bit for each number, and
    the numbers that are not zero.
    """
    plain = dict(tensor for name, value in _entries(model) for tensor in _plain(name, value))
    return _file_size(dict(part for name, value in plain.items() for part in _without_zeros(name, value)))


def _entries(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Of the state dictionary, a tied weight once."""
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _file_size(tensors: Mapping[str, torch.Tensor]) -> int:
    import safetensors.torch

    # Copies: tensors that share memory are refused.
    return len(safetensors.torch.save({name: value.clone().contiguous() for name, value in tensors.items()}))


def _plain(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of an entry of a state dictionary, which for quantized layers are packed into one."""
    if isinstance(value, (tuple, list)):
        for index, part in enumerate(value):
            yield from _plain(f"{name}.{index}", part)
    elif isinstance(value, torch.Tensor) and value.is_quantized:
        yield f"{name}.int", value.int_repr().cpu()
        per_channel = value.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
        yield f"{name}.scale", value.q_per_channel_scales() if per_channel else torch.tensor(value.q_scale())
        yield f"{name}.zero", value.q_per_channel_zero_points() if per_channel else torch.tensor(value.q_zero_point())
    elif isinstance(value, torch.Tensor):
        # A sparse format counts as the zeros that it leaves out.
        yield name, (value if type(value) in (torch.Tensor, nn.Parameter) else value.to_dense()).detach().cpu()


def _without_zeros(name: str, value: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    kept = value != 0
    bits, values = pack(kept), value[kept]
    if bits.nbytes + values.nbytes < value.nbytes:
        yield f"{name}#kept", bits
        value = values
    yield name, value
