"""A model's network as its forward passes show it: what is multiplied by which weight, and whether its output fits.

Tried on torch's meta device, where a pass of ResNet-50 needs no memory and part of a second; where a pass looks at
values (or builds on them), on the CPU with one example, and with two in training mode, which BatchNorm needs.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from prunebench.api.components import Interface, Model
from prunebench.api.errors import PrunebenchError
from prunebench.api.weights import aliases, parametrized, stored
from prunebench.data import seeds
from prunebench.data.inputs import Inputs, random_inputs, tensors_of
from prunebench.network.cuts import NOTHING, NetworkCut
from prunebench.network.modules import build, called, copied
from prunebench.network.tracing import Tracer, Transformed

Mode = Literal["evaluation", "training"]
Shape = tuple[int, ...]

Specification = tuple[Shape, torch.dtype]

EXAMPLES: Mapping[Mode, int] = {"evaluation": 1, "training": 2}


@dataclass(frozen=True)
class Profile:
    """A model's network; all is by the name of a parameter."""

    shapes: Mapping[str, Shape]
    """Of all parameters, in their order."""
    flops: Mapping[str, float]
    """Of the multiplications by a parameter when one example is evaluated; what is not named has none."""
    total_flops: float
    """Of all multiplications."""
    prunable: tuple[str, ...]
    """What the model lets be pruned, each parameter once."""
    aliases: Mapping[str, tuple[str, ...]]
    """All names of each parameter: a tied one has several."""
    used: frozenset[str]
    """Parameters that a pass reads."""
    uncounted: frozenset[str]
    """Parameters that an evaluation reads and never multiplies by."""
    filled: frozenset[str]
    """Prunable ones that are multiplied in another form, in which what is pruned is not zero."""
    plain: frozenset[str]
    """Prunable ones that are, as they are, the weights of linear layers or two-dimensional convolutions."""
    connections: Mapping[str, Connections]
    """Of the weights of convolutions."""
    trainable: bool
    """Whether any parameter takes a gradient."""


@dataclass(frozen=True)
class Connections:
    """How the weight of a layer connects its inputs and outputs; by default as that of a linear layer."""

    input_dim: int = 1
    groups: int = 1


def profile(model: Model, interface: Interface, cut: NetworkCut = NOTHING) -> Profile:
    """The profile of a model for some inputs and outputs, or of what a cut leaves of it.

    Raises PrunebenchError for a model whose output does not fit the loss, or that cannot be built; and what the model's
    own code raises.
    """
    return _profiled(model, interface, cut)


@functools.lru_cache(maxsize=256)
def _profiled(model: Model, interface: Interface, cut: NetworkCut) -> Profile:
    try:
        return _profile(model, interface, cut, "meta")
    except PrunebenchError:
        raise
    except Exception:  # of a pass that looks at values; or of a broken one, which breaks on the CPU too
        return _profile(model, interface, cut, "cpu")


def _profile(model: Model, interface: Interface, cut: NetworkCut, device: str) -> Profile:
    with torch.device(device), _plainly():
        module = build(model, interface, cut)
        parameters, prunable = dict(module.named_parameters()), prunable_names(model, module)
        buffers = specifications(module.named_buffers())
        tracer, output = _traced(model, module, prunable, interface, "evaluation")
        in_training, trained_output = _traced(model, module, prunable, interface, "training")
        trained = _trained(trained_output)
        _check_lasting(model, module, parameters, buffers, trained | _trained(output))
        _check_copied(model, module)
    suspects = frozenset(name for one in (tracer, in_training) for name in one.suspects)
    suspects |= frozenset(parametrized(module)) & frozenset(prunable)
    return Profile(
        shapes={name: tuple(parameter.shape) for name, parameter in parameters.items()},
        flops=dict(tracer.flops),
        total_flops=tracer.total,
        prunable=prunable,
        aliases=aliases(module),
        used=frozenset(name for name, one in parameters.items() if name in tracer.used or one in trained),
        uncounted=frozenset(name for name in tracer.used if not tracer.flops.get(name)),
        filled=_filled(model, interface, cut, suspects) if suspects else frozenset(),
        plain=frozenset(name for name in prunable if _is_plain(module, parameters[name])),
        connections=_connections(module, prunable),
        trainable=any(parameter.requires_grad for parameter in parameters.values()),
    )


