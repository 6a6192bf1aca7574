"""CHITA and CBS: a quadratic model of the loss that is minimized over all masks of a size, against all of them."""

from itertools import combinations
from types import SimpleNamespace

import pytest
import torch
from prunebench_plugins.cbs import Swaps, in_random_parts
from prunebench_plugins.chita import selected
from prunebench_plugins.local_loss import LocalLoss, highest

from prunebench import Initialize, Prune, Train

F64 = torch.float64


def local_loss(rows, dense, ridge=1e-9):
    return LocalLoss(torch.tensor(rows), torch.tensor(dense, dtype=F64), ridge)


def drawn(seed, weights=10, count=6, ridge=0.01):
    """Correlated gradients of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, 3, generator=generator) @ torch.randn(3, weights, generator=generator)
    rows += 0.3 * torch.randn(count, weights, generator=generator)
    return LocalLoss(rows, torch.randn(weights, generator=generator, dtype=F64), ridge)


def masks_of(size, keep):
    """Every mask of so many of the weights."""
    for kept in combinations(range(size), keep):
        yield torch.zeros(size, dtype=torch.bool).index_fill(0, torch.tensor(kept), True)


def test_the_minimum_for_a_mask_is_worked_out_by_hand():
    """One gradient (1, 1): only the sum of the weights matters, so what is removed goes to the other weight."""
    found = local_loss([[1.0, 1.0]], [1.0, 3.0]).minimum(torch.tensor([False, True]))
    assert found.tolist() == [0.0, pytest.approx(4.0)]


def test_the_ridge_is_that_of_the_mean_over_gradients():
    """Gradients 2, 2 and 0 on the removed weight, 1, 1 and 0 on the other: F = [[8, 4], [4, 2]] / 3, ridge 1/3.

    The other becomes 3 + (4/3) / (2/3 + 1/3) * 1.
    """
    loss = local_loss([[2.0, 1.0], [2.0, 1.0], [0.0, 0.0]], [1.0, 3.0], ridge=1 / 3)
    assert loss.minimum(torch.tensor([False, True])).tolist() == [0.0, pytest.approx(13 / 3)]
    # ½ (8/3 - 2 * 4/3 * 1 + 2/3 * 1) with the change (-1, 1), and ½ * 1/3 * 2 for the ridge.
    assert loss.value(torch.tensor([0.0, 4.0], dtype=F64)) == pytest.approx(1 / 3 + 1 / 3)


def test_it_is_the_quadratic_of_the_whole_fisher_matrix():
    loss = drawn(0)
    fisher = loss.rows.double().T @ loss.rows.double() / 6 + 0.01 * torch.eye(10)
    weight, kept = torch.arange(10, dtype=F64) / 3, torch.arange(10) % 3 > 0
    change = weight - loss.dense
    assert loss.value(weight) == pytest.approx(float(change @ fisher @ change) / 2)
    assert torch.allclose(loss.gradient(weight), fisher @ change)
    solved = torch.linalg.solve(fisher[kept][:, kept], (fisher @ loss.dense)[kept])
    assert torch.allclose(loss.minimum(kept)[kept], solved)
    assert not loss.minimum(kept)[~kept].any()


def found_and_best(seed, size=10, keep=5):
    """The values of chita, of the largest weights, and of all masks in their order, each at its minimum."""
    loss = drawn(seed, weights=size)
    begun = highest(loss.dense.abs(), keep)
    values = [loss.value(loss.minimum(mask)) for mask in (selected(loss, begun, 100), begun)]
    return *values, sorted(loss.value(loss.minimum(mask)) for mask in masks_of(size, keep))


def test_chita_is_near_the_best_of_all_masks_and_never_worse_than_the_largest_weights():
    """Of 252 masks."""
    ranks, right = {"chita": [], "magnitude": []}, {"chita": 0, "magnitude": 0}
    for seed in range(30):
        chita, magnitude, values = found_and_best(seed)
        assert values[0] * (1 - 1e-9) <= chita <= magnitude * (1 + 1e-9)
        for name, value in (("chita", chita), ("magnitude", magnitude)):
            ranks[name].append(sum(other < value * (1 - 1e-9) for other in values))
            right[name] += ranks[name][-1] == 0
    assert sorted(ranks["chita"])[15] <= 3 < 5 <= sorted(ranks["magnitude"])[15]
    assert right["chita"] >= 1.5 * right["magnitude"]


def test_chita_finds_a_better_mask_than_the_largest_weights_by_hand():
    """Gradients (3, 0) and (0, 1): F = diag(9, 1) / 2, so that 1 costs 9/4 and 2 costs 1, before the small ridge."""
    loss = local_loss([[3.0, 0.0], [0.0, 1.0]], [1.0, 2.0])
    assert selected(loss, torch.tensor([False, True]), 100).tolist() == [True, False]


def test_chita_removes_a_large_weight_without_any_gradient():
    """By hand: the first weight is the largest, and the loss does not depend on it."""
    loss = local_loss([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [3.0, 1.0, 2.0], ridge=1e-6)
    assert selected(loss, highest(loss.dense.abs(), 2), 100).tolist() == [False, True, True]


@pytest.mark.parametrize("keep", [0, 1, 9, 10])
def test_chita_keeps_the_exact_number_at_the_ends(keep):
    loss = drawn(1)
    kept = selected(loss, highest(loss.dense.abs(), keep), 100)
    assert int(kept.sum()) == keep
    assert loss.minimum(kept).isfinite().all()


def test_chita_is_magnitude_pruning_where_all_weights_matter_alike():
    loss = LocalLoss(torch.eye(12), torch.randn(12, generator=torch.Generator().manual_seed(2), dtype=F64), 0.1)
    begun = highest(loss.dense.abs(), 5)
    assert torch.equal(selected(loss, begun, 100), begun)
    assert torch.allclose(loss.minimum(begun), loss.dense * begun)


def swapped(loss, keep, **settings):
    search = Swaps(loss, ~highest(loss.dense.abs(), keep), torch.ones_like(loss.dense).bool())
    while search.swap(**{"tolerance": 0.0, "reach": 99, "failures": 99, **settings}):
        pass
    return search


def test_cbs_removes_weights_that_cancel_each_other_out():
    """By hand: the gradient is (1, 1, 1), so that removing 2 and -2 costs 0, and 2 and 1 costs 9."""
    loss = local_loss([[1.0, 1.0, 1.0]], [2.1, -2.0, 1.0])
    search = swapped(loss, 1)
    assert search.removed.tolist() == [True, True, False]
    assert search.cost == pytest.approx(0.01)


def removal_cost(loss, removed):
    """w_R F w_Rᵀ, from the whole matrix."""
    weight = loss.dense * removed
    return float(weight @ (loss.rows.double().T @ loss.rows.double() / len(loss.rows)) @ weight)


@pytest.mark.parametrize("seed", range(8))
def test_cbs_is_near_the_lowest_cost_of_all_removals_and_below_that_of_magnitude(seed):
    loss = drawn(seed)
    costs = sorted(removal_cost(loss, ~mask) for mask in masks_of(10, 5))
    search = swapped(loss, 5)
    assert search.cost == pytest.approx(removal_cost(loss, search.removed))
    assert costs[0] * (1 - 1e-9) <= search.cost <= removal_cost(loss, ~highest(loss.dense.abs(), 5)) * (1 + 1e-9)
    assert search.cost <= costs[len(costs) // 10]
    assert int(search.removed.sum()) == 5


def test_no_single_swap_of_those_that_are_compared_would_lower_the_cost_of_cbs_further():
    loss = drawn(3)
    search = swapped(loss, 5)
    for back in search.removed.nonzero().flatten():
        for out in (~search.removed).nonzero().flatten():
            other = search.removed.clone()
            other[back], other[out] = False, True
            assert removal_cost(loss, other) >= search.cost - 1e-9


def test_cbs_tries_the_removed_weight_that_costs_most_first_and_with_the_kept_one_that_costs_least():
    """By hand: alone, weights cost their squares. Of the removed ones 10 is put back for 5, and 3 not for 6."""
    loss = local_loss(torch.eye(4).tolist(), [3.0, 10.0, 6.0, 5.0])
    search = Swaps(loss, torch.tensor([True, True, False, False]), torch.ones(4).bool())
    assert search.swap(tolerance=0.0, reach=0, failures=0) == 1
    assert search.removed.tolist() == [True, False, False, True]


def test_a_swap_that_lowers_the_cost_by_less_than_the_tolerance_is_not_made():
    loss = local_loss([[1.0, 1.0, 1.0]], [2.1, -2.0, 1.0])
    assert swapped(loss, 1, tolerance=0.98).removed.tolist() == [True, True, False]  # from (1 - 2)² = 1
    assert swapped(loss, 1, tolerance=1.0).removed.tolist() == [False, True, True]


def test_what_is_pruned_already_is_never_swapped_back():
    loss = local_loss([[1.0, 1.0, 1.0, 5.0]], [2.1, -2.0, 1.0, 0.0])
    may = torch.tensor([True, True, True, False])
    search = Swaps(loss, torch.tensor([False, True, True, True]), may)
    while search.swap(0.0, 99, 99):
        pass
    assert search.removed.tolist() == [True, True, False, True]


def test_random_parts_keep_their_shares_and_nothing_that_is_pruned():
    sizes = torch.rand(103, generator=torch.Generator().manual_seed(0), dtype=F64)
    sizes[::10] = -1.0
    masks = [in_random_parts(sizes, 40, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert [int(mask.sum()) for mask in masks] == [40, 40, 40]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert not any(mask[::10].any() for mask in masks)
    assert sizes[masks[0]].mean() > sizes[~masks[0]].mean() + 0.2


@pytest.mark.parametrize(("name", "rounds"), [("chita", 1), ("chita", 3), ("cbs", 1)])
def test_they_prune_a_network_exactly_and_change_what_is_kept(method, tiny, run_chain, name, rounds):
    settings = {"gradients": 20, **({"rounds": rounds} if name == "chita" else {"starts": 2})}
    chain = run_chain(tiny.trial(method(name, **settings), sparsity=0.7, task=tiny.task(steps=8)))
    end, before = chain.end, chain.before(Prune)
    assert sum(int(mask.sum()) for mask in end.masks.values()) == round(
        0.3 * sum(m.numel() for m in end.masks.values())
    )
    for weight, mask in end.masks.items():
        assert not end.parameters[weight][~mask].any()
    mask = end.masks["1.weight"]
    assert not torch.equal(end.parameters["1.weight"][mask], before.parameters["1.weight"][mask])
    assert end.choice.tied == 0


def test_cbs_without_a_search_and_an_update_is_magnitude_pruning(method, tiny, run_chain):
    task = tiny.task(steps=8)
    plain = run_chain(tiny.trial(method("cbs", gradients=5, starts=0, passes=0, update=False), task=task)).end
    expected = run_chain(tiny.trial(method("magnitude", finetune=0), task=task)).end
    assert all(torch.equal(mask, expected.masks[name]) for name, mask in plain.masks.items())
    assert torch.equal(plain.parameters["1.weight"], expected.parameters["1.weight"])


def test_the_start_of_cbs_is_the_mask_of_the_lowest_loss(method, tiny, run_chain):
    """More random masks to choose from never make the loss of the network that is found without swaps higher."""
    losses = []
    for starts in (0, 30):
        rule = method("cbs", gradients=60, starts=starts, passes=0, update=False)
        chain = run_chain(tiny.trial(rule, sparsity=0.8, task=tiny.task(steps=30)))
        data = chain.context.data
        with torch.no_grad():
            outputs = chain.module(data.normalized(data.train.inputs))
        losses.append(float(torch.nn.functional.cross_entropy(outputs, data.train.targets)))
    assert losses[1] < losses[0]


def test_their_chains_are_pruned_after_training(method, tiny):
    rule = method("chita", rounds=15, finetune="2ep")
    assert list(rule.stages(tiny.trial(rule, sparsity=0.7))) == [
        Initialize(),
        Train(),
        Prune(by=rule, density=0.3, rounds=15),
        Train(until="+2ep"),
    ]


def test_their_operations_are_in_the_ledger(method):
    network = SimpleNamespace(flops=100.0, size=10)
    passes, each = 3 * 100 * 7 * 2, 2 * 7 * 10
    assert method("chita", gradients=7, batch_size=2, steps=11).scoring_flops(network, 1.0) == (
        passes + each * 11 * 9 + 11 * each * 7
    )
    rule = method("cbs", gradients=7, batch_size=2, starts=3, passes=5)
    assert rule.scoring_flops(network, 1.0) == passes + 100 * 14 * 4 + 3 * each * 5 + each * 7
    rule = method("cbs", gradients=7, batch_size=2, starts=0, passes=5, update=False)
    assert rule.scoring_flops(network, 1.0) == passes + 3 * each * 5
