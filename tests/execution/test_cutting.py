"""Cutting as a stage: a smaller network that is stored, resumed, trained, pruned and deployed like any other."""

import json
from dataclasses import replace

import pytest
import torch

import prunebench
from prunebench import Cut, Deploy, Prune, PruneLayerwise, Reconstruct, Reinitialize, Rewind, Shuffle, Structure, Train
from prunebench.api.errors import CorruptEntry, PrunebenchError, Unreachable
from prunebench.api.tasks import Entry
from prunebench.execution.performing import finished_network, measured
from prunebench.execution.worker import write_state
from prunebench.network import deployment
from prunebench.network.cuts import Kept, NetworkCut, to_tensors
from prunebench.plan.ablations import distilled
from prunebench.store.checkpoints import Checkpoints, newest
from prunebench.store.entries import Store
from prunebench.store.state_files import read_state
from prunebench.training.loop import train
from prunebench.training.optimizers import TORCH
from tests.training.test_state import assert_same


class Convs(prunebench.Model):
    """Two convolutions with BatchNorm and two linear layers: 72 + 576 + 512 + 48 weights."""

    name = "convs"

    def build(self, shape, classes):
        nn = torch.nn
        return nn.Sequential(
            nn.Conv2d(shape[0], 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 16),
            nn.ReLU(),
            nn.Linear(16, classes),
        )


SIZE = 72 + 576 + 512 + 48


class Norms(prunebench.StructuredMethod):
    """The norm of the filters; a pass over one example costs nothing but what it says."""

    name = "norms"

    def channel_scores(self, scoring):
        return {group.name: group.outputs[0].of(scoring.parameters).norm(dim=1) for group in scoring.groups}

    def scores(self, scoring):
        return {name: weight.abs() for name, weight in scoring.weights.items()}

    def prune_layer(self, layer):
        return layer.keep_highest(layer.weight.abs()), layer.weight

    def scoring_flops(self, network, density):
        return 1000 * network.flops * density


@pytest.fixture
def task(tiny):
    return tiny.task(Convs(), steps=12, evaluate_every="4it")


@pytest.fixture
def by():
    return Norms()


@pytest.fixture
def half(by):
    return Cut(by=by, density=0.5)


def widths(state):
    return [state.parameters[name].shape[0] for name in ("0.weight", "3.weight", "8.weight", "10.weight")]


def loaded_of(chain, state):
    return chain.context.loaded(state).eval()


def test_a_cut_leaves_a_smaller_network_and_no_more_than_its_target(run_stages, task, by):
    for density in (0.9, 0.5, 0.2):
        chain = run_stages(task, Train(), Cut(by=by, density=density))
        kept = sum(chain.end.kept().get(layer.name, layer.size) for layer in chain.context.network.layers)
        assert 0.75 * density < kept / SIZE <= density
        assert chain.end.parameters["3.weight"].shape[1] == chain.end.parameters["0.weight"].shape[0]
        assert widths(chain.end)[-1] == 3
        assert chain.end.masks == {}


@pytest.mark.parametrize(
    ("unit", "amount"),
    [
        ("parameters", lambda network: network.parameters),
        ("macs", lambda network: network.flops),
        ("channels", lambda network: sum(layer.outputs for layer in network.layers)),
    ],
)
def test_a_cut_meets_its_target_in_its_unit_and_removes_no_more_than_it_must(run_stages, task, by, unit, amount):
    chain = run_stages(task, Train(), Cut(by=by, density=0.4, unit=unit))
    whole, left = chain.context.network, chain.context.network_at(chain.end.cut)
    assert amount(left) <= 0.4 * amount(whole)
    assert amount(left) > 0.25 * amount(whole)
    if unit == "channels":
        assert amount(left) == 14  # of 8 + 8 + 16 + 3


