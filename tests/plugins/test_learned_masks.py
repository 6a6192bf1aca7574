"""What straight-through training, SR-STE and edge-popup share: masks are applied to what the optimizer trains."""

from dataclasses import asdict

import pytest
import torch

import prunebench
from prunebench import Initialize, Prune, Rewind, Structure, Train
from prunebench.api.tasks import Optimizer, Schedule
from prunebench.plan.planning import make_plan
from prunebench.pruning.masks import keep_highest
from prunebench.training.state import State, from_tensors, to_tensors
from prunebench.training.training_context import TrainingContext

METHODS = [
    ("ste", {}),
    ("ste", {"allocation": "global"}),
    ("ste", {"allocation": "erk"}),
    ("edge-popup", {}),
    ("edge-popup", {"weights": "kaiming-normal", "scaled": True, "allocation": "global"}),
    ("sr-ste", {}),
]
IDS = ["ste", "ste-global", "ste-erk", "edge-popup", "edge-popup-normal", "sr-ste"]
ADAM = Optimizer(name="adam", lr=0.01, weight_decay=1e-2)
TENSORS = ("parameters", "buffers", "optimizer", "masks", "memory")
SIZE = 36 * 16 + 16 * 3


@pytest.fixture(params=METHODS, ids=IDS)
def learned(request, method):
    """Each of the methods."""
    name, parameters = request.param
    return method(name, **parameters)


@pytest.fixture
def wide(tiny):
    """A task of 36 → 16 → 3, whose inputs are all divisible by four."""
    return lambda **recipe: tiny.task(tiny.MLP(hidden=(16,), dropout=0.2), **{"steps": 13, **recipe})


def through_disk(state):
    """The state as it comes back from the store."""
    plain = {name: getattr(state, name) for name in State.__dataclass_fields__.keys() - TENSORS}
    shapes = {name: list(mask.shape) for name, mask in state.masks.items()}
    costs = {"cost": asdict(state.cost), "unbooked": asdict(state.unbooked), "choice": asdict(state.choice)}
    return from_tensors(to_tensors(state), shapes, plain | costs)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def figures(state):
    return [{key: value for key, value in point.items() if key != "time"} for point in state.history]


@pytest.mark.parametrize("hand_on", [lambda state: state, through_disk], ids=["handed-on", "stored"])
@pytest.mark.parametrize("optimizer", [None, ADAM], ids=["momentum", "adam"])
def test_training_in_pieces_is_training_in_one(wide, learned, run_stages, optimizer, hand_on):
    # Step 5 is not evaluated, step 7 is.
    recipe = {"schedule": Schedule(name="cosine", warmup="3it"), **({"optimizer": optimizer} if optimizer else {})}
    pieces = [Train(until, by=learned, density=0.5) for until in ("5it", "7it", "end")]
    whole = run_stages(wide(**recipe), pieces[-1])
    split = run_stages(wide(**recipe), *pieces, hand_on=hand_on)
    assert split.nodes[-1].key == whole.nodes[-1].key
    for field in TENSORS:
        assert same(getattr(split.end, field), getattr(whole.end, field)), field
    assert figures(split.end) == figures(whole.end)
    assert [point["step"] for point in whole.end.history] == [7, 13]
    assert whole.end.memory
    assert split.end.cost.training_flops == pytest.approx(whole.end.cost.training_flops, rel=1e-12)


class Watched(prunebench.Model):
    """Notes the weights that are not zero in every forward pass."""

    name = "watched"
    seen = []  # a log, and no parameter

    def build(self, shape, classes):
        body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 16), torch.nn.Linear(16, classes))
        body.register_forward_hook(self.note)
        return body

    def note(self, module, inputs, logits):
        if not logits.is_meta:  # the network is being described
            count = sum(int(layer.weight.count_nonzero()) for layer in list(module)[1:])
            self.seen.append((module.training, count))


