"""The training loop: splitting it changes nothing, masks hold, and what it reports is what happened."""

import os
import random
import shutil
from contextlib import nullcontext
from dataclasses import asdict
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout
from torch.utils._python_dispatch import TorchDispatchMode

import prunebench
from prunebench import Initialize, Prune, Rewind, Train
from prunebench.api.errors import Diverged, PrunebenchError
from prunebench.api.tasks import Optimizer, Schedule
from prunebench.data.task_data import Data
from prunebench.execution.performing import final_figures
from prunebench.pruning import masks
from prunebench.training import loop, recipes, training_context
from prunebench.training.arithmetic import repeatable
from prunebench.training.loop import CheckpointCallback, train
from prunebench.training.state import State, from_tensors, snapshot, to_tensors
from prunebench.training.trial_context import TrialContext, fresh_model

PLAIN = Optimizer(name="sgd", lr=0.05)
MOMENTUM = Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-2)
NESTEROV = Optimizer(name="sgd", lr=0.05, momentum=0.9, nesterov=True)
ADAM = Optimizer(name="adam", lr=0.01, weight_decay=1e-2)
ADAMW = Optimizer(name="adamw", lr=0.01, weight_decay=1.0)
TENSORS = ("parameters", "buffers", "optimizer", "masks", "memory")
STILL = Optimizer(name="sgd", lr=1e-30)
"""Steps so small that no weight changes."""


def through_disk(state):
    """The state as it comes back from the store."""
    plain = {name: getattr(state, name) for name in State.__dataclass_fields__.keys() - TENSORS}
    shapes = {name: list(mask.shape) for name, mask in state.masks.items()}
    costs = {"cost": asdict(state.cost), "unbooked": asdict(state.unbooked), "choice": asdict(state.choice)}
    return from_tensors(to_tensors(state), shapes, plain | costs)


def without_time(history):
    return [{key: value for key, value in figures.items() if key != "time"} for figures in history]


def assert_same(one, other):
    """Two ends of training are the same, bit for bit."""
    for field in TENSORS:
        first, second = getattr(one, field), getattr(other, field)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), field
    assert without_time(one.history) == without_time(other.history)
    for field in ("step", "loss_sum", "loss_steps"):
        assert getattr(one, field) == getattr(other, field)
    assert (one.cost.steps, one.cost.examples) == (other.cost.steps, other.cost.examples)
    assert one.cost.training_flops == pytest.approx(other.cost.training_flops, rel=1e-12)


def pruned(tiny, density=0.3):
    return Prune(by=tiny.ByChance(), density=density)


@pytest.mark.parametrize("hand_on", [None, through_disk], ids=["at-once", "job-by-job"])
@pytest.mark.parametrize("optimizer", [PLAIN, MOMENTUM, NESTEROV, ADAM, ADAMW])
def test_training_in_pieces_is_training_in_one(tiny, run_stages, optimizer, hand_on):
    # Step 9 lies in the middle of an epoch of 4 and is not evaluated; so does 18; step 14 is.
    task = tiny.task(
        tiny.MLP(dropout=0.3),
        optimizer=optimizer,
        augmentation=("crop", "flip"),
        schedule=Schedule(name="cosine", warmup="5it"),
        validation=7,
        steps=23,
    )
    whole = run_stages(task, pruned(tiny), Train())
    pieces = run_stages(task, pruned(tiny), Train("9it"), Train("14it"), Train("18it"), Train("end"), hand_on=hand_on)
    assert_same(pieces.end, whole.end)
    assert [figures["step"] for figures in whole.end.history] == [7, 14, 21, 23]
    assert pieces.nodes[-1].key == whole.nodes[-1].key


