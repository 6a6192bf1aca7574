"""A network with two inputs, a picture and words, goes through all that a network with one does."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import prunebench
from prunebench import DataFacts, Deploy, Input, Prune, Train
from prunebench.execution.performing import measured
from prunebench.network.description import describe


class Captions(prunebench.Dataset):
    """The class is whether the picture is bright, or the first word is large."""

    name = "captions"
    mean: ClassVar = (128.0,)
    std: ClassVar = (64.0,)

    def facts(self):
        inputs = (Input((1, 4, 4), name="picture"), Input((3,), "tokens", 8, "words"))
        return DataFacts(inputs=inputs, classes=2, train=96, test=40)

    def load(self, root):
        drawn = np.random.RandomState(0)
        picture = drawn.randint(0, 256, (136, 1, 4, 4)).astype(np.uint8)
        words = drawn.randint(0, 8, (136, 3)).astype(np.uint8)
        labels = (words[:, 0] > 3).astype(np.int64)
        inputs = [{"picture": picture[part], "words": words[part]} for part in (slice(96), slice(96, None))]
        return prunebench.Arrays(inputs[0], labels[:96], inputs[1], labels[96:])


class Both(prunebench.Model):
    name = "both"

    def build_for(self, interface):
        picture, words = interface.inputs
        return Joined(picture.shape, words, interface.outputs[0])

    def prunable(self, module):
        return ["picture.weight", "hidden.weight"]


class Joined(nn.Module):
    def __init__(self, picture, words, outputs, width=8):
        super().__init__()
        self.picture = nn.Linear(picture[1] * picture[2], width)
        self.words = nn.Embedding(words.vocabulary, width)
        self.hidden = nn.Linear(2 * width, width)
        self.head = nn.Linear(width, outputs)

    def forward(self, inputs):
        words = self.words(inputs["words"])[:, 0]
        joined = torch.cat([self.picture(inputs["picture"].flatten(1)), words], 1)
        return self.head(self.hidden(joined).relu())


@pytest.fixture(scope="module")
def task(tiny):
    return tiny.task(Both(), Captions(), steps=120, optimizer=tiny.Optimizer(name="adam", lr=1e-2), validation=16)


def test_flops_are_those_of_both_inputs(task):
    network = describe(task)
    assert [layer.flops for layer in network.layers] == [2 * 16 * 8, 2 * 16 * 8]
    assert network.flops == 2 * (16 * 8 + 16 * 8 + 8 * 2)


def test_both_inputs_are_learnt_from_under_masks(task, tiny, run_stages):
    end = run_stages(task, Prune(by=tiny.ByChance(), density=0.5), Train()).end
    assert end.history[-1]["test_accuracy"] > 0.9  # which the words alone decide
    assert all(not end.parameters[name][~mask].any() for name, mask in end.masks.items())


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow", "rigl", "ste"])
def test_methods_need_not_know_that_there_are_two(task, tiny, run_chain, method, name):
    chain = run_chain(tiny.trial(method(name), task=task, sparsity=0.5))
    kept = sum(int(mask.sum()) for mask in chain.end.masks.values())
    assert kept == 128


def test_the_deployed_network_is_measured_with_both(task, run_stages):
    chain = run_stages(task, Train())
    figures, _ = measured(Deploy(batch=2), chain.end, chain.context)
    assert figures["test_accuracy"] == chain.end.history[-1]["test_accuracy"]
    assert figures["latency_ms"] > 0