@pytest.mark.parametrize("optimizer", [None, ADAM], ids=["momentum", "adam"])
def test_exactly_the_density_is_used_in_every_pass_and_left_in_every_state(tiny, learned, run_stages, optimizer):
    Watched.seen.clear()
    recipe = {} if optimizer is None else {"optimizer": optimizer}
    task = tiny.task(Watched(), steps=9, evaluate_every="4it", **recipe)
    chain = run_stages(task, *(Train(until, by=learned, density=0.5) for until in ("3it", "end")))
    assert Watched.seen == [
        (kind, SIZE // 2) for kind in [True] * 4 + [False] + [True] * 4 + [False] + [True] + [False]
    ]
    for state in (chain.after(Train, 0), chain.end):
        assert sum(state.kept().values()) == sum(int(mask.sum()) for mask in state.masks.values()) == SIZE // 2
        assert all(not state.parameters[name][~mask].any() for name, mask in state.masks.items())


def test_the_reported_accuracy_is_that_of_the_weights_in_the_state(wide, learned, run_stages):
    chain = run_stages(wide(), Train(by=learned, density=0.5))
    assert chain.end.history[-1]["test_accuracy"] == chain.accuracy


def test_a_step_costs_two_sparse_passes_and_a_dense_one(wide, learned, run_stages):
    # Two FLOPs a weight and pass; half of the weights, the same share of each layer or not: f_S is f_D / 2 here.
    chain = run_stages(wide(batch_size=60, steps=3), Train(by=learned, density=0.5))
    dense = 2 * SIZE
    assert chain.end.cost.training_flops == pytest.approx((2 * dense / 2 + dense) * 180)
    assert chain.end.cost.scoring_flops == 0


def test_masks_change_while_it_trains(wide, learned, run_stages):
    chain = run_stages(wide(steps=30), Train("1it", by=learned, density=0.5), Train(by=learned, density=0.5))
    first, last = chain.after(Train, 0).masks, chain.end.masks
    assert not same(first, last)


def test_what_trains_next_begins_from_the_sparse_weights_with_no_memory_and_a_new_optimizer(wide, learned, run_stages):
    still = Optimizer(name="sgd", lr=1e-30, momentum=0.9)
    chain = run_stages(wide(), Train("6it", by=learned, density=0.5), Train("+1it"))
    before, after = chain.after(Train, 0), chain.end
    assert before.optimizer == {}
    assert any(name.startswith("optimizer/") for name in before.memory)
    assert after.memory == {}
    assert same(before.masks, after.masks)
    for name, mask in after.masks.items():
        momentum = after.optimizer[f"momentum_buffer/{name}"]
        assert not after.parameters[name][~mask].any()
        assert not momentum[~mask].any()
    # A step of no size leaves the effective weights where they are: nothing else was put in their place.
    frozen = run_stages(wide(optimizer=still), Train("6it", by=learned, density=0.5), Train("+1it"))
    weights, later = frozen.after(Train, 0).parameters, frozen.end.parameters
    assert all(torch.allclose(later[name], value, rtol=0, atol=1e-25) for name, value in weights.items())


def test_momentum_of_the_dense_weights_does_not_move_the_sparse_ones(wide, learned, run_stages):
    # One step after a restart is lr * gradient, with or without momentum before it.
    task = wide(optimizer=Optimizer(name="sgd", lr=0.05, momentum=0.9))
    chain = run_stages(task, Train("6it", by=learned, density=0.5), Train("+1it"))
    before, after = chain.after(Train, 0), chain.end
    for name, mask in after.masks.items():
        moved = before.parameters[name] - after.parameters[name]
        assert torch.allclose(moved, 0.05 * after.optimizer[f"momentum_buffer/{name}"] * mask, atol=1e-6)


def test_pruning_and_rewinding_after_it_go_on_from_the_sparse_network(tiny, wide, learned, run_stages):
    train = Train("6it", by=learned, density=0.5)
    chain = run_stages(wide(), train, Prune(by=tiny.ByChance(), density=0.25), Rewind(to=0), Train())
    kept, pruned = chain.after(Train, 0).masks, chain.after(Prune).masks
    assert all(not (pruned[name] & ~kept[name]).any() for name in kept)
    assert chain.after(Prune).memory == {}
    fresh = chain.after(Initialize).parameters
    assert all(torch.equal(chain.after(Rewind).parameters[name], fresh[name] * pruned[name]) for name in pruned)
    assert sum(chain.end.kept().values()) == SIZE // 4


def test_it_goes_on_from_a_network_that_was_trained_and_pruned(tiny, wide, learned, run_stages):
    chain = run_stages(wide(), Train("4it"), Prune(by=tiny.ByChance(), density=0.7), Train(by=learned, density=0.5))
    assert sum(int(mask.sum()) for mask in chain.end.masks.values()) == SIZE // 2
    assert any((chain.end.masks[name] & ~mask).any() for name, mask in chain.after(Prune).masks.items())


@pytest.mark.parametrize("name", ["ste", "edge-popup"])
def test_a_density_that_keeps_nothing_is_skipped(tiny, method, name):
    (planned,) = make_plan([tiny.trial(method(name), sparsity=0.9999)], {}).trials
    assert planned.skipped == "density 0.0001 keeps none of 468 weights"


@pytest.mark.parametrize("name", ["ste", "edge-popup"])
def test_without_a_density_there_is_no_updater(wide, method, run_stages, name):
    with pytest.raises(prunebench.api.errors.PrunebenchError, match=r"a density: Train\(by=\.\.\., density=\.\.\.\)$"):
        run_stages(wide(), Train(by=method(name)))


@pytest.mark.parametrize(
    ("name", "parameters", "structure"),
    [("ste", {}, None), ("ste", {"allocation": "erk"}, None), ("sr-ste", {"n": 1, "m": 2}, Structure(1, 2))],
)
def test_convolutions_grouped_and_depthwise_ones_too_keep_their_largest_weights(
    tiny, method, run_stages, name, parameters, structure
):
    task = tiny.task(tiny.Conv(), steps=6)
    chain = run_stages(task, Train(by=method(name, **parameters), density=0.5))
    dense = {layer.name: chain.end.memory[f"dense/{layer.name}"] for layer in chain.context.network.layers}
    everything = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in dense.items()}
    scores = {name: weight.abs() for name, weight in dense.items()}
    allocation = parameters.get("allocation", "uniform")
    expected = keep_highest(scores, everything, chain.context.network.layers, 0.5, allocation, structure)
    assert same(chain.end.masks, expected)
    assert all(torch.equal(chain.end.parameters[name], dense[name] * mask) for name, mask in expected.items())


def test_imposing_and_lifting_leaves_the_weights_as_they_were(wide, learned, context_of, tiny, run_stages):
    task = wide()
    state = run_stages(task).end
    context = context_of(tiny.trial(learned, task=task))
    updater = learned.updater(0.5)
    training = TrainingContext(context, state, updater.trains_dense)
    updater.begin(training)
    before = {name: weight.detach().clone() for name, weight in training.weights.items()}
    for _ in range(2):
        updater.apply_masks(training)
        assert sum(int(weight.count_nonzero()) for weight in training.weights.values()) == SIZE // 2
        updater.restore_dense(training)
        assert same(before, {name: weight.detach() for name, weight in training.weights.items()})
