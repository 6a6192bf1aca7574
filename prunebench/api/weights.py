"""The names of weights: which may be pruned by default, and which parameters a weight is stored in."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

IN_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


def prunable_by_default(module: nn.Module) -> list[str]:
    """Names of the weights of every convolution, linear, recurrent and multi-head attention layer, as defined."""
    return [
        name
        for path, layer in module.named_modules()
        for weight in _weights_of(layer)
        for name in stored(module, f"{path}.{weight}".removeprefix("."))  # a module that is one layer has no path
    ]


def _weights_of(layer: nn.Module) -> list[str]:
    if isinstance(layer, (_ConvNd, nn.Linear)):
        return ["weight"]
    if isinstance(layer, nn.MultiheadAttention):
        return [name for name in IN_PROJECTIONS if getattr(layer, name) is not None]
    if isinstance(layer, (nn.RNNBase, nn.RNNCellBase)):
        stems = dict.fromkeys(name.partition(".")[0] for name in _own(layer))
        return [name for name in stems if name.startswith("weight_")]
    return []


def _own(layer: nn.Module) -> Iterator[str]:
    """Names of a layer's weights, parametrized ones among them."""
    yield from layer._parameters
    parametrizations = getattr(layer, "parametrizations", None)
    if isinstance(parametrizations, nn.ModuleDict):
        yield from parametrizations


def stored(module: nn.Module, name: str) -> list[str]:
    """Names of the parameters that a weight is stored in: its own name, or those behind a parametrization.

    For weight normalization this is the direction, which is zero where the weight is zero.
    """
    path, _, weight = name.rpartition(".")
    try:
        layer = module.get_submodule(path)
    except AttributeError:
        return []
    return [f"{path}.{found}".removeprefix(".") for found in _stored(layer, weight)]


def _stored(layer: nn.Module, weight: str) -> list[str]:
    if layer._parameters.get(weight) is not None:
        return [weight]
    parametrizations = getattr(layer, "parametrizations", None)
    if isinstance(parametrizations, nn.ModuleDict) and weight in parametrizations:
        return [f"parametrizations.{weight}.{name}" for name in _originals(layer, weight, parametrizations[weight])]
    # The names that torch.nn.utils.weight_norm, spectral_norm and prune give it.
    return [name for name in (f"{weight}_v", f"{weight}_orig") if layer._parameters.get(name) is not None]


def _originals(layer: nn.Module, weight: str, parametrization: nn.Module) -> list[str]:
    """The parameters of the weight's own shape that it is computed from."""
    if not hasattr(parametrization, "original0"):
        return _stored(parametrization, "original")
    shape = getattr(layer, weight).shape
    names = [name for name in _own(parametrization) if name.startswith("original")]
    return [
        own for name in names if getattr(parametrization, name).shape == shape for own in _stored(parametrization, name)
    ]


def parametrized(module: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """The layer and the weight that each parameter behind a parametrization belongs to."""
    return {
        f"{path}.{name}".removeprefix("."): (layer, weight)
        for path, layer in module.named_modules()
        if parametrize.is_parametrized(layer)
        for weight in _own(layer)
        for name in _stored(layer, weight)
        if name != weight
    }


def aliases(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """All names of each parameter by the first one; a tied parameter has several."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        found[names[id(parameter)]].append(name)
    return {name: tuple(others) for name, others in found.items()}
