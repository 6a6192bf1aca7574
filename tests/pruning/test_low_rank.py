"""Low-rank factors beside the weight of a layer: what they compute, how they are written and delivered."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from prunebench.api.errors import CutError
from prunebench.network.cuts import Kept, NetworkCut, cut_out, from_tensors, to_tensors
from prunebench.network.modules import copied, plain
from prunebench.pruning.low_rank import WithFactors, factor_names, without_hooks


def net():
    """A strided convolution with padding, one in two groups, a linear layer, and another that is used twice."""
    return Net().double().eval()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1, padding_mode="circular")
        self.grouped = nn.Conv2d(4, 6, 2, groups=2, dilation=1)
        self.linear = nn.Linear(6, 5)
        self.again = nn.Linear(5, 5, bias=False)
        self.twin = nn.Linear(5, 5)
        self.twin.weight = self.again.weight

    def forward(self, inputs):
        pixels = self.grouped(self.first(inputs).relu()).relu().mean((2, 3))
        return self.twin(self.again(self.linear(pixels)))


INPUTS = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CUT = NetworkCut(ranks=(("again.weight", 3), ("first.weight", 2), ("grouped.weight", 1), ("linear.weight", 2)))


def products(module):
    """By the weight's name, the matrix that the factors make."""
    values = dict(module.named_parameters())
    found = {}
    for name, rank in CUT.ranks:
        inner, outer = (values[factor] for factor in factor_names(name))
        weight = values[name]
        if weight.dim() == 2:
            found[name] = outer @ inner
            continue
        groups = inner.shape[0] // rank
        split = outer.reshape(groups, -1, rank) @ inner.reshape(groups, rank, -1)
        found[name] = split.reshape(weight.shape)
    return found


def merged(module):
    """The network without factors whose weights are the sums."""
    whole, values = net(), dict(module.named_parameters())
    added = products(module)
    whole.load_state_dict(
        {
            name: values[name] + added[name] if name in added else values[name]
            for name in net().state_dict()
            if name != "twin.weight"
        },
        strict=False,
    )
    return whole


def test_outputs_are_those_of_the_sum_of_the_weight_and_the_product():
    module = cut_out(net(), CUT)
    torch.testing.assert_close(module(INPUTS), merged(module)(INPUTS))
    assert not torch.allclose(module(INPUTS), net()(INPUTS))


def test_of_a_convolution_the_first_factor_is_one_with_its_kernel_and_the_second_one_of_points():
    module = cut_out(net(), CUT)
    inner, outer = (module.get_parameter(name) for name in factor_names("grouped.weight"))
    assert (inner.shape, outer.shape) == ((2, 2, 2, 2), (6, 1, 1, 1))
    inputs = torch.randn(1, 4, 5, 5, dtype=torch.float64)
    expected = conv2d(inputs, module.grouped.weight, module.grouped.bias, groups=2)
    expected = expected + conv2d(conv2d(inputs, inner, groups=2), outer, groups=2)
    torch.testing.assert_close(module.grouped(inputs), expected)


def test_a_shared_weight_has_the_same_factors_in_both_layers():
    module = cut_out(net(), CUT)
    assert module.again.low_rank is module.twin.low_rank
    assert [name for name, _ in module.named_parameters() if name.startswith("twin")] == ["twin.bias"]


def test_copies_have_factors_of_their_own():
    module = cut_out(net(), CUT)
    other = copied(module)
    nn.init.zeros_(other.linear.low_rank[0].weight)
    assert bool(module.linear.low_rank[0].weight.any())
    torch.testing.assert_close(
        other.linear(INPUTS[0, 0, :, :6]),
        nn.functional.linear(INPUTS[0, 0, :, :6], other.linear.weight, other.linear.bias),
    )


def test_what_is_delivered_has_no_hooks_and_the_same_outputs():
    module = cut_out(net(), CUT)
    expected = module(INPUTS)
    names = {name for name, _ in module.named_parameters()}
    delivered, named = plain(copied(module))
    torch.testing.assert_close(delivered(INPUTS), expected, rtol=0, atol=0)
    assert not any(layer._forward_hooks for layer in delivered.modules())
    assert isinstance(delivered.grouped, WithFactors)
    assert delivered.again is not module.again
    after = {name for name, _ in delivered.named_parameters()}
    assert {named.get(name, name) for name in names} == after
    assert named["linear.weight"] == "linear.layer.weight"


def test_fused_layers_of_torch_read_the_sum_of_both():
    """Without gradients nn.TransformerEncoderLayer does not call its linear layers, if they have no hooks."""
    whole = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
    module = cut_out(whole, NetworkCut(ranks=(("0.linear1.weight", 2), ("0.linear2.weight", 2))))
    inputs = torch.randn(2, 5, 8)
    with torch.no_grad():
        expected = module(inputs)
        torch.testing.assert_close(without_hooks(copied(module))[0](inputs), expected)


def test_a_network_that_is_one_layer_is_delivered_too():
    layer = cut_out(nn.Linear(4, 3).double(), NetworkCut(ranks=(("weight", 1),)))
    inputs = torch.randn(2, 4, dtype=torch.float64)
    expected = layer(inputs)
    delivered, named = without_hooks(copy.deepcopy(layer))
    torch.testing.assert_close(delivered(inputs), expected)
    assert named["weight"] == "layer.weight"


def test_ranks_are_written_and_read_with_the_rest_of_a_cut():
    cut = NetworkCut((Kept("linear.weight", 0, 5, (0, 1)),), ranks=CUT.ranks)
    assert from_tensors(to_tensors(cut)) == cut
    assert bool(NetworkCut(ranks=CUT.ranks))
    assert not NetworkCut(ranks=CUT.ranks).without_factors
    assert cut.after(NetworkCut(ranks=(("other.weight", 7),))).ranks == (*CUT.ranks[:4], ("other.weight", 7))
    assert cut.within(NetworkCut()).ranks == CUT.ranks


@pytest.mark.parametrize(
    ("name", "rank"),
    [("linear.weight", 0), ("linear.weight", -1), ("linear.weight", 6), ("linear.bias", 1), ("none.weight", 1)],
)
def test_factors_that_there_cannot_be_are_refused(name, rank):
    with pytest.raises(CutError, match=f"no factors of rank {rank} beside '{name}'"):
        cut_out(net(), NetworkCut(ranks=((name, rank),)))


def test_and_a_second_pair_beside_the_same_weight():
    with pytest.raises(CutError, match=r"no factors of rank 1 beside 'linear\.weight'"):
        cut_out(cut_out(net(), CUT), NetworkCut(ranks=(("linear.weight", 1),)))
