"""The last batch of an epoch: left out where the recipe says so, and refused where the model cannot train on it."""

import pytest
import torch
from torch import nn

import prunebench
from prunebench import Initialize, Train
from prunebench.api.components import Interface
from prunebench.api.errors import PrunebenchError, SuiteError
from prunebench.network.description import alone
from prunebench.plan.planning import make_plan
from prunebench.suite import read_suite
from prunebench.training.cost import examples_between


class Normalized(prunebench.Model):
    """BatchNorm over features, which has no variance for one example."""

    name = "normalized"

    def build(self, shape, classes):
        width = shape[0] * shape[1] * shape[2]
        return nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


class Squeezed(nn.Module):
    def __init__(self, inputs, classes, when):
        super().__init__()
        self.out, self.when = nn.Linear(inputs, classes), when

    def forward(self, inputs):
        logits = self.out(inputs.flatten(1))
        return logits.squeeze() if self.training or self.when == "always" else logits


class Squeezing(prunebench.Model):
    """Loses the dimension of the batch when it is 1."""

    name = "squeezing"
    when: str = "always"

    def build(self, shape, classes):
        return Squeezed(shape[0] * shape[1] * shape[2], classes, self.when)


def looked_at(module, inputs):
    assert float(inputs[0].sum()) < 1e9


class Looking(prunebench.Model):
    """A forward pass that looks at values, with BatchNorm."""

    name = "looking"

    def build(self, shape, classes):
        net = Normalized().build(shape, classes)
        net.register_forward_pre_hook(looked_at)
        return net


def planned(tiny, model=None, **recipe):
    """The plan of a dense training on 60 examples."""
    task = tiny.task(model or Normalized(), **{"batch_size": 59, "epochs": 1, **recipe})
    stages = (Initialize(), Train())
    return make_plan([tiny.trial(tiny.Chained(chain=stages), task=task)], {})


SENTENCE = (
    r"task 'tiny': the last batch of an epoch has one example, and model 'normalized' cannot be trained on one "
    r"\(Expected more than 1 value per channel.*\): set `drop_last: true` in the recipe, or another batch_size"
)


def test_a_last_batch_of_one_is_refused_before_any_work_where_the_model_cannot_train_on_it(tiny):
    with pytest.raises(PrunebenchError, match=SENTENCE):
        planned(tiny)
    with pytest.raises(PrunebenchError, match="last batch of an epoch has one example"):
        planned(tiny, batch_size=12, validation=11)  # 49 are left


@pytest.mark.parametrize(
    "recipe",
    [
        {"drop_last": True},
        {"batch_size": 58},
        {"batch_size": 60},
        {"batch_size": 20},
        {"validation": 1},
        {"epochs": None, "steps": 1},  # which never comes to the last batch
    ],
)
def test_others_are_planned(tiny, recipe):
    assert planned(tiny, **recipe).trials[0].chain


def test_a_model_that_can_train_on_one_example_is_planned(tiny):
    assert planned(tiny, tiny.MLP()).trials[0].chain
    assert planned(tiny, tiny.Conv()).trials[0].chain  # whose BatchNorm has the pixels of one picture


def test_a_model_that_loses_the_batchs_dimension_is_refused(tiny):
    with pytest.raises(
        PrunebenchError, match=r"'squeezing' must return a tensor .* in evaluation mode a tensor of shape"
    ):
        planned(tiny, Squeezing())
    with pytest.raises(PrunebenchError, match=r"'squeezing' cannot be trained on one \(its output has shape \(3,\)\)"):
        planned(tiny, Squeezing(when="training"))


def test_a_model_that_looks_at_values_is_tried_for_real(tiny):
    assert "more than 1 value" in alone(Looking(), Interface.of_images((1, 6, 6), 3))
    assert alone(tiny.MLP(), Interface.of_images((1, 6, 6), 3)) == ""


def test_batches_of_one_are_refused_with_other_advice(tiny):
    with pytest.raises(PrunebenchError, match=r"each batch has one example.*set a larger batch_size"):
        planned(tiny, batch_size=1, drop_last=True)


def test_trying_a_model_moves_no_global_generator(tiny):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with pytest.raises(PrunebenchError):
        planned(tiny)
    assert torch.rand(1) == expected


def test_without_the_last_batch_an_epoch_is_shorter_and_costs_what_it_sees(tiny):
    whole, dropped = tiny.task(epochs=5), tiny.task(epochs=5, drop_last=True)  # 60 examples in batches of 16
    assert (whole.clock.steps_per_epoch, whole.clock.total) == (4, 20)
    assert (dropped.clock.steps_per_epoch, dropped.clock.total) == (3, 15)
    assert (examples_between(whole, 0, 4), examples_between(dropped, 0, 3)) == (60, 48)
    assert examples_between(dropped, 2, 4) == 32
    even = tiny.task(epochs=5, batch_size=20, drop_last=True)
    assert (even.clock.steps_per_epoch, examples_between(even, 0, 3)) == (3, 60)


def test_each_epoch_leaves_out_other_examples(tiny, data_of):
    whole, dropped = data_of(tiny.task()), data_of(tiny.task(drop_last=True))
    for step in range(3):
        assert torch.equal(whole.batch(0, "train", step)[0], dropped.batch(0, "train", step)[0])
    assert torch.equal(whole.batch(0, "train", 4)[0], dropped.batch(0, "train", 3)[0])  # the next epoch
    assert all(len(dropped.batch(0, "train", step)[1]) == 16 for step in range(9))


def test_a_training_without_the_last_batch_counts_the_examples_that_it_saw(tiny, run_stages):
    chain = run_stages(tiny.task(epochs=2, drop_last=True, evaluate_every="1ep"), Train())
    assert (chain.end.cost.steps, chain.end.cost.examples) == (6, 96)
    assert [figures["step"] for figures in chain.end.history] == [3, 6]


def test_a_recipe_that_leaves_no_batch_is_a_mistake_at_its_place(registry, tmp_path):
    path = tmp_path / "suite.yaml"
    recipe = "{epochs: 1, batch_size: 5000, drop_last: true, optimizer: {name: sgd, lr: 0.1}}"
    task = f"{{dataset: digits, model: mlp, recipe: {recipe}}}"
    path.write_text(f"name: s\ntasks: [{task}]\nmethods: [random]\nsparsities: [0.5]\nseeds: 1\n")
    with pytest.raises(SuiteError, match=r"batch_size.*drop_last leaves no batch of the 1000 training examples"):
        read_suite(path, registry)
