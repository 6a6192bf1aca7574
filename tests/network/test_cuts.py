"""A cut is plain data: what it removes, what it refuses, and how it is written."""

import pytest
import torch
from torch import nn

from prunebench.api.errors import CutError
from prunebench.network.cuts import NOTHING, Kept, NetworkCut, cut_out, from_tensors, to_tensors


def net():
    """Three inputs, four channels with BatchNorm, a depthwise layer, and a linear layer behind 2x2 pixels each."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


CHANNELS = (0, 2)
CUT = NetworkCut(
    tuple(
        sorted(
            [
                *(Kept(f"0.{name}", 0, 4, CHANNELS) for name in ("weight", "bias")),
                *(Kept(f"1.{name}", 0, 4, CHANNELS) for name in ("weight", "bias", "running_mean", "running_var")),
                *(Kept(f"2.{name}", 0, 4, CHANNELS) for name in ("weight", "bias")),
                Kept("4.weight", 1, 16, (0, 1, 2, 3, 8, 9, 10, 11)),
            ]
        )
    )
)


def test_cut_out_leaves_the_kept_slices_and_layers_that_say_so():
    whole, smaller = net(), net()
    smaller.load_state_dict(whole.state_dict())
    cut_out(smaller, CUT)
    conv, norm, depthwise, _, linear = smaller
    assert torch.equal(conv.weight, whole[0].weight[[0, 2]])
    assert torch.equal(linear.weight, whole[4].weight[:, [0, 1, 2, 3, 8, 9, 10, 11]])
    assert (conv.in_channels, conv.out_channels, norm.num_features) == (3, 2, 2)
    assert (depthwise.groups, depthwise.in_channels, depthwise.out_channels) == (2, 2, 2)
    assert (linear.in_features, linear.out_features) == (8, 2)
    assert smaller(torch.randn(5, 3, 2, 2)).shape == (5, 2)


def test_the_cut_network_computes_what_the_whole_one_does_with_zeros():
    whole, smaller = net().eval(), net().eval()
    nn.init.uniform_(whole[1].running_mean)
    nn.init.uniform_(whole[1].bias, 0.5, 1.0)
    smaller.load_state_dict(whole.state_dict())
    cut_out(smaller, CUT)
    state = {name: CUT.whole(name, CUT.of(name, value)) for name, value in whole.state_dict().items()}
    whole.load_state_dict(state)
    inputs = torch.randn(3, 3, 2, 2)
    torch.testing.assert_close(smaller(inputs), whole(inputs), rtol=1e-5, atol=1e-6)


def test_what_is_whole_again_is_zero_where_something_was_removed():
    value = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    cut = NetworkCut((Kept("w", 0, 2, (1,)), Kept("w", 1, 3, (0, 2))))
    assert torch.equal(cut.of("w", value), torch.tensor([[4.0, 6.0]]))
    assert torch.equal(cut.whole("w", cut.of("w", value)), torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 6.0]]))
    assert torch.equal(cut.of("other", value), value)


def test_a_cut_of_a_cut_is_one_of_the_whole_network():
    first, second = (
        NetworkCut((Kept("w", 0, 6, (0, 2, 3, 5)),)),
        NetworkCut((Kept("w", 0, 4, (1, 3)), Kept("b", 0, 2, (0,)))),
    )
    both = second.after(first)
    assert both.kept == (Kept("b", 0, 2, (0,)), Kept("w", 0, 6, (2, 5)))
    assert both.within(first).kept == (Kept("b", 0, 2, (0,)), Kept("w", 0, 4, (1, 3)))
    value = torch.arange(6)
    assert torch.equal(second.of("w", first.of("w", value)), both.of("w", value))


def test_a_tied_weight_stays_one():
    module = nn.ModuleDict({"embedding": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
    module["head"].weight = module["embedding"].weight
    cut_out(module, NetworkCut((Kept("embedding.weight", 1, 4, (0, 3)),)))
    assert module["head"].weight is module["embedding"].weight
    assert module["head"].in_features == 2


class Attention(nn.Module):
    """What a cut sets of attention: the number of heads, and the width of all of them."""

    def __init__(self):
        super().__init__()
        self.num_heads, self.attn_dim = 4, 8
        self.proj = nn.Linear(8, 3)


def test_attention_counts_the_heads_that_are_left():
    module = nn.Sequential(Attention())
    cut_out(module, NetworkCut((Kept("0.proj.weight", 1, 8, (0, 1, 6, 7)),), (("0", 2),)))
    assert (module[0].num_heads, module[0].attn_dim, module[0].proj.in_features) == (2, 4, 4)


def test_a_cut_comes_back_from_tensors():
    cut = NetworkCut(CUT.kept, (("blocks.0.attn", 2),))
    assert from_tensors(to_tensors(cut)) == cut
    assert from_tensors({}) == NOTHING
    assert not NOTHING


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (Kept("9.weight", 0, 4, (0,)), "names dimension 0 of '9.weight', which the network does not have"),
        (Kept("0.weight", 4, 4, (0,)), "names dimension 4 of '0.weight', which the network does not have"),
        (Kept("0.weight", 0, 5, (0,)), "gives dimension 0 of '0.weight' a size of 5, and it is 4"),
        (Kept("0.weight", 0, 4, ()), "must keep ascending indices from 0 to 3"),
        (Kept("0.weight", 0, 4, (-1, 2)), "must keep ascending indices from 0 to 3"),
        (Kept("0.weight", 0, 4, (0, 4)), "must keep ascending indices from 0 to 3"),
        (Kept("0.weight", 0, 4, (2, 1)), "must keep ascending indices from 0 to 3"),
        (Kept("0.weight", 0, 4, (1, 1)), "must keep ascending indices from 0 to 3"),
    ],
)
def test_a_cut_of_something_else_is_refused(kept, message):
    module = net()
    with pytest.raises(CutError, match=message):
        cut_out(module, NetworkCut((kept,)))
    assert module[0].weight.shape == (4, 3, 1, 1)


def test_a_dimension_that_is_named_twice_is_refused():
    with pytest.raises(CutError, match="twice"):
        cut_out(net(), NetworkCut((Kept("0.weight", 0, 4, (0,)), Kept("0.weight", 0, 4, (1,)))))


@pytest.mark.parametrize("heads", [("0", 0), ("0", 5), ("1", 1), ("nowhere", 1)])
def test_heads_that_are_not_there_are_refused(heads):
    with pytest.raises(CutError, match=f"heads in '{heads[0]}', which the network does not have"):
        cut_out(nn.Sequential(Attention(), nn.ReLU()), NetworkCut((), (heads,)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kept/0/w", torch.tensor([4.0, 1.0]), "not a list of integers"),
        ("kept/0/w", torch.tensor([[4, 1]]), "not a list of integers"),
        ("kept/0/w", torch.tensor([], dtype=torch.int64), "not a list of integers"),
        ("kept/x/w", torch.tensor([4, 1]), "names no dimension"),
        ("kept/-1/w", torch.tensor([4, 1]), "names no dimension"),
        ("other/0/w", torch.tensor([4, 1]), "is no part of a cut"),
    ],
)
def test_tensors_that_are_no_cut_are_refused(name, value, message):
    with pytest.raises(CutError, match=message):
        from_tensors({name: value})
