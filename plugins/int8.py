"""Post-training quantization to 8-bit integers."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import nn
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError, Unreachable


class INT8(prunebench.Method):
    """Deploy a network with 8-bit weights, a scale for each output channel, and activations, on integer CPU kernels.

    Static: the ranges of activations are measured on training examples, BatchNorm is folded into convolutions, and
    convolutions, linear layers and what lies between them work on integers. Dynamic: linear layers only, ranges as
    they come. It prunes nothing: it is a stage that goes behind any others, `- deploy: {by: int8}`.
    """

    name = "int8"
    version = 1
    reference = "Jacob et al. 2018, arXiv:1712.05877"

    activations: Annotated[Literal["static", "dynamic"], Doc("how the ranges of activations are found")] = "static"
    batches: Annotated[int, Ge(1), Doc("static: mini-batches of training examples that they are measured on")] = 8
    batch_size: Annotated[int, Ge(1), Doc("examples in each")] = 128

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        raise Unreachable("int8 prunes nothing: put it behind other stages, as in `- deploy: {by: int8}`")

    def deploy(self, scoring: prunebench.Scoring) -> prunebench.Deployed:
        engine = engine_of_int8()
        notes = {"kernels": f"INT8 of {engine}, on the CPU, {self.activations} activations"}
        if self.activations == "static":
            batches = [inputs.cpu() for inputs, _ in scoring.batches(self.batches, self.batch_size)]
            return prunebench.Deployed(static_int8(scoring.model.cpu(), batches), notes=notes)
        if has_convolutions(scoring.model):
            notes["convolutions"] = "not applicable: with dynamic activations they stay float32"
        return prunebench.Deployed(dynamic_int8(scoring.model.cpu()), notes=notes)


def engine_of_int8() -> str:
    """The name of torch's engine of INT8 kernels. Raises PrunebenchError if this torch has none."""
    engine = torch.backends.quantized.engine
    if engine == "none" or find_spec("torch.ao.quantization") is None:
        raise PrunebenchError("not applicable: this torch has no INT8 kernels (torch.ao.quantization)")
    return engine


def has_convolutions(model: nn.Module) -> bool:
    return any(isinstance(layer, nn.modules.conv._ConvNd) for layer in model.modules())


@contextlib.contextmanager
def _quantizing() -> Iterator[None]:
    """It is deprecated; what is to replace it (torchao) is slower than float32 unless it is compiled."""
    # fork_rng: quantized layers are made with random weights, which their own then replace.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        yield


def static_int8(model: nn.Module, batches: Sequence[Any]) -> nn.Module:
    """The network with integer layers, whose ranges of activations are those of the batches.

    Raises PrunebenchError for a network that torch.fx cannot trace.
    """
    engine = engine_of_int8()
    with _quantizing():
        from torch.ao.quantization import default_per_channel_weight_observer, get_default_qconfig_mapping
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

        mapping: Any = get_default_qconfig_mapping(engine)
        # The default of some engines is one scale for all channels.
        mapping.set_global(mapping.global_qconfig._replace(weight=default_per_channel_weight_observer))
        try:
            observed: Any = prepare_fx(model, mapping, (batches[0],))
        except Exception as error:
            raise PrunebenchError(
                f"not applicable: static INT8 needs what torch.fx can trace ({error}); try activations: dynamic"
            ) from error
        with torch.no_grad():
            for inputs in batches:
                observed(inputs)
        converted: nn.Module = convert_fx(observed)
        return converted


def dynamic_int8(model: nn.Module) -> nn.Module:
    """The network with linear layers on integers, whose ranges are found in each pass."""
    with _quantizing():
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

        quantized: Any = quantize_dynamic  # it has no types
        converted: nn.Module = quantized(model, {nn.Linear: per_channel_dynamic_qconfig}, dtype=torch.qint8)
        return converted


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [INT8]
