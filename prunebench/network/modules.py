"""Building, copying and exporting the modules of models, and norms of weights that stay finite under pruning."""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrizations, parametrize, remove_spectral_norm, remove_weight_norm

from prunebench.api.components import Interface, Model
from prunebench.api.errors import PrunebenchError
from prunebench.api.weights import stored
from prunebench.network.cuts import NOTHING, NetworkCut, cut_out
from prunebench.pruning.low_rank import without_hooks

# The modules; torch.nn.utils has functions of these names.
hooks: Any = importlib.import_module("torch.nn.utils.weight_norm")
spectral_hooks: Any = importlib.import_module("torch.nn.utils.spectral_norm")


def called(model: Model) -> str:
    """A model's name as a suite writes it: `timm/resnet18`."""
    return f"{model.name}/{getattr(model, model.variant)}" if model.variant else model.name


def build(model: Model, interface: Interface, cut: NetworkCut = NOTHING) -> nn.Module:
    """A model's module, or what a cut leaves of it.

    Raises PrunebenchError for what cannot be trained, CutError for a cut that is not one of this network.
    """
    with _settings_restored():
        module = model.build_for(interface)
    if not isinstance(module, nn.Module):
        raise PrunebenchError(f"build of model {called(model)!r} must return a torch.nn.Module, not {module!r}")
    lazy = [name for name, one in module.named_parameters() if isinstance(one, nn.UninitializedParameter)]
    if lazy:
        raise PrunebenchError(
            f"model {called(model)!r} has lazy layers, whose weights have no shape before the first pass "
            f"({', '.join(map(repr, lazy))}): give their sizes, or let `build` pass one example through"
        )
    _keep_pruned_layers_finite(module)
    return cut_out(module, cut) if cut else module


@contextlib.contextmanager
def _settings_restored() -> Iterator[None]:
    """A model's code changes no setting of torch for the other code of this process."""
    dtype, gradients, threads = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def copied(module: nn.Module) -> nn.Module:
    """An independent copy.

    The old hooks of weight norm and spectral norm leave a tensor with a history in the layer, which torch does not
    copy; the next forward pass computes it anew.
    """
    for layer in module.modules():
        for name, value in vars(layer).items():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                vars(layer)[name] = value.detach()
    copied = copy.deepcopy(module)
    for layer in copied.modules():
        if parametrize.is_parametrized(layer):
            _give_own_class(layer)
    return copied


def _give_own_class(layer: nn.Module) -> None:
    """Replace the class that torch made for a parametrized layer, which a copy has in common with the original.

    Removing a parametrization changes that class, and so would break the original.
    """
    cls = type(layer)
    members = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    layer.__class__ = type(cls.__name__, cls.__bases__, members)