def test_the_lowest_norms_are_removed_and_the_rest_is_as_it_was(run_stages, task, by):
    chain = run_stages(task, Train(), Cut(by=by, density=0.5, allocation="uniform"))
    before = chain.before(Cut)
    norms = before.parameters["0.weight"].flatten(1).norm(dim=1)
    left = len(chain.end.parameters["0.weight"])
    kept = norms.argsort(descending=True)[:left].sort().values
    assert torch.equal(chain.end.parameters["0.weight"], before.parameters["0.weight"][kept])
    assert torch.equal(chain.end.buffers["1.running_var"], before.buffers["1.running_var"][kept])
    momentum = {key: value for key, value in chain.end.optimizer.items() if key.endswith("/0.weight")}
    assert any(value.shape == chain.end.parameters["0.weight"].shape for value in momentum.values())
    inverted = run_stages(task, Train(), Cut(by=by, density=0.5, allocation="uniform", invert=True)).end
    lowest = norms.argsort()[: len(inverted.parameters["0.weight"])].sort().values
    assert torch.equal(inverted.parameters["0.weight"], before.parameters["0.weight"][lowest])


def test_the_cut_network_computes_what_the_whole_one_does_with_zeros(run_stages, task, half):
    end = run_stages(task, Train(), half).end
    chain = run_stages(task, Train(), half)
    inputs = torch.randn(9, 1, 6, 6)
    with torch.no_grad():
        outputs = loaded_of(chain, end)(inputs)
        whole = chain.context.trial.task.model.build((1, 6, 6), 3).eval()
        whole.load_state_dict(end.whole().parameters | end.whole().buffers)
        torch.testing.assert_close(outputs, whole(inputs), rtol=1e-5, atol=1e-6)
    masks = end.whole().masks
    assert int(masks["3.weight"].sum()) == end.parameters["3.weight"].numel()


def test_rounds_cut_on_from_what_is_left(run_stages, task, by):
    chain = run_stages(task, Train(), Cut(by=by, density=0.7), Train(until="+3it"), Cut(by=by, density=0.5))
    first, end = chain.after(Cut, 0), chain.end
    assert sum(widths(end)) < sum(widths(first)) < 8 + 8 + 16 + 3
    inner = end.cut.within(first.cut)
    assert torch.equal(inner.of("0.weight", chain.before(Cut).parameters["0.weight"]), end.parameters["0.weight"])
    kept = sum(end.kept().get(layer.name, layer.size) for layer in chain.context.network.layers)
    assert kept <= 0.5 * SIZE


def test_aligned_and_excluded_layers(run_stages, task, by):
    chain = run_stages(task, Train(), Cut(by=by, density=0.5, align=4, exclude=("^0",)))
    first, second, third, last = widths(chain.end)
    assert first == 8
    assert second % 4 == third % 4 == 0
    assert chain.end.left_out["0.weight"] == "the task or the method keeps the outputs of '0.weight'"
    assert last == 3


def test_groups_of_one_kind_alone_are_removed(run_stages, task, by):
    columns = run_stages(task, Train(until="1it"), Cut(by=by, density=0.8, groups=("columns",)))
    first, second, hidden, last = widths(columns.end)
    assert (first, second, last) == (8, 8, 3)
    assert hidden < 16
    assert columns.end.left_out["0.weight"] == columns.end.left_out["3.weight"] == "they are channels"
    channels = run_stages(task, Train(until="1it"), Cut(by=by, density=0.8, groups=("channels",)))
    first, second, hidden, last = widths(channels.end)
    assert (hidden, last) == (16, 3)
    assert first + second < 16
    assert channels.end.left_out["8.weight"] == "they are columns"


def test_a_network_without_groups_of_a_kind_says_so(run_stages, task, by):
    with pytest.raises(
        Unreachable, match=r"no heads of model 'convs' can be removed: .*'0\.weight' stay: they are chan"
    ):
        run_stages(task, Cut(by=by, density=0.8, groups=("heads",)))


def test_a_method_names_the_kinds_that_its_cuts_remove(tiny, task):
    chain = list(replace(Norms(), groups=("columns",)).stages(tiny.trial(Norms(), task=task)))
    [cut] = [stage for stage in chain if isinstance(stage, Cut)]
    assert cut.groups == ("columns",)


def test_training_goes_on_with_the_small_network_at_its_cost(run_stages, task, half):
    chain = run_stages(task, Train(), half, Train(until="+5it"))
    small = chain.context.network_at(chain.end.cut)
    cut, end = chain.after(Cut), chain.end
    examples = end.cost.examples - cut.cost.examples
    assert examples > 0
    assert end.cost.training_flops - cut.cost.training_flops == pytest.approx(3 * small.flops * examples)
    assert small.flops < 0.7 * chain.context.network.flops
    assert cut.cost.scoring_flops == 1000 * chain.context.network.flops
    assert widths(end) == widths(cut)
    assert not torch.equal(end.parameters["0.weight"], cut.parameters["0.weight"])


