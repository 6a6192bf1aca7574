"""FLOPs and prunable layers, by hand."""

import pytest
import torch
from torch import nn

import prunebench
from prunebench.api.errors import PrunebenchError
from prunebench.api.layers import Layer, Network
from prunebench.api.tasks import Prunable
from prunebench.network.description import describe


def described(tiny, model, **prunable):
    return describe(tiny.task(model, prunable=Prunable(**prunable)))


def names(network):
    return [layer.name for layer in network.layers]


class One(prunebench.Model):
    """A single layer after flattening, or a single convolution and its mean."""

    name = "one"
    kind: str = "linear"

    def build(self, shape, classes):
        if self.kind == "linear":
            return nn.Sequential(nn.Flatten(), nn.Linear(36, classes))
        return nn.Sequential(nn.Conv2d(1, 3, (3, 2), stride=2, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Branches(prunebench.Model):
    """A layer that is used twice, and one that is never used."""

    name = "branches"

    def build(self, shape, classes):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, 36))
                self.idle = nn.Linear(2, 2)
                self.head = nn.Linear(36, classes)

            def forward(self, inputs):
                return self.head(self.body(self.body(inputs)))

        return Twice()


class Embedding(prunebench.Model):
    """Prunes what it says it prunes, and nothing else."""

    name = "embedding"

    def build(self, shape, classes):
        return nn.Sequential(nn.Flatten(), nn.LayerNorm(36), nn.Linear(36, 4), nn.Linear(4, classes))

    def prunable(self, module):
        return ["3.weight"]


def test_a_linear_layer_costs_two_operations_a_weight(tiny):
    network = described(tiny, One())
    assert network.layers == (Layer("1.weight", (3, 36), 2.0 * 36 * 3),)
    assert (network.flops, network.parameters, network.size) == (216.0, 36 * 3 + 3, 108)


def test_a_convolution_costs_two_operations_a_weight_and_output_pixel(tiny):
    network = described(tiny, One(kind="convolution"))
    pixels = 3 * 4  # (6 + 2 - 3) // 2 + 1 and (6 + 2 - 2) // 2 + 1
    assert network.layers == (Layer("0.weight", (3, 1, 3, 2), 2.0 * 18 * pixels),)


def test_grouped_and_depthwise_convolutions_cost_what_their_weights_do(tiny):
    network = described(tiny, tiny.Conv())
    assert {layer.name: (layer.shape, layer.flops) for layer in network.layers} == {
        "0.weight": ((4, 1, 3, 3), 2.0 * 36 * 36),
        "3.weight": ((8, 2, 3, 3), 2.0 * 144 * 9),
        "6.weight": ((8, 1, 3, 3), 2.0 * 72 * 9),
        "11.weight": ((3, 8), 2.0 * 24),
    }
    assert network.flops == 2.0 * (36 * 36 + 144 * 9 + 72 * 9 + 24)
    assert network.size == 36 + 144 + 72 + 24
    assert network.parameters == network.size + 3 + 2 * (4 + 8 + 8)


def test_norms_and_biases_are_never_prunable(tiny):
    assert names(described(tiny, tiny.Conv(biased=True))) == ["0.weight", "3.weight", "6.weight", "11.weight"]


def test_the_first_and_the_last_layer_can_be_left_alone(tiny):
    assert names(described(tiny, tiny.Conv(), first=False)) == ["3.weight", "6.weight", "11.weight"]
    assert names(described(tiny, tiny.Conv(), last=False)) == ["0.weight", "3.weight", "6.weight"]
    assert names(described(tiny, tiny.Conv(), first=False, last=False)) == ["3.weight", "6.weight"]


def test_layers_can_be_left_alone_by_name(tiny):
    assert names(described(tiny, tiny.Conv(), exclude=(r"^3\.", "11"))) == ["0.weight", "6.weight"]


@pytest.mark.parametrize("pattern", ["Conv", "2", "weight0", "6.wieght"])
def test_a_pattern_that_matches_no_weight_is_an_error_with_the_nearest_names(tiny, pattern):
    with pytest.raises(PrunebenchError) as caught:
        described(tiny, tiny.Conv(), exclude=(r"^3\.", pattern))
    assert f"{pattern!r} in `prunable.exclude` matches none of its 4 prunable weights" in str(caught.value)
    assert r"^3\\." not in str(caught.value)
    assert "6.weight" in str(caught.value).partition("the nearest are ")[2]


def test_a_pattern_of_a_weight_that_is_dense_anyway_is_no_error(tiny):
    assert names(described(tiny, tiny.Conv(), last=False, exclude=("^11",))) == ["0.weight", "3.weight", "6.weight"]


def test_what_is_left_alone_is_in_no_denominator_but_in_the_flops(tiny):
    whole, part = described(tiny, tiny.Conv()), described(tiny, tiny.Conv(), last=False)
    assert part.size == whole.size - 24
    assert (part.flops, part.parameters) == (whole.flops, whole.parameters)


def test_a_network_with_nothing_left_to_prune_is_an_error(tiny):
    with pytest.raises(PrunebenchError, match="model 'tiny-mlp' has no layer left to prune"):
        described(tiny, tiny.MLP(), exclude=(".*",))


def test_a_model_says_itself_what_may_be_pruned(tiny):
    network = described(tiny, Embedding())
    assert names(network) == ["3.weight"]
    assert network.flops == 2.0 * (36 * 4 + 4 * 3)


def test_a_layer_that_is_used_twice_costs_twice_and_an_idle_one_nothing(tiny):
    network = described(tiny, Branches())
    flops = {layer.name: layer.flops for layer in network.layers}
    assert flops == {"body.1.weight": 2 * 2.0 * 36 * 36, "idle.weight": 0.0, "head.weight": 2.0 * 36 * 3}


def test_skipped_zeros_save_their_share_of_their_own_layer():
    network = Network((Layer("a", (10, 10), 1000.0), Layer("b", (5, 4), 60.0)), 1100.0, 150)
    assert network.flops_at({}) == 1100.0
    assert network.flops_at({"a": 25}) == 1100.0 - 750.0
    assert network.flops_at({"a": 25, "b": 5}) == 1100.0 - 750.0 - 45.0
    assert network.flops_at({"a": 0, "b": 0}) == 40.0


def test_describing_a_network_leaves_the_global_generator_alone(tiny):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    describe(tiny.task(tiny.MLP(hidden=(7, 5, 3, 9))))
    assert torch.equal(before, torch.get_rng_state())


def test_the_weights_have_the_shapes_of_the_model_that_is_built(tiny):
    network, model = described(tiny, tiny.Conv()), tiny.Conv().build((1, 6, 6), 3)
    weights = dict(model.named_parameters())
    assert all(tuple(weights[layer.name].shape) == layer.shape for layer in network.layers)
    assert network.parameters == sum(weight.numel() for weight in weights.values())