def plain(module: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    """The module as it is delivered, with plain weights in place of parametrizations and of hooks.

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
    module, moved = without_hooks(module)
    return module, {name: moved.get(new, new) for name, new in ({one: one for one in moved} | named).items()}


def _parametrized(layer: nn.Module) -> dict[str, Any]:
    """The parametrizations of a layer by weight."""
    found: Any = layer.parametrizations if parametrize.is_parametrized(layer) else {}
    return dict(found.items())


def _renamed(path: str, layer: nn.Module, weight: str) -> dict[str, str]:
    prefix = f"{path}." if path else ""
    return {f"{prefix}{name}": f"{prefix}{weight}" for name in stored(layer, weight)}


@torch.no_grad()
def loadable(module: nn.Module) -> nn.Module:
    """The module with values that give the same outputs in torch's own layers, whose weight norm divides 0 by 0.

    An output without weights gets a magnitude of 0 and any direction. Changes the module itself.

    Raises PrunebenchError for a layer without weights under spectral norm, for which no values do.
    """
    for path, layer in module.named_modules():
        _check_spectral_norm(path, layer)
        for found in _parametrized(layer).values():
            if isinstance(found[0], parametrizations._WeightNorm):
                _silence(found.original1, found.original0, found[0].dim)
        for hook in layer._forward_pre_hooks.values():
            if isinstance(hook, hooks.WeightNorm):
                _silence(getattr(layer, f"{hook.name}_v"), getattr(layer, f"{hook.name}_g"), hook.dim)
    return module


def _check_spectral_norm(path: str, layer: nn.Module) -> None:
    normalized = [one.original for one in _parametrized(layer).values() if isinstance(one[0], _SpectralNorm)]
    normalized += [
        getattr(layer, f"{hook.name}_orig")
        for hook in layer._forward_pre_hooks.values()
        if isinstance(hook, spectral_hooks.SpectralNorm)
    ]
    if not all(bool(weight.any()) for weight in normalized):
        raise PrunebenchError(
            f"layer {path!r} has spectral norm and no weight is left in it, so that torch divides by 0 when a state "
            "dict is loaded: export it as onnx, which has the weights themselves"
        )


def _silence(direction: torch.Tensor, magnitude: torch.Tensor, dim: int) -> None:
    dead = _dead(direction, dim)
    direction.masked_fill_(dead, 1.0)
    magnitude.masked_fill_(dead, 0.0)


def _keep_pruned_layers_finite(module: nn.Module) -> None:
    """Let weight norm and spectral norm give 0, and not 0 / 0, for weights that are all pruned.

    Weight norm divides by the norm of each output's weights, spectral norm by that of the whole layer. No parameter or
    buffer changes its name.
    """
    for layer in list(module.modules()):
        if safe := _SAFE_PARAMETRIZATIONS.get(type(layer)):
            layer.__class__ = safe
        for hook in layer._forward_pre_hooks.values():
            if safe := _SAFE_HOOKS.get(type(hook)):
                hook.__class__ = safe


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


class _SpectralNorm(parametrizations._SpectralNorm):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        if weight.ndim == 1:  # divided by its norm, or by a small number if that is 0
            return super().forward(weight)
        dead, alive = _without_zero_norm(weight)
        matrix = self._reshape_weight_to_matrix(alive)
        u, v = _restarted(matrix, self._u, self._v, self.eps)
        if self.training:
            with torch.no_grad():
                self._u.copy_(u)
                self._v.copy_(v)
            self._power_method(matrix, self.n_power_iterations)
            u, v = self._u.clone(), self._v.clone()  # the next pass changes them in place
        return (alive / torch.vdot(u, torch.mv(matrix, v))).masked_fill(dead, 0.0)


class _SpectralNormHook(spectral_hooks.SpectralNorm):  # type: ignore[misc]
    def compute_weight(self, module: nn.Module, do_power_iteration: bool) -> torch.Tensor:
        dead, alive = _without_zero_norm(getattr(module, f"{self.name}_orig"))
        matrix = self.reshape_weight_to_matrix(alive)
        buffers = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        u, v = _restarted(matrix, *buffers, self.eps)
        if do_power_iteration:
            with torch.no_grad():
                for _ in range(self.n_power_iterations):  # v first, where the parametrization begins with u
                    v = normalize(torch.mv(matrix.t(), u), dim=0, eps=self.eps)
                    u = normalize(torch.mv(matrix, v), dim=0, eps=self.eps)
                for buffer, value in zip(buffers, (u, v), strict=True):
                    buffer.copy_(value)
        return (alive / torch.dot(u, torch.mv(matrix, v))).masked_fill(dead, 0.0)


def _without_zero_norm(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether a weight is 0 everywhere, and the weight with ones in its place then."""
    dead = (weight.detach() == 0).all()
    return dead, weight.masked_fill(dead, 1.0)


@torch.no_grad()
def _restarted(matrix: torch.Tensor, u: torch.Tensor, v: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The estimates of a matrix's first singular vectors, begun anew from its largest row where they give a norm of 0.

    Such are estimates of other weights than those that are kept now: no power iteration leads away from 0.
    """
    lost = torch.dot(u, torch.mv(matrix, v)) == 0
    largest = matrix.abs().amax(1).argmax(0, keepdim=True)
    row = normalize(matrix.index_select(0, largest).squeeze(0), dim=0, eps=eps)
    return torch.where(lost, normalize(torch.mv(matrix, row), dim=0, eps=eps), u), torch.where(lost, row, v)


_SAFE_PARAMETRIZATIONS: dict[type, Any] = {
    parametrizations._WeightNorm: _WeightNorm,
    parametrizations._SpectralNorm: _SpectralNorm,
}
_SAFE_HOOKS: dict[type, Any] = {hooks.WeightNorm: _WeightNormHook, spectral_hooks.SpectralNorm: _SpectralNormHook}
