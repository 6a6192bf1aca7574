"""Training on the kept weights: the numbers of the dense engine, the same bits however it is cut into pieces."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

import prunebench
from prunebench import Prune, Train
from prunebench.api.errors import Diverged, PrunebenchError
from prunebench.api.stages import Distillation
from prunebench.api.tasks import Optimizer, Prunable, Schedule
from prunebench.execution.performing import FixedMasks
from prunebench.training import compressed
from prunebench.training.compressed import CompressedTraining, Positions, product
from prunebench.training.loop import CheckpointCallback, train
from prunebench.training.state import State
from tests.training.test_loop import assert_same, pruned, through_disk, without_time

OPTIMIZERS = {
    "sgd": Optimizer(name="sgd", lr=0.05, weight_decay=1e-2),
    "momentum": Optimizer(name="sgd", lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": Optimizer(name="adam", lr=0.01, weight_decay=1e-2),
    "adamw": Optimizer(name="adamw", lr=0.01, weight_decay=0.5),
}


def positions(*rows):
    return Positions.of(torch.tensor(rows).bool())


# --- one product


def test_a_product_of_hand():
    at = positions([1, 0, 1], [0, 0, 0], [0, 1, 0])
    inputs = torch.tensor([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]], requires_grad=True)
    values, bias = nn.Parameter(torch.tensor([3.0, 4.0, 5.0])), nn.Parameter(torch.tensor([0.5, 0.25, 0.0]))
    outputs = product(inputs, values, bias, at)
    assert outputs.tolist() == [[403.5, 0.25, 50.0], [806.5, 0.25, 100.0]]
    outputs.backward(torch.tensor([[1.0, 7.0, 0.0], [0.0, 7.0, 2.0]]))
    assert values.grad.tolist() == [1.0, 100.0, 40.0]
    assert bias.grad.tolist() == [1.0, 14.0, 2.0]
    assert inputs.grad.tolist() == [[3.0, 0.0, 4.0], [0.0, 10.0, 0.0]]


def test_what_is_gathered_is_scattered_to_where_it_was():
    at = positions([1, 0, 1], [0, 0, 0], [0, 1, 0])
    matrix = torch.arange(1.0, 10.0).view(3, 3)
    assert at.gathered(matrix).tolist() == [1.0, 3.0, 8.0]
    assert at.scattered(at.gathered(matrix)).tolist() == [[1.0, 0.0, 3.0], [0.0, 0.0, 0.0], [0.0, 8.0, 0.0]]


@pytest.mark.parametrize("density", [0.0, 0.03, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 7), (300, 7), (3, 4, 7)], ids=str)
@pytest.mark.parametrize("biased", [True, False])
def test_a_product_and_its_gradients_are_those_of_a_linear_layer(shape, density, biased):
    draws = torch.Generator().manual_seed(7)
    mask = torch.rand(11, 7, generator=draws) < density
    weight = nn.Parameter(torch.randn(11, 7, generator=draws) * mask)
    inputs = torch.randn(shape, generator=draws)
    errors = torch.randn(*shape[:-1], 11, generator=draws)
    bias = torch.randn(11, generator=draws) if biased else None
    at = Positions.of(mask)
    ours = [inputs.clone().requires_grad_(), nn.Parameter(at.gathered(weight.detach()))]
    theirs = [inputs.clone().requires_grad_(), weight]
    biases = [nn.Parameter(bias.clone()) if biased else None for _ in range(2)]
    found, expected = product(*ours, biases[0], at), linear(*theirs, biases[1])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)
    found.backward(errors)
    expected.backward(errors)
    torch.testing.assert_close(ours[0].grad, theirs[0].grad, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(ours[1].grad, at.gathered(weight.grad), rtol=1e-6, atol=2e-5)
    if biased:
        torch.testing.assert_close(biases[0].grad, biases[1].grad, rtol=1e-6, atol=1e-5)


def test_gradients_agree_with_double_precision_to_a_millionth():
    draws = torch.Generator().manual_seed(3)
    mask = torch.rand(100, 300, generator=draws) < 0.1
    at, inputs = Positions.of(mask), torch.randn(60, 300, generator=draws)
    values = nn.Parameter(torch.randn(int(mask.sum()), generator=draws))
    errors = torch.randn(60, 100, generator=draws)
    product(inputs, values, None, at).backward(errors)
    exact = at.gathered(errors.double().T @ inputs.double())
    assert float((values.grad - exact).norm() / exact.norm()) < 1e-6


def test_infinity_is_not_hidden_and_what_is_pruned_does_not_spread_it():
    at = positions([1, 0], [0, 1])
    outputs = product(torch.tensor([[torch.inf, 1.0]]), nn.Parameter(torch.ones(2)), None, at)
    assert outputs.tolist() == [[torch.inf, 1.0]]


# --- whole trainings beside those of the dense engine


def both(run_stages, task, *stages, **options):
    """The end of a chain by the dense engine, and by the sparse one."""
    sparse = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, engine="sparse"))
    chains = [run_stages(one, *stages, **options) for one in (task, sparse)]
    assert [chain.nodes[-1].engine for chain in chains] == ["dense", "sparse"]
    return [chain.end for chain in chains]


@pytest.fixture(autouse=True)
def any_density(monkeypatch):
    """Compress every layer of which anything is pruned: these tests are about what that computes."""
    monkeypatch.setattr(compressed, "DENSEST", 0.999)


def assert_close(dense, sparse, tolerance=1e-4):
    """The same training up to rounding; what is pruned is exactly 0."""
    for field in ("parameters", "buffers", "optimizer", "memory"):
        ours, theirs = getattr(sparse, field), getattr(dense, field)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            torch.testing.assert_close(ours[name], theirs[name], rtol=tolerance, atol=tolerance / 10)
    assert all(torch.equal(sparse.masks[name], dense.masks[name]) for name in dense.masks)
    assert all(not bool(sparse.parameters[name][~mask].any()) for name, mask in sparse.masks.items())
    for ours, theirs in zip(without_time(sparse.history), without_time(dense.history), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    assert sparse.cost.training_flops == dense.cost.training_flops
    assert (sparse.step, sparse.choice) == (dense.step, dense.choice)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_a_training_gives_what_the_dense_engine_gives(tiny, run_stages, name, clip_norm):
    task = tiny.task(
        tiny.MLP(hidden=(20, 10)),
        optimizer=OPTIMIZERS[name],
        clip_norm=clip_norm,
        label_smoothing=0.1,
        augmentation=("crop",),
        schedule=Schedule(name="cosine", warmup="3it"),
        validation=7,
    )
    assert_close(*both(run_stages, task, pruned(tiny, 0.2), Train()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lamb", "laprop", "nadamw", "lion", "adabelief", "novograd", "rmsprop"])
def test_elementwise_optimizers_of_timm_work_too(tiny, run_stages, name):
    task = tiny.task(optimizer=Optimizer(name=name, lr=1e-3, weight_decay=1e-2))
    assert_close(*both(run_stages, task, pruned(tiny, 0.2), Train()))


class Normed(prunebench.Model):
    """With a layer that is used twice, BatchNorm, dropout, and a custom layer that stays dense."""

    name = "normed"

    def build(self, shape, classes):
        return Twice(shape[0] * shape[1] * shape[2], classes)


class Twice(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.first, self.norm = nn.Linear(inputs, 16), nn.BatchNorm1d(16)
        self.twice, self.drop, self.last = nn.Linear(16, 16, bias=False), nn.Dropout(0.2), nn.Linear(16, classes)
        self.unused = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.tanh(self.norm(self.first(x.flatten(1))))
        return self.last(self.drop(torch.nn.functional.gelu(self.twice(self.twice(x)))))


@pytest.mark.parametrize("prunable", [Prunable(), Prunable(first=False), Prunable(exclude=("last",))], ids=str)
def test_what_is_not_pruned_is_trained_as_always(tiny, run_stages, prunable):
    dense, sparse = both(run_stages, tiny.task(Normed(), prunable=prunable), pruned(tiny, 0.3), Train())
    assert_close(dense, sparse)
    assert int(sparse.buffers["norm.num_batches_tracked"]) == 20


def test_a_student_of_a_teacher(tiny, run_stages):
    distilled = Train(distillation=Distillation(temperature=2.0, weight=0.5), until="+12it")
    stages = (Train("6it"), Train(), pruned(tiny, 0.3), distilled)
    assert_close(*both(run_stages, tiny.task(tiny.MLP(dropout=0.2)), *stages))


def test_frozen_weights_stay(tiny, run_stages):
    class Frozen(Normed):
        name = "frozen"

        def build(self, shape, classes):
            module = super().build(shape, classes)
            module.twice.weight.requires_grad_(False)
            return module

    dense, sparse = both(run_stages, tiny.task(Frozen()), pruned(tiny, 0.3), Train())
    assert_close(dense, sparse)
    assert torch.equal(sparse.parameters["twice.weight"], dense.parameters["twice.weight"])


def test_layers_without_a_weight_or_with_a_single_one(tiny, run_stages):
    class Ends(prunebench.Method):
        """Keeps one weight of the first layer and some of the last; none of the one between."""

        name = "ends"

        def scores(self, scoring):
            scores = {layer.name: torch.zeros(layer.shape) for layer in scoring.layers}
            first, _, last = scores
            scores[first][0, 0] = 3.0
            scores[last][:, :2] = 2.0
            return scores

    task = tiny.task(tiny.MLP(hidden=(10, 8)), optimizer=OPTIMIZERS["adam"])
    size = 36 * 10 + 10 * 8 + 8 * 3
    dense, sparse = both(run_stages, task, Prune(by=Ends(), density=7 / size), Train())
    assert [int(mask.sum()) for mask in sparse.masks.values()] == [1, 0, 6]
    assert_close(dense, sparse)


@pytest.mark.parametrize("name", ["set", "rigl", "gradual"])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_masks_that_move_are_those_of_the_dense_engine(tiny, method, run_chain, name, optimizer):
    by = method(name, **({"interval": "3it"} if name != "gradual" else {"interval": "4it", "start": "2it"}))
    task = tiny.task(tiny.MLP(hidden=(20,)), optimizer=OPTIMIZERS[optimizer])
    sparse = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, engine="sparse"))
    chains = [run_chain(tiny.trial(by, sparsity=0.8, task=one)) for one in (task, sparse)]
    assert [chain.nodes[-1].engine for chain in chains] == ["dense", "sparse"]
    assert_close(*(chain.end for chain in chains))
    begun, end = chains[1].before(Train), chains[1].end
    assert any(not torch.equal(begun.masks.get(key, torch.tensor(True)), mask) for key, mask in end.masks.items())


# --- bits


@pytest.mark.parametrize("hand_on", [None, through_disk], ids=["at-once", "job-by-job"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_in_pieces_is_training_in_one(tiny, run_stages, name, hand_on):
    task = tiny.task(tiny.MLP(dropout=0.3), optimizer=OPTIMIZERS[name], validation=7, steps=23, engine="sparse")
    whole = run_stages(task, pruned(tiny), Train())
    pieces = run_stages(task, pruned(tiny), Train("9it"), Train("14it"), Train("end"), hand_on=hand_on)
    assert_same(pieces.end, whole.end)
    assert pieces.nodes[-1].key == whole.nodes[-1].key


@pytest.mark.parametrize("name", ["set", "rigl", "gradual"])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_training_that_was_killed_at_any_step_ends_with_the_same_bits(tiny, method, context_of, name, optimizer):
    by = method(name, interval="3it")
    task = tiny.task(tiny.MLP(hidden=(20,)), optimizer=OPTIMIZERS[optimizer], steps=16, engine="sparse")
    trial = tiny.trial(by, task=task)
    context = context_of(trial)
    begun = begin(tiny, context, 1.0 if name == "gradual" else 0.2)
    kept = []

    class Each(CheckpointCallback):
        def wants(self, steps_made):
            return True

        def keep(self, state):
            kept.append(through_disk(state))

    updater = by.updater(0.2)
    whole = train(context, begun, 16, "training", updater, True, Each(), engine="sparse")
    assert [state.step for state in kept] == list(range(1, 17))
    for state in kept[:-1]:
        resumed = train(context_of(trial), state, 16, "training", by.updater(0.2), False, engine="sparse")
        assert_same(resumed, whole)
    unwatched = train(context_of(trial), begun, 16, "training", by.updater(0.2), True, engine="sparse")
    assert_same(unwatched, whole)


def begin(tiny, context, density):
    model = context.trial.task.model.build((1, 6, 6), 3)
    draws = torch.Generator().manual_seed(5)
    parameters = {key: torch.randn(one.shape, generator=draws) / 6 for key, one in model.named_parameters()}
    masks = {}
    if density < 1:
        masks = {
            key: torch.rand(one.shape, generator=draws) < density for key, one in parameters.items() if one.dim() > 1
        }
    parameters |= {key: parameters[key] * mask for key, mask in masks.items()}
    return State(step=0, parameters=parameters, buffers={}, masks=masks)


def test_bits_do_not_depend_on_the_number_of_threads(tiny, context_of):
    task = tiny.task(tiny.MLP(hidden=(300, 200)), batch_size=60, engine="sparse", evaluate_every="end")
    trial = tiny.trial(tiny.ByChance(), task=task)
    ends = []
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            context = context_of(trial)
            begun = begin(tiny, context, 0.1)
            ends.append(train(context, begun, 8, "training", FixedMasks(), True, engine="sparse"))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
    assert_same(*ends)


def test_the_network_is_as_it_was_afterwards_even_of_a_training_that_fails(tiny, context_of):
    task = tiny.task(optimizer=Optimizer(name="sgd", lr=1e30), engine="sparse")
    context = context_of(tiny.trial(tiny.ByChance(), task=task))
    with pytest.raises(Diverged):
        train(context, begin(tiny, context, 0.2), 20, "training", FixedMasks(), True, engine="sparse")
    assert all("forward" not in vars(module) for module in context.model.modules())


# --- what an updater sees


class Looks(prunebench.Updater):
    """Notes what it sees, and changes a weight by hand."""

    def __init__(self, dense=()):
        self.dense, self.seen = dense, []

    def needs_dense_gradient(self, training):
        return training.step in self.dense

    def after_backward(self, training):
        gradient = training.weights["1.weight"].grad
        self.seen.append(int(torch.count_nonzero(gradient[~training.masks["1.weight"]])))
        return False

    def after_step(self, training):
        if training.step == 2:
            with torch.no_grad():
                training.weights["1.weight"][training.masks["1.weight"]] = 0.25


def test_an_updater_reads_and_changes_weights_and_gets_the_gradients_that_it_asks_for(tiny, context_of):
    context = context_of(tiny.trial(tiny.ByChance(), task=tiny.task(engine="sparse")))
    begun = begin(tiny, context, 0.2)
    updater = Looks(dense=(1, 3))
    end = train(context, begun, 3, "training", updater, True, engine="sparse")
    kept = end.parameters["1.weight"][end.masks["1.weight"]]
    assert kept.tolist() == [0.25] * len(kept)
    end = train(context, end, 5, "training", updater, False, engine="sparse")
    assert [seen > 0 for seen in updater.seen] == [False, True, False, True, False]
    dense = train(context_of(context.trial), begun, 5, "training", Looks(), True, engine="dense")
    assert_close(dense, end)


@pytest.mark.parametrize(("kept", "compressed_there"), [(7, True), (8, False)])
def test_layers_are_compressed_up_to_a_fifth(tiny, context_of, monkeypatch, kept, compressed_there):
    monkeypatch.setattr(compressed, "DENSEST", 0.2)
    context = context_of(tiny.trial(tiny.ByChance(), task=tiny.task(engine="sparse")))
    begun = begin(tiny, context, 0.2)
    masks = {"1.weight": torch.arange(432).view(12, 36) < 86, "4.weight": torch.arange(36).view(3, 12) < kept}
    training = CompressedTraining(context, begun.changed(masks=masks))
    shapes = [tuple(one.shape) for one in training.optimizer.param_groups[0]["params"]]
    assert shapes == [(86,), (12,), (kept,) if compressed_there else (3, 12), (3,)]


def test_a_network_with_layers_of_both_kinds(tiny, run_stages, monkeypatch):
    monkeypatch.setattr(compressed, "DENSEST", 0.25)
    prune = Prune(by=tiny.ByChance(), density=0.3, allocation="er")
    dense, sparse = both(run_stages, tiny.task(tiny.MLP(hidden=(20,)), clip_norm=0.1), prune, Train())
    densities = [float(mask.float().mean()) for mask in sparse.masks.values()]
    assert densities[0] <= 0.25 < densities[1]
    assert_close(dense, sparse)


def test_a_gpu_is_refused_in_one_sentence(tiny, context_of):
    context = dataclasses.replace(context_of(tiny.trial(tiny.ByChance())), device=torch.device("cuda", 0))
    with pytest.raises(PrunebenchError, match=r"trains on the processor only, and this is cuda:0: run it with"):
        CompressedTraining(context, State(0, {}, {}, {}))
