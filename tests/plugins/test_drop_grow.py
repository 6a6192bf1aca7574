"""What SET, SNFS and RigL share: when they move connections, which they drop, and what stays as it was."""

from math import cos, pi
from types import SimpleNamespace

import pytest
import torch
from prunebench_plugins.drop_grow import FirstDense, dropped, grown, highest
from prunebench_plugins.random import Random

import prunebench
from prunebench import Initialize, Prune, Train
from prunebench.api import times
from prunebench.api.errors import Unreachable
from prunebench.api.tasks import Optimizer
from prunebench.network.description import describe
from prunebench.pruning.allocation import kept_counts
from prunebench.training.state import State, from_tensors, to_tensors

MOVING = ["set", "snfs", "rigl"]
OFTEN = {"interval": "4it", "fraction": 0.5}
MOMENTUM = Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-2)
ADAM = Optimizer(name="adam", lr=0.01, weight_decay=1e-2)


def in_a_training_of(steps, per_epoch=10):
    clock = times.Clock(per_epoch, steps)
    return SimpleNamespace(step_of=lambda time: times.step_of(time, clock))


def masks_of(chain):
    """The masks at the end of every training, in order."""
    return [chain.states[node.key].masks for node in chain.nodes if isinstance(node.stage, Train)]


def counts(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one | other)


def mask(*bits):
    return torch.tensor(bits).bool()


def test_the_smallest_weights_of_either_sign_are_dropped():
    weight = torch.tensor([0.5, -0.1, 0.3, -0.4, 0.2, -0.6])
    assert torch.equal(dropped(weight, mask(1, 1, 1, 1, 1, 1), 0.5), mask(1, 0, 0, 1, 0, 1))


def test_their_number_is_a_share_of_what_is_kept_rounded_down():
    weight = torch.tensor([0.5, -0.1, 0.3, 0.0, 0.4, 0.2, 0.0])
    kept = mask(1, 1, 1, 0, 1, 1, 0)
    assert torch.equal(dropped(weight, kept, 0.39), mask(1, 0, 1, 0, 1, 1, 0))
    assert torch.equal(dropped(weight, kept, 0.4), mask(1, 0, 1, 0, 1, 0, 0))
    assert torch.equal(dropped(weight, kept, 0.19), kept)


def test_a_kept_weight_that_is_zero_counts_as_kept_and_is_dropped_first():
    weight = torch.tensor([0.0, 0.0, 0.1, 0.2])
    assert torch.equal(dropped(weight, mask(0, 1, 1, 1), 0.34), mask(0, 0, 1, 1))
    assert torch.equal(dropped(weight, mask(0, 1, 1, 1), 0.3), mask(0, 1, 1, 1))


def test_what_scores_highest_grows_wherever_nothing_is_kept():
    scores = torch.tensor([9.0, 0.0, 3.0, 1.0, 2.0])
    assert torch.equal(grown(mask(1, 0, 0, 0, 0), scores, 2), mask(1, 0, 1, 0, 1))
    assert torch.equal(grown(mask(1, 0, 0, 0, 0), scores, 4), mask(1, 1, 1, 1, 1))
    assert torch.equal(grown(mask(1, 0, 0, 0, 0), scores, 0), mask(1, 0, 0, 0, 0))


def test_equals_are_taken_in_the_order_of_their_places():
    assert torch.equal(highest(torch.tensor([1.0, 2.0, 1.0, 1.0]), 2), mask(1, 1, 0, 0))
    assert torch.equal(highest(torch.zeros(2, 3), 4), mask(1, 1, 1, 1, 0, 0).view(2, 3))
    assert torch.equal(dropped(torch.tensor([-1.0, 1.0, 1.0]), mask(1, 1, 1), 0.67), mask(1, 0, 0))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (0, 0.0),
        (1, 0.0),
        (99, 0.0),
        (100, 0.3 * 0.5 * (1 + cos(pi / 4))),
        (101, 0.0),
        (200, 0.15),
        (300, 0.3 * 0.5 * (1 - cos(pi / 4))),
        (400, 0.0),
        (500, 0.0),
    ],
)
def test_the_share_is_a_cosine_at_multiples_of_the_interval_before_the_end(method, made, expected):
    found = method("rigl", until="80%").share(in_a_training_of(500), made)
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_constant_share_stays_and_ends_all_the_same(method):
    rule = method("set", decay="constant", fraction=0.2, interval="1ep", until="end")
    shares = [rule.share(in_a_training_of(40), made) for made in range(41)]
    assert [made for made, share in enumerate(shares) if share] == [10, 20, 30]
    assert set(shares) == {0.0, 0.2}


