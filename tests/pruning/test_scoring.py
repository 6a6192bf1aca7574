"""The context that is passed to a method's scores."""

from collections import Counter

import pytest
import torch
from torch import nn

import prunebench
from prunebench.api.stages import Prune


@pytest.fixture
def context(tiny, scoring_of):
    """A scoring on the tiny task, with a given number of examples."""

    def make(module=None, train=60, seed=0, purpose="test"):
        module = module or tiny.MLP().build((1, 6, 6), 3)
        return scoring_of(module, (1, 6, 6), tiny.task(dataset=tiny.Blobs(train=train)), seed=seed, purpose=purpose)

    return make


def rows(batches):
    return [tuple(row) for inputs, _ in batches for row in inputs.flatten(1).tolist()]


def test_batches_have_the_number_and_size_that_were_asked_for(context):
    batches = list(context().batches(3, 7))
    assert [(inputs.shape, labels.shape) for inputs, labels in batches] == [((7, 1, 6, 6), (7,))] * 3


@pytest.mark.parametrize(
    ("train", "count", "size", "sizes"),
    [
        (16, 9, 5, [5, 5, 5]),  # and not one more example
        (17, 9, 5, [5, 5, 5, 2]),
        (16, 3, 5, [5, 5, 5]),
        (16, 2, 8, [8, 8]),
        (3, 5, 2, [2]),
        (1, 5, 2, [1]),  # there is no other
        (3, 9, 1, [1, 1, 1]),  # as the method wants it
        (6, 1, 100, [6]),
    ],
)
@pytest.mark.parametrize("balanced", [False, True])
def test_no_last_batch_has_a_single_example(context, train, count, size, sizes, balanced):
    assert [len(labels) for _, labels in context(train=train).batches(count, size, balanced)] == sizes


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_scores_of_all_examples_pass_batch_norm_in_training_mode(tiny, method, run_stages, name):
    class Normalized(prunebench.Model):
        """BatchNorm over features, which has no variance for one example."""

        name = "normalized"

        def build(self, shape, classes):
            return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))

    task = tiny.task(Normalized(), dataset=tiny.Blobs(train=16), batch_size=8, steps=2)
    chain = run_stages(task, Prune(by=method(name, batches=9, batch_size=5), density=0.5))
    assert sum(int(mask.sum()) for mask in chain.end.masks.values()) == round(0.5 * (36 * 8 + 8 * 3))


def test_batches_are_drawn_without_replacement(context):
    scoring = context()
    drawn = rows(scoring.batches(6, 10))
    everything = scoring.open_data()
    assert len(set(drawn)) == 60
    assert set(drawn) == {tuple(row) for row in everything.normalized(everything.train.inputs).flatten(1).tolist()}


def test_batches_keep_inputs_with_their_labels(context):
    scoring = context()
    data = scoring.open_data()
    inputs = data.normalized(data.train.inputs).flatten(1).tolist()
    label = {tuple(row): int(kind) for row, kind in zip(inputs, data.train.targets, strict=True)}
    for balanced in (False, True):
        for batch, labels in scoring.batches(3, 7, balanced):
            assert [label[tuple(row)] for row in batch.flatten(1).tolist()] == labels.tolist()


def test_batches_are_the_same_each_time_and_differ_by_seed_and_method(context):
    first = rows(context().batches(2, 8))
    torch.manual_seed(1)
    assert rows(context().batches(2, 8)) == first
    assert rows(context(seed=1).batches(2, 8)) != first
    assert rows(context(purpose="other").batches(2, 8)) != first


def test_balanced_batches_hold_the_same_number_of_every_class(context):
    # The first 60 examples hold at least 15 of each class; an unbalanced draw of 9 seldom holds 3 of each.
    balanced = [Counter(labels.tolist()) for _, labels in context().batches(5, 9, balanced=True)]
    assert balanced == [Counter({0: 3, 1: 3, 2: 3})] * 5
    assert any(Counter(labels.tolist()) != balanced[0] for _, labels in context().batches(5, 9))


def test_balanced_batches_of_an_odd_size_are_as_near_as_can_be(context):
    for _, labels in context().batches(6, 7, balanced=True):
        counts = [int((labels == kind).sum()) for kind in range(3)]
        assert max(counts) - min(counts) <= 1


def test_balanced_batches_are_a_random_choice_of_each_class(context):
    assert set(rows(context().batches(1, 9, balanced=True))) != set(rows(context(seed=1).batches(1, 9, balanced=True)))


def test_weights_are_the_prunable_ones_in_order(tiny, context):
    scoring = context(tiny.Conv().build((1, 6, 6), 3))
    assert list(scoring.weights) == [layer.name for layer in scoring.layers]
    assert all(tuple(scoring.weights[layer.name].shape) == layer.shape for layer in scoring.layers)


def test_the_generator_is_the_same_at_each_access(context):
    scoring = context()
    first = torch.rand(3, generator=scoring.generator)
    assert torch.equal(first, torch.rand(3, generator=scoring.generator))
    assert not torch.equal(first, torch.rand(3, generator=context(seed=1).generator))
    assert not torch.equal(first, torch.rand(3, generator=context(purpose="other").generator))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_mode_lasts_as_long_as_it_is_asked_for(context, mode, before):
    scoring = context()
    scoring.model.train(before)
    with scoring.mode(mode) as model:
        assert all(module.training == (mode == "train") for module in model.modules())
    assert all(module.training == before for module in scoring.model.modules())


def test_dropout_is_the_same_each_time_and_leaves_the_global_generator_alone(tiny, context):
    scoring = context(tiny.MLP(dropout=0.5).build((1, 6, 6), 3))
    inputs, _ = next(scoring.batches(1, 8))
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        with scoring.mode("train") as model:
            found.append(model(inputs))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*found)


def test_gradients_are_dense_and_of_every_prunable_weight(context):
    scoring = context(nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False)))
    with torch.no_grad():
        scoring.model[1].weight.zero_()
    inputs = torch.arange(36.0).view(1, 1, 6, 6)
    gradients = scoring.gradients(scoring.model(inputs)[0, 1] * 3)
    assert gradients.keys() == {"1.weight"}
    assert torch.equal(gradients["1.weight"], torch.stack([torch.zeros(36), 3 * torch.arange(36.0)]))
    assert scoring.model[1].weight.grad is None


def test_gradients_can_be_differentiated_again(context):
    scoring = context(nn.Sequential(nn.Flatten(), nn.Linear(36, 1, bias=False)))
    loss = scoring.model(torch.ones(1, 1, 6, 6)).square().sum()
    first = scoring.gradients(loss, create_graph=True)["1.weight"]
    second = scoring.gradients(first.sum())["1.weight"]
    assert torch.allclose(second, torch.full((1, 36), 2.0 * 36))
