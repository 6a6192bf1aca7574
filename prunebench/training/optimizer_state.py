"""What an optimizer remembers, as tensors that a state holds, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from prunebench.api.errors import PrunebenchError
from prunebench.training.state import Tensors

_NUMBER = "#number"
"""Ends the kind of an entry that the optimizer keeps as a plain number."""


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> Tensors:
    """An optimizer's state as `<kind>/<parameter>` tensors on the CPU; what it counts for all of them as `<kind>/`."""
    found: Tensors = {}
    for name, parameter in parameters.items():
        found |= _entries(optimizer.state[parameter], name)
    group = optimizer.param_groups[0]
    return found | _entries({kind: group[kind] for kind in group.keys() - optimizer.defaults.keys() - {"params"}}, "")


def _entries(values: Mapping[str, Any], name: str) -> Tensors:
    found: Tensors = {}
    for kind, value in values.items():
        if isinstance(value, torch.Tensor):
            found[f"{kind}/{name}"] = value.detach().cpu().clone()
        elif isinstance(value, (int, float)):
            found[f"{kind}{_NUMBER}/{name}"] = torch.tensor(
                value, dtype=torch.float64 if type(value) is float else None
            )
        elif value is not None:
            raise PrunebenchError(f"the optimizer keeps its {kind!r} as {type(value).__name__}, which cannot be saved")
    return found


def restore_optimizer(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter], tensors: Tensors) -> None:
    """Load what `optimizer_tensors` returned into a new optimizer."""
    for key, value in tensors.items():
        kind, _, name = key.partition("/")
        target = optimizer.state[parameters[name]] if name else optimizer.param_groups[0]
        if kind.endswith(_NUMBER):
            target[kind.removesuffix(_NUMBER)] = value.item()
            continue
        parameter = parameters[name] if name else next(iter(parameters.values()))
        # As torch.optim.Optimizer.load_state_dict does it: step counters are on the device for the fused kernels only.
        counts = kind == "step" or not name
        on_device = value.dim() > 0 or not counts or optimizer.defaults.get("fused")
        restored = value.to(parameter.device if on_device else "cpu", copy=True)
        if value.dim() > 0 and value.shape == parameter.shape:
            # In the parameter's own memory format: the fused kernels walk through both side by side.
            restored = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(restored)
        target[kind] = restored
