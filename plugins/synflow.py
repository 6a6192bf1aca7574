"""SynFlow: pruning without data, by conserving synaptic flow."""

from collections.abc import Iterator
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from typing_extensions import Doc

import prunebench

BOUNDED = (
    functional.relu6,
    functional.hardtanh,
    functional.hardtanh_,
    functional.tanh,
    functional.softsign,
    torch.tanh,
    torch.tanh_,
    torch.Tensor.tanh,
    torch.Tensor.tanh_,
)
"""Activations that are linear for small numbers, and saturate."""


class SynFlow(prunebench.Method):
    """Keep the weights that carry the flow of an all-ones input through |weights|: |w * dR/dw|, R the summed logits.

    Pruned in many rounds, scored again before each: in one round it cuts whole layers off.
    """

    name = "synflow"
    family = "at initialization"
    version = 1
    reference = "Tanaka et al. 2020, arXiv:2006.05467"
    presets = {
        "paper": prunebench.Preset("Tanaka et al. 2020: 100 iterations, the density falling geometrically"),
        "one-shot": prunebench.Preset(
            "Tanaka et al. 2020: the single iteration that cuts layers off", {"iterations": 1}
        ),
    }

    iterations: Annotated[int, Ge(1), Doc("rounds; the density falls geometrically")] = 100

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        # In double precision: on deep networks the flow overflows float32.
        model = scoring.model.double()
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                if tensor.is_floating_point():
                    tensor.abs_()
        ones = scoring.constant_inputs(1.0, dtype=torch.float64)
        with scoring.mode("eval"), _Unbounded():
            gradients = scoring.gradients(model(ones).sum())
        return {name: (weight * gradients[name]).abs() for name, weight in scoring.weights.items()}

    def scoring_flops(self, network: prunebench.Network, density: float) -> float:
        return 3 * network.flops

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Prune(by=self, density=trial.density, rounds=self.iterations)
        yield prunebench.Train()


class _Unbounded(TorchFunctionMode):
    """Activations that are bounded pass the flow on as ReLU does, instead of stopping it where they saturate.

    The paper's R is the sum over paths of the products of |weights|, with activations for which f(x) = f'(x) x. Of
    |weights| and ones all that they are given is positive. A sigmoid that opens and closes a gate is no such
    activation: where it saturates, the weights before it have no flow, hence no score.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.embedding:  # tokens have no size: the ones are what stands for them in the network
            return torch.ones_like(func(*args, **(kwargs or {})))
        if func in BOUNDED:
            return functional.relu(args[0] if args else (kwargs or {})["input"])
        return func(*args, **(kwargs or {}))


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [SynFlow]
