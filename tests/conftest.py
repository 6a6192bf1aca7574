"""What the tests of the numbers share: tiny data, two tiny networks, and chains performed in this process."""

import os
import signal
import uuid
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import nn

import prunebench
from prunebench.api import plugins
from prunebench.api.components import Input
from prunebench.api.layers import Layer
from prunebench.api.tasks import Entry, Optimizer, Recipe, Schedule, Task, Trial
from prunebench.api.weights import prunable_by_default
from prunebench.data.prepared import prepare
from prunebench.data.task_data import Data
from prunebench.execution.performing import perform
from prunebench.network import description as network
from prunebench.plan.planning import protocol, resolve
from prunebench.pruning.scoring import ScoringContext
from prunebench.training.trial_context import TrialContext
from tests import runs
from tests.leftovers import marked

torch.set_num_threads(1)
# The same examples in every run: a test that fails for somebody fails for everybody.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

CPU = torch.device("cpu")


@pytest.fixture(scope="session", autouse=True)
def _no_preferences():
    """No test runs otherwise because of what the one who calls it prefers; those that need real data look before."""
    with pytest.MonkeyPatch.context() as environment:
        for name in os.environ.keys() - runs.environment():
            if not name.startswith("PRUNEBENCH_TEST_"):
                environment.delenv(name)
        yield


@pytest.fixture
def mark():
    """A word in the commands of the processes that a test starts; those that are left are killed."""
    word = f"600.{uuid.uuid4().int % 10**12}"
    yield word
    for pid in marked(word):
        os.kill(pid, signal.SIGKILL)


class Blobs(prunebench.Dataset):
    """Noisy pictures of three kinds, each bright in rows of its own; the last batch of an epoch of 16 is ragged."""

    name = "blobs"
    mean = (100.0,)
    std = (50.0,)
    train: int = 60
    test: int = 25
    draw: int = 0

    def facts(self):
        return prunebench.DataFacts(shape=(1, 6, 6), classes=3, train=self.train, test=self.test)

    def load(self, root):
        numbers = np.random.default_rng(self.draw)
        labels = numbers.integers(0, 3, self.train + self.test)
        inputs = numbers.integers(0, 120, (self.train + self.test, 1, 6, 6), dtype=np.uint8)
        for kind in range(3):
            inputs[labels == kind, :, 2 * kind : 2 * kind + 2] += 90
        train, test = slice(self.train), slice(self.train, None)
        return prunebench.Arrays(inputs[train], labels[train], inputs[test], labels[test])


class TinyMLP(prunebench.Model):
    """36 → hidden → ... → 3."""

    name = "tiny-mlp"
    hidden: tuple[int, ...] = (12,)
    dropout: float = 0.0
    bias: bool = True

    def build(self, shape, classes):
        widths = (shape[0] * shape[1] * shape[2], *self.hidden, classes)
        layers = [nn.Flatten()]
        for inner, outer in pairwise(widths):
            layers += [nn.Linear(inner, outer, bias=self.bias), nn.ReLU(), nn.Dropout(self.dropout)]
        return nn.Sequential(*layers[:-2])


class TinyConv(prunebench.Model):
    """Ordinary, grouped and depthwise convolutions, each with BatchNorm, and a linear layer."""

    name = "tiny-conv"
    biased: bool = False

    def build(self, shape, classes):
        return nn.Sequential(
            nn.Conv2d(shape[0], 4, 3, padding=1, bias=self.biased),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=self.biased),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=self.biased),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, classes),
        )


class ByChance(prunebench.Method):
    """Random scores, for tests that are about anything but the scores."""

    name = "by-chance"
    strength: float = 1.0

    def scores(self, scoring):
        generator = scoring.generator
        return {layer.name: torch.rand(layer.shape, generator=generator) for layer in scoring.layers}


class Chained(prunebench.Method):
    """The very chain that a test is about."""

    name = "chained"
    chain: tuple[prunebench.Stage, ...]

    def stages(self, trial):
        yield from self.chain


SGD = Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-3)


def make_recipe(**changes):
    """Five epochs of four steps each, momentum and weight decay; evaluated in mid-epoch."""
    steps = {} if "epochs" in changes else {"steps": 20}
    return Recipe(**{"optimizer": SGD, "batch_size": 16, "evaluate_every": "7it", **steps, **changes})


def make_task(model=None, dataset=None, label="tiny", prunable=None, **recipe):
    chosen = {} if prunable is None else {"prunable": prunable}
    return Task(
        label=label, dataset=dataset or Blobs(), model=model or TinyMLP(), recipe=make_recipe(**recipe), **chosen
    )


def make_trial(method, sparsity=0.5, seed=0, task=None, label="mine", suite="tests", **ablations):
    entry = Entry(label=label, method=method, **ablations)
    return Trial(
        suite=suite, task=task or make_task(), entry=entry, sparsity=sparsity, seed=seed, describe=network.describe
    )


