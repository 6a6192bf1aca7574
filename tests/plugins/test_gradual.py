"""Gradual magnitude pruning: a cubic, the smallest weights, and nothing that comes back."""

import pytest
import torch

from prunebench import Initialize, Prune, Train
from prunebench.api.errors import PrunebenchError
from prunebench.api.tasks import Optimizer
from prunebench.network.description import describe
from prunebench.pruning.allocation import kept_counts


@pytest.fixture
def step_by_step(tiny, method, run_stages):
    """A training of 20 steps of 468 weights, and the masks after each of them."""

    def run(density=0.25, task=None, **parameters):
        rule = method("gradual", **{"interval": "4it", **parameters})
        steps = [Train(f"{step}it", by=rule, density=density) for step in range(1, 21)]
        chain = run_stages(task or tiny.task(evaluate_every="end"), *steps)
        return chain, [chain.states[node.key].masks for node in chain.nodes[1:]]

    return run


def total(masks):
    return sum(int(mask.sum()) for mask in masks.values()) if masks else 468


def test_the_density_falls_along_a_cubic_to_exactly_the_target(step_by_step):
    _, masks = step_by_step(until="16it")
    densities = {4: 0.25 + 0.75 * 0.75**3, 8: 0.25 + 0.75 * 0.5**3, 12: 0.25 + 0.75 * 0.25**3, 16: 0.25}
    expected, now = [], 468
    for made in range(1, 21):
        now = round(densities[made] * 468) if made in densities else now
        expected.append(now)
    assert [total(kept) for kept in masks] == expected
    assert expected[-1] == 117


def test_it_begins_later_and_ends_at_its_end_even_between_two_intervals(step_by_step):
    _, masks = step_by_step(start="25%", until="75%")  # steps 5 and 15, prunings after 9, 13 and 15
    changed = [made for made in range(2, 21) if total(masks[made - 1]) != total(masks[made - 2])]
    assert changed == [9, 13, 15]
    assert total(masks[8]) == round(468 * (0.25 + 0.75 * 0.6**3))
    assert total(masks[14]) == 117


def test_the_smallest_weights_go(training_of, method):
    training = training_of({"a": [0.5, -0.1, 0.2], "b": [-0.4, 0.3, 9.0]}, momentum={"a": [1.0] * 3, "b": [1.0] * 3})
    training.step = 9
    updater = method("gradual", until="10it").updater(0.5)
    updater.begin(training)
    updater.after_step(training)
    assert training.masks["a"].tolist() == [True, False, False]
    assert training.masks["b"].tolist() == [True, False, True]
    assert training.weights["a"].tolist() == [0.5, 0, 0]
    assert training.optimizer.state[training.weights["b"]]["momentum_buffer"].tolist() == [1, 0, 1]


def test_a_kept_weight_that_is_zero_goes_before_the_others_and_after_what_is_pruned(training_of, method):
    training = training_of({"a": [0.0, 0.0, -1.0, 2.0]}, masks={"a": [0, 1, 1, 1]}, step=9)
    updater = method("gradual", until="10it").updater(0.75)
    updater.begin(training)
    updater.after_step(training)
    assert training.masks["a"].tolist() == [False, True, True, True]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_pruned_weights_stay_zero_and_do_not_come_back(tiny, step_by_step, allocation, optimizer):
    kinds = {"sgd": {"momentum": 0.9, "weight_decay": 0.01}, "adam": {"weight_decay": 0.01}}
    task = tiny.task(optimizer=Optimizer(name=optimizer, lr=0.05, **kinds[optimizer]), evaluate_every="end")
    chain, masks = step_by_step(task=task, allocation=allocation, interval="1it")
    for node, before, after in zip(chain.nodes[2:], masks, masks[1:], strict=False):
        assert not any((after[name] & ~before[name]).any() for name in after)
        parameters = chain.states[node.key].parameters
        assert not any(parameters[name][~mask].any() for name, mask in after.items())


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
def test_an_allocation_is_kept_at_every_density(tiny, step_by_step, allocation):
    task = tiny.task(tiny.Conv(), evaluate_every="end")
    _, masks = step_by_step(task=task, allocation=allocation, interval="1it", until="15it")
    for made in range(1, 16):
        density = 0.25 + 0.75 * ((15 - made) / 15) ** 3
        found = {name: int(mask.sum()) for name, mask in masks[made - 1].items()}
        assert found == kept_counts(describe(task).layers, density, allocation)


