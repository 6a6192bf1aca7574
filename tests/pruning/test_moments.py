"""The inputs of layers, compared with what the layers make of them."""

import pytest
import torch
from torch import nn

from prunebench.pruning import moments as module
from prunebench.pruning.moments import as_matrix, as_weight, gathered, layers_of

CONVOLUTIONS = {
    "plain": nn.Conv2d(3, 4, 3),
    "strided": nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
    "dilated": nn.Conv2d(3, 4, 3, dilation=2, padding=2),
    "same": nn.Conv2d(3, 4, (2, 3), padding="same"),
    "reflected": nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "grouped": nn.Conv2d(4, 6, 3, groups=2, padding=1),
    "depthwise": nn.Conv2d(4, 8, 3, groups=4),
    "pointwise": nn.Conv2d(3, 5, 1),
}


def seen(layer, *batches, diagonal=False):
    with gathered({"w": [layer]}, diagonal) as found, torch.no_grad():
        for batch in batches:
            layer(batch)
    return found["w"]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_the_moments_of_a_convolution_are_those_that_its_outputs_have(kind):
    """The mean square of an output without bias is w M wᵀ, and its mean w m: both are checked on real outputs."""
    torch.manual_seed(0)
    layer = CONVOLUTIONS[kind].double()
    inputs = torch.randn(5, layer.in_channels, 7, 6, dtype=torch.float64)
    found = seen(layer, inputs[:2], inputs[2:])
    with torch.no_grad():
        outputs = layer(inputs) - layer.bias[:, None, None]
    rows = as_matrix(layer.weight.detach(), layer)
    second = torch.einsum("goi,gij,goj->go", rows, found.second, rows).flatten()
    means = torch.einsum("goi,gi->go", rows, found.means).flatten()
    assert torch.allclose(second, outputs.square().mean((0, 2, 3)))
    assert torch.allclose(means, outputs.mean((0, 2, 3)))
    assert found.tokens == outputs.numel() // layer.out_channels


def test_the_moments_of_a_linear_layer_are_over_all_its_tokens():
    layer = nn.Linear(2, 3)
    found = seen(layer, torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[5.0, 0.0]]))
    assert found.tokens == 3
    assert torch.equal(found.second * 3, torch.tensor([[[35.0, 14.0], [14.0, 20.0]]], dtype=torch.float64))
    assert torch.equal(found.means * 3, torch.tensor([[9.0, 6.0]], dtype=torch.float64))


def test_the_diagonal_alone_is_that_of_the_whole():
    layer, inputs = nn.Conv2d(4, 2, 3, groups=2), torch.randn(3, 4, 5, 5)
    whole = seen(layer, inputs).second.diagonal(dim1=1, dim2=2)
    assert torch.allclose(seen(layer, inputs, diagonal=True).second, whole)


def test_parts_that_fit_into_memory_add_up_to_the_whole(monkeypatch):
    layer, inputs = nn.Conv2d(3, 2, 3), torch.randn(9, 3, 6, 6)
    whole = seen(layer, inputs)
    monkeypatch.setattr(module, "CHUNK", 1)
    assert torch.allclose(seen(layer, inputs).second, whole.second)
    assert seen(layer, inputs).tokens == whole.tokens


def test_sums_are_exact_where_float32_would_lose_them():
    layer = nn.Linear(1, 1)
    found = seen(layer, torch.tensor([[4096.0]]), torch.full((1000, 1), 0.5))
    assert float(found.second * 1001) == 4096.0**2 + 250.0  # above 2**24, float32 adds 0.25 to no effect


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_matrix_becomes_the_weight_again(kind):
    layer = CONVOLUTIONS[kind]
    assert torch.equal(as_weight(as_matrix(layer.weight, layer), layer), layer.weight)


def test_the_channels_at_one_place_of_the_kernel_are_next_to_each_other():
    layer = nn.Conv2d(2, 1, (1, 2))
    layer.weight.data = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    assert as_matrix(layer.weight, layer).tolist() == [[[1.0, 3.0, 2.0, 4.0]]]


def test_layers_that_share_a_weight_are_found():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert layers_of(net, "0.weight") == [net[0], net[1]]


def test_the_inputs_of_all_layers_that_share_a_weight_are_added_up():
    one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    with gathered({"w": [one, other]}) as found:
        one(torch.tensor([[1.0]]))
        other(torch.tensor([[2.0], [4.0]]))
    assert float(found["w"].second) == pytest.approx((1 + 4 + 16) / 3)


def test_a_layer_that_nothing_reaches_has_moments_of_zero():
    with gathered({"w": [nn.Linear(2, 2)]}) as found:
        pass
    assert found["w"].tokens == 0
    assert not found["w"].second.any()
