"""N:M sparsity in one shot, and the hardware that multiplies it."""

import warnings
from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn
from typing_extensions import Doc

import prunebench

from .magnitude import Magnitude


class Grouped(prunebench.Method):
    """A method whose masks keep N of every M weights."""

    n: Annotated[int, Ge(1), Doc("weights that are kept of each group")] = 2
    m: Annotated[int, Ge(2), Doc("weights in a group; layers whose inputs it does not divide stay dense")] = 4

    def __post_init__(self) -> None:
        _ = self.structure  # raises for more than all

    @property
    def structure(self) -> prunebench.Structure:
        return prunebench.Structure(self.n, self.m)


class NM(Grouped):
    """Train, keep the N largest of each M weights along the input channels, train again from there.

    That is by the whole recipe, or at its last learning rate for as long as `finetune` says.
    """

    name = "nm"
    family = "after training"
    version = 1
    reference = "Mishra et al. 2021 (ASP), arXiv:2104.08378"
    presets = {
        "asp": prunebench.Preset("Mishra et al. 2021: 2:4, trained again by the whole recipe"),
        "4-of-8": prunebench.Preset("Zhou et al. 2021, arXiv:2102.04010: one of their patterns", {"n": 4, "m": 8}),
    }

    finetune: Annotated[prunebench.Time | None, Doc("only fine-tune, for so long, such as 10ep; 0 for none")] = None

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train()
        yield prunebench.Prune(by=Magnitude(), density=trial.density, structure=self.structure)
        if self.finetune is None:
            yield prunebench.Rewind(to=0, weights=False)
            yield prunebench.Train()
        else:
            yield prunebench.Train(until=f"+{self.finetune}")

    def deploy(self, scoring: prunebench.Scoring) -> prunebench.Deployed:
        """Linear layers in half precision on the sparse tensor cores; what does not fit there stays dense."""
        model, device = scoring.model, scoring.device
        if reason := self._without_hardware(device):
            return prunebench.Deployed(model, device, notes={"latency_ms": f"not applicable: {reason}"})
        model.half()
        sparse = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and _compressed(layer)]
        if not sparse:
            reason = "no linear layer is 2:4 and of a shape that the sparse tensor cores take"
            return prunebench.Deployed(model, device, torch.float16, {"latency_ms": f"not applicable: {reason}"})
        return prunebench.Deployed(model, device, torch.float16, {"kernels": f"2:4, float16, in {', '.join(sparse)}"})

    def _without_hardware(self, device: torch.device) -> str:
        if (self.n, self.m) != (2, 4):
            return f"hardware multiplies 2:4, not {self.n}:{self.m}"
        if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
            return "2:4 needs an NVIDIA GPU of the Ampere generation or later"
        return ""


def _compressed(layer: nn.Linear) -> bool:
    """Whether the layer could be put into the hardware's format."""
    if not is_two_of_four(layer.weight):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is a prototype
        try:
            compressed = torch.sparse.to_sparse_semi_structured(layer.weight.detach())
        except RuntimeError:  # its shape
            return False
    layer.weight = nn.Parameter(compressed, requires_grad=False)
    return True


def is_two_of_four(weight: torch.Tensor) -> bool:
    """Whether at most two of each four along the inputs are not zero."""
    return weight.shape[1] % 4 == 0 and int((weight != 0).view(-1, 4).sum(1).max()) <= 2


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [NM]