@dataclass(frozen=True)
class Chain:
    """A trial whose chain was performed."""

    nodes: tuple
    states: dict
    context: TrialContext

    def after(self, kind, which=-1):
        """The state after the last stage of this kind, or after another one of them."""
        return self.states[[node.key for node in self.nodes if isinstance(node.stage, kind)][which]]

    def before(self, kind, which=-1):
        """The state that this stage began from."""
        return self.states[[node.parent for node in self.nodes if isinstance(node.stage, kind)][which]]

    @property
    def end(self):
        return self.states[self.nodes[-1].key]

    @cached_property
    def module(self):
        """A network with the last state's values, in evaluation mode."""
        module = self.context.trial.task.model.build(*self._facts)
        module.load_state_dict(self.end.parameters | self.end.buffers)
        return module.eval()

    @cached_property
    def accuracy(self):
        data = self.context.data
        with torch.no_grad():
            predicted = self.module(data.normalized(data.test.inputs)).argmax(1)
        return float((predicted == data.test.targets).double().mean())

    @property
    def _facts(self):
        facts = self.context.trial.task.dataset.facts()
        return facts.shape, facts.classes


@pytest.fixture(scope="session")
def registry():
    """The built-in plugins."""
    return plugins.load()


@pytest.fixture(scope="session")
def built_in(registry):
    """A built-in component by kind, name and parameters."""
    return lambda kind, name, **parameters: registry.find(kind, name)[0](**parameters)


@pytest.fixture(scope="session")
def method(built_in):
    """A built-in method by name and parameters."""
    return lambda name, **parameters: built_in("method", name, **parameters)


@pytest.fixture(scope="session")
def tiny():
    """The classes above, and functions that make recipes, tasks and trials of them."""
    return SimpleNamespace(
        Blobs=Blobs,
        MLP=TinyMLP,
        Conv=TinyConv,
        ByChance=ByChance,
        Chained=Chained,
        Optimizer=Optimizer,
        Schedule=Schedule,
        recipe=make_recipe,
        task=make_task,
        trial=make_trial,
    )


@pytest.fixture(scope="session")
def digits_task(built_in):
    """The offline task, in a recipe of a second or less."""

    def make(hidden=(100,), **changes):
        recipe = {"optimizer": Optimizer(name="adam", lr=1e-2), "batch_size": 64, "epochs": 5, **changes}
        dataset, model = built_in("dataset", "digits"), built_in("model", "mlp", hidden=hidden)
        return Task(label="digits", dataset=dataset, model=model, recipe=Recipe(**recipe))

    return make


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The prepared data of a data set, written once a test run."""
    cache = tmp_path_factory.mktemp("data")
    return lambda dataset: prepare(dataset, None, cache)


@pytest.fixture(scope="session")
def data_of(prepared):
    """A task's data on the CPU."""
    return lambda task: Data(task, prepared(task.dataset), CPU)


@pytest.fixture(scope="session")
def context_of(data_of):
    """What a trial's stages are performed with."""
    return lambda trial: TrialContext(trial, CPU, lambda: data_of(trial.task))


@pytest.fixture(scope="session")
def run_chain(prepared, context_of):
    """Performs a trial's chain in this process; gives its nodes and states.

    With `hand_on` each stage is a job of its own: it has its own context, and its state is handed on by this function.
    """

    def run(trial, hand_on=None):
        context, states = context_of(trial), {}
        nodes = tuple(resolve(trial, protocol(trial.task, prepared(trial.task.dataset).fingerprint)))
        for node in nodes:
            own = context if hand_on is None else context_of(trial)
            state = perform(node, states.get(node.parent), states.get(node.source), own)
            states[node.key] = state if hand_on is None else hand_on(state)
        return Chain(nodes, states, context)

    return run


@pytest.fixture(scope="session")
def run_stages(run_chain):
    """Performs these stages, after Initialize, on a task; gives the chain."""

    def run(task, *stages, seed=0, hand_on=None):
        chained = Chained(chain=(prunebench.Initialize(), *stages))
        return run_chain(make_trial(chained, task=task, seed=seed), hand_on)

    return run


@pytest.fixture(scope="session")
def layer():
    """A layer by name and shape."""
    return lambda name, *shape: Layer(name, shape, 0.0)


@pytest.fixture(scope="session")
def scoring_of(data_of):
    """What a method's `scores` is lent for a module of one's own, nothing pruned unless `masks` say so."""

    def lend(module, input_shape, task=None, masks=None, seed=0, purpose="test"):
        weights = dict(module.named_parameters())
        names = prunable_by_default(module)
        layers = tuple(Layer(name, tuple(weights[name].shape), 0.0) for name in names)
        dense = {layer.name: torch.ones(layer.shape, dtype=torch.bool) for layer in layers}
        return ScoringContext(
            model=module,
            layers=layers,
            inputs=(Input(input_shape),),
            masks=dense | (masks or {}),
            seed=seed,
            purpose=purpose,
            open_data=lambda: data_of(task),
        )

    return lend