class Twice(prunebench.Classification):
    """Cross-entropy whose step costs one forward pass more, as it says."""

    name = "twice"

    def batch_loss(self, model, inputs, targets):
        return self.loss(model(inputs), targets)

    def batch_flops(self, network):
        return network.flops


def test_an_own_step_after_a_cut_is_charged_for_the_small_network(run_stages, task, half):
    chain = run_stages(replace(task, objective=Twice()), Train(until="4it"), half, Train())
    end, cut = chain.end, chain.after(Cut)
    small = chain.context.network_at(end.cut)
    examples = end.cost.examples - cut.cost.examples
    assert small.flops < 0.7 * chain.context.network.flops
    assert end.cost.training_flops - cut.cost.training_flops == pytest.approx(4 * small.flops * examples)


def test_what_is_left_after_a_cut_imitates_the_dense_network_where_a_method_is_distilled(task, by):
    how = prunebench.Distillation()
    entry = Entry(label="norms", method=by, distillation=how)
    first, last = (
        stage
        for stage in distilled([Train(), Cut(by=by, density=0.5), Train(until="+5it")], entry)
        if isinstance(stage, Train)
    )
    assert (first.distillation, last.distillation) == (None, how)


def test_a_teacher_of_a_cut_network_is_charged_as_the_whole_one(run_stages, task, half):
    how = prunebench.Distillation()
    chain = run_stages(task, Train(until="4it"), half, Train(distillation=how))
    end, cut = chain.end, chain.after(Cut)
    small, whole = chain.context.network_at(end.cut), chain.context.network
    examples = end.cost.examples - cut.cost.examples
    expected = (3 * small.flops + whole.flops) * examples
    assert end.cost.training_flops - cut.cost.training_flops == pytest.approx(expected)


def test_rewinding_takes_the_early_weights_of_what_is_left(run_stages, task, half):
    chain = run_stages(task, Train(until="4it"), Train(), half, Rewind(to="4it"), Train())
    early, rewound = chain.after(Train, 0), chain.after(Rewind)
    for name, value in early.parameters.items():
        assert torch.equal(rewound.parameters[name], rewound.cut.of(name, value))
    assert (rewound.step, chain.end.step) == (4, 12)
    assert widths(chain.end) == widths(chain.after(Cut))


def test_reinitializing_draws_the_new_weights_of_what_is_left(run_stages, task, half):
    chain = run_stages(task, Train(), half, Reinitialize(), Train())
    plain = run_stages(task, Train(), Reinitialize())
    again = chain.after(Reinitialize)
    assert torch.equal(again.parameters["3.weight"], again.cut.of("3.weight", plain.end.parameters["3.weight"]))
    assert again.step == 0


def test_pruning_after_a_cut_counts_in_the_weights_of_the_whole_network(run_stages, task, by, half):
    chain = run_stages(task, Train(), half, Prune(by=by, density=0.1), Train(until="+4it"))
    assert sum(int(mask.sum()) for mask in chain.end.masks.values()) == round(0.1 * SIZE)
    assert sum(chain.end.kept().get(layer.name, layer.size) for layer in chain.context.network.layers) <= 0.1 * SIZE + 1
    assert {name: mask.shape for name, mask in chain.end.masks.items()} == {
        name: chain.end.parameters[name].shape for name in chain.end.masks
    }


def test_scores_after_a_cut_are_told_how_many_weights_of_the_whole_network_stay(run_stages, task, half):
    told = []

    class Told(Norms):
        name = "told"

        def scores(self, scoring):
            told.append(scoring.keep)
            return super().scores(scoring)

    run_stages(task, Train(until="2it"), half, Prune(by=Told(), density=0.1))
    assert told == [round(0.1 * SIZE)]


def test_cutting_a_pruned_network_keeps_its_masks(run_stages, task, by):
    chain = run_stages(task, Train(), Prune(by=by, density=0.6), Cut(by=by, density=0.3), Train(until="+4it"))
    before, cut = chain.before(Cut), chain.after(Cut)
    for name, mask in cut.masks.items():
        assert torch.equal(mask, cut.cut.of(name, before.masks[name]))
        assert not torch.count_nonzero(chain.end.parameters[name][~mask])


