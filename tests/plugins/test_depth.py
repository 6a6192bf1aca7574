"""Whole blocks are removed by how much they change: by hand, and from a chain's states."""

from dataclasses import replace

import pytest
import torch
from prunebench_plugins.depth import influence
from torch import nn

import prunebench
from prunebench import Cut, Train
from prunebench.api.errors import Unreachable
from prunebench.execution.worker import write_state
from prunebench.network.block_groups import find_blocks
from prunebench.store.entries import Store
from prunebench.store.state_files import read_state
from tests.golden.chains import ResidualNet


class Turn(nn.Module):
    """Adds a matrix times the input."""

    def __init__(self, matrix):
        super().__init__()
        self.turn = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.turn.weight.copy_(torch.tensor(matrix))

    def forward(self, inputs):
        return inputs + self.turn(inputs)


def test_influence_is_one_minus_the_cosine_of_what_enters_and_what_leaves():
    before, after = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [0.0, 5.0]])
    assert influence(before, after).tolist() == pytest.approx([1 - 0.5**0.5, 0.0])
    images = torch.tensor([[[[1.0]], [[0.0]]]]), torch.tensor([[[[0.0]], [[3.0]]]])
    assert influence(*images).tolist() == [[[1.0]]]


def test_blocks_that_turn_what_passes_through_them_are_kept(method, scoring_of, monkeypatch):
    turns = [Turn([[0.0, -1.0], [1.0, 0.0]]), Turn([[2.0, 0.0], [0.0, 2.0]]), Turn([[-1.0, -1.0], [1.0, -1.0]])]
    module = nn.Sequential(nn.Sequential(*turns), nn.Linear(2, 2))
    scoring = scoring_of(module, (2,))
    found = find_blocks(module, scoring.inputs, [layer.name for layer in scoring.layers])
    asked = []

    def batches(self, count, size):
        asked.append(count * size)
        return [(torch.randn(size, 2), torch.zeros(size))] * count

    monkeypatch.setattr(type(scoring), "batches", batches)
    scores = method("shortgpt", examples=32).channel_scores(replace(scoring, groups=found.found))
    assert scores["0"].tolist() == pytest.approx([1 - 0.5**0.5, 0.0, 1.0], abs=1e-6)
    assert asked == [32]


class Bend(Turn):
    """Adds what dropout leaves of the positive numbers."""

    def forward(self, inputs):
        return inputs + nn.functional.dropout(torch.relu(self.turn(inputs)), 0.5, self.training)


def test_the_influence_is_the_mean_over_all_tokens_in_evaluation_mode(method, scoring_of, monkeypatch):
    """Also where the last batch is smaller."""
    bends = [Bend([[1.0, -1.0], [2.0, 0.5]]), Bend([[0.0, 3.0], [-1.0, 1.0]]), Bend([[-2.0, 1.0], [1.0, 1.0]])]
    module = nn.Sequential(nn.Sequential(*bends), nn.Linear(2, 2)).train()
    scoring = scoring_of(module, (2,))
    found = find_blocks(module, scoring.inputs, [layer.name for layer in scoring.layers])
    reaching = inputs = torch.randn(18, 2, generator=torch.Generator().manual_seed(0))
    parts = [(part, torch.zeros(len(part))) for part in inputs.split(16)]
    monkeypatch.setattr(type(scoring), "batches", lambda self, count, size: parts)
    scores = method("shortgpt", examples=18).channel_scores(replace(scoring, groups=found.found))
    expected = []
    for bend in bends:
        after = (reaching + torch.relu(bend.turn(reaching))).detach()
        expected.append(float(influence(reaching, after).mean()))
        reaching = after
    assert scores["0"].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def task(tiny):
    return tiny.task(ResidualNet(), steps=12)


@pytest.fixture
def cut(method):
    return Cut(by=method("shortgpt", examples=16), density=0.75)


def test_a_network_without_a_block_trains_on_at_its_cost(run_stages, task, cut):
    chain = run_stages(task, Train(), cut, Train(until="+4it"))
    end, before = chain.end, chain.after(Cut)
    assert len(end.cut.blocks) == 1
    small = chain.context.network_at(end.cut)
    examples = end.cost.examples - before.cost.examples
    assert end.cost.training_flops - before.cost.training_flops == pytest.approx(3 * small.flops * examples)
    assert small.flops < 0.8 * chain.context.network.flops
    assert before.cost.scoring_flops == 16 * chain.context.network.flops
    removed = [name for name, value in end.parameters.items() if not value.numel()]
    assert len(removed) == 4
    assert all(name.startswith(f"{end.cut.blocks[0]}.") for name in removed)


def test_channels_and_single_weights_are_removed_after_a_block(run_stages, task, cut, method):
    channels = Cut(by=method("l2-filters"), density=0.5)
    prune = prunebench.Prune(by=method("magnitude"), density=0.2)
    chain = run_stages(task, Train(), cut, channels, prune, Train(until="+4it", by=method("rigl")))
    size = chain.context.network.size
    kept = chain.end.kept()
    assert sum(kept.get(layer.name, layer.size) for layer in chain.context.network.layers) <= round(0.2 * size)
    assert chain.end.cut.blocks == chain.after(Cut, 0).cut.blocks


def test_a_state_without_a_block_is_stored_and_read_again(run_stages, task, cut, tmp_path):
    chain = run_stages(task, Train(until="4it"), cut, Train())
    store, node = Store.open(tmp_path), chain.nodes[-1]
    write_state(store, node, None, chain.end, chain.context, 0.0, {})
    again = read_state(store, node.key, replace(chain.context, _modules={}))
    assert again.cut == chain.end.cut
    for name, value in chain.end.parameters.items():
        assert torch.equal(again.parameters[name], value)
    layers = store.record(node.key)["layers"]
    assert sum(layer.get("removed", False) for layer in layers) == 2


def test_early_weights_are_taken_by_what_is_left(run_stages, task, cut):
    chain = run_stages(task, Train(until="4it"), Train(), cut, prunebench.Rewind(to="4it"), Train())
    early, end = chain.after(Train, 0), chain.after(prunebench.Rewind)
    left = [name for name in early.parameters if not end.cut.in_removed_block(name)]
    assert all(torch.equal(end.parameters[name], early.parameters[name]) for name in left)


def test_a_network_without_such_blocks_says_so(run_stages, tiny, cut):
    with pytest.raises(Unreachable, match="no blocks of model 'tiny-mlp' can be removed: '1' stays: "):
        run_stages(tiny.task(steps=2), Train(), cut)


def test_a_ticket_has_zeros_in_the_place_of_a_block(run_stages, task, cut):
    whole = run_stages(task, Train(until="4it"), cut).end.whole()
    assert not whole.cut
    masks = [mask for name, mask in whole.masks.items() if not mask.any()]
    assert len(masks) == 4


def test_a_target_that_blocks_cannot_reach_says_what_they_can(run_stages, task, method):
    with pytest.raises(Unreachable, match=r"cannot be reached by removing blocks: .* 1 groups, 0\.\d+ are left"):
        run_stages(task, Train(until="2it"), Cut(by=method("shortgpt"), density=0.1))
