"""Which blocks a network is cut into, and in which order they are pruned."""

from collections import OrderedDict

import pytest
import timm
from torch import nn

from prunebench.api.errors import PrunebenchError
from prunebench.api.weights import prunable_by_default
from prunebench.pruning.blocks import blocks_of, in_order


def found(module, declared=()):
    return blocks_of(module, prunable_by_default(module), declared)


class Residual(nn.Module):
    """Two layers in a chain of its own, beside a shortcut."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.shortcut = nn.Linear(4, 4)

    def forward(self, inputs):
        return self.inner(inputs) + self.shortcut(inputs)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.stem = nn.Linear(4, 4)
        self.body = nn.ModuleList([Residual(), nn.Sequential(Residual(), Residual())])


def test_each_layer_of_a_sequential_network_is_a_block():
    net = nn.Sequential(OrderedDict(a=nn.Linear(2, 2), relu=nn.ReLU(), b=nn.Linear(2, 2)))
    assert found(net) == [("a.weight",), ("b.weight",)]


def test_an_element_of_a_chain_is_one_block_and_a_chain_in_a_chain_is_not():
    blocks = found(Net())
    assert [len(block) for block in blocks] == [1, 1, 3, 3, 3]
    assert blocks[2] == ("body.0.inner.0.weight", "body.0.inner.2.weight", "body.0.shortcut.weight")
    assert blocks[4][0] == "body.1.1.inner.0.weight"


def test_the_declared_blocks_are_taken_and_what_is_in_none_is_a_block_by_itself():
    assert found(Net(), ["body"])[0][0].startswith("body.0.")
    assert len(found(Net(), ["body"])) == 3
    with pytest.raises(PrunebenchError, match="names 'nothing', which is not one of its modules"):
        found(Net(), ["nothing"])


def test_every_weight_is_in_one_block_and_only_those_that_may_be_pruned():
    net = Net()
    some = [name for name in prunable_by_default(net) if "shortcut" not in name]
    assert sorted(name for block in blocks_of(net, some) for name in block) == sorted(some)


def test_a_module_that_is_one_layer_is_one_block():
    assert found(nn.Linear(2, 2)) == [("weight",)]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("test_vit", ["patch_embed", *(f"blocks.{number}" for number in range(6)), "head"]), ("test_resnet", None)],
)
def test_the_blocks_of_timm_networks_are_theirs(name, blocks):
    net = timm.create_model(name)
    cut = found(net)
    if blocks is None:
        paths = [
            f"layer{stage}.{place}" for stage in range(1, 5) for place in range(len(getattr(net, f"layer{stage}")))
        ]
        blocks = [*(f"conv1.{place}" for place in (0, 3, 6) if hasattr(net.conv1, "0")), *paths, "fc"]
        blocks = blocks if hasattr(net.conv1, "0") else ["conv1", *paths, "fc"]
    assert len(cut) == len(blocks)
    assert all(all(weight.startswith(f"{path}.") for weight in block) for path, block in zip(blocks, cut, strict=True))


def test_blocks_are_ordered_as_they_run_and_the_layers_in_them_too():
    blocks = [("c", "b"), ("a",)]
    assert in_order(blocks, {"a": 0, "b": 1, "c": 2}) == [("a",), ("b", "c")]
