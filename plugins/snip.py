"""SNIP: single-shot network pruning based on connection sensitivity."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch.nn.init import xavier_normal_
from typing_extensions import Doc

import prunebench


class SNIP(prunebench.Method):
    """Keep the weights whose removal at initialization would change the loss the most: |w * dL/dw|, in one shot."""

    name = "snip"
    family = "at initialization"
    version = 1
    reference = "Lee et al. 2019, arXiv:1810.02340"
    presets = {
        "paper": prunebench.Preset("Lee et al. 2019: one mini-batch of 128, BatchNorm in inference mode"),
        "repository": prunebench.Preset(
            "github.com/namhoonlee/snip-public: as in the paper, but other weights are scored than trained",
            {"reinit_copy": True},
        ),
        "synflow-repository": prunebench.Preset(
            "github.com/ganguli-lab/Synaptic-Flow: ten times as many examples as classes, BatchNorm in inference mode",
            {"batch_size": 100},
        ),
        "iterative": prunebench.Preset("de Jorge et al. 2021, arXiv:2006.09081: 100 iterations", {"iterations": 100}),
    }

    batches: Annotated[int, Ge(1), Doc("mini-batches that the gradient is averaged over")] = 1
    batch_size: Annotated[int, Ge(1), Doc("examples in each")] = 128
    balanced: Annotated[bool, Doc("the same number of every class in a mini-batch")] = False
    bn_mode: Annotated[Literal["eval", "train"], Doc("BatchNorm while scoring; it moves the mask a lot")] = "eval"
    reinit_copy: Annotated[bool, Doc("score a copy with new Glorot-normal weights; the old ones are trained")] = False
    iterations: Annotated[int, Ge(1), Doc("prune in this many rounds, scoring again before each")] = 1

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        if self.reinit_copy:
            _redraw(scoring)
        with scoring.mode(self.bn_mode) as model:
            drawn = scoring.batches(self.batches, self.batch_size, self.balanced)
            loss = torch.stack([scoring.loss(model(inputs), targets) for inputs, targets in drawn]).mean()
            gradients = scoring.gradients(loss)
        return {name: (weight * gradients[name]).abs() for name, weight in scoring.weights.items()}

    def scoring_flops(self, network: prunebench.Network, density: float) -> float:
        return 3 * network.flops * self.batches * self.batch_size

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Prune(by=self, density=trial.density, rounds=self.iterations)
        yield prunebench.Train()


@torch.no_grad()
def _redraw(scoring: prunebench.Scoring) -> None:
    """New weights where none are pruned yet; the same at each call."""
    generator = scoring.generator
    for name, weight in scoring.weights.items():
        weight.copy_(xavier_normal_(torch.empty(weight.shape), generator=generator))
        weight.mul_(scoring.masks[name])


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [SNIP]
