"""RigL: weights grow where the gradient of a mini-batch is largest, and that mini-batch makes no step."""

from types import SimpleNamespace

import pytest
import torch

import prunebench
from prunebench import Prune, Train
from prunebench.api import times
from prunebench.api.tasks import Optimizer, Prunable
from prunebench.network.description import describe
from prunebench.pruning.allocation import kept_counts

OFTEN = {"interval": "10it", "fraction": 0.5, "decay": "constant"}
WEIGHTS = {"a": [0.5, -0.1, 0.0, 0.3, 0.0, -0.4, 0.0, 0.0]}


@pytest.fixture
def backward(method, training_of):
    """Whether the step is replaced, and the training after the backward pass with these gradients."""

    def run(gradient, **changes):
        training = training_of(WEIGHTS, gradients={"a": gradient}, momentum={"a": [1.0] * 8}, **changes)
        return method("rigl", **OFTEN).updater(None).after_backward(training), training

    return run


def test_the_largest_gradients_of_either_sign_grow(backward):
    # 0.3 and -0.1 are dropped; what is kept does not grow, however large its gradient.
    replaced, training = backward([9.0, 0.1, 1.0, 0.2, -3.0, 9.0, 2.0, 0.0])
    assert replaced
    assert training.masks["a"].tolist() == [True, False, False, False, True, True, True, False]
    assert training.weights["a"].tolist() == pytest.approx([0.5, 0, 0, 0, 0, -0.4, 0, 0])
    momentum = training.optimizer.state[training.weights["a"]]["momentum_buffer"]
    assert momentum.tolist() == [1, 0, 0, 0, 0, 1, 0, 0]


def test_what_is_dropped_may_grow_again_and_keeps_its_value_and_momentum(backward):
    _, training = backward([0.0, 5.0, 1.0, 0.2, -3.0, 0.0, 2.0, 0.0])
    assert training.masks["a"].tolist() == [True, True, False, False, True, True, False, False]
    assert training.weights["a"].tolist() == pytest.approx([0.5, -0.1, 0, 0, 0, -0.4, 0, 0])
    momentum = training.optimizer.state[training.weights["a"]]["momentum_buffer"]
    assert momentum.tolist() == [1, 1, 0, 0, 0, 1, 0, 0]


def test_what_is_new_may_be_drawn_with_the_deviation_of_the_kept_weights(training_of, method):
    """0.5, -0.1 and -0.4 are old: their mean is 0, and their deviation the root of 0.14. -0.1 has grown again."""
    drawn = []
    for seed_step in (10, 10, 20):
        gradient = [0.0, 5.0, 1.0, 0.2, -3.0, 0.0, 2.0, 0.0]
        training = training_of(WEIGHTS, gradients={"a": gradient}, momentum={"a": [1.0] * 8}, step=seed_step)
        method("rigl", **OFTEN, until="100%", grow_init="normal").updater(None).rewire(training, 10)
        assert training.masks["a"].tolist() == [True, True, False, False, True, True, False, False]
        values = training.weights["a"].tolist()
        assert values[:4] == pytest.approx([0.5, -0.1, 0, 0])
        assert values[5:] == pytest.approx([-0.4, 0, 0])
        drawn.append(values[4])
        momentum = training.optimizer.state[training.weights["a"]]["momentum_buffer"]
        assert momentum.tolist() == [1, 1, 0, 0, 0, 1, 0, 0]
    assert drawn[0] == drawn[1] != drawn[2]
    expected = torch.randn(8, generator=training_of(WEIGHTS, step=10).generator("grow/a"))[4] * 0.14**0.5
    assert drawn[0] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("engine", ["dense", "sparse"])
def test_drawn_weights_are_trained_by_each_engine(tiny, method, run_stages, engine):
    task = tiny.task(tiny.MLP(hidden=(24,)), engine=engine, optimizer=Optimizer(name="sgd", lr=0.05))
    rule = method("rigl", interval="10it", fraction=0.5, grow_init="normal")
    chain = run_stages(task, rule.random_mask(0.2), Train("10it", by=rule), Train("11it", by=rule))
    before, after = chain.after(Train, 0), chain.end
    for name, mask in after.masks.items():
        new = mask & ~before.masks[name]
        assert bool(new.any())
        assert bool(after.parameters[name][new].all())
        assert not bool(after.parameters[name][~mask].any())


@pytest.mark.parametrize("step", [0, 9, 11, 15, 20])
def test_other_steps_are_ordinary(backward, step):
    replaced, training = backward([9.0, 0.1, 1.0, 0.2, -3.0, 9.0, 2.0, 0.0], step=step)
    assert not replaced
    assert training.masks["a"].tolist() == [weight != 0 for weight in WEIGHTS["a"]]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_update_takes_the_place_of_the_optimizers_step(tiny, method, run_stages, optimizer):
    kinds = {"sgd": {"momentum": 0.9, "weight_decay": 0.1}, "adam": {"weight_decay": 0.1}}
    task = tiny.task(optimizer=Optimizer(name=optimizer, lr=0.05, **kinds[optimizer]))
    rule = method("rigl", **OFTEN)
    chain = run_stages(task, rule.random_mask(0.3), Train("10it", by=rule), Train("11it", by=rule))
    before, after = chain.after(Train, 0), chain.end
    assert not torch.equal(before.masks["1.weight"], after.masks["1.weight"])
    for name, value in after.parameters.items():
        stays = before.masks[name] & after.masks[name] if name in after.masks else torch.ones_like(value).bool()
        assert torch.equal(value[stays], before.parameters[name][stays])
        assert not value[~stays].any()
        for key in (key for key in after.optimizer if key.endswith(f"/{name}")):
            one, other = before.optimizer[key], after.optimizer[key]
            assert torch.equal(one[stays], other[stays]) if one.dim() else torch.equal(one, other)