@pytest.mark.parametrize("hand_on", [None, through_disk], ids=["at-once", "job-by-job"])
def test_training_a_network_with_batch_norm_in_pieces_is_training_it_in_one(tiny, run_stages, hand_on):
    task = tiny.task(tiny.Conv(), augmentation=("crop",), steps=11)
    whole = run_stages(task, pruned(tiny, 0.6), Train())
    pieces = run_stages(task, pruned(tiny, 0.6), Train("5it"), Train(), hand_on=hand_on)
    assert_same(pieces.end, whole.end)
    assert int(whole.end.buffers["1.num_batches_tracked"]) == 11


def test_a_piece_that_ends_between_evaluations_hands_on_the_losses_so_far(tiny, run_stages):
    state = run_stages(tiny.task(), Train("9it")).end
    assert state.loss_steps == 2
    assert state.loss_sum > 0
    assert [figures["step"] for figures in state.history] == [7]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lamb", "adan", "adafactor", "laprop", "adabelief", "muon", "nadamw"])
def test_training_in_pieces_with_an_optimizer_of_timm(tiny, run_stages, name):
    task = tiny.task(optimizer=Optimizer(name=name, lr=0.01))
    whole = run_stages(task, pruned(tiny), Train())
    pieces = run_stages(task, pruned(tiny), Train("9it"), Train(), hand_on=through_disk)
    assert_same(pieces.end, whole.end)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:It is highly recommended to have 'opt_einsum'")
def test_an_optimizer_whose_memory_cannot_be_saved_is_an_error(tiny, run_stages):
    with pytest.raises(PrunebenchError, match="the optimizer keeps its 'Q' as list, which cannot be saved"):
        run_stages(tiny.task(optimizer=Optimizer(name="kron", lr=0.01)), Train("1it"))


class Watched(prunebench.Model):
    """Counts the weights that are not zero in every forward pass."""

    name = "watched"
    seen = []  # a log, and no parameter

    def build(self, shape, classes):
        body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 10), torch.nn.Linear(10, classes))
        body.register_forward_hook(self.note)
        return body

    def note(self, module, inputs, logits):
        if not logits.is_meta:  # the network is being described
            count = sum(int(layer.weight.count_nonzero()) for layer in list(module)[1:])
            self.seen.append((module.training, count))


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": MOMENTUM},
        {"optimizer": NESTEROV},
        {"optimizer": ADAM},
        {"optimizer": ADAMW},
        {"optimizer": MOMENTUM, "clip_norm": 0.01},
        {"optimizer": ADAM, "precision": "bfloat16"},
        {"optimizer": MOMENTUM, "label_smoothing": 0.1, "schedule": Schedule(name="cosine", warmup="4it")},
    ],
    ids=["momentum", "nesterov", "adam", "adamw", "clipped", "bfloat16", "smoothed"],
)
def test_a_pruned_weight_is_zero_in_every_pass_and_state(tiny, run_stages, recipe):
    Watched.seen.clear()
    # Trained, pruned, trained again: the optimizer remembers the weights that were pruned.
    stages = (Train("6it"), pruned(tiny), Train("11it"), Train())
    chain = run_stages(tiny.task(Watched(), evaluate_every="5it", **recipe), *stages)
    kept = round(0.3 * 390)
    assert 1 < kept < 390
    assert [count for train, count in Watched.seen if train] == [390] * 6 + [kept] * 14
    assert [count for train, count in Watched.seen if not train] == [390] + [kept] * 3  # after step 5, 10, 15, 20
    for state in (chain.after(Prune), chain.after(Train, 1), chain.end):
        assert sum(int(mask.sum()) for mask in state.masks.values()) == kept
        for name, mask in state.masks.items():
            assert not state.parameters[name][~mask].any()
            remembered = [value for key, value in state.optimizer.items() if key.endswith(f"/{name}") and value.dim()]
            assert not any(value[~mask].any() for value in remembered)
        assert state.kept() == {name: int(mask.sum()) for name, mask in state.masks.items()}


