"""Every shipped suite: each method scores every layer of a model, except where a reason is listed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import prunebench
from prunebench import Initialize, Prune, Train
from prunebench.api import plugins
from prunebench.api.components import DataFacts
from prunebench.api.errors import Unreachable
from prunebench.network.description import describe
from prunebench.suite import read_suite
from prunebench.training.trial_context import fresh_model
from tests import suites

ROOT = Path(__file__).parents[2]
SHAPES = {"cifar10": (3, 16, 16), "image-folder": (3, 64, 64)}
"""Smaller pictures than those of the data set, where that takes long."""
ROUNDS = 3
"""Of a pruning in many."""
GRADIENTS = 32
"""Of a method that takes more."""
NO_GRADIENT_AT_FIRST = {
    "timm/resnet50": "begins as the paper's code does, with gammas of 0; methods look at gradients from step 100 on",
}
"""Models of which layers have no gradient in the first step, and why that is right in their suite."""


class Noise(prunebench.Dataset):
    """Pictures of noise, in the shape of another data set or smaller."""

    name = "noise"
    shape: tuple[int, int, int]
    classes: int

    @property
    def mean(self):
        return (127.0,) * self.shape[0]

    @property
    def std(self):
        return (64.0,) * self.shape[0]

    def facts(self):
        return DataFacts(shape=self.shape, classes=self.classes, train=40, test=10)

    def load(self, root):
        numbers = np.random.default_rng(0)
        inputs = numbers.integers(0, 256, (50, *self.shape), dtype=np.uint8)
        labels = np.arange(50) % self.classes
        return prunebench.Arrays(inputs[:40], labels[:40], inputs[40:], labels[40:])


def small(task):
    """The task on a little noise, and a narrow VGG: its last convolutions see 2x2 pixels only of whole pictures.

    Text and tables are small as they are.
    """
    if task.dataset.name not in SHAPES and task.facts.every_input[0].kind != "images":
        return replace(task, recipe=replace(task.recipe, validation=0, batch_size=16, augmentation=()))
    name, facts = task.dataset.name, None if task.dataset.name in SHAPES else task.dataset.facts()
    (shape, classes), model = (facts.shape, facts.classes) if facts else (SHAPES[name], 10), task.model
    if model.name.startswith("vgg"):
        shape, model = (3, 32, 32), replace(model, width=0.25)
    recipe = replace(task.recipe, validation=0, batch_size=16, augmentation=())
    return replace(task, dataset=Noise(shape=shape, classes=classes), model=model, recipe=recipe)


def combinations():
    """Each model with each method that prunes it by scores; and each model whose masks a training changes."""
    known = plugins.load()
    pruned, trained = {}, {}
    for path in suites.READABLE:
        for trial in read_suite(path, known, ["seeds=1"]).trials():
            task = small(trial.task)
            try:
                stages = list(trial.entry.method.stages(replace(trial, task=task, describe=describe)))
            except Unreachable:
                continue
            for stage in stages:
                if isinstance(stage, Prune):
                    by = stage.by.name if stage.by.name == "first-dense" else stage.by  # at each density another
                    pruned.setdefault((task.model, by), (task, stage))
                elif isinstance(stage, Train) and stage.by is not None:
                    trained.setdefault(task.model, task)
    return list(pruned.values()), list(trained.values())


PRUNED, TRAINED = combinations()


def name_of(model):
    return f"{model.name}/{model.architecture}" if hasattr(model, "architecture") else model.name


def test_every_suite_is_looked_at():
    assert len(suites.READABLE) >= 9
    named = {(name_of(task.model), stage.by.name) for task, stage in PRUNED}
    assert {("timm/resnet18", "snip"), ("resnet20", "synflow"), ("vgg16", "grasp"), ("wrn-22-2", "snip")} <= named
    assert {"timm/resnet50", "wrn-22-2", "lenet-300-100"} <= {name_of(task.model) for task in TRAINED}


def parameter(task, *others, name=""):
    """timm and transformers take seconds to import, and their networks are large."""
    marks = [pytest.mark.slow] if task.model.name in ("hf", "timm") else []
    return pytest.param(task, *others, id=name_of(task.model) + name, marks=marks)


@pytest.mark.parametrize(("task", "stage"), [parameter(*one, name=f"-{one[1].by.name}") for one in PRUNED])
def test_a_method_of_a_suite_has_a_score_for_each_layer_of_its_models(tiny, run_chain, task, stage):
    few = {"gradients": min(GRADIENTS, stage.by.gradients)} if hasattr(stage.by, "gradients") else {}
    by, rounds = replace(stage.by, **few), min(ROUNDS, stage.rounds)
    pruning = replace(stage, by=by, density=0.5, structure=None, allocation="global", rounds=rounds)
    choice = run_chain(tiny.trial(tiny.Chained(chain=(Initialize(), pruning)), task=task)).end.choice
    assert choice.candidates == describe(task).size or pruning.rounds > 1
    assert choice.unscored == ()
    assert choice.tied < 0.01 * choice.kept


@pytest.mark.parametrize("task", [parameter(task) for task in TRAINED])
def test_each_layer_has_a_gradient_where_a_training_chooses_by_it(tiny, data_of, task):
    module = fresh_model(tiny.trial(tiny.ByChance(), task=task), "initialize").train()
    data = data_of(task)
    inputs, targets = data.batch(0, "train", 0)
    data.objective.loss(module(inputs), targets).backward()
    weights = dict(module.named_parameters())
    closed = [layer.name for layer in describe(task).layers if not weights[layer.name].grad.any()]
    assert bool(closed) == (name_of(task.model) in NO_GRADIENT_AT_FIRST)
