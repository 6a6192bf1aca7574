"""Whole blocks are removed; each network without them equals the whole one with zeros in their weights."""

import pytest
import torch
from torch import nn
from torch.nn.functional import relu

from prunebench import Interface
from prunebench.api.components import Input
from prunebench.api.errors import CutError
from prunebench.api.weights import prunable_by_default
from prunebench.data.inputs import random_inputs
from prunebench.network.block_groups import find_blocks
from prunebench.network.cut_checks import difference
from prunebench.network.cuts import Kept, NetworkCut, cut_out, from_tensors, to_tensors
from prunebench.network.groups import cut_of, find_groups
from prunebench.network.modules import build, copied
from tests.network.cut_networks import IMAGE, randomized

FEATURES = (Input((4,), kind="features"),)


class Block(nn.Module):
    """Adds a hidden layer to its input."""

    def __init__(self, width=4, out=4):
        super().__init__()
        self.up, self.down = nn.Linear(width, 6), nn.Linear(6, out)

    def forward(self, inputs):
        return inputs + self.down(relu(self.up(inputs)))


class Plain(Block):
    """Adds nothing: with zeros it computes zeros."""

    def forward(self, inputs):
        return self.down(relu(self.up(inputs)))


class Stack(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.blocks, self.out = nn.ModuleList(blocks), nn.Linear(4, 2)

    def forward(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return self.out(inputs)


def blocks_in(module, inputs=FEATURES, allowed=None, declared=()):
    return find_blocks(module, inputs, prunable_by_default(module) if allowed is None else allowed, declared)


def without(module, groups, kept):
    return cut_of(groups.found, {group.name: kept for group in groups.found}, module)


def test_blocks_that_add_to_their_input_can_be_removed_and_others_cannot():
    module = Stack(Block(), Plain(), Block(), Block())
    found = blocks_in(module)
    (group,) = found.found
    assert (group.name, group.kind, group.size) == ("blocks", "blocks", 3)
    assert group.blocks == ("blocks.0", "blocks.2", "blocks.3")
    assert found.left_out["blocks.1"] == "without it the network computes something else than with zeros in it"


def test_a_network_without_a_block_is_the_one_that_never_had_it():
    torch.manual_seed(0)
    one, two, three = Block(), Block(), Block()
    module = Stack(one, two, three)
    found = blocks_in(module)
    smaller = cut_out(copied(module), without(module, found, [0, 2]))
    inputs = torch.randn(5, 4)
    expected = module.out(three(one(inputs)))
    torch.testing.assert_close(smaller(inputs), expected)
    assert sum(map(torch.numel, smaller.parameters())) == sum(map(torch.numel, module.parameters())) - 58
    assert smaller.blocks[1].up.weight.numel() == 0


def test_a_cut_with_blocks_is_written_and_read_again_and_is_made_whole_with_zeros():
    module = Stack(Block(), Block(), Block())
    cut = without(module, blocks_in(module), [1])
    assert from_tensors(to_tensors(cut)) == cut
    left = cut.of("blocks.0.up.weight", module.blocks[0].up.weight)
    assert left.shape == (0, 4)
    assert torch.equal(cut.whole("blocks.0.up.weight", left), torch.zeros(6, 4))
    assert cut.blocks == ("blocks.0", "blocks.2")


def test_channels_are_removed_from_what_blocks_are_left_and_blocks_after_channels():
    module = randomized(Stack(Block(), Block(), Block()))
    first = without(module, blocks_in(module), [0, 2])
    inner = cut_out(copied(module), first)
    channels = find_groups(inner, FEATURES, prunable_by_default(inner))
    assert [group.name for group in channels.found] == ["blocks.0.up.weight", "blocks.2.up.weight"]
    both = cut_of(channels.found, {"blocks.0.up.weight": [1, 4]}, inner).after(first)
    assert difference(module, both, random_inputs(FEATURES, 3))[0] < 1e-12
    narrow = cut_out(copied(module), both)
    again = cut_of(blocks_in(narrow).found, {"blocks": [0]}, narrow).after(both)
    assert again.blocks == ("blocks.1", "blocks.2")
    assert difference(module, again, random_inputs(FEATURES, 3))[0] < 1e-12
    assert cut_out(copied(module), again).blocks[0].up.weight.shape == (2, 4)


def test_a_block_with_a_weight_that_the_task_keeps_stays():
    module = Stack(Block(), Block(), Block())
    names = [name for name in prunable_by_default(module) if name != "blocks.1.down.weight"]
    found = blocks_in(module, allowed=names)
    assert found.found[0].blocks == ("blocks.0", "blocks.2")
    assert found.left_out == {"blocks.1": "the task or the method keeps 'blocks.1.down.weight'"}


def test_the_only_block_that_fits_stays():
    found = blocks_in(Stack(Block(), Plain()))
    assert found.found == ()
    assert found.left_out["blocks.0"] == "one of each list stays"


def test_only_declared_blocks_are_tried():
    module = Stack(Block(), Block(), Block())
    assert blocks_in(module, declared=["blocks.1", "blocks.2"]).found[0].blocks == ("blocks.1", "blocks.2")


def test_blocks_within_blocks_are_removed_before_those_around_them():
    inner = [nn.Sequential(Block(), Block()), nn.Sequential(Block(), Block())]
    assert [group.name for group in blocks_in(Stack(*inner)).found] == ["blocks.0", "blocks.1"]


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (NetworkCut(blocks=("blocks.9",)), r"removes the block 'blocks\.9', which the network does not have"),
        (NetworkCut(blocks=("",)), "removes the block '', which the network does not have"),
        (NetworkCut((Kept("out.weight", 0, 2, ()),), (), ("blocks.0",)), "must keep ascending indices"),
    ],
)
def test_a_wrong_cut_of_blocks_is_refused(cut, message):
    with pytest.raises(CutError, match=message):
        cut_out(Stack(Block(), Block()), cut)


@pytest.mark.parametrize(("name", "sizes"), [("resnet20", [3, 2, 2]), ("wrn-22-2", [2, 2, 2])])
def test_residual_blocks_of_built_in_models(built_in, name, sizes):
    module = randomized(build(built_in("model", name), Interface.of_images((3, 16, 16), 10)))
    found = blocks_in(module, IMAGE)
    assert [group.size for group in found.found] == sizes
    assert difference(module, without(module, found, [0]), random_inputs(IMAGE, 2))[0] < 1e-12


def test_blocks_of_a_language_model(built_in):
    inputs = Interface((Input((12,), kind="tokens", vocabulary=20),), (12, 20))
    model = built_in("model", "gpt", width=8, heads=2, depth=3)
    module = randomized(build(model, inputs))
    found = blocks_in(module, inputs.inputs, model.prunable(module), model.blocks(module))
    assert [(group.name, group.size) for group in found.found] == [("blocks", 3)]
    assert difference(module, without(module, found, [1]), random_inputs(inputs.inputs, 2))[0] < 1e-12