def test_no_optimizer_brings_a_pruned_weight_back(tiny, run_stages, monkeypatch):
    class Growing(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure=None):
            super().step(closure)
            for parameter in self.param_groups[0]["params"]:
                parameter += 0.01

    def growing(spec, parameters, dense):
        return Growing(list(parameters), lr=spec.lr)

    monkeypatch.setattr(training_context, "make_optimizer", growing)
    Watched.seen.clear()
    state = run_stages(tiny.task(Watched()), pruned(tiny), Train()).end
    assert {count for _, count in Watched.seen} == {round(0.3 * 390)}
    assert sum(state.kept().values()) == round(0.3 * 390)


def test_kept_weights_and_what_is_never_pruned_do_train(tiny, run_stages):
    chain = run_stages(tiny.task(tiny.Conv(), optimizer=MOMENTUM), pruned(tiny, 0.5), Train())
    before, after = chain.after(Prune), chain.end
    for name, value in before.parameters.items():
        mask = before.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert (after.parameters[name] != value)[mask].any(), name


def test_clipping_sees_the_sparse_gradient_only(tiny, run_stages):
    task = tiny.task(optimizer=PLAIN, clip_norm=1e-3, steps=1)
    chain = run_stages(task, pruned(tiny, 0.1), Train())
    before, after = chain.after(Prune).parameters, chain.end.parameters
    moved = torch.cat([(after[name].double() - before[name].double()).flatten() for name in before]).norm()
    assert float(moved) == pytest.approx(0.05 * 1e-3, rel=1e-2)


def test_a_step_is_the_optimizers_on_the_batch_of_that_step(tiny, run_stages):
    task = tiny.task(optimizer=PLAIN, steps=1, schedule=Schedule(warmup="4it"))
    chain = run_stages(task, Train())
    data, module = chain.context.data, task.model.build((1, 6, 6), 3)
    module.load_state_dict(chain.after(Initialize).parameters)
    inputs, labels = data.batch(0, "train", 0)
    cross_entropy(module(inputs), labels).backward()
    for name, parameter in module.named_parameters():
        expected = parameter - 0.05 / 4 * parameter.grad
        assert torch.allclose(chain.end.parameters[name], expected, atol=1e-7)


def test_the_learning_rate_of_a_step_is_that_of_its_place_in_the_recipe(tiny, run_stages):
    schedule = Schedule(name="multistep", milestones=("10it",), gamma=1e-30)
    task = tiny.task(optimizer=PLAIN, schedule=schedule)
    chain = run_stages(task, Train("9it"), Train("10it"), Train("13it"), Train())
    nine, ten, thirteen, end = (chain.after(Train, which).parameters for which in range(4))
    assert not torch.equal(nine["1.weight"], ten["1.weight"])
    assert all(torch.equal(ten[name], thirteen[name]) and torch.equal(ten[name], end[name]) for name in ten)


def test_training_after_the_end_goes_on_at_the_last_rate(tiny, run_stages):
    schedule = Schedule(name="multistep", milestones=("10it",), gamma=1e-30)
    chain = run_stages(tiny.task(optimizer=PLAIN, schedule=schedule), Train(), Train("+5it"))
    assert chain.end.step == 25
    assert torch.equal(chain.end.parameters["1.weight"], chain.after(Train, 0).parameters["1.weight"])


def test_the_history_holds_an_evaluation_at_every_interval_and_at_the_end(tiny, run_stages):
    chain = run_stages(tiny.task(validation=10), Train(), Train("+10it"))
    assert [figures["step"] for figures in chain.after(Train, 0).history] == [7, 14, 20]
    assert [figures["step"] for figures in chain.end.history] == [7, 14, 20, 21, 28]
    assert all(
        figures.keys()
        == {
            "step",
            "time",
            "train_loss",
            "validation_loss",
            "validation_accuracy",
            "test_loss",
            "test_accuracy",
        }
        for figures in chain.end.history
    )


@pytest.mark.parametrize(("every", "steps"), [("1ep", [4, 8, 12, 16, 20]), ("end", [20]), ("50%", [10, 20])])
def test_the_interval_of_evaluations_is_the_recipes(tiny, run_stages, every, steps):
    chain = run_stages(tiny.task(evaluate_every=every), Train())
    assert [figures["step"] for figures in chain.end.history] == steps


