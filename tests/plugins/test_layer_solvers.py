"""Methods that solve for the mask and the weights of a layer at once: OBC, ADMM and ALPS, and how they compare.

Beside them what holds for every method that prunes layer by layer.
"""

from itertools import combinations

import pytest
import torch

from prunebench import LayerwiseMethod, Structure
from prunebench.api import plugins

SOLVERS = ("obc", "admm", "alps", "sparsegpt")
LAYERWISE = sorted(
    name
    for name, cls in plugins.load().components["method"].items()
    if issubclass(cls, LayerwiseMethod)
    and cls.__module__.startswith("prunebench_plugins")
    and "prune_layer" in vars(cls)  # MaskLoRA trains what another method pruned
)
PAIR = [[2.0, 1.0], [1.0, 2.0]]


def solved(method, name, layer, **parameters):
    """The mask, and the weight that the layer has from then on; low-rank factors are added to it."""
    mask, weight, *factors = method(name, **parameters).prune_layer(layer)
    return mask, weight * mask + (factors[0] @ factors[1] if factors else 0.0)


def test_obc_removes_the_weight_that_costs_least_and_the_others_make_up_for_it(method, layer_of):
    """Both pivots of the inverse are 2/3: 1 goes, and 3 becomes 3 + 1 * 1/2."""
    mask, weight = solved(method, "obc", layer_of([[1.0, 3.0]], PAIR, keep=1), damping=1e-12)
    assert mask.tolist() == [[False, True]]
    assert weight.tolist() == [[0.0, pytest.approx(3.5)]]
    # SparseGPT could not make up for a weight on the right.
    mask, weight = solved(method, "obc", layer_of([[3.0, 1.0]], PAIR, keep=1), damping=1e-12)
    assert weight.tolist() == [[pytest.approx(3.5), 0.0]]


def test_obc_decides_for_all_outputs_together_how_many_weights_each_of_them_loses(method, layer_of):
    mask, _ = solved(method, "obc", layer_of([[1.0, 2.0], [10.0, 20.0]], keep=2))
    assert mask.tolist() == [[False, False], [True, True]]