def test_more_than_a_cut_has_left_cannot_be_kept(run_stages, task, by, half):
    with pytest.raises(Unreachable, match=r"a density of 0.9 cannot be reached: 0\.\d+ of the weights are left"):
        run_stages(task, Train(), half, Prune(by=by, density=0.9))


def test_a_structure_that_what_is_left_does_not_fit_is_refused_and_aligned_it_fits(run_stages, task, by):
    pairs, tail = Structure(4, 8), replace(task, prunable=prunebench.api.tasks.Prunable(exclude=("^0",)))
    with pytest.raises(Unreachable, match="`align: 8` keeps channels that it fits"):
        run_stages(tail, Train(), Cut(by=by, density=0.7), Prune(by=by, density=0.5, structure=pairs))
    cut = Cut(by=by, density=0.8, align=8)
    chain = run_stages(tail, Train(), cut, Prune(by=by, density=0.5, structure=pairs))
    assert all(int(mask.sum()) * 2 == mask.numel() for mask in chain.end.masks.values())


def test_layers_are_pruned_and_reconstructed_after_a_cut(run_stages, task, by, half):
    pruned = run_stages(task, Train(), half, PruneLayerwise(by=by, density=0.2, examples=30))
    assert sum(int(mask.sum()) for mask in pruned.end.masks.values()) == round(0.2 * SIZE)
    chain = run_stages(task, Train(), Prune(by=by, density=0.5), Cut(by=by, density=0.3), Reconstruct(examples=30))
    assert chain.end.parameters["3.weight"].shape == chain.after(Cut).parameters["3.weight"].shape
    shuffled = run_stages(task, Train(), Prune(by=by, density=0.5), Cut(by=by, density=0.3), Shuffle())
    assert shuffled.end.masks["3.weight"].sum() == chain.after(Cut).masks["3.weight"].sum()


def test_a_method_that_changes_masks_trains_what_is_left(run_stages, task, half, method):
    sparse = method("rigl")
    chain = run_stages(task, Train(), half, Prune(by=method("random"), density=0.2), Train(until="+4it", by=sparse))
    assert sum(int(mask.sum()) for mask in chain.end.masks.values()) == round(0.2 * SIZE)


def test_deployed_beside_the_whole_network(run_stages, task, half):
    chain = run_stages(task, Train(), half, Deploy(batch=2))
    figures, _ = measured(Deploy(batch=2), chain.end, chain.context)
    assert figures["size_bytes"] < 0.75 * figures["size_bytes_dense"]


def test_a_runtime_is_given_what_is_left_and_the_share_of_its_zeros(run_stages, task, by, half):
    chain = run_stages(task, Train(), half)
    network = finished_network(chain.end, chain.context)
    assert network.zeros == 0
    assert sum(value.numel() for value in network.model.parameters()) < 0.6 * SIZE
    pruned = run_stages(task, Train(), half, Prune(by=by, density=0.25))
    left = sum(layer.size for layer in pruned.context.network_at(pruned.end.cut).layers)
    assert finished_network(pruned.end, pruned.context).zeros == pytest.approx(1 - 0.25 * SIZE / left)


def test_one_job_for_each_stage_gives_the_same_bits(run_stages, task, by, half, tmp_path):
    """Each state goes to the disk and comes back into a new process's context."""
    stages = (Train(until="5it"), half, Train(), Prune(by=by, density=0.2), Train(until="+3it"))
    whole = run_stages(task, *stages)
    store, nodes = Store.open(tmp_path), iter(whole.nodes)

    def on_disk(state):
        node = next(nodes)
        write_state(store, node, None, state, whole.context, 0.0, {})
        again = read_state(store, node.key, replace(whole.context, _modules={}))
        assert_same(replace(again, cost=state.cost), state)
        assert again.cut == state.cut
        return again

    pieces = run_stages(task, *stages, hand_on=on_disk)
    for name, value in whole.end.parameters.items():
        assert torch.equal(value, pieces.end.parameters[name])