def test_without_a_validation_split_only_the_test_split_is_measured(tiny, run_stages):
    (figures,) = run_stages(tiny.task(evaluate_every="end"), Train()).end.history
    assert figures.keys() == {"step", "time", "train_loss", "test_loss", "test_accuracy"}


def test_the_training_loss_is_the_mean_since_the_last_evaluation(tiny, run_stages):
    task = tiny.task(optimizer=STILL, steps=10)
    chain = run_stages(task, Train())
    data, module = chain.context.data, chain.module
    batches = [data.batch(0, "train", step) for step in range(10)]
    with torch.no_grad():
        losses = torch.stack([cross_entropy(module(inputs), labels) for inputs, labels in batches])
    found = [figures["train_loss"] for figures in chain.end.history]
    assert found == pytest.approx([float(losses[:7].mean()), float(losses[7:].mean())], rel=1e-5)


def test_evaluation_is_in_inference_mode_and_training_is_not(tiny, run_stages):
    chain = run_stages(tiny.task(tiny.MLP(dropout=0.9), optimizer=STILL, steps=2, evaluate_every="1it"), Train())
    first, second = chain.end.history
    assert first["test_loss"] == second["test_loss"]
    inputs, labels = chain.context.data.batch(0, "train", 0)
    whole = cross_entropy(chain.module(inputs), labels)
    assert first["train_loss"] != pytest.approx(whole.item(), rel=1e-3)


def test_evaluating_more_often_changes_no_weight(tiny, run_stages):
    model = tiny.MLP(dropout=0.5)
    seldom = run_stages(tiny.task(model, evaluate_every="end"), Train()).end
    often = run_stages(tiny.task(model, evaluate_every="1it"), Train()).end
    assert all(torch.equal(seldom.parameters[name], often.parameters[name]) for name in seldom.parameters)


def test_the_cost_of_a_dense_training_is_three_forward_passes_an_example(tiny, run_stages):
    chain = run_stages(tiny.task(), Train())
    cost = chain.end.cost
    assert (cost.steps, cost.examples) == (20, 5 * 60)  # 5 epochs of 16 + 16 + 16 + 12
    assert cost.training_flops == 3 * 2 * (36 * 12 + 12 * 3) * 300
    assert cost.scoring_flops == 0
    assert cost.wall_seconds > 0