def specifications(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, Specification]:
    """The shape and type of some tensors by their names."""
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors}


def _is_plain(module: nn.Module, weight: nn.Parameter) -> bool:
    layers = [layer for layer in module.modules() if any(one is weight for one in layer._parameters.values())]
    return all(isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.weight is weight for layer in layers)


def _connections(module: nn.Module, names: Iterable[str]) -> dict[str, Connections]:
    """Those of the convolutions among some weights; a parametrized weight is stored below its layer."""
    found: dict[str, Connections] = {}
    for path, layer in module.named_modules():
        if isinstance(layer, _ConvNd):
            own = {name for name in names if name.startswith(f"{path}." if path else "")}
            connections = Connections(0 if isinstance(layer, _ConvTransposeNd) else 1, layer.groups)
            found |= dict.fromkeys(own, connections)
    return found


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """Repeatable; with gradients, and without kernels that do several layers at once, for which there is no formula."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with seeds.seeded("profile"), torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "TF32 acceleration", UserWarning
            )  # raised by flags() itself, whatever its arguments
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def prunable_names(model: Model, module: nn.Module) -> tuple[str, ...]:
    """The parameters of the weights that a model lets be pruned, each once; without empty ones."""
    names = model.prunable(module)
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise PrunebenchError(f"prunable of model {called(model)!r} must return names of weights, not {names!r}")
    known = {id(parameter): name for name, parameter in module.named_parameters()}
    found = {known[id(module.get_parameter(one))]: None for name in names for one in _stored(model, module, name)}
    return tuple(name for name in found if module.get_parameter(name).numel())


def _stored(model: Model, module: nn.Module, name: str) -> list[str]:
    if found := stored(module, str(name)):
        return found
    near = get_close_matches(str(name), dict(module.named_parameters()), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise PrunebenchError(
        f"prunable of model {called(model)!r} names {name!r}, which is not one of its parameters{hint}"
    )


def _traced(
    model: Model, module: nn.Module, prunable: Sequence[str], interface: Interface, mode: Mode
) -> tuple[Tracer, torch.Tensor]:
    """What a forward pass does with the weights, and its output."""
    inputs = random_inputs(interface.inputs, EXAMPLES[mode])
    tracer = Tracer(dict(module.named_parameters()), list(tensors_of(inputs)), prunable)
    with tracer:
        output = _output(model, module, mode, inputs, interface.outputs)
    return tracer, output


def _check_lasting(
    model: Model,
    module: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    buffers: Mapping[str, Specification],
    trained: Collection[Any],
) -> None:
    """Raise PrunebenchError for parameters and buffers that `build` did not make.

    No optimizer trains such parameters, and a state does not hold them.
    """
    after = dict(module.named_parameters())
    replaced = [name for name in {**parameters, **after} if parameters.get(name) is not after.get(name)]
    found = specifications(module.named_buffers())
    replaced += [name for name in {**buffers, **found} if buffers.get(name) != found.get(name)]
    if replaced:
        raise PrunebenchError(
            f"model {called(model)!r} makes or replaces parameters or buffers in its forward pass "
            f"({', '.join(map(repr, replaced))}), which would be neither trained nor stored: make them in `build`"
        )
    unknown = [tuple(one.shape) for one in trained if all(one is not known for known in after.values())]
    if unknown:
        raise PrunebenchError(
            f"model {called(model)!r} uses parameters that do not belong to its module, of shape "
            f"{', '.join(map(str, sorted(unknown)))}, which would be neither trained nor stored: keep modules in a "
            "torch.nn.ModuleList or ModuleDict, and parameters in a ParameterList or ParameterDict"
        )


def _check_copied(model: Model, module: nn.Module) -> None:
    """Raise PrunebenchError for a module that cannot be copied: scores are computed on a copy of the network."""
    try:
        copied(module)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise PrunebenchError(f"model {called(model)!r} cannot be copied by copy.deepcopy: {reason}") from error


def _output(model: Model, module: nn.Module, mode: Mode, inputs: Inputs, outputs: Shape) -> torch.Tensor:
    """The output in a mode. Raises PrunebenchError for one that does not fit the loss."""
    output = module.train(mode == "training")(inputs)
    expected = (EXAMPLES[mode], *outputs)
    if not isinstance(output, torch.Tensor) or output.shape != expected or not output.is_floating_point():
        raise PrunebenchError(
            f"model {called(model)!r} must return a tensor of shape (examples, *outputs), here {expected}, and returns "
            f"in {mode} mode {_described(output)}"
        )
    return output


def _trained(output: torch.Tensor) -> set[Any]:
    """The parameters that an output has gradients for."""
    waiting, seen = [output.grad_fn], set()
    while waiting:
        function = waiting.pop()
        if function is not None and function not in seen:
            seen.add(function)
            waiting += [before for before, _ in function.next_functions]
    return {function.variable for function in seen if hasattr(function, "variable")}


def _described(output: object) -> str:
    if isinstance(output, torch.Tensor):
        return f"a tensor of shape {tuple(output.shape)} and type {str(output.dtype).removeprefix('torch.')}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with {', '.join(map(repr, output))}: return the outputs alone"
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {len(output)}: return the outputs alone"
    return f"{output!r}" if output is None else f"an object of type {type(output).__name__}: return the outputs alone"


def _filled(model: Model, interface: Interface, cut: NetworkCut, suspects: frozenset[str]) -> frozenset[str]:
    """Which of some weights are not zero where they are multiplied when they are pruned: tried with real numbers."""
    lost: set[str] = set()
    with torch.device("cpu"), _plainly():
        module = build(model, interface, cut)
        for pattern in (_scattered, _first_half, _last_half):
            pruned = _pruned(module, suspects, pattern)
            lost |= {name for name in parametrized(module) if name in pruned and _fills(module, name)}
            for mode in EXAMPLES:
                tracer, _ = _traced(model, module, sorted(suspects), interface, mode)
                lost |= _lost(pruned, tracer.transformed) | _refilled(pruned, module)
    return frozenset(lost)


Pattern = Callable[[int], torch.Tensor]


def _scattered(size: int) -> torch.Tensor:
    return torch.rand(size) < 0.5


def _first_half(size: int) -> torch.Tensor:
    return torch.arange(size) < size // 2


def _last_half(size: int) -> torch.Tensor:
    return torch.arange(size) >= size - size // 2


@torch.no_grad()
def _pruned(module: nn.Module, names: Iterable[str], pattern: Pattern) -> dict[str, tuple[int, int]]:
    """Fill a network with numbers other than zero, and prune half of some weights: the zeros and the size of each."""
    parameters = dict(module.named_parameters())
    for parameter in parameters.values():
        if parameter.is_floating_point() or parameter.is_complex():
            parameter.copy_(torch.randn(parameter.shape))
    for name in sorted(names):
        parameters[name].masked_fill_(pattern(parameters[name].numel()).view(parameters[name].shape), 0.0)
    return {name: (int((parameters[name] == 0).sum()), parameters[name].numel()) for name in names}


def _fills(module: nn.Module, name: str) -> bool:
    """Whether a parametrized weight is not zero where the parameter that it is stored in is."""
    layer, weight = parametrized(module)[name]
    return bool((getattr(layer, weight)[module.get_parameter(name) == 0] != 0).any())


def _refilled(pruned: Mapping[str, tuple[int, int]], module: nn.Module) -> set[str]:
    """The weights whose zeros a pass has overwritten."""
    return {name for name, (zeros, _) in pruned.items() if int((module.get_parameter(name) == 0).sum()) < zeros}


def _lost(pruned: Mapping[str, tuple[int, int]], transformed: Sequence[Transformed]) -> set[str]:
    """The weights in operands with a smaller share of zeros than the weights have."""
    lost: set[str] = set()
    for names in {one.names for one in transformed}:
        operands = [one for one in transformed if one.names == names]
        zeros, size = (sum(counts) for counts in zip(*((one.zeros, one.size) for one in operands), strict=True))
        zeros_stored, size_stored = (sum(counts) for counts in zip(*(pruned[name] for name in names), strict=True))
        if zeros * size_stored < size * zeros_stored:
            lost |= names
    return lost
