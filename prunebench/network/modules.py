"""Modules of models: built, made safe for pruned weights, copied, and rid of parametrizations."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, remove_spectral_norm, remove_weight_norm

from prunebench.api.components import Model
from prunebench.api.errors import PrunebenchError
from prunebench.api.weights import stored

# The modules; torch.nn.utils has functions of these names.
hooks: Any = importlib.import_module("torch.nn.utils.weight_norm")
spectral_hooks: Any = importlib.import_module("torch.nn.utils.spectral_norm")


def called(model: Model) -> str:
    """A model's name as a suite writes it: `timm/resnet18`."""
    return f"{model.name}/{getattr(model, model.variant)}" if model.variant else model.name


def build(model: Model, shape: tuple[int, ...], classes: int) -> nn.Module:
    """A model's module. Raises PrunebenchError for what cannot be trained."""
    module = model.build(shape, classes)
    if not isinstance(module, nn.Module):
        raise PrunebenchError(f"build of model {called(model)!r} must return a torch.nn.Module, not {module!r}")
    lazy = [name for name, one in module.named_parameters() if isinstance(one, nn.UninitializedParameter)]
    if lazy:
        raise PrunebenchError(
            f"model {called(model)!r} has lazy layers, whose weights have no shape before the first pass "
            f"({', '.join(map(repr, lazy))}): give their sizes, or let `build` pass one example through"
        )
    _keep_dead_outputs_finite(module)
    return module


def copied(module: nn.Module) -> nn.Module:
    """A copy of its own.

    The old hooks of weight norm and spectral norm leave a tensor with a history in the layer, which torch does not
    copy; the next forward pass computes it anew.
    """
    for layer in module.modules():
        for name, value in vars(layer).items():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                vars(layer)[name] = value.detach()
    return copy.deepcopy(module)


def plain(module: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    """The module with plain weights in place of parametrizations and normalizing hooks, as it is delivered.

    Changes the module itself. Returns the new name of each parameter that has another one now.
    """
    named: dict[str, str] = {}
    for path, layer in list(module.named_modules()):
        for weight in _parametrized(layer):
            named |= _renamed(path, layer, weight)
            parametrize.remove_parametrizations(layer, weight, leave_parametrized=True)
        for hook in list(layer._forward_pre_hooks.values()):
            if isinstance(hook, (hooks.WeightNorm, spectral_hooks.SpectralNorm)):
                named |= _renamed(path, layer, hook.name)
                remove = remove_weight_norm if isinstance(hook, hooks.WeightNorm) else remove_spectral_norm
                remove(layer, hook.name)
    return module, named


def _parametrized(layer: nn.Module) -> dict[str, Any]:
    """The parametrizations of a layer by weight."""
    found: Any = layer.parametrizations if parametrize.is_parametrized(layer) else {}
    return dict(found.items())


def _renamed(path: str, layer: nn.Module, weight: str) -> dict[str, str]:
    prefix = f"{path}." if path else ""
    return {f"{prefix}{name}": f"{prefix}{weight}" for name in stored(layer, weight)}


@torch.no_grad()
def loadable(module: nn.Module) -> nn.Module:
    """The module with values that are right in any copy of it, whose weight norm may divide by 0 as torch's does.

    An output without weights gets a magnitude of 0 and any direction. Changes the module itself.
    """
    for layer in module.modules():
        for found in _parametrized(layer).values():
            if isinstance(found[0], parametrizations._WeightNorm):
                _silence(found.original1, found.original0, found[0].dim)
        for hook in layer._forward_pre_hooks.values():
            if isinstance(hook, hooks.WeightNorm):
                _silence(getattr(layer, f"{hook.name}_v"), getattr(layer, f"{hook.name}_g"), hook.dim)
    return module


def _silence(direction: torch.Tensor, magnitude: torch.Tensor, dim: int) -> None:
    dead = _dead(direction, dim)
    direction.masked_fill_(dead, 1.0)
    magnitude.masked_fill_(dead, 0.0)


def _keep_dead_outputs_finite(module: nn.Module) -> None:
    """Weight norm divides by the norm of an output's weights, which is 0 when all of them are pruned: 0 / 0 is 0 then.

    No name of a parameter changes.
    """
    for layer in list(module.modules()):
        if isinstance(layer, parametrizations._WeightNorm):
            layer.__class__ = _WeightNorm
        for hook in layer._forward_pre_hooks.values():
            if type(hook) is hooks.WeightNorm:
                hook.__class__ = _WeightNormHook


class _WeightNorm(parametrizations._WeightNorm):
    def forward(self, weight_g: torch.Tensor, weight_v: torch.Tensor) -> torch.Tensor:
        return _normalized(weight_v, weight_g, self.dim)


class _WeightNormHook(hooks.WeightNorm):  # type: ignore[misc]
    def compute_weight(self, module: nn.Module) -> torch.Tensor:
        return _normalized(getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g"), self.dim)


def _normalized(direction: torch.Tensor, magnitude: torch.Tensor, dim: int) -> torch.Tensor:
    """The weight; 0, with a gradient of 0, for outputs whose direction is."""
    dead = _dead(direction, dim)
    weight: torch.Tensor = torch._weight_norm(direction.masked_fill(dead, 1.0), magnitude, dim)
    return weight.masked_fill(dead, 0.0)


def _dead(direction: torch.Tensor, dim: int) -> torch.Tensor:
    """Which outputs have no weight, in the shape of their magnitudes."""
    others = [one for one in range(direction.dim()) if dim == -1 or one != dim]
    return direction.detach().abs().amax(others, keepdim=True) == 0
