"""Pruning block by block: on which inputs each layer is pruned, how many weights it keeps, and what that costs."""

import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import prunebench
from prunebench import Initialize, Outliers, Prune, PruneLayerwise, Reconstruct, Structure, Train
from prunebench.api.errors import PluginError, PrunebenchError, Unreachable
from prunebench.api.layers import Layer, Network
from prunebench.network.description import describe
from prunebench.pruning.layerwise import Calibration, Calibrator, _by_outliers
from prunebench.pruning.moments import Moments
from prunebench.pruning.solutions import Solution


class Smallest(prunebench.LayerwiseMethod):
    """Magnitudes within a layer, and what it was passed, noted in `seen`."""

    name = "smallest"
    factor: float = 1.0

    def prune_layer(self, layer):
        SEEN.append(layer)
        return layer.keep_highest(layer.weight.abs()), self.factor * layer.weight

    def layer_flops(self, outputs, inputs, tokens):
        return float(tokens)


SEEN = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


def split(chain):
    """The calibration examples and the held-out ones of a trial, as a network gets them."""
    data = chain.context.data
    drawn = Calibration.drawn(data, chain.context.trial.seed, 30)
    return [data.examples(data.train, places)[0] for places in (drawn.examples, drawn.held_out)]


def moments_of(inputs):
    return inputs.double().T @ inputs.double() / len(inputs)


@pytest.fixture
def pruned(tiny, run_stages):
    """A network of three layers, trained for a few steps and pruned layer by layer."""

    def run(model=None, **changes):
        task = tiny.task(model or tiny.MLP(hidden=(12, 8)), steps=6)
        stage = PruneLayerwise(**{"by": Smallest(), "density": 0.4, "examples": 30, **changes})
        return run_stages(task, Train(), stage)

    return run


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_each_layer_is_pruned_on_what_reaches_it_when_those_before_it_are_pruned(pruned, tiny, dropout):
    """In evaluation mode."""
    chain = pruned(tiny.MLP(hidden=(12, 8), dropout=dropout))
    dense, after = chain.after(Train).parameters, chain.end.parameters
    inputs, _ = split(chain)
    reaching = inputs.flatten(1)
    for number, layer in zip((1, 4, 7), SEEN, strict=True):
        assert torch.allclose(layer.moments, moments_of(reaching), rtol=1e-5)
        assert torch.allclose(layer.means, reaching.double().mean(0), rtol=1e-5, atol=1e-6)
        assert torch.equal(layer.weight, dense[f"{number}.weight"].double())
        assert layer.tokens == 30
        reaching = torch.relu(reaching @ after[f"{number}.weight"].T + after[f"{number}.bias"])