def test_processor_seconds_are_those_of_the_steps_alone(tiny, run_stages, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(loop.time, "process_time", lambda: float(next(clock)))
    begun = {"hand_on": through_disk}
    chain = run_stages(tiny.task(evaluate_every="1it"), Train("3it"), pruned(tiny), Train("7it"), **begun)
    assert [chain.states[node.key].cost.processor_seconds for node in chain.nodes] == [0, 3, 3, 7]


def test_the_cost_of_a_sparse_training_counts_the_kept_weights_only(tiny, run_stages):
    chain = run_stages(tiny.task(), pruned(tiny, 0.25), Train("6it"))
    cost = chain.end.cost
    assert (cost.steps, cost.examples) == (6, 60 + 32)
    assert cost.training_flops == pytest.approx(3 * 2 * 117 * 92)


def test_the_cost_of_a_chain_is_that_of_all_its_trainings(tiny, run_stages):
    chain = run_stages(tiny.task(), Train(), pruned(tiny, 0.25), Train("+4it"), Rewind(to=0), Train())
    cost = chain.end.cost
    assert (cost.steps, cost.examples) == (44, 300 + 60 + 300)
    assert cost.training_flops == pytest.approx(3 * 2 * (468 * 300 + 117 * 360))


def test_a_convolutional_layers_zeros_save_its_own_flops(tiny, run_stages):
    chain = run_stages(tiny.task(tiny.Conv(), steps=4), pruned(tiny, 0.4), Train())
    flops = {layer.name: layer.flops for layer in chain.context.network.layers}
    forward = sum(flops[name] * int(mask.sum()) / mask.numel() for name, mask in chain.end.masks.items())
    assert chain.end.cost.training_flops == pytest.approx(3 * forward * 60)


def test_training_neither_sees_nor_moves_the_global_generator(tiny, run_stages):
    task = tiny.task(tiny.MLP(dropout=0.5), augmentation=("crop",), steps=9)
    stages = (pruned(tiny), Train(), Rewind(to=0), Train("3it"))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = run_stages(task, *stages).end
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert_same(first, run_stages(task, *stages).end)


def test_seeds_and_streams_train_differently(tiny, run_stages):
    task = tiny.task(steps=5)
    ends = [
        run_stages(task, Train()).end,
        run_stages(task, Train(), seed=1).end,
        run_stages(task, Train(stream="other")).end,
    ]
    assert len({float(end.parameters["1.weight"].sum()) for end in ends}) == 3


def test_streams_differ_in_the_order_of_the_data_and_not_in_where_they_begin(tiny, run_stages):
    chains = [run_stages(tiny.task(steps=5), Train(stream=stream)) for stream in ("one", "other")]
    first, second = (chain.after(Initialize).parameters["1.weight"] for chain in chains)
    assert torch.equal(first, second)


class Drawing(prunebench.Model):
    """Draws from the global generators of Python, NumPy and torch, in training and in evaluation."""

    name = "drawing"

    def build(self, shape, classes):
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, classes))
        net[1].weight.data.copy_(torch.from_numpy(np.random.normal(0, 0.1, (12, 36))))
        net[1].register_forward_hook(lambda layer, inputs, output: dropout(output + random.random() + np.random.rand()))
        return net


def test_a_network_that_draws_from_any_global_generator_is_trained_and_evaluated_repeatably(tiny, run_stages):
    task = tiny.task(Drawing(), steps=9, evaluate_every="4it")
    chain = run_stages(task, Train())
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    pieces = run_stages(task, Train("3it"), Train("6it"), Train(), hand_on=through_disk)
    assert_same(chain.end, pieces.end)
    unevaluated = chain.end.changed(history=())
    assert final_figures(unevaluated, chain.context) == final_figures(chain.end, chain.context)


def test_dropout_is_another_one_in_every_step(tiny, run_stages):
    # One and the same example in each batch, no step to speak of: what differs is the dropout.
    task = tiny.task(
        tiny.MLP(hidden=(200,), dropout=0.5),
        dataset=tiny.Blobs(train=1),
        optimizer=STILL,
        steps=3,
        evaluate_every="1it",
    )
    losses = {figures["train_loss"] for figures in run_stages(task, Train()).end.history}
    assert len(losses) == 3


def test_bfloat16_trains_in_lower_precision_and_keeps_float32_weights(tiny, run_stages):
    full = run_stages(tiny.task(), Train()).end
    low = run_stages(tiny.task(precision="bfloat16"), Train()).end
    assert {value.dtype for value in low.parameters.values()} == {torch.float32}
    assert not torch.equal(full.parameters["1.weight"], low.parameters["1.weight"])
    assert torch.allclose(full.parameters["1.weight"], low.parameters["1.weight"], atol=0.05)


@pytest.mark.parametrize(
    ("recipe", "until", "step"),
    [
        ({"evaluate_every": "5it"}, "end", 5),
        ({"evaluate_every": "end"}, "end", 20),
        ({"evaluate_every": "end"}, "8it", 8),
        ({"evaluate_every": "end", "steps": 1}, "end", 1),  # the loss was finite, and the step broke the weights
    ],
)
def test_a_diverged_training_is_an_error_that_names_the_step(tiny, run_stages, recipe, until, step):
    task = tiny.task(optimizer=Optimizer(name="sgd", lr=1e38), **recipe)
    with pytest.raises(Diverged, match=rf"loss is (nan|inf) by step {step}: try a lower learning rate, or clip_norm"):
        run_stages(task, Train(until))


