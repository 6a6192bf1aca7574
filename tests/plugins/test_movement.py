"""Movement pruning, on weights and gradients small enough to follow by hand."""

from dataclasses import asdict

import pytest
import torch

from prunebench import Initialize, Train
from prunebench.api.errors import PrunebenchError
from prunebench.api.tasks import Optimizer
from prunebench.training.state import State, from_tensors, to_tensors

TENSORS = ("parameters", "buffers", "optimizer", "masks", "memory")


@pytest.fixture
def moving(method, training_of):
    """A training of these weights, of 20 steps from step 0, and its updater."""

    def make(density, *rows, **parameters):
        training = training_of({name: [list(row)] for name, row in zip("abc", rows, strict=False)}, step=0)
        training.trains_dense = True
        updater = method("movement", **{"start": "4it", "until": "12it", **parameters}).updater(density)
        updater.begin(training)
        return training, updater

    return make


def step(training, updater, **gradients):
    """A step in which the masked weights get these gradients, without that of the recipe's optimizer."""
    updater.apply_masks(training)
    for name, gradient in gradients.items():
        training.weights[name].grad = torch.tensor([gradient])
    updater.restore_dense(training)
    assert not updater.after_backward(training)
    updater.after_step(training)
    training.step += 1


def score(training, name="a"):
    return training.memory[f"score/{name}"].flatten().tolist()


def test_a_score_rises_while_its_weight_moves_away_from_zero(moving):
    """Gradient * weight is 2, -2, 2, -2: a first step of Adam is the learning rate, whatever the size."""
    training, updater = moving(0.5, [2.0, -1.0, -4.0, 0.5])
    step(training, updater, a=[1.0, 2.0, -0.5, -4.0])
    assert score(training) == pytest.approx([-0.01, 0.01, -0.01, 0.01], rel=1e-4)


def test_the_second_step_of_the_scores_is_adams(moving):
    """Gradients 2 and then 0: the means are 0.1 * 2 * 0.9 / (1 - 0.81), and 0.001 * 4 * 0.999 / (1 - 0.998001)."""
    training, updater = moving(0.5, [2.0, 1.0], score_lr=0.5)
    step(training, updater, a=[1.0, 1.0])
    step(training, updater, a=[0.0, 1.0])
    second = (0.18 / 0.19) / (0.003996 / 0.001999) ** 0.5
    assert score(training)[0] == pytest.approx(-0.5 - 0.5 * second, rel=1e-4)
    assert score(training)[1] == pytest.approx(-1.0, rel=1e-4)


def test_a_small_weight_that_grows_is_kept_before_a_large_one_that_shrinks(moving):
    training, updater = moving(0.5, [0.1, 9.0], start="1it", until="2it")
    for _ in range(2):
        step(training, updater, a=[-1.0, 1.0])
    updater.apply_masks(training)
    assert training.masks["a"].tolist() == [[True, False]]
    assert training.weights["a"].tolist() == [[pytest.approx(0.1), 0.0]]
    updater.restore_dense(training)
    assert training.weights["a"].tolist() == [[pytest.approx(0.1), 9.0]]


def test_what_is_not_used_gets_no_gradient_but_goes_on_being_scored(moving):
    training, updater = moving(0.5, [1.0, 1.0], start="1it", until="2it")
    for _ in range(3):
        step(training, updater, a=[-1.0, 1.0])
    before = score(training)[1]
    assert training.weights["a"].grad.tolist() == [[-1.0, 0.0]]
    step(training, updater, a=[-1.0, -50.0])
    assert score(training)[1] > before - 0.005
    assert training.weights["a"].grad.tolist() == [[-1.0, 0.0]]


def test_the_density_falls_along_a_cubic_between_start_and_until(moving):
    """Of 16 weights from step 4 to step 12 to a quarter: 16, then 4 + 12 * (7/8)^3, ..., 4 + 12 * (1/8)^3."""
    training, updater = moving(0.25, [1.0] * 16)
    kept = []
    for number in range(14):
        step(training, updater, a=[float(i - number) for i in range(16)])
        kept.append(int(training.masks["a"].sum()))
    cubic = [round(4 + 12 * (left / 8) ** 3) for left in (8, 7, 6, 5, 4, 3, 2, 1, 0)]
    assert kept == [16, 16, 16, 16, *cubic, 4]


