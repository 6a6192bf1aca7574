"""Chains of stages on tiny data and networks, performed in this process, and their results in numbers."""

import hashlib
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

import prunebench
from prunebench.api.errors import Diverged
from prunebench.api.tasks import Entry, Optimizer, Recipe, Task, Trial
from prunebench.data.prepared import prepare
from prunebench.data.task_data import Data
from prunebench.execution.performing import final_figures, measured, perform
from prunebench.network.description import describe
from prunebench.plan.planning import protocol, resolve
from prunebench.training.trial_context import TrialContext

CPU = torch.device("cpu")
DIGITS = 8
"""Significant digits that are written down."""


class Blobs(prunebench.Dataset):
    """Noisy pictures, each bright in rows of its class."""

    name = "golden-blobs"
    version = 1
    mean = (100.0,)
    std = (50.0,)
    classes: int = 3

    def facts(self):
        return prunebench.DataFacts(shape=(1, 6, 6), classes=self.classes, train=60, test=40)

    def load(self, root):
        numbers = np.random.default_rng(0)
        labels = numbers.integers(0, self.classes, 100)
        inputs = numbers.integers(0, 120, (100, 1, 6, 6), dtype=np.uint8)
        for row in range(6):
            inputs[labels % 6 // 2 == row // 2, :, row] += 90
        return prunebench.Arrays(inputs[:60], labels[:60], inputs[60:], labels[60:])


class Net(prunebench.Model):
    """Two convolutions with BatchNorm and two linear layers; all inputs but the first are divisible by 8.

    Smooth, as a last bit that decides on which side of a ReLU's corner a value lies is a whole gradient more or less.
    """

    name = "golden-net"
    version = 1
    dropout: float = 0.0
    rectified: bool = False

    def build(self, shape, classes):
        activation = nn.ReLU if self.rectified else nn.SiLU
        return nn.Sequential(
            nn.Conv2d(shape[0], 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            activation(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            activation(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(72, 16),
            activation(),
            nn.Dropout(self.dropout),
            nn.Linear(16, classes),
        )


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Conv2d(width, 4, 3, padding=1), nn.Conv2d(4, width, 1)

    def forward(self, inputs):
        return inputs + self.down(nn.functional.silu(self.up(inputs)))


class ResidualNet(prunebench.Model):
    """Three residual blocks between two layers."""

    name = "golden-residual-net"
    version = 1

    def build(self, shape, classes):
        blocks = nn.Sequential(*(Residual(8) for _ in range(3)))
        stem = nn.Conv2d(shape[0], 8, 3, padding=1)
        return nn.Sequential(stem, blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes))


class Chained(prunebench.Method):
    """Any chain."""

    name = "golden-chain"
    version = 1
    chain: tuple[prunebench.Stage, ...]

    def stages(self, trial):
        yield from self.chain


class Probe(prunebench.Method):
    """Scores by |w|, or by |w * dL/dw|: the core's own pruning, with no built-in method in it."""

    name = "golden-probe"
    version = 1
    gradient: bool = False

    def scores(self, scoring):
        weights = scoring.weights
        if not self.gradient:
            return {name: weight.detach().abs() for name, weight in weights.items()}
        slopes = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        with scoring.mode("train") as model:
            for inputs, labels in scoring.batches(2, 24, True):
                loss = nn.functional.cross_entropy(model(inputs), labels)
                for name, slope in scoring.gradients(loss).items():
                    slopes[name] += slope
        return {name: (weight.detach() * slopes[name]).abs() for name, weight in weights.items()}

    def scoring_flops(self, network, density):
        return 3 * network.flops_at({layer.name: density * layer.size for layer in network.layers}) * 48


class LayerProbe(prunebench.LayerwiseMethod):
    """Magnitudes and norms: the core's own pruning layer by layer, with no built-in method in it."""

    name = "golden-layer-probe"
    version = 1

    def prune_layer(self, layer):
        return layer.keep_highest(layer.weight.abs() * layer.norms, by_row=True), layer.weight

    def layer_flops(self, outputs, inputs, tokens):
        return 2.0 * tokens * inputs


class ChannelProbe(prunebench.StructuredMethod):
    """Norms of all weights that compute a channel: the core's own cutting, with no built-in method in it."""

    name = "golden-channel-probe"
    version = 1

    def channel_scores(self, scoring):
        parts = {group.name: [part.of(scoring.parameters) for part in group.outputs] for group in scoring.groups}
        return {name: torch.cat(values, 1).norm(dim=1) for name, values in parts.items()}

    def scoring_flops(self, network, density):
        return network.flops * density


def task_of(model=None, dataset=None, prunable=None, **recipe):
    """A task of twenty steps, four an epoch, the last batch of which is ragged."""
    length = {} if "epochs" in recipe else {"steps": 20}
    optimizer = Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-3)
    said = {"optimizer": optimizer, "batch_size": 16, "evaluate_every": "7it", **length, **recipe}
    chosen = {} if prunable is None else {"prunable": prunable}
    return Task(label="golden", dataset=dataset or Blobs(), model=model or Net(), recipe=Recipe(**said), **chosen)


def trial_of(method, task=None, sparsity=0.5, **ablations):
    entry = Entry(label="mine", method=method, **ablations)
    task = task or task_of()
    return Trial(suite="golden", task=task, entry=entry, sparsity=sparsity, seed=3, describe=describe)


@cache
def folder():
    """Where prepared data is kept while the tests run."""
    kept = tempfile.TemporaryDirectory(prefix="prunebench-golden-")
    folder.kept = kept  # removed when the process ends
    return Path(kept.name)


@cache
def prepared(dataset, root=None):
    return prepare(dataset, root, folder())


def performed(trial, root=None):
    """The nodes of a trial's chain, the state after each, and what they were performed with."""
    data = prepared(trial.task.dataset, root)
    context, states = TrialContext(trial, CPU, lambda: Data(trial.task, data, CPU)), {}
    nodes = list(resolve(trial, protocol(trial.task, data.fingerprint)))
    for node in nodes:
        states[node.key] = perform(node, states.get(node.parent), states.get(node.source), context)
    return nodes, states, context


def chain(method, task=None, sparsity=0.5, root=None, **ablations):
    """What became of a trial: each stage in short, and the last state with its figures and cost."""
    try:
        nodes, states, context = performed(trial_of(method, task, sparsity, **ablations), root)
    except Diverged:
        return {"diverged": True}
    end = states[nodes[-1].key]
    return {
        "stages": [_brief(node, states[node.key]) for node in nodes],
        "weights": numbers(end.parameters),
        "buffers": numbers({name: value for name, value in end.buffers.items() if value.is_floating_point()}),
        "optimizer": _together(end.optimizer),
        "masks": {name: [int(mask.sum()), checksum(mask)] for name, mask in end.masks.items()},
        "figures": _rounded(_figures(nodes[-1], end, context)),
        "history": [_rounded({key: value for key, value in one.items() if key != "time"}) for one in end.history],
        "cost": _rounded(
            {
                "training": end.cost.training_flops,
                "scoring": end.cost.scoring_flops,
                "steps": end.cost.steps,
                "examples": end.cost.examples,
                "inference": context.network_at(end.cut).flops_at(end.kept()),
            }
        ),
    }


def _figures(node, state, context):
    if not isinstance(node.stage, prunebench.Deploy):
        return final_figures(state, context)
    found, _ = measured(node.stage, state, context)
    return {name: value for name, value in found.items() if not name.startswith("latency")}


def _brief(node, state):
    """A stage, its step, the weights in two numbers, and how many are kept: where chains part is seen there."""
    kept = sum(state.kept().values()) if state.masks or state.cut else "all"
    return [type(node.stage).__name__, state.step, _together(state.parameters), kept]


def numbers(tensors):
    """Each tensor in two numbers, whose last digits do not hang on a single weight."""
    return {name: _pair(value) for name, value in tensors.items()}


def _together(tensors):
    found = [_pair(value) for _, value in sorted(tensors.items()) if value.is_floating_point()]
    return _pair(torch.tensor(found, dtype=torch.float64)) if found else []


def _pair(value):
    """The norm, and the sum under cosines: it changes with order and sign as well."""
    flat = value.detach().to(torch.float64).flatten()
    waves = torch.cos(torch.arange(flat.numel(), dtype=torch.float64))
    return [short(float(flat.norm())), short(float(flat @ waves))]


def _rounded(figures):
    return {name: short(float(value)) for name, value in figures.items()}


def short(value):
    """A number with as many digits as are written down."""
    return float(f"{value:.{DIGITS}g}")


def checksum(value):
    """Of a tensor of whole numbers or truth values."""
    return hashlib.sha256(value.to(torch.int64).numpy().tobytes()).hexdigest()[:8]