class Choosing(prunebench.Method):
    """Keeps the first half of each layer, by scores of which one is not finite in step 3."""

    name = "choosing"
    reference = "None 2026"

    value: str = "inf"
    steps: ClassVar[list[int]] = []
    """That the updaters of this test saw."""

    def updater(self, density):
        value, steps = float(self.value), self.steps

        class Updater(prunebench.Updater):
            def after_step(self, training):
                steps.append(training.step)
                scores = {name: -torch.arange(1.0 * w.numel()).view_as(w) for name, w in training.weights.items()}
                if training.step == 3:
                    *_, last = scores.values()
                    last.view(-1)[-1] = value
                training.keep_highest(scores, 0.5, "uniform")

        return Updater()

    def stages(self, trial):
        yield Train(by=self)


@pytest.fixture
def choosing(request):
    """Such a method, with a value that is not finite."""
    Choosing.steps.clear()
    return Choosing(value=getattr(request, "param", "inf"))


EACH_VALUE = pytest.mark.parametrize("choosing", ["inf", "-inf", "nan"], indirect=True)


@pytest.fixture
def far(monkeypatch):
    """The CPU taken for a device whose values are not at hand."""
    monkeypatch.setattr(training_context, "AT_HAND", ())
    monkeypatch.setattr(masks, "AT_HAND", ())


NOT_FINITE = r"^training.keep_highest was given scores of '\d+.weight' that are not all finite$"


@EACH_VALUE
def test_scores_that_are_not_finite_are_an_error_at_once(tiny, run_stages, choosing):
    run_stages(tiny.task(), Train("3it", by=choosing))
    with pytest.raises(PrunebenchError, match=NOT_FINITE) as failure:
        run_stages(tiny.task(), Train(by=choosing))
    assert choosing.steps == [0, 1, 2, 0, 1, 2, 3]
    assert any(entry.name == "after_step" for entry in failure.traceback)  # which has the author's line


@pytest.mark.usefixtures("far")
@EACH_VALUE
@pytest.mark.parametrize(("recipe", "until"), [({"evaluate_every": "5it"}, "end"), ({"evaluate_every": "end"}, "5it")])
def test_where_values_are_not_at_hand_it_is_an_error_at_the_next_evaluation_or_at_the_end(
    tiny, run_stages, recipe, until, choosing
):
    with pytest.raises(PrunebenchError, match=NOT_FINITE):
        run_stages(tiny.task(**recipe), Train(until, by=choosing))
    assert choosing.steps == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("far")