def test_its_chain_shares_the_dense_beginning(tiny, method):
    gradual = method("gradual", start="2ep")
    assert list(gradual.stages(tiny.trial(gradual, sparsity=0.9))) == [
        Initialize(),
        Train("2ep"),
        Train(by=gradual, density=0.1),
    ]


@pytest.mark.parametrize("start", [0, "6it"])
def test_training_in_pieces_is_training_in_one(tiny, method, run_stages, run_chain, start):
    rule = method("gradual", start=start, interval="2it")
    pieces = [Train(until, by=rule, density=0.1) for until in ("7it", "12it", "17it", "end")]
    again = run_stages(tiny.task(), Train(start), *pieces).end
    whole = run_chain(tiny.trial(rule, sparsity=0.9)).end
    for field in ("parameters", "optimizer", "masks", "memory"):
        one, other = getattr(whole, field), getattr(again, field)
        assert all(torch.equal(one[name], other[name]) for name in one | other)
    assert sum(whole.kept().values()) == 47


def test_it_goes_on_from_a_network_that_is_already_pruned(tiny, method, run_stages):
    rule = method("gradual", interval="5it", until="10it")
    begin = Prune(by=method("snip"), density=0.5)
    chain = run_stages(tiny.task(), begin, *(Train(until, by=rule, density=0.1) for until in ("5it", "10it")))
    half, end = chain.after(Train, 0).masks, chain.end.masks
    assert total(half) == round(468 * (0.1 + 0.4 * 0.5**3))
    assert total(end) == 47
    assert not any((end[name] & ~mask).any() for name, mask in chain.after(Prune).masks.items())


def test_the_cost_is_the_sum_over_the_schedule(step_by_step):
    chain, masks = step_by_step(until="16it")
    batches = [16, 16, 16, 12] * 5
    kept = [468, *(total(mask) for mask in masks[:-1])]  # that each step was made with
    assert chain.end.cost.training_flops == pytest.approx(
        sum(3 * 2 * weights * size for weights, size in zip(kept, batches, strict=True))
    )


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"until": "50it"}, "from step 0 to 50 in 20 steps"),
        ({"until": 0}, "from step 0 to 0 in 20 steps"),
        ({"start": "15it"}, "from step 15 to 15 in 20 steps"),
    ],
)
def test_a_schedule_that_never_reaches_its_target_is_an_error(tiny, method, run_stages, parameters, problem):
    rule = method("gradual", **parameters)
    with pytest.raises(PrunebenchError, match=f"no gradual pruning {problem}"):
        run_stages(tiny.task(), Train(by=rule, density=0.1))


def test_a_training_that_begins_after_the_schedules_end_is_an_error_too(tiny, method, run_stages):
    with pytest.raises(PrunebenchError, match="no gradual pruning from step 17 to 15 in 20 steps"):
        run_stages(tiny.task(), Train("17it"), Train(by=method("gradual"), density=0.1))


def test_it_needs_a_density(method):
    with pytest.raises(PrunebenchError, match="needs the density to end with"):
        method("gradual").updater(None)


def test_until_the_end_prunes_after_the_last_step(tiny, method, run_chain):
    end = run_chain(tiny.trial(method("gradual", until="end", interval="3it"), sparsity=0.8)).end
    assert sum(end.kept().values()) == 94
    assert end.history[-1]["step"] == 20


def test_it_learns_the_digits_at_two_percent(tiny, method, run_chain, digits_task):
    task = digits_task(hidden=(300, 100), epochs=20, evaluate_every="end")
    assert run_chain(tiny.trial(method("gradual", interval="20it"), sparsity=0.98, task=task)).accuracy > 0.8


def test_the_presets_are_parameters(method):
    assert all(method("gradual", **preset.values) and preset.source for preset in method("gradual").presets.values())