def test_a_training_that_is_killed_after_a_cut_ends_with_the_same_bits(run_stages, task, half, tmp_path):
    chain = run_stages(task, Train(until="5it"), half, Train())
    node, store, begun = chain.nodes[-1], Store.open(tmp_path), chain.after(Cut)
    checkpoints = Checkpoints(store, node, 1e-9, lambda step: None)
    begun = begun.changed(memory={}, trajectory=node.trajectory)
    train(chain.context, begun, 9, "train", prunebench.Updater(), True, checkpoints)
    again = newest(store, node, replace(chain.context, _modules={}))
    assert again.step == 9
    assert again.cut == begun.cut
    end = train(chain.context, again, node.stop, "train", prunebench.Updater(), False)
    for name, value in chain.end.parameters.items():
        assert torch.equal(value, end.parameters[name])


@pytest.fixture
def stored(run_stages, task, half, tmp_path):
    """A state of a cut network on the disk; returns a function that writes it with another cut, and reads it."""
    chain = run_stages(task, Train(until="2it"), half)
    store = Store.open(tmp_path)
    write_state(store, chain.nodes[-1], None, chain.end, chain.context, 0.0, {})

    def read(cut):
        key = chain.nodes[-1].key
        record = store.record(key)
        files = store.tensors(key, record)
        store.discard(key)
        files["cut"] = cut(files["cut"]) if callable(cut) else to_tensors(cut)
        record = {name: value for name, value in record.items() if name not in ("format", "protocol", "key", "files")}
        store.write(key, json.loads(json.dumps(record)), files)
        return read_state(store, key, replace(chain.context, _modules={}))

    return read


def test_a_stored_cut_is_read_again(stored):
    assert stored(lambda tensors: tensors).cut


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (NetworkCut((Kept("0.weight", 0, 8, (5, 9)),)), "must keep ascending indices from 0 to 7"),
        (NetworkCut((Kept("nowhere", 0, 8, (5,)),)), "which the network does not have"),
        (NetworkCut((Kept("0.weight", 0, 8, (1, 2)),)), "what its cut leaves of the network does not run"),
        (NetworkCut((), (("0", 2),)), "which the network does not have"),
        (lambda tensors: {**tensors, "kept/0/0.weight": torch.tensor([8.0])}, "not a list of integers"),
        (lambda tensors: {"heads/x": torch.tensor([2**62]), **tensors}, "which the network does not have"),
    ],
)
def test_a_hostile_cut_is_a_sentence(stored, cut, message):
    with pytest.raises(CorruptEntry, match="holds no state of this network") as caught:
        stored(cut)
    assert message in str(caught.value) or "its parameters are not those" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_of_other_widths_than_the_weights_is_refused(stored):
    def wider(tensors):
        grown = {}
        for name, value in tensors.items():
            missing = sorted(set(range(int(value[0]))) - set(value[1:].tolist()))
            more = sorted([*value[1:].tolist(), missing[0]]) if name.endswith("/0.weight") else value[1:].tolist()
            grown[name] = torch.tensor([int(value[0]), *more])
        return grown

    with pytest.raises(CorruptEntry, match="holds no state of this network"):
        stored(wider)


def test_a_target_out_of_reach_says_what_can_be_reached(run_stages, task, by):
    with pytest.raises(
        Unreachable, match=r"0.001 of the macs cannot be reached by removing channels: with the fewest "
    ):
        run_stages(task, Train(until="2it"), Cut(by=by, density=0.001, unit="macs"))


class Clock:
    """A clock that stands still but for passes in `Paced`, however busy the machine is."""

    seconds = 0.0

    @classmethod
    def perf_counter(cls):
        return cls.seconds


class Paced(prunebench.Runtime):
    """A runtime in which a pass takes 2 ns for each weight and example, by the clock above."""

    name = "paced"

    def deploy(self, network, folder):
        weights = sum(one.numel() for one in network.model.parameters() if one.dim() > 1)

        def run(inputs):
            assert len(inputs) == 1000
            Clock.seconds += 2e-9 * weights * len(inputs)

        return prunebench.Program(run=run)


class Never(Paced):
    name = "never"

    def deploy(self, network, folder):
        raise prunebench.Unsupported("it has no such layers")