def test_no_checkpoint_is_kept_of_scores_that_are_not_finite(tiny, prepared, choosing):
    kept = []

    class Kept(CheckpointCallback):
        def wants(self, step):
            return step in (3, 6)

        def keep(self, state):
            kept.append(state.step)

    with pytest.raises(PrunebenchError, match=NOT_FINITE):
        train_on(torch.device("cpu"), tiny, prepared, {"evaluate_every": "end"}, choosing.updater(0.5), callback=Kept())
    assert (kept, choosing.steps) == ([3], [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("method", ["ste", "sr-ste", "edge-popup"])
@pytest.mark.parametrize("until", ["end", "8it", "1it"])
@pytest.mark.parametrize("where", ["at-hand", "far"])
def test_weights_and_trained_scores_that_diverge_are_called_that(
    tiny, run_stages, built_in, request, method, until, where
):
    if where == "far":
        request.getfixturevalue("far")
    task = tiny.task(optimizer=Optimizer(name="sgd", lr=1e40), evaluate_every="end")
    with pytest.raises(Diverged, match=r"try a lower learning rate, or clip_norm$"):
        run_stages(task, Train(until, by=built_in("method", method), density=0.5))


def test_the_state_that_training_began_from_is_left_as_it_was(tiny, run_stages):
    chain = run_stages(tiny.task(tiny.Conv(), steps=3), pruned(tiny), Train())
    again = run_stages(tiny.task(tiny.Conv(), steps=3), pruned(tiny))
    for field in ("parameters", "buffers", "masks"):
        before, same = getattr(chain.after(Prune), field), getattr(again.end, field)
        assert all(torch.equal(before[name], same[name]) for name in same)


def test_channels_last_is_another_memory_format_of_the_same_training(tiny, run_stages):
    stages = (pruned(tiny, 0.4), Train("9it"), Train())
    plain = run_stages(tiny.task(tiny.Conv()), *stages)
    last = run_stages(tiny.task(tiny.Conv(), channels_last=True), *stages)
    assert last.context.model[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert not plain.context.model[3].weight.is_contiguous(memory_format=torch.channels_last)
    for name, value in plain.end.parameters.items():
        assert torch.allclose(value, last.end.parameters[name], atol=1e-4)


@pytest.mark.parametrize("hand_on", [None, through_disk], ids=["at-once", "job-by-job"])
@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAM])
def test_channels_last_training_in_pieces_is_training_in_one(tiny, run_stages, optimizer, hand_on):
    # The fused optimizers walk through weights and momenta as they lie in memory, whatever their strides.
    task = tiny.task(tiny.Conv(), channels_last=True, optimizer=optimizer)
    whole = run_stages(task, pruned(tiny), Train())
    pieces = run_stages(task, pruned(tiny), Train("3it"), Train("9it"), Train(), hand_on=hand_on)
    assert_same(pieces.end, whole.end)


@pytest.fixture
def eager(monkeypatch):
    """torch.compile without its compiler: what it is called with."""
    compile_, calls = torch.compile, []

    def compiled(model, **options):
        calls.append(options)
        return compile_(model, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", compiled)
    return calls


def test_a_compiled_training_is_the_same_training(tiny, run_stages, eager):
    stages = (pruned(tiny), Train("9it"), Train())
    plain = run_stages(tiny.task(tiny.Conv()), *stages).end
    assert eager == []
    compiled = run_stages(tiny.task(tiny.Conv(), compile=True), *stages).end
    assert eager == [{"dynamic": False}] * 2
    assert_same(plain, compiled)


@pytest.mark.slow
def test_a_really_compiled_training_is_nearly_the_same(tiny, run_stages):
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no compiler")
    task = tiny.task(tiny.Conv(), compile=True)
    plain = run_stages(tiny.task(tiny.Conv()), pruned(tiny), Train()).end
    whole = run_stages(task, pruned(tiny), Train()).end
    pieces = run_stages(task, pruned(tiny), Train("9it"), Train()).end
    for name, value in plain.parameters.items():
        assert torch.allclose(value, whole.parameters[name], atol=1e-3)
    assert_same(pieces, whole)


RECIPES = pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"augmentation": ("resized-crop", "crop", "flip"), "validation": 7},
        {"precision": "bfloat16", "channels_last": True, "clip_norm": 1.0},
        {"optimizer": ADAM},
    ],
)
SHARES = pytest.mark.parametrize("share", [0.4, 0.0], ids=["inputs-there", "inputs-here"])


def train_on(device, tiny, prepared, recipe, updater, callback=None):
    """Twenty steps of a masked network on a device."""
    task = tiny.task(tiny.Conv(), **recipe | {"evaluate_every": "end"})
    trial = tiny.trial(tiny.ByChance(), task=task)
    context = TrialContext(trial, device, lambda: Data(task, prepared(task.dataset), device))
    fresh = snapshot(fresh_model(trial, "initialize"))
    masks = {"3.weight": torch.rand(fresh["parameters"]["3.weight"].shape) < 0.5}
    with repeatable(device):
        train(context, State(step=0, **fresh, masks=masks), 20, "train", updater, True, callback)