def test_the_defaults_move_something_in_the_640_steps_of_the_digits(method):
    due = [made for made in range(641) if method("rigl").share(in_a_training_of(640), made)]
    assert due == [100, 200, 300, 400]


def test_an_interval_below_a_step_is_a_step(method):
    due = [made for made in range(20) if method("set", interval="1%").share(in_a_training_of(20), made)]
    assert due == list(range(1, 15))


@pytest.mark.parametrize("name", MOVING)
def test_the_chain_begins_with_a_random_mask_and_moves_it_in_training(tiny, method, name):
    rule = method(name, allocation="er")
    assert list(rule.stages(tiny.trial(rule, sparsity=0.9))) == [
        Initialize(),
        Prune(by=Random(allocation="er"), density=0.1, allocation="er"),
        Train(by=rule),
    ]


def test_uniform_first_dense_keeps_the_first_layer_and_the_same_share_of_the_others(tiny, method, run_chain):
    task = tiny.task(tiny.MLP(hidden=(4, 50, 40)), steps=1)  # layers of 144, 200, 2000 and 120 weights
    rule = method("rigl", allocation="uniform-first-dense")
    found = counts(run_chain(tiny.trial(rule, sparsity=0.75, task=task)).after(Prune).masks)
    assert sum(found.values()) == 616
    share = (616 - 144) / (200 + 2000 + 120)
    assert list(found.values()) == [144, round(200 * share), round(2000 * share), round(120 * share)]


def test_a_density_that_the_dense_first_layer_alone_exceeds_is_an_error(tiny, method, run_chain):
    rule = method("rigl", allocation="uniform-first-dense")  # 432 of 468 weights are in the first layer
    with pytest.raises(Unreachable, match=r"with the first layer dense, the density is above 0.9231, not 0.9"):
        run_chain(tiny.trial(rule, sparsity=0.1))


def test_the_only_layer_is_not_kept_dense(scoring_of):
    scores = FirstDense(density=0.5).scores(scoring_of(torch.nn.Linear(3, 2), (3,)))
    assert sorted(scores["weight"].flatten().tolist()) == pytest.approx([1 + (rank + 0.5) / 6 for rank in range(6)])


@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAM], ids=["momentum", "adam"])
@pytest.mark.parametrize("name", MOVING)
def test_the_number_of_weights_is_the_same_after_every_step(tiny, method, run_stages, name, optimizer):
    task = tiny.task(tiny.Conv(), optimizer=optimizer, evaluate_every="end")
    rule = method(name, **OFTEN)
    steps = [Train(f"{step}it", by=rule) for step in range(1, 21)]
    chain = run_stages(task, rule.random_mask(0.4), *steps)
    begun = counts(chain.after(Prune).masks)
    assert begun == kept_counts(describe(task).layers, 0.4, "erk")
    for node in chain.nodes[2:]:
        state = chain.states[node.key]
        found = counts(state.masks)
        assert sum(found.values()) == sum(begun.values())
        assert name == "snfs" or found == begun
        for layer, kept in state.masks.items():
            assert not state.parameters[layer][~kept].any()
            memory = [value for key, value in state.optimizer.items() if key.endswith(f"/{layer}") and value.dim()]
            assert memory
            assert not any(value[~kept].any() for value in memory)


@pytest.mark.parametrize("name", MOVING)
def test_masks_change_after_multiples_of_the_interval_and_never_after_the_end(tiny, method, run_stages, name):
    rule = method(name, **OFTEN)
    steps = [Train(f"{step}it", by=rule) for step in range(1, 21)]
    masks = masks_of(run_stages(tiny.task(evaluate_every="end"), rule.random_mask(0.3), *steps))
    changed = [made for made in range(1, 20) if not same(masks[made - 1], masks[made])]
    # SET and SNFS update at the end of a step, RigL in place of the next one.
    expected = [4, 8, 12] if name == "rigl" else [3, 7, 11]
    assert changed == expected