def test_the_gradient_is_that_of_the_batch_and_dense(tiny, method, run_stages):
    rule = method("rigl", interval="1it", fraction=1.0)
    chain = run_stages(tiny.task(), rule.random_mask(0.1), Train("1it", by=rule), Train("2it", by=rule))
    state, module = chain.after(Train, 0), chain.module
    module.load_state_dict(state.parameters)
    inputs, labels = chain.context.data.batch(0, "train", 1)
    torch.nn.functional.cross_entropy(module(inputs), labels).backward()
    for name, mask in chain.end.masks.items():
        gradient, moved = module.get_parameter(name).grad.abs(), mask & ~state.masks[name]
        assert moved.any()
        assert gradient[moved].min() >= gradient[~mask].max()


def test_an_update_costs_two_sparse_passes_and_a_dense_one(method, training_of):
    updater = method("rigl", **OFTEN).updater(None)
    assert updater.flops(training_of(WEIGHTS, step=10)) == 2 * 40 + 80
    assert updater.flops(training_of(WEIGHTS, step=11)) == 3 * 40


def test_the_cost_of_a_training_is_the_sum_over_its_steps(tiny, method, run_stages):
    rule = method("rigl", interval="4it")  # updates in steps 4, 8 and 12 of 20, the first ones of epochs
    chain = run_stages(tiny.task(), rule.random_mask(0.25), Train(by=rule))
    sparse, dense = 2 * 117, 2 * 468
    assert chain.end.cost.training_flops == pytest.approx(3 * sparse * (300 - 48) + (2 * sparse + dense) * 48)


def test_updates_every_interval_and_a_step_cost_what_the_paper_says(tiny, method, run_stages):
    # 40 updates, each after four ordinary steps: the interval is five steps here, and 4 = dT in the paper.
    rule = method("rigl", interval="5it", until="end", allocation="uniform")
    chain = run_stages(tiny.task(steps=200, batch_size=60), rule.random_mask(0.25), Train(by=rule))
    sparse, dense = 2 * 117, 2 * 468
    paper = (3 * sparse * 4 + 2 * sparse + dense) / (4 + 1)
    assert chain.end.cost.training_flops == pytest.approx(paper * 200 * 60 - (dense - sparse) * 60)  # none in step 0


def test_it_may_follow_pruning_by_another_method(tiny, method, run_stages):
    chain = run_stages(tiny.task(), Prune(by=method("synflow"), density=0.3), Train(by=method("rigl", interval="4it")))
    assert sum(int(mask.sum()) for mask in chain.end.masks.values()) == round(0.3 * 468)


class ImageNet(prunebench.Dataset):
    """The sizes alone."""

    name = "imagenet-sizes"
    mean = std = (64.0, 64.0, 64.0)

    def facts(self):
        return prunebench.DataFacts(shape=(3, 224, 224), classes=1000, train=1281167, test=50000)


class ResNet50(prunebench.Model):
    """The network of the paper's table."""

    name = "resnet50"

    def build(self, shape, classes):
        import timm  # seconds to import

        return timm.create_model("resnet50", num_classes=classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("allocation", "sparsity", "published"),
    [("erk", 0.8, 0.42), ("erk", 0.9, 0.24), ("uniform", 0.8, 0.23), ("uniform", 0.9, 0.13)],
)
def test_resnet50_costs_what_the_authors_repository_lists(tiny, method, allocation, sparsity, published):
    """github.com/google-research/rigl, README, "1x Training Results": training and inference FLOPs are the same there.

    ERK prunes every layer, uniform all but the first. The authors count biases and activations too.
    """
    task = tiny.task(ResNet50(), ImageNet(), prunable=Prunable(first=allocation == "erk"))
    network = describe(task)
    sparse = network.flops_at(kept_counts(network.layers, 1 - sparsity, allocation))
    updater, clock = method("rigl", until="25000it").updater(None), times.Clock(1000, 32000)
    training = SimpleNamespace(sparse_flops=sparse, network=network, step_of=lambda time: times.step_of(time, clock))
    training.dense_gradient_flops = 2 * sparse + network.flops
    spent = 0.0
    for step in range(32000):
        training.step = step
        spent += updater.flops(training)
    assert spent / (3 * 32000 * network.flops) == pytest.approx(published, abs=0.01)
    assert sparse / network.flops == pytest.approx(published, abs=0.01)