CHOOSING_ANEW = pytest.mark.parametrize(
    ("method", "parameters"),
    [
        *(("ste", {"allocation": allocation}) for allocation in ("uniform", "global", "erk")),
        *(("edge-popup", {"allocation": allocation}) for allocation in ("uniform", "global", "erk")),
        ("sr-ste", {}),
    ],
)
"""Methods that choose masks at each step."""


def unwaiting(updater):
    """Makes it an error to wait for the GPU in any step but the first two and the last two of twenty."""
    after_step = updater.after_step

    def stepped(training):
        after_step(training)
        torch.cuda.set_sync_debug_mode("error" if 2 <= training.step + 1 < 18 else "default")

    updater.after_step = stepped
    return updater


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    yield torch.device("cuda")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@RECIPES
@SHARES
def test_no_step_waits_for_the_gpu(tiny, prepared, monkeypatch, gpu, recipe, share):
    monkeypatch.setattr("prunebench.data.splits.SHARE", share)
    train_on(gpu, tiny, prepared, recipe, unwaiting(prunebench.Updater()))


@pytest.mark.gpu
@CHOOSING_ANEW
def test_no_step_that_chooses_its_masks_waits_for_the_gpu(tiny, prepared, gpu, built_in, method, parameters):
    train_on(gpu, tiny, prepared, {}, unwaiting(built_in("method", method, **parameters).updater(0.5)))


class Enough(Exception):
    pass


class Unread(TorchDispatchMode):
    """A device that holds no values: before the first step each that is read from it is a 1, and then an error."""

    stepping = False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default and not self.stepping:
            return 1
        if function is torch.ops.aten._to_copy.default and not self.stepping and args[0].is_meta:
            return torch.ones_like(args[0], **kwargs)
        return function(*args, **kwargs or {})


@pytest.fixture
def meta(monkeypatch):
    """Torch's meta device, which has shapes and no values: whatever would wait for a GPU's values fails on it."""

    def unfused(optimizer):  # the fused kernels are for real devices
        return lambda parameters, fused, **options: optimizer(parameters, **options)

    plain = {name: unfused(optimizer) for name, optimizer in recipes.TORCH.items()}
    monkeypatch.setattr(recipes, "TORCH", plain)
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
    return torch.device("meta")


def train_unread(device, tiny, prepared, recipe, updater, steps=18):
    """That many steps, none of which may read what the device has worked out."""
    mode, begin, after_step = Unread(), updater.begin, updater.after_step

    def begun(training):
        begin(training)
        mode.stepping = True

    def stepped(training):
        after_step(training)
        if training.step + 1 == steps:
            raise Enough

    updater.begin, updater.after_step = begun, stepped
    with mode, pytest.raises(Enough):
        train_on(device, tiny, prepared, recipe, updater)


@RECIPES
@SHARES
def test_no_step_reads_what_the_device_has_worked_out(tiny, prepared, monkeypatch, meta, recipe, share):
    monkeypatch.setattr("prunebench.data.splits.SHARE", share)
    train_unread(meta, tiny, prepared, recipe, prunebench.Updater())


@pytest.mark.parametrize("method", ["rigl", "set", "snfs", "gradual"])
def test_nor_does_one_between_two_updates_of_the_masks(tiny, prepared, meta, built_in, method):
    updater = built_in("method", method, interval="7it").updater(0.5)
    train_unread(meta, tiny, prepared, {}, updater, steps=5)


@CHOOSING_ANEW
def test_nor_does_one_that_chooses_its_masks_anew(tiny, prepared, meta, built_in, method, parameters):
    train_unread(meta, tiny, prepared, {}, built_in("method", method, **parameters).updater(0.5))


@pytest.mark.parametrize("read", [torch.Tensor.item, bool, torch.nonzero, torch.Tensor.cpu])
def test_a_value_that_a_step_reads_is_noticed(tiny, prepared, meta, read):
    class Reading(prunebench.Updater):
        def after_step(self, training):
            read(training.parameters["3.weight"].sum())

    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        train_unread(meta, tiny, prepared, {}, Reading())