class Pair(nn.Module):
    """A block of two layers, one after the other."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, inputs):
        return torch.relu(self.second(torch.relu(self.first(inputs))))


class Pairs(prunebench.Model):
    """Two blocks, defined in the reverse of the order in which they run."""

    name = "pairs"
    version = 1
    declared: bool = False

    def build(self, shape, classes):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(36, classes)
                self.pairs = nn.ModuleList([Pair(36), Pair(36)])

            def forward(self, inputs):
                return self.fc(self.pairs[0](self.pairs[1](inputs.flatten(1))))

        return Net()

    def blocks(self, module):
        return ["pairs.1.first", "pairs.1.second"] if self.declared else []


ORDER = ["pairs.1.first", "pairs.1.second", "pairs.0.first", "pairs.0.second", "fc"]


@pytest.mark.parametrize("declared", [False, True])
def test_inside_a_block_inputs_are_those_of_the_dense_block_unless_it_is_declared_as_two(pruned, declared):
    chain = pruned(Pairs(declared=declared))
    dense, after = chain.after(Train).parameters, chain.end.parameters
    assert [layer.name for layer in SEEN] == [f"{path}.weight" for path in ORDER]
    inputs, _ = split(chain)
    values = after if declared else dense
    inner = torch.relu(inputs.flatten(1) @ values["pairs.1.first.weight"].T + values["pairs.1.first.bias"])
    assert torch.allclose(SEEN[1].moments, moments_of(inner), rtol=1e-5, atol=1e-7)
    other = dense if declared else after
    wrong = torch.relu(inputs.flatten(1) @ other["pairs.1.first.weight"].T + other["pairs.1.first.bias"])
    assert not torch.allclose(SEEN[1].moments, moments_of(wrong), rtol=1e-2)


def test_no_more_is_held_than_two_matrices_for_each_layer_of_one_block(pruned, monkeypatch):
    """Of 36 inputs: two layers, for the calibration examples and for the held-out ones; and their sums."""
    held, most = [0], [0]
    original = Moments.__init__

    def counted(self, *args, **kwargs):
        original(self, *args, **kwargs)
        size = sum(value.nbytes for value in vars(self).values() if isinstance(value, torch.Tensor))
        held[0] += size
        most[0] = max(most[0], held[0])
        weakref.finalize(self, lambda: held.__setitem__(0, held[0] - size))

    monkeypatch.setattr(Moments, "__init__", counted)
    pruned(Pairs())
    assert most[0] <= 2 * 2 * 8 * (36 * 36 + 36)
    assert most[0] >= 2 * 8 * 36 * 36


def test_exactly_as_many_weights_are_kept_and_they_are_those_of_the_method(pruned):
    chain = pruned(by=Smallest(factor=0.5))
    dense, end = chain.after(Train).parameters, chain.end
    size = sum(layer.size for layer in describe(chain.context.trial.task).layers)
    assert sum(int(mask.sum()) for mask in end.masks.values()) == round(0.4 * size)
    for name, mask in end.masks.items():
        assert torch.equal(end.parameters[name], dense[name] * mask * 0.5)
        assert dense[name].abs()[mask].min() >= dense[name].abs()[~mask].max()


@pytest.mark.parametrize("density", [0.1, 0.37, 0.5, 0.9])
def test_grouped_and_depthwise_convolutions_are_pruned_group_by_group(pruned, tiny, density):
    chain = pruned(tiny.Conv(), density=density)
    assert [tuple(layer.weight.shape) for layer in SEEN] == [(4, 9), *[(4, 18)] * 2, *[(1, 9)] * 8, (3, 8)]
    assert SEEN[0].tokens == 30 * 36
    size = sum(layer.size for layer in describe(chain.context.trial.task).layers)
    assert sum(int(mask.sum()) for mask in chain.end.masks.values()) == round(density * size)


def test_a_convolution_is_pruned_on_the_images_that_reach_it(pruned, tiny):
    chain = pruned(tiny.Conv())
    inputs, _ = split(chain)
    columns = nn.functional.unfold(inputs, 3, padding=1).transpose(1, 2).reshape(-1, 9)
    assert torch.allclose(SEEN[0].moments, moments_of(columns), rtol=1e-5)


def test_a_structure_leaves_what_it_does_not_fit_dense(pruned, tiny):
    chain = pruned(tiny.MLP(hidden=(12, 6)), density=0.5, structure=Structure(2, 4))
    assert [layer.name for layer in SEEN] == ["1.weight", "4.weight"]
    for layer in SEEN:
        assert chain.end.masks[layer.name].view(-1, 4).sum(1).eq(2).all()
    assert chain.end.masks["7.weight"].all()
    assert torch.equal(chain.end.parameters["7.weight"], chain.after(Train).parameters["7.weight"])
    assert chain.nodes[-1].density == (432 / 2 + 72 / 2 + 18) / 522
    with pytest.raises(Unreachable, match=r"2:4 has a sparsity of 0\.5"):
        pruned(density=0.4, structure=Structure(2, 4))


@pytest.mark.parametrize("allocation", ["uniform", "er", "erk"])
def test_the_allocation_decides_how_many_a_layer_keeps(pruned, allocation):
    from prunebench.pruning.allocation import kept_counts

    chain = pruned(allocation=allocation)
    layers = describe(chain.context.trial.task).layers
    assert {layer.name: layer.keep for layer in SEEN} == kept_counts(layers, 0.4, allocation)


def test_the_held_out_error_is_that_of_the_outputs_on_examples_of_their_own(pruned):
    chain = pruned(by=Smallest(factor=0.9))
    dense, after = chain.after(Train).parameters, chain.end.parameters
    inputs, held_out = split(chain)
    assert len(held_out) == 15
    assert not any((held_out == one).flatten(1).all(1).any() for one in inputs)
    reaching = held_out.flatten(1).double()
    for number in (1, 4, 7):
        name = f"{number}.weight"
        wanted, found = (reaching @ values[name].double().T for values in (dense, after))
        error = float((wanted - found).square().sum() / wanted.square().sum())
        assert chain.end.layer_errors[name] == pytest.approx(error, rel=1e-4)
        reaching = torch.relu(found + after[f"{number}.bias"])


def test_training_on_keeps_the_errors_and_another_pruning_forgets_them(tiny, run_stages):
    task = tiny.task(tiny.MLP(), steps=6)
    stage = PruneLayerwise(by=Smallest(), density=0.4, examples=30)
    tuned = run_stages(task, Train(until="3it"), stage, Train())
    assert tuned.end.layer_errors == tuned.after(PruneLayerwise).layer_errors != {}
    assert all(not tuned.end.parameters[name][~mask].any() for name, mask in tuned.end.masks.items())
    again = run_stages(task, Train(until="3it"), stage, Prune(by=tiny.ByChance(), density=0.2))
    assert again.end.layer_errors == {}


def test_calibration_examples_are_drawn_by_the_seed_without_those_held_out_for_validation(tiny, data_of):
    data = data_of(tiny.task(validation=20))
    one, other = (Calibration.drawn(data, seed, 16) for seed in (0, 1))
    more = Calibration.drawn(data, 0, 1000)
    assert len(data.train) == 40
    assert (len(one.examples), len(one.held_out), len(more.examples)) == (16, 10, 30)
    assert not torch.equal(one.examples, other.examples)
    assert torch.equal(one.held_out, more.held_out)
    assert torch.equal(one.examples, more.examples[:16])
    assert set(more.examples.tolist()).isdisjoint(more.held_out.tolist())


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 1)), (2, (1, 1)), (3, (2, 1)), (8, (6, 2)), (1000, (30, 128))])
def test_however_few_examples_there_are_some_calibrate_and_some_are_held_out(count, expected):
    drawn = Calibration.drawn(SimpleNamespace(train=range(count)), 0, 30)
    assert (len(drawn.examples), len(drawn.held_out)) == expected


def test_the_passes_are_in_the_ledger_and_measuring_is_not(pruned):
    """Each of the three blocks needs a pass of 30 examples, through what is pruned already."""
    chain = pruned()
    network = describe(chain.context.trial.task)
    kept = {layer.name: layer.keep for layer in SEEN}
    passes = [network.flops_at({name: kept[name] for name in list(kept)[:done]}) for done in range(3)]
    assert chain.end.cost.scoring_flops == pytest.approx(30 * sum(passes) + 3 * 30)
    outliers = pruned(allocation=Outliers())
    assert outliers.end.cost.scoring_flops > chain.end.cost.scoring_flops + 29 * network.flops


def test_owl_keeps_more_where_there_are_more_outliers_and_the_mean_is_exact():
    layers = (Layer("a", (10, 10), 0.0), Layer("b", (10, 10), 0.0), Layer("c", (10, 10), 0.0))
    counts = _by_outliers({"a": 0.0, "b": 0.25, "c": 0.5}, layers, 0.3, Outliers(spread=0.1))
    assert counts == {"a": 20, "b": 30, "c": 40}  # 0.3 - 0.1, 0.3, 0.3 + 0.1
    assert _by_outliers(dict.fromkeys("abc", 0.2), layers, 0.3, Outliers()) == {"a": 30, "b": 30, "c": 30}
    # Scaled down by a half, as 0.05 - 0.1 is less than nothing.
    assert _by_outliers({"a": 0.0, "b": 0.25, "c": 0.5}, layers, 0.05, Outliers(spread=0.1)) == {
        "a": 0,
        "b": 5,
        "c": 10,
    }
    uneven = (Layer("a", (10, 30), 0.0), *layers[1:])
    assert sum(_by_outliers({"a": 0.3, "b": 0.25, "c": 0.5}, uneven, 0.3, Outliers()).values()) == 150


def test_outliers_are_counted_in_the_dense_network(tiny, run_stages, data_of):
    """One weight in the first layer is a hundred times the others: the only outlier, so that its block keeps most."""
    task = tiny.task(tiny.MLP(hidden=(12, 8)), steps=6)
    chain = run_stages(task, Train())
    model = chain.context.trial.task.model.build((1, 6, 6), 3).eval()
    with torch.no_grad():
        for number in (1, 4, 7):
            model[number].weight.fill_(1.0)
        model[4].weight[0, 0] = 1000.0
    blocks = [("1.weight",), ("4.weight",), ("7.weight",)]
    calibrator = Calibrator(model, describe(task), blocks, Calibration.drawn(data_of(task), 0, 30))
    shares = calibrator._outlier_shares(20.0)
    assert shares == {"1.weight": 0.0, "4.weight": pytest.approx(1 / 96), "7.weight": 0.0}
    counts = calibrator.counts(0.4, Outliers(multiple=20.0))
    assert counts["4.weight"] / 96 == pytest.approx(counts["1.weight"] / 432 + 0.16, abs=0.01)
    assert sum(counts.values()) == round(0.4 * (432 + 96 + 24))


def test_outliers_are_those_among_all_scores_of_a_block(tiny, data_of):
    """Scores are weights times the norms of their inputs; the two layers of the first block have one mean."""
    task, multiple = tiny.task(tiny.MLP(hidden=(12, 8))), 2.0
    torch.manual_seed(0)
    model = task.model.build((1, 6, 6), 3).eval()
    data, drawn = data_of(task), Calibration.drawn(data_of(task), 0, 30)
    reaching, scores = data.examples(data.train, drawn.examples)[0].flatten(1), []
    with torch.no_grad():
        for number in (1, 4, 7):
            scores.append((model[number].weight.abs() * reaching.square().mean(0).sqrt()).flatten())
            reaching = torch.relu(model[number](reaching))
    both = torch.cat(scores[:2])
    shares = [float((one > multiple * one.mean()).double().mean()) for one in (both, scores[2])]
    found = Calibrator(model, describe(task), [("1.weight", "4.weight"), ("7.weight",)], drawn)._outlier_shares(
        multiple
    )
    assert found == {"1.weight": shares[0], "4.weight": shares[0], "7.weight": shares[1]}
    assert shares[0] != float(torch.cat([one > multiple * one.mean() for one in scores[:2]]).double().mean())


def test_reconstruction_aims_at_the_dense_outputs_under_the_masks_that_there_are(tiny, run_stages):
    task = tiny.task(tiny.MLP(hidden=(12, 8)), steps=6)
    chain = run_stages(task, Train(), Prune(by=tiny.ByChance(), density=0.5), Reconstruct(examples=30, damping=0.02))
    dense, pruned, end = chain.after(Train).parameters, chain.after(Prune), chain.end
    assert all(torch.equal(mask, pruned.masks[name]) for name, mask in end.masks.items())
    inputs, _ = split(chain)
    reaching = inputs.flatten(1)
    for number in (1, 4, 7):
        weight, mask = dense[f"{number}.weight"].double(), end.masks[f"{number}.weight"]
        metric = moments_of(reaching)
        metric = metric + 0.02 * metric.diagonal().mean() * torch.eye(len(metric))
        for row, kept in enumerate(mask):
            exact = torch.linalg.solve(metric[kept][:, kept], (metric @ weight[row])[kept])
            assert torch.allclose(end.parameters[f"{number}.weight"][row, kept].double(), exact, rtol=1e-3, atol=1e-5)
        reaching = torch.relu(reaching @ end.parameters[f"{number}.weight"].T + end.parameters[f"{number}.bias"])
    assert end.layer_errors.keys() == end.masks.keys()


def test_reconstruction_as_an_option_has_the_masks_of_its_own_selection_and_lower_errors(pruned):
    plain, solved = pruned(), pruned(reconstruct=True)
    assert torch.equal(plain.end.masks["1.weight"], solved.end.masks["1.weight"])
    assert solved.end.layer_errors["1.weight"] < plain.end.layer_errors["1.weight"]
    assert solved.end.cost.scoring_flops > plain.end.cost.scoring_flops


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ((Prune(by=Smallest(), density=0.5), PruneLayerwise(by=Smallest(), density=0.2)), "prunes a dense network"),
        ((PruneLayerwise(by=None, density=0.2),), "PruneLayerwise names the method that it prunes by"),
    ],
)
def test_chains_that_make_no_sense_are_refused(tiny, run_stages, stages, reason):
    with pytest.raises(PrunebenchError, match=reason):
        run_stages(tiny.task(), *stages)


def test_there_is_nothing_to_reconstruct_or_to_invert_without_masks_or_scores(tiny, run_stages, run_chain):
    with pytest.raises(Unreachable, match="there is no mask to reconstruct: nothing was pruned yet"):
        run_stages(tiny.task(), Train(), Reconstruct())
    with pytest.raises(Unreachable, match="prunes layer by layer: there are no scores to invert"):
        run_chain(tiny.trial(Smallest(), invert=True))


def test_shuffled_masks_have_the_dense_weights_of_their_places(tiny, run_chain):
    chain = run_chain(tiny.trial(Smallest(factor=0.5), shuffle=True, task=tiny.task(steps=6)))
    dense = chain.before(PruneLayerwise).parameters
    for name, mask in chain.end.masks.items():
        assert int(mask.sum()) == int(chain.after(PruneLayerwise).masks[name].sum())
        assert torch.equal(chain.end.parameters[name], dense[name] * mask)


class Wrong(prunebench.LayerwiseMethod):
    """Returns whatever a test says."""

    name = "wrong"
    what: str

    def prune_layer(self, layer):
        mask = layer.keep_highest(layer.weight.abs())
        return {
            "nothing": None,
            "a number": (mask, 3),
            "counts": (torch.ones_like(mask), layer.weight),
            "a float mask": (mask.float(), layer.weight),
            "another shape": (mask, layer.weight.T),
            "not finite": (mask, layer.weight / 0),
        }[self.what]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("nothing", "prune_layer of method 'wrong' must return a mask and a weight, and returned None"),
        ("a number", "must return a mask and a weight"),
        ("counts", r"432 weights of '1\.weight' are kept, and not 173"),
        ("a float mask", r"the mask of '1\.weight' must be bool and of shape \(12, 36\)"),
        ("another shape", r"and torch\.float64 of \(36, 12\)"),
        ("not finite", r"the new weights of '1\.weight' are not all finite"),
    ],
)
def test_what_is_no_solution_is_an_error_with_its_reason(pruned, what, reason):
    with pytest.raises(PluginError, match=reason):
        pruned(by=Wrong(what=what))


class Functional(prunebench.Model):
    """Uses the weight of a layer without calling the layer."""

    name = "functional"

    def build(self, shape, classes):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(36, classes)

            def forward(self, inputs):
                return nn.functional.linear(inputs.flatten(1), self.fc.weight)

        return Net()


def test_a_layer_that_is_never_called_is_an_error_that_names_it(pruned):
    with pytest.raises(PrunebenchError, match=r"runs without calling the layer of 'fc\.weight'.*exclude"):
        pruned(Functional())


class Others(prunebench.Model):
    """A layer that is never called, and one whose weight is behind a parametrization."""

    name = "others"
    normalized: bool = False

    def build(self, shape, classes):
        class Net(nn.Module):
            def __init__(self, fc):
                super().__init__()
                self.unused, self.fc = nn.Linear(4, 4), fc

            def forward(self, inputs):
                return self.fc(inputs.flatten(1))

        fc = nn.Linear(36, classes)
        return Net(nn.utils.parametrizations.weight_norm(fc) if self.normalized else fc)


def test_a_layer_that_no_pass_uses_is_pruned_without_inputs(pruned):
    chain = pruned(Others(), reconstruct=True)
    assert int(chain.end.masks["unused.weight"].sum()) == 7  # 0.4 * 16, rounded up as 0.4 * 108 is rounded down
    dense, mask = chain.after(Train).parameters["unused.weight"], chain.end.masks["unused.weight"]
    assert torch.allclose(chain.end.parameters["unused.weight"], dense * mask)
    assert chain.end.layer_errors["unused.weight"] == 0.0


def test_weights_whose_inputs_cannot_be_seen_are_refused_before_anything_is_trained(pruned):
    with pytest.raises(Unreachable, match=r"fc\.parametrizations\.weight\.original1 cannot be pruned .*layer by layer"):
        pruned(Others(normalized=True))


def test_layers_that_the_task_excludes_stay_as_they_are(tiny, run_stages):
    from prunebench.api.tasks import Prunable

    task = tiny.task(tiny.MLP(hidden=(12, 8)), prunable=Prunable(exclude=("4",)), steps=6)
    chain = run_stages(task, Train(), PruneLayerwise(by=Smallest(), density=0.4, examples=30))
    assert chain.end.masks.keys() == {"1.weight", "7.weight"}
    assert torch.equal(chain.end.parameters["4.weight"], chain.after(Train).parameters["4.weight"])


def test_a_network_that_is_not_pruned_by_stages_can_be_calibrated(data_of, tiny):
    """As a test or a script does it: any module, any solver."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()
    network = Network((Layer("1.weight", (3, 36), 216.0),), 216.0, 111)
    calibration = Calibration.drawn(data_of(tiny.task()), 0, 16)
    found = Calibrator(net, network, [("1.weight",)], calibration).prune(
        lambda layer: Solution(layer.keep_highest(layer.norms.expand_as(layer.weight), by_row=True), layer.weight),
        {"1.weight": 30},
    )
    assert found.masks["1.weight"].sum(1).tolist() == [10, 10, 10]


def test_the_stages_of_a_layerwise_method_hold_its_parameters(tiny):
    rule = Smallest(examples=7, allocation="erk", structure=None, reconstruct=True, finetune="2ep")
    assert list(rule.stages(tiny.trial(rule, sparsity=0.7))) == [
        Initialize(),
        Train(),
        PruneLayerwise(by=rule, density=0.3, allocation="erk", examples=7, reconstruct=True),
        Train(until="+2ep"),
    ]
