"""GraSP: picking winning tickets before training by preserving gradient flow."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.init import xavier_normal_
from typing_extensions import Doc

import prunebench


class GraSP(prunebench.Method):
    """Keep the weights whose removal at initialization would reduce the gradient flow g.g the most.

    Removing w changes g.g by about -2 w * Hg, where g is the gradient of the loss at a high temperature, and H its
    Hessian: the highest w * Hg are kept, with their sign, whose other end are weights that stand in the flow's way.
    """

    name = "grasp"
    family = "at initialization"
    version = 2
    reference = "Wang et al. 2020, arXiv:2002.07376"
    presets = {
        "paper": prunebench.Preset("Wang et al. 2020: ten examples a class, temperature 200"),
        "repository": prunebench.Preset(
            "github.com/alecwangcq/GraSP: the same examples in two halves, scored with newly drawn linear layers",
            {"batches": 2, "batch_size": 50, "reinit_linear": True},
        ),
        "synflow-repository": prunebench.Preset(
            "github.com/ganguli-lab/Synaptic-Flow: ten times as many examples as classes, BatchNorm in inference mode",
            {"balanced": False, "bn_mode": "eval"},
        ),
    }

    batches: Annotated[int, Ge(1), Doc("mini-batches that gradient and Hessian are summed over")] = 1
    batch_size: Annotated[int, Ge(1), Doc("examples in each; 100 are ten a class where there are ten classes")] = 100
    balanced: Annotated[bool, Doc("the same number of every class in a mini-batch")] = True
    temperature: Annotated[float, Gt(0), Doc("what the outputs are divided by before the loss")] = 200.0
    bn_mode: Annotated[Literal["eval", "train"], Doc("BatchNorm while scoring")] = "train"
    reinit_linear: Annotated[
        bool, Doc("score a copy whose linear layers have new Glorot-normal weights; the old ones are trained")
    ] = False

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        weights = scoring.weights
        if self.reinit_linear:
            linear = {name: weight for name, weight in weights.items() if weight.dim() == 2}
            _redraw(linear, scoring.masks, scoring.generator)
        drawn = list(scoring.batches(self.batches, self.batch_size, self.balanced))
        # The fused kernels of attention have no second derivative.
        with sdpa_kernel(SDPBackend.MATH), scoring.mode(self.bn_mode) as model:
            flow = {name: torch.zeros_like(weight) for name, weight in weights.items()}
            for inputs, targets in drawn:
                loss = scoring.loss(model(inputs) / self.temperature, targets)
                _add(flow, scoring.gradients(loss))
            product = {name: torch.zeros_like(weight) for name, weight in weights.items()}
            for inputs, targets in drawn:
                loss = scoring.loss(model(inputs) / self.temperature, targets)
                gradients = scoring.gradients(loss, create_graph=True)
                along = torch.stack([(flow[name] * gradients[name]).sum() for name in weights]).sum()
                _add(product, scoring.gradients(along))
        return {name: weight.detach() * product[name] for name, weight in weights.items()}

    def scoring_flops(self, network: prunebench.Network, density: float) -> float:
        # Forward and backward for the gradient, 3; then both again, and backward through them, for the product: 6.
        return 9 * network.flops * self.batches * self.batch_size

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Prune(by=self, density=trial.density)
        yield prunebench.Train()


def _add(total: dict[str, torch.Tensor], more: dict[str, torch.Tensor]) -> None:
    for name, value in more.items():
        total[name] += value


@torch.no_grad()
def _redraw(
    weights: Mapping[str, torch.nn.Parameter], masks: Mapping[str, torch.Tensor], generator: torch.Generator
) -> None:
    """Draw weights anew; those that earlier stages pruned stay zero."""
    for name, weight in weights.items():
        drawn = xavier_normal_(torch.empty(weight.shape), generator=generator).to(weight)
        weight.copy_(drawn.where(masks[name], 0.0) if name in masks else drawn)


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [GraSP]