def test_a_global_allocation_is_one_threshold_for_all_layers(moving):
    found = {}
    for allocation in ("uniform", "global"):
        training, updater = moving(0.5, [1.0, 1.0], [1.0, 1.0], start="1it", until="2it", allocation=allocation)
        for _ in range(2):
            step(training, updater, a=[-1.0, -1.0], b=[1.0, 1.0])
        updater.apply_masks(training)
        found[allocation] = [int(training.masks[name].sum()) for name in "ab"]
    assert found == {"uniform": [1, 1], "global": [2, 0]}


def test_the_penalty_pulls_scores_down_when_weights_are_removed_and_not_before(moving):
    """Weights without a gradient: before the start no score moves; later all of them fall, by the sign alone."""
    training, updater = moving(0.5, [1.0, 1.0], start="1it", until="2it", penalty=3.0)
    step(training, updater, a=[0.0, 0.0])
    assert score(training) == [0.0, 0.0]
    for _ in range(2):
        step(training, updater, a=[0.0, 0.0])
    assert max(score(training)) < -0.004
    # In the third step all is removed that is to be: 3 / 2 weights * 1/4, in the running mean of three steps.
    assert training.memory["mean/a"].flatten().tolist() == pytest.approx([0.1 * 3 / 2 / 4] * 2, rel=1e-3)


def through_disk(state):
    plain = {name: getattr(state, name) for name in State.__dataclass_fields__.keys() - TENSORS}
    shapes = {name: list(mask.shape) for name, mask in state.masks.items()}
    costs = {"cost": asdict(state.cost), "unbooked": asdict(state.unbooked), "choice": asdict(state.choice)}
    return from_tensors(to_tensors(state), shapes, plain | costs)


@pytest.mark.parametrize("hand_on", [lambda state: state, through_disk], ids=["handed-on", "stored"])
def test_training_in_pieces_is_training_in_one(method, tiny, run_stages, hand_on):
    rule = method("movement", start="2it", until="9it", penalty=1.0)
    task = tiny.task(steps=13, optimizer=Optimizer(name="adam", lr=0.01))
    pieces = [Train(until, by=rule, density=0.5) for until in ("1it", "5it", "7it", "12it", "end")]
    whole, split = run_stages(task, pieces[-1]), run_stages(task, *pieces, hand_on=hand_on)
    for field in TENSORS:
        one, other = getattr(split.end, field), getattr(whole.end, field)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), field


@pytest.mark.parametrize("until", ["75%", "end"])
def test_the_last_state_has_exactly_the_density_and_zeros(method, tiny, run_chain, until):
    rule = method("movement", until=until)
    end = run_chain(tiny.trial(rule, sparsity=0.7)).end
    sizes = {name: mask.numel() for name, mask in end.masks.items()}
    assert sum(int(mask.sum()) for mask in end.masks.values()) == round(0.3 * sum(sizes.values()))
    for name, mask in end.masks.items():
        assert not end.parameters[name][~mask].any()
        assert end.parameters[name][mask].all()


def test_the_chain_begins_with_the_weights_of_the_task(method, tiny):
    rule = method("movement")
    assert list(rule.stages(tiny.trial(rule, sparsity=0.7))) == [Initialize(), Train(by=rule, density=0.3)]


@pytest.mark.parametrize("times", [{"start": "75%", "until": "10%"}, {"until": "21it"}])
def test_times_that_do_not_fit_the_training_are_an_error(method, tiny, run_stages, times):
    with pytest.raises(
        PrunebenchError, match=r"no movement pruning from step \d+ to \d+ in a training from step 0 to 20"
    ):
        run_stages(tiny.task(), Train(by=method("movement", **times), density=0.5))


def test_without_a_density_there_is_no_updater(method):
    with pytest.raises(PrunebenchError, match="needs the density to end with"):
        method("movement").updater(None)
