"""Whether a cut network computes what the whole one with zeros in the place of what is gone computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunebench.api.components import Input
from prunebench.api.errors import PrunebenchError
from prunebench.data import seeds
from prunebench.data.inputs import Inputs, as_floats, random_inputs
from prunebench.network.cuts import NetworkCut, cut_out
from prunebench.network.modules import copied

CPU = torch.device("cpu")
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Largest difference of outputs, relative to the largest output, at which two networks compute the same."""


def drawn_examples(inputs: Sequence[Input]) -> Inputs:
    """Random inputs; more of them where one, such as a mask of padding, may hide all of another in an example."""
    return random_inputs(inputs, 2 if len(inputs) == 1 else 8)


def difference(module: nn.Module, cut: NetworkCut, inputs: Inputs) -> tuple[float, float]:
    """How much the outputs of a cut network differ from those of the whole one with zeros in the place of what is gone.

    In evaluation mode, in double precision where the network's code lets it.

    Returns:
        the largest difference, relative to the largest output, and the largest one at which they compute the same.
    """
    for dtype in (torch.float64, torch.float32):
        model = copied(module).to(CPU, dtype).eval()
        given = as_floats(inputs, CPU, dtype)
        try:
            with torch.no_grad():
                masked, smaller = (net(given).double() for net in (_masked(copied(model), cut), cut_out(model, cut)))
        except Exception:
            if dtype is torch.float32:
                raise
            continue
        if not bool(masked.isfinite().any()):  # nothing was compared
            return float("inf"), TOLERANCE[dtype]
        masked, smaller = masked.nan_to_num(), smaller.nan_to_num()
        scale = float(masked.abs().max()) or 1.0
        return float((masked - smaller).abs().max()) / scale, TOLERANCE[dtype]
    raise AssertionError("one of the two precisions returns or raises")


def check_cut(module: nn.Module, cut: NetworkCut, inputs: Sequence[Input], name: str) -> None:
    """Raise PrunebenchError for a cut network that does not compute what the network with zeros in its place does."""
    with seeds.seeded("check a cut"):
        examples = drawn_examples(inputs)
    try:
        differs, allowed = difference(module, cut, examples)
    except Exception as error:
        raise PrunebenchError(
            f"model {name!r} does not run any more when channels are removed ({first_line(error)}): keep the layers "
            "that need them with `exclude`"
        ) from error
    if not differs <= allowed:
        raise PrunebenchError(
            f"model {name!r} computes something else when channels are removed than when they are zero (outputs differ "
            f"by {differs:.1g} of the largest): keep the layers that need them with `exclude`"
        )


def first_line(error: Exception) -> str:
    """An error's message in one line."""
    return " ".join(str(error).split()) or type(error).__name__


@torch.no_grad()
def _masked(module: nn.Module, cut: NetworkCut) -> nn.Module:
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if name in cut.names:
            value.copy_(cut.whole(name, cut.of(name, value.detach())))
    return module


@torch.no_grad()
def randomized(module: nn.Module) -> nn.Module:
    """The module with weights of a size that shows everything in the outputs: none are zero, as some layers begin."""
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape) * (parameter.shape[0] / max(1, parameter.numel())) ** 0.5)
            else:
                parameter.copy_(0.5 + torch.rand(parameter.shape))
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None:
            layer.running_mean.copy_(0.1 * torch.randn(layer.running_mean.shape))
            layer.running_var.copy_(0.5 + torch.rand(layer.running_var.shape))
    return module
