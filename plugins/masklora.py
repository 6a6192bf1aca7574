"""MaskLoRA: low-rank adapters that repair a pruned network, merged into its weights under the mask."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError

from .wanda import Wanda

DECAYS = (0.9, 0.999)
"""Of the means of the gradients and of their squares."""
FACTORS = ("left", "right")


class MaskLoRA(prunebench.LayerwiseMethod):
    """Prune by Wanda, then train low-rank factors of each pruned layer: its weight is W + scaling * mask * (B A).

    Everything else is frozen. B begins at 0, so that training begins with the pruned network, and the mask keeps every
    zero. In a pipeline, `train: {by: masklora}` does the same after any pruning.
    """

    name = "masklora"
    version = 1
    ignores_learning_rate = True
    reference = "Zimmer et al. 2023 (PERP), arXiv:2312.15230; Hu et al. 2021 (LoRA), arXiv:2106.09685"

    finetune: Annotated[prunebench.Time, Doc("train the factors for so long, such as 2ep")] = "10%"
    rank: Annotated[int, Ge(1), Doc("of B A; less in a layer with fewer outputs or inputs")] = 8
    scaling: Annotated[float, Gt(0), Doc("of B A; alpha / rank in the terms of LoRA")] = 2.0
    factor_lr: Annotated[float, Gt(0), Doc("learning rate of Adam for the factors")] = 1e-3

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        selection = Wanda(
            allocation=self.allocation,
            structure=self.structure,
            examples=self.examples,
            reconstruct=self.reconstruct,
        )
        yield from list(selection.stages(trial))[:-1]  # without its fine-tuning
        yield prunebench.Train(by=self, until=f"+{self.finetune}")

    def updater(self, density: float | None) -> prunebench.Updater:
        return _Adapting(self)


class _Adapting(prunebench.Updater):
    """Between steps the weights are W; B, A and their running means are in the memory of the training."""

    keeps_masks = True

    def __init__(self, rule: MaskLoRA) -> None:
        self.rule = rule
        self._kept: dict[str, float] = {}
        """Share of the weights that is kept in each adapted layer, counted once."""

    @torch.no_grad()
    def begin(self, training: prunebench.Training) -> None:
        generator, found = training.generator("factors"), 0
        for name, weight in training.weights.items():
            if name not in training.masks or bool(training.masks[name].all()):
                continue
            outputs, inputs = weight.flatten(1).shape
            rank = min(self.rule.rank, outputs, inputs)
            drawn = (2 * torch.rand(rank, inputs, generator=generator) - 1) / inputs**0.5
            values = {"left": weight.new_zeros(outputs, rank), "right": drawn.to(weight)}
            training.memory[f"weight/{name}"] = weight.detach().clone()
            for factor, value in values.items():
                training.memory |= {f"{factor}/{name}": value}
                training.memory |= {f"{factor}-{mean}/{name}": torch.zeros_like(value) for mean in ("mean", "square")}
            found += 1
        if not found:
            raise PrunebenchError("there is no pruned layer to train factors of: prune the network first")
        training.memory["factor-steps"] = torch.zeros((), device=training.device)

    @torch.no_grad()
    def apply_masks(self, training: prunebench.Training) -> None:
        for name, weight in self._adapted(training):
            left, right = (training.memory[f"{factor}/{name}"] for factor in FACTORS)
            added = (self.rule.scaling * left @ right).view_as(weight)
            weight.copy_(training.memory[f"weight/{name}"] + added.masked_fill(~training.masks[name], 0.0))

    @torch.no_grad()
    def restore_dense(self, training: prunebench.Training) -> None:
        for name, weight in self._adapted(training):
            weight.copy_(training.memory[f"weight/{name}"])

    @torch.no_grad()
    def after_backward(self, training: prunebench.Training) -> bool:
        training.memory["factor-steps"] += 1
        for name, weight in self._adapted(training):
            if weight.grad is None:
                continue
            # Through W + scaling * mask * (B A): a pruned place gives no gradient to the factors.
            gradient = self.rule.scaling * weight.grad.masked_fill(~training.masks[name], 0.0).flatten(1)
            left, right = (training.memory[f"{factor}/{name}"] for factor in FACTORS)
            gradients = {"left": gradient @ right.T, "right": left.T @ gradient}
            for factor in FACTORS:
                self._adam(training, f"{factor}/{name}", f"{factor}-%s/{name}", gradients[factor])
        return True  # the optimizer of the recipe changes nothing

    def _adam(self, training: prunebench.Training, name: str, means: str, gradient: torch.Tensor) -> None:
        mean, square = training.memory[means % "mean"], training.memory[means % "square"]
        first, second = DECAYS
        mean.lerp_(gradient, 1 - first)
        square.lerp_(gradient.square(), 1 - second)
        steps = training.memory["factor-steps"]
        size = (square / (1 - second**steps)).sqrt() + 1e-8
        training.memory[name] -= self.rule.factor_lr * mean / (1 - first**steps) / size

    def flops(self, training: prunebench.Training) -> prunebench.Flops:
        """Outputs and gradients of the inputs in the whole network, those of kept weights in the adapted layers only.

        B A and the gradients of B and A are three products of rank r, once a step.
        """
        weights, products = 0.0, 0.0
        for layer in training.network.layers:
            if f"weight/{layer.name}" in training.memory:
                if layer.name not in self._kept:
                    self._kept[layer.name] = int(training.masks[layer.name].sum()) / layer.size
                weights += layer.flops * self._kept[layer.name]
                products += 6.0 * len(training.memory[f"right/{layer.name}"]) * layer.size
        return 2 * training.sparse_flops + weights + products / training.batch_size

    def _adapted(self, training: prunebench.Training) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for name, weight in training.weights.items():
            if f"weight/{name}" in training.memory:
                yield name, weight


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [MaskLoRA]