def test_a_step_never_counts_as_cheaper_than_one_that_it_needs(method, layer_of):
    """Two inputs are nearly the same, and their weights cancel out: the first removal costs 0.02, the second nothing.

    By the costs alone the second step would come first of all, before what the other output can do for 0.0002.
    """
    moments = torch.tensor([[1.0, 0.99], [0.99, 1.0]])
    layer = layer_of([[1.0, -1.0], [0.1, 5.0]], moments, keep=3)
    mask, _ = solved(method, "obc", layer, damping=1e-9)
    assert mask.tolist() == [[True, True], [False, True]]
    mask, _ = solved(method, "obc", layer_of(layer.weight, moments, keep=1), damping=1e-9)
    assert mask.tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize("structure", [None, Structure(2, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_obc_is_greedy_elimination_by_the_inverse(method, random_layer, seed, structure):
    """An oracle that inverts the moments of what is left anew at each step, and solves for the weights there.

    With a structure a group of which enough is removed is closed.
    """
    layer = random_layer(seed, outputs=1, inputs=8, keep=3, structure=structure)
    metric = layer.moments + 0.01 * layer.moments.diagonal().mean() * torch.eye(8)
    left = list(range(8))
    while len(left) > layer.keep:
        now = torch.linalg.solve(metric[left][:, left], (metric @ layer.weight[0])[left])
        costs = now.square() / torch.linalg.inv(metric[left][:, left]).diagonal()
        if structure is not None:
            closed = [sum(other // 4 == one // 4 for other in left) == 2 for one in left]
            costs = costs.masked_fill(torch.tensor(closed), torch.inf)
        left.pop(int(costs.argmin()))
    mask, weight = solved(method, "obc", layer)
    assert mask[0].nonzero().flatten().tolist() == left
    assert torch.allclose(weight[0, left], torch.linalg.solve(metric[left][:, left], (metric @ layer.weight[0])[left]))


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("keep", [0, 1, 29, 48, 95, 96])
def test_counts_are_exact(method, random_layer, name, keep):
    layer = random_layer(1, keep=keep)
    mask, weight = solved(method, name, layer)
    assert int(mask.sum()) == keep
    assert weight.isfinite().all()
    assert keep < 96 or torch.allclose(weight, layer.weight, rtol=1e-6)


@pytest.mark.parametrize("name", LAYERWISE)
@pytest.mark.parametrize("structure", [Structure(2, 4), Structure(1, 4), Structure(4, 8)])
def test_each_group_keeps_its_number(method, random_layer, name, structure):
    mask, _ = solved(method, name, random_layer(2, structure=structure))
    assert mask.view(-1, structure.m).sum(1).eq(structure.n).all()


@pytest.mark.parametrize("name", ["obc", "alps", "sparsegpt"])
def test_with_independent_inputs_they_keep_the_largest_weights_and_their_values(method, random_layer, layer_of, name):
    layer = layer_of(random_layer(3).weight, keep=40)
    expected, _ = method("magnitude-layerwise").prune_layer(layer)
    mask, weight = solved(method, name, layer)
    assert torch.equal(mask, expected)
    assert torch.allclose(weight, layer.weight * expected)


@pytest.mark.parametrize("name", [name for name in LAYERWISE if name != "magnitude-layerwise"])
def test_unused_inputs_lose_their_weights_first_at_no_cost(method, random_layer, layer_of, name):
    layer = random_layer(4)
    moments, means = layer.moments.clone(), layer.means.clone()
    moments[:, ::2] = moments[::2] = means[::2] = 0
    given = layer_of(layer.weight, moments, keep=48, means=means)
    mask, weight = solved(method, name, given)
    assert not mask[:, ::2].any()
    assert given.error(weight, given.moments) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", SOLVERS)
def test_fewer_tokens_than_inputs_and_none_at_all_are_enough(method, random_layer, layer_of, name):
    layer = random_layer(0, tokens=3)
    assert torch.linalg.matrix_rank(layer.moments) == 3
    for given in (layer, layer_of(layer.weight, torch.zeros(16, 16), keep=48)):
        mask, weight = solved(method, name, given)
        assert int(mask.sum()) == 48
        assert weight.isfinite().all()


@pytest.mark.parametrize("keep", [41, 90])
@pytest.mark.parametrize("name", LAYERWISE)
def test_a_permutation_of_the_outputs_changes_nothing_else(method, random_layer, layer_of, name, keep):
    layer, order = random_layer(3, keep=keep), torch.tensor([2, 0, 5, 1, 4, 3])
    moved = layer_of(layer.weight[order], layer.moments, layer.keep, means=layer.means)
    (mask, weight), (other, changed) = solved(method, name, layer), solved(method, name, moved)
    assert torch.equal(mask[order], other)
    assert torch.allclose(weight[order], changed)


def test_the_scale_of_inputs_and_weights_changes_no_mask(method, random_layer, layer_of):
    """Inputs times 1000 and weights by 1000 are the same layer; ADMM and ALPS scale the inputs themselves."""
    layer = random_layer(5)
    other = layer_of(layer.weight / 1000, layer.moments * 1e6, layer.keep)
    for name in SOLVERS:
        (mask, weight), (same, scaled) = solved(method, name, layer), solved(method, name, other)
        assert torch.equal(mask, same)
        assert torch.allclose(weight, 1000 * scaled, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_no_method_is_better_than_the_best_of_all_masks_and_obc_is_near_it(method, random_layer, seed):
    """Every mask of four of eight weights, each with its least-squares solution."""
    layer = random_layer(seed, outputs=1, inputs=8, keep=4)
    errors = []
    for kept in combinations(range(8), 4):
        mask = torch.zeros(1, 8, dtype=torch.bool)
        mask[0, list(kept)] = True
        errors.append(layer.error(layer.reconstructed(mask, 1e-9), layer.moments))
    best = min(errors)
    found = {name: layer.error(solved(method, name, layer)[1], layer.moments) for name in SOLVERS}
    assert min(found.values()) >= best * (1 - 1e-6)
    assert sorted(errors).index(min(errors, key=lambda error: abs(error - found["obc"]))) <= 6


@pytest.mark.parametrize("sparsity", [0.6, 0.7, 0.8, 0.9])
def test_obc_alps_and_admm_have_lower_errors_than_sparsegpt_and_wanda(method, output_error, sparsity):
    settings = {"outputs": 8, "inputs": 24, "keep": round((1 - sparsity) * 192)}
    rules = {name: method(name) for name in ("obc", "alps", "admm", "wanda")} | {
        "sparsegpt": method("sparsegpt", columns=8)
    }
    errors = {name: output_error(rule, **settings) for name, rule in rules.items()}
    others = min(errors["sparsegpt"], errors["wanda"])
    assert errors["alps"] <= errors["admm"] <= 0.8 * others
    assert errors["obc"] <= 0.8 * others


def test_sparsegpts_masks_are_better_than_wandas_and_obcs_better_than_both(method, output_error):
    """By their least-squares solutions. SparseGPT's own is worse, as it only changes columns on the right."""

    class Reconstructed:
        def __init__(self, rule):
            self.rule = rule

        def prune_layer(self, layer):
            mask, _ = self.rule.prune_layer(layer)
            return mask, layer.reconstructed(mask)

    settings = {"outputs": 8, "inputs": 24, "keep": 96}
    rules = (method("obc"), Reconstructed(method("sparsegpt", columns=8)), Reconstructed(method("wanda")))
    errors = [output_error(rule, **settings) for rule in rules]
    assert errors == sorted(errors)
    assert (
        errors[-1]
        < output_error(method("sparsegpt", columns=8), **settings)
        < output_error(method("wanda"), **settings)
    )


def test_the_mask_of_admm_is_gradual(method, random_layer):
    """A mask that is at its target in the first of fifteen steps is another one, and a worse one."""
    layers = [random_layer(seed, keep=24) for seed in range(8)]
    gradual, at_once = (
        sum(layer.error(solved(method, "admm", layer, gradual=steps)[1], layer.moments) for layer in layers)
        for steps in (15, 1)
    )
    assert gradual < at_once


@pytest.mark.parametrize("structure", [None, Structure(2, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_admm_is_the_alternation_of_its_paper(method, random_layer, seed, structure):
    """Written down again: the sparsity rises along a cubic, s - s (1 - t / 15)³, and the mask is fixed after that.

    The authors' later code has the full sparsity in all of these steps in one of its branches, which gives other masks.
    With a structure the largest of each group are out of reach of the threshold.
    """
    layer = random_layer(seed, outputs=5, inputs=12, keep=20, structure=structure)

    def sizes(values):
        if structure is None:
            return values.abs()
        groups = values.abs().view(-1, 4)
        return torch.where(groups >= groups.sort(1).values[:, 2:3], torch.inf, groups).view_as(values)

    def alternated(sparsity_at):
        norms = layer.moments.diagonal().sqrt() + 1e-8
        scaled = layer.moments / torch.outer(norms, norms)
        scaled = scaled + 0.1 * scaled.diagonal().mean() * torch.eye(12)
        dense = layer.weight * norms
        weight, dual = dense, torch.zeros_like(dense)
        for step in range(1, 21):
            if step <= 15:
                removed = round(sparsity_at(step) * (60 - layer.keep))
                threshold = sizes(weight + dual).flatten().sort().values[removed - 1] if removed else -1.0
                mask = sizes(weight + dual) > threshold
            sparse = (weight + dual) * mask
            dual = dual + weight - sparse
            weight = (dense @ scaled + sparse - dual) @ torch.linalg.inv(scaled + torch.eye(12))
        return (weight + dual) * mask / norms

    _, found = solved(method, "admm", layer)
    assert torch.allclose(found, alternated(lambda step: 1 - (1 - step / 15) ** 3))
    assert not torch.allclose(found, alternated(lambda step: 1.0))


@pytest.mark.parametrize("keep", [20, 58, 250])
@pytest.mark.parametrize("seed", range(3))
def test_alps_is_the_alternation_of_its_paper(method, random_layer, seed, keep):
    """Written down again, with an inverse in each step, and least squares for the mask of the last one.

    Every three steps the penalty rises by the share of the weights that changed sides. Until it has risen, it falls to
    a fifth instead if few did, and all begins again.
    """
    layer = random_layer(seed, outputs=40 if keep > 60 else 5, inputs=12, keep=keep)
    metric = layer.moments + 0.01 * layer.moments.diagonal().mean() * torch.eye(12)
    norms = metric.diagonal().sqrt()
    scaled, dense = metric / torch.outer(norms, norms), layer.weight * norms

    def largest(values):
        return values.abs() >= values.abs().flatten().sort(descending=True).values[keep - 1]

    rho, has_risen, sparse, dual, before = 0.1, False, dense, torch.zeros_like(dense), largest(dense)
    for step in range(1, 301):
        weight = (dense @ scaled - dual + rho * sparse) @ torch.linalg.inv(scaled + rho * torch.eye(12))
        mask = largest(weight + dual / rho)
        sparse = (weight + dual / rho) * mask
        dual = dual + rho * (weight - sparse)
        if step % 3 == 0:
            changed, before = int((mask & ~before).sum()), mask
            if changed <= 0.005 * keep and not has_risen:
                rho, sparse, dual = rho / 5, dense, torch.zeros_like(dense)
            elif changed == 0:
                break
            else:
                rho, has_risen = rho * (1.3 if changed > 0.1 * keep else 1.2 if changed > 0.005 * keep else 1.1), True
    found, solution = solved(method, "alps", layer)
    assert torch.equal(found, largest(weight))
    assert torch.allclose(solution, layer.reconstructed(found))


def test_admm_refuses_a_mask_that_changes_longer_than_it_runs(method):
    with pytest.raises(ValueError, match="the mask changes in 15 steps, and there are 10"):
        method("admm", steps=10)
