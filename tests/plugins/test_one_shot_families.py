"""Every method that prunes after training, on a small network of each family: LeNet, ResNet, ViT, GPT and BERT."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import prunebench
from prunebench import Input, LayerwiseMethod, PruneLayerwise
from prunebench.api import plugins
from prunebench.api.tasks import Optimizer, Recipe, Task
from prunebench.network.description import describe
from prunebench.suite.checking import exact
from tests.plugins import hf_folders

pytestmark = pytest.mark.slow

LAYERWISE = sorted(
    name
    for name, cls in plugins.load().components["method"].items()
    if issubclass(cls, LayerwiseMethod) and cls.__module__.startswith("prunebench_plugins")
)
SECOND_ORDER = ("obd", "woodfisher", "cbs", "chita")
FAMILIES = ("lenet", "resnet", "vit", "gpt", "bert")
LENGTH, VOCABULARY = 10, 50


class Sentences(prunebench.Dataset):
    """The class of a text is the remainder of its first token."""

    name = "sentences-of-families"

    def facts(self):
        ids = Input((LENGTH,), "tokens", VOCABULARY, "input_ids")
        return prunebench.DataFacts(
            inputs=(ids, Input((LENGTH,), "tokens", 2, "attention_mask")), classes=3, train=48, test=24
        )

    def load(self, root):
        ids = np.random.RandomState(0).randint(3, VOCABULARY, (72, LENGTH)).astype(np.uint8)
        whole = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        train, test = ({name: value[part] for name, value in whole.items()} for part in (slice(48), slice(48, 72)))
        labels = (ids[:, 0] % 3).astype(np.int64)
        return prunebench.Arrays(train, labels[:48], test, labels[48:])


@pytest.fixture(scope="module")
def tasks(built_in, registry, tmp_path_factory):
    """A task for each family, of five steps."""

    def recipe(**changes):
        optimizer = Optimizer(name="adam", lr=1e-3)
        return Recipe(optimizer=optimizer, batch_size=16, steps=5, evaluate_every="end", **changes)

    def images(model, **parameters):
        return Task(
            label="images",
            dataset=built_in("dataset", "digits"),
            model=built_in("model", model, **parameters),
            recipe=recipe(),
        )

    def gpt():
        return Task(
            label="gpt",
            dataset=built_in("dataset", "pydoc", length=16),
            model=built_in("model", "gpt", width=16, depth=2, heads=2),
            recipe=recipe(),
            objective=built_in("objective", "language-modelling"),
        )

    def bert():
        if find_spec("transformers") is None:
            pytest.skip("needs transformers")
        folder = tmp_path_factory.mktemp("bert")
        hf_folders.write(folder, num_labels=3)
        model = exact(registry.find("model", "hf")[0], {"folder": str(folder)})
        task = Task(label="bert", dataset=Sentences(), model=model, recipe=recipe())
        return replace(task, weights=model.starting_weights(task.interface))

    found = {
        "lenet": lambda: images("mlp", hidden=(24, 12)),
        "resnet": lambda: images("resnet20", width=0.25),
        "vit": lambda: images("timm", architecture="test_vit", patch_size=2),
        "gpt": gpt,
        "bert": bert,
    }
    return lambda family: found[family]()


def outputs_of(chain):
    data = chain.context.data
    inputs, _ = data.examples(data.test, torch.arange(4))
    with torch.no_grad():
        return chain.context.loaded(chain.end).eval()(inputs)


def kept(end, layer):
    """The weights that the mask keeps, and those of low-rank factors."""
    factors = end.cut.factors.get(layer.name, ())
    return int(end.masks[layer.name].sum()) + sum(end.parameters[name].numel() for name in factors)


def check(chain):
    """Exactly the weights that are asked for are left, and the network still computes numbers."""
    layers, end = describe(chain.context.trial.task).layers, chain.end
    assert sum(kept(end, layer) for layer in layers) == round(0.4 * sum(one.size for one in layers))
    assert all(not bool(end.parameters[name][~mask].any()) for name, mask in end.masks.items())
    assert all(bool(value.isfinite().all()) for value in end.parameters.values())
    assert bool(outputs_of(chain).isfinite().all())
    return layers


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", LAYERWISE)
def test_layer_by_layer(tasks, tiny, method, run_chain, family, name):
    chain = run_chain(tiny.trial(method(name, examples=16), sparsity=0.6, task=tasks(family)))
    layers = check(chain)
    assert chain.after(PruneLayerwise).layer_errors.keys() == {layer.name for layer in layers}
    for layer in layers:  # each has its share, one group of a convolution more or less
        assert abs(kept(chain.end, layer) - 0.4 * layer.size) <= layer.groups


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", SECOND_ORDER)
def test_by_the_second_order_of_the_loss(tasks, tiny, method, run_chain, family, name):
    chain = run_chain(tiny.trial(method(name, gradients=12), sparsity=0.6, task=tasks(family)))
    layers, before = check(chain), next(iter(chain.states.values())).parameters
    for layer in layers:
        assert not torch.equal(chain.end.parameters[layer.name], before[layer.name])