@pytest.fixture
def hurried(monkeypatch):
    """Latencies are medians of fewer passes, by the clock above."""
    monkeypatch.setattr(deployment, "ROUNDS", 2)
    monkeypatch.setattr(deployment, "SECONDS", 0.001)
    monkeypatch.setattr(deployment, "time", Clock)


def test_a_cut_by_latency_is_timed_beside_the_dense_network(run_stages, task, by, hurried):
    def cut(density):
        return Cut(by=by, density=density, unit="latency", timed=prunebench.TimedPass(Paced(), batch_size=1000))

    half = run_stages(task, Train(until="2it"), cut(0.5)).end
    left = sum(one.numel() for one in half.parameters.values() if one.dim() > 1)
    assert 0.4 * SIZE < left <= 0.5 * SIZE
    # A quarter of the latency of the whole network, not of what is left.
    quarter = run_stages(task, Train(until="2it"), cut(0.5), cut(0.25)).end
    assert 0.15 * SIZE < sum(one.numel() for one in quarter.parameters.values() if one.dim() > 1) <= 0.25 * SIZE


def test_a_latency_out_of_reach_says_what_can_be_reached(run_stages, task, by, hurried):
    timed = prunebench.TimedPass(Paced(), batch_size=1000)
    with pytest.raises(Unreachable, match=r"0\.001 of the latency cannot be reached by removing .* 0\.0\d+ are"):
        run_stages(task, Train(until="2it"), Cut(by=by, density=0.001, unit="latency", timed=timed))


def test_a_latency_that_cannot_be_measured_says_why(run_stages, task, by):
    timed = prunebench.TimedPass(Never())
    with pytest.raises(PrunebenchError, match="the latency in 'never' cannot be measured: it has no such layers"):
        run_stages(task, Train(until="2it"), Cut(by=by, density=0.5, unit="latency", timed=timed))
    with pytest.raises(PrunebenchError, match=r"must be told what is timed: `Cut\(\.\.\., timed=trial\.timed\)`"):
        run_stages(task, Train(until="2it"), Cut(by=by, density=0.5, unit="latency"))


def test_a_network_without_channels_to_remove_says_why(run_stages, tiny, by):
    class OneLayer(prunebench.Model):
        name = "one-layer"

        def build(self, shape, classes):
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, classes))

    with pytest.raises(Unreachable, match=r"those of '1\.weight' stay: they are outputs of the network"):
        run_stages(tiny.task(OneLayer()), Cut(by=by, density=0.5))


def test_a_pattern_that_matches_nothing_is_named(run_stages, task, by):
    with pytest.raises(PrunebenchError, match=r"'weights' in `exclude` matches none of the 4 prunable weights"):
        run_stages(task, Cut(by=by, density=0.5, exclude=("weights",)))


def test_ablations_of_a_cut(run_chain, tiny, task, by):
    inverted = run_chain(tiny.trial(by, task=task, invert=True))
    assert [node.stage.invert for node in inverted.nodes if isinstance(node.stage, Cut)] == [True]
    again = run_chain(tiny.trial(by, task=task, reinitialize=True))
    names = [type(node.stage).__name__ for node in again.nodes]
    assert names[names.index("Cut") :] == ["Cut", "Reinitialize", "Train", "Train"]
    with pytest.raises(Unreachable, match="removes channels: there is no mask to shuffle"):
        run_chain(tiny.trial(by, task=task, shuffle=True))


@pytest.mark.parametrize("name", sorted(TORCH))
def test_every_optimizer_trains_on_after_a_cut(run_stages, tiny, half, name):
    task = tiny.task(Convs(), steps=6, optimizer=tiny.Optimizer(name=name, lr=0.01))
    end = run_stages(task, Train(), half, Train(until="+2it")).end
    assert all(bool(value.isfinite().all()) for value in end.parameters.values())


def test_an_optimizer_that_keeps_other_shapes_begins_anew(run_stages, task, half):
    chain = run_stages(task, Train(), half)
    before, cut = chain.before(Cut), chain.end.cut
    scalars = before.changed(optimizer={"step/0.weight": torch.tensor(3.0), "rows/10.bias": torch.ones(2)})
    assert scalars.narrowed(cut).optimizer.keys() == {"step/0.weight", "rows/10.bias"}
    assert before.changed(optimizer={"rows/0.weight": torch.ones(8)}).narrowed(cut).optimizer == {}