def through_disk(state):
    """The state as it comes back from the store."""
    tensors = ("parameters", "buffers", "optimizer", "masks", "memory", "cost", "unbooked", "choice")
    plain = {name: getattr(state, name) for name in State.__dataclass_fields__.keys() - set(tensors)}
    shapes = {name: list(mask.shape) for name, mask in state.masks.items()}
    return from_tensors(to_tensors(state), shapes, plain | {"cost": {}})


@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAM], ids=["momentum", "adam"])
@pytest.mark.parametrize("name", MOVING)
def test_training_in_pieces_is_training_in_one(tiny, method, run_stages, name, optimizer):
    rule = method(name, **OFTEN)
    task = tiny.task(tiny.MLP(hidden=(12, 8), dropout=0.2), optimizer=optimizer)
    pieces = [Train(until, by=rule) for until in ("2it", "8it", "11it", "17it", "end")]
    whole = run_stages(task, rule.random_mask(0.3), Train(by=rule)).end
    again = run_stages(task, rule.random_mask(0.3), *pieces, hand_on=through_disk).end
    for field in ("parameters", "optimizer", "masks", "memory"):
        assert same(getattr(whole, field), getattr(again, field)), field


@pytest.mark.parametrize("name", MOVING)
def test_a_state_that_training_goes_on_from_is_left_as_it_was(tiny, method, run_stages, name):
    rule = method(name, **OFTEN)
    begin = (rule.random_mask(0.3), Train("6it", by=rule))
    gone_on = run_stages(tiny.task(), *begin, Train(by=rule)).after(Train, 0)
    stopped = run_stages(tiny.task(), *begin).end
    for field in ("parameters", "optimizer", "masks", "memory"):
        assert same(getattr(gone_on, field), getattr(stopped, field)), field


@pytest.mark.parametrize("name", MOVING)
def test_the_mask_that_moves_may_come_from_another_method(tiny, method, run_stages, name):
    chain = run_stages(tiny.task(), Prune(by=method("snip"), density=0.2), Train(by=method(name, **OFTEN)))
    begun, ended = chain.after(Prune).masks, chain.end.masks
    assert not same(begun, ended)
    assert sum(counts(ended).values()) == sum(counts(begun).values()) == 94


@pytest.mark.parametrize("name", ["set", "snfs"])
def test_a_dense_network_stays_dense(tiny, method, run_stages, name):
    moved = run_stages(tiny.task(), Train(by=method(name, **OFTEN))).end
    assert same(moved.parameters, run_stages(tiny.task(), Train()).end.parameters)
    assert moved.masks == {}


@pytest.mark.parametrize("name", MOVING)
def test_a_layer_that_is_wholly_kept_is_left_alone(training_of, method, name):
    weights = {"full": [1.0, -2.0, 3.0, 4.0]}
    training = training_of(weights, gradients=weights, momentum=weights)
    updater = method(name, **OFTEN).updater(None)
    updater.begin(training)
    training.step = 8 if name == "rigl" else 7
    updater.after_backward(training)
    updater.after_step(training)
    assert training.masks["full"].all()
    assert training.weights["full"].tolist() == weights["full"]
    assert training.optimizer.state[training.weights["full"]]["momentum_buffer"].tolist() == weights["full"]


@pytest.mark.parametrize(
    ("name", "changes", "gain"), [("rigl", {}, 0.2), ("snfs", {}, 0.2), ("set", {"interval": "20it"}, 0.1)]
)
def test_moving_connections_beats_a_static_mask_on_very_sparse_digits(
    tiny, method, run_chain, digits_task, name, changes, gain
):
    task = digits_task(hidden=(300, 100), epochs=40, evaluate_every="end")
    moving, static = (
        run_chain(tiny.trial(rule, sparsity=0.988, task=task)).accuracy
        for rule in (method(name, **changes), method("static"))
    )
    assert moving > static + gain


def test_they_are_methods(method):
    assert all(isinstance(method(name), prunebench.Method) for name in MOVING)


def test_a_grid_skips_what_a_dense_first_layer_puts_out_of_reach(tiny, method):
    trial = tiny.trial(method("rigl", allocation="uniform-first-dense"), sparsity=0.9)
    with pytest.raises(Unreachable, match="with the first layer dense, the density is above"):
        list(trial.entry.method.stages(trial))
