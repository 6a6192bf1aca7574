"""Edge-popup: a subnetwork found among random weights that are never trained."""

from collections.abc import Iterator
from math import sqrt
from typing import Annotated, Literal

import torch
from torch import nn
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError


class EdgePopup(prunebench.Method):
    """Train a score for each weight, use the weights with the largest |score|, and leave every weight as it was drawn.

    The gradient of a used weight, times the weight, goes straight through to the scores of all of them. Nothing else is
    trained: biases are 0, norms do not scale or shift, and layers that may not be pruned stay as they were drawn.
    """

    name = "edge-popup"
    family = "learned masks"
    version = 1
    reference = "Ramanujan et al. 2020, arXiv:1911.13299"
    presets = {
        "paper": prunebench.Preset("Ramanujan et al. 2020: signed constants, the same density in every layer"),
        "paper-normal": prunebench.Preset(
            "Ramanujan et al. 2020: scaled Kaiming normal", {"weights": "kaiming-normal", "scaled": True}
        ),
    }

    weights: Annotated[
        Literal["signed-constant", "kaiming-normal"],
        Doc("signed-constant: the drawn weights' signs, times the standard deviation of kaiming-normal"),
    ] = "signed-constant"
    scaled: Annotated[bool, Doc("weights larger by 1/sqrt(density), for what the pruned ones do not add")] = False
    allocation: Annotated[prunebench.Allocation, Doc("how kept weights are shared out among the layers")] = "uniform"

    def updater(self, density: float | None) -> prunebench.Updater:
        if density is None:
            raise PrunebenchError("edge-popup needs a density: Train(by=..., density=...)")
        return _Popup(self, density)

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train(by=self, density=trial.density)


class _Popup(prunebench.Updater):
    """Between passes the scores lie where the weights were, so that the recipe's optimizer trains them."""

    trains_dense = True

    def __init__(self, rule: EdgePopup, density: float) -> None:
        self.rule, self.density = rule, density

    @torch.no_grad()
    def begin(self, training: prunebench.Training) -> None:
        training.optimizer.state.clear()  # of a training before: it was about weights
        _still(training.model)
        generator = training.generator("edge-popup")
        for name, weight in training.weights.items():
            drawn = self.frozen(weight.detach().cpu(), generator).to(weight.device)
            training.memory[f"frozen/{name}"] = drawn if weight.requires_grad else weight.detach().clone()
            scores = torch.empty(weight.shape)
            weight.copy_(nn.init.kaiming_uniform_(scores, a=sqrt(5), generator=generator))

    def frozen(self, drawn: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        normal = nn.init.kaiming_normal_(drawn.clone(), nonlinearity="relu", generator=generator)
        scale = self.density**-0.5 if self.rule.scaled else 1.0
        if self.rule.weights == "kaiming-normal":
            return normal * scale
        signs = torch.where(drawn == 0, normal, drawn).sign()  # of a pruned weight anew
        return signs * (sqrt(2 / drawn[0].numel()) * scale)

    @torch.no_grad()
    def apply_masks(self, training: prunebench.Training) -> None:
        training.memory |= {f"scores/{name}": weight.clone() for name, weight in training.weights.items()}
        scores = {name: weight.abs() for name, weight in training.weights.items()}
        training.keep_highest(scores, self.density, self.rule.allocation)
        for name, weight in training.weights.items():
            weight.copy_(training.memory[f"frozen/{name}"] * training.masks[name])

    @torch.no_grad()
    def restore_dense(self, training: prunebench.Training) -> None:
        for name, weight in training.weights.items():
            weight.copy_(training.memory[f"scores/{name}"])

    @torch.no_grad()
    def after_backward(self, training: prunebench.Training) -> bool:
        scores = training.weights
        for name, parameter in training.parameters.items():
            if name not in scores:
                parameter.grad = None  # which an optimizer passes over, its weight decay too
            elif parameter.grad is not None:
                parameter.grad.mul_(training.memory[f"frozen/{name}"] * parameter.sign())  # d|s| / ds
        return False

    def flops(self, training: prunebench.Training) -> prunebench.Flops:
        # The score of every weight needs its gradient.
        return training.dense_gradient_flops


def _still(model: nn.Module) -> None:
    """Biases that add nothing, norms that neither scale nor shift."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:  # the model has frozen it: it keeps its value
                continue
            if name == "bias":
                nn.init.zeros_(parameter)
            elif parameter.dim() == 1 and name == "weight":
                nn.init.ones_(parameter)


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [EdgePopup]
