"""Which channels and heads can be removed; each cut network equals the whole one with zeros."""

import pytest
import torch
from torch import nn
from torch.nn.functional import relu

from prunebench.api.components import Input, Interface
from prunebench.api.errors import PrunebenchError
from prunebench.data.inputs import random_inputs
from prunebench.network.cut_checks import check_cut, difference
from prunebench.network.cuts import Kept, NetworkCut
from prunebench.network.groups import cut_of
from prunebench.network.modules import build
from tests.network.cut_networks import IMAGE, assert_cut_equals_masked, found_in, halved

TOKENS = Interface((Input((12,), kind="tokens", vocabulary=20),), (12, 20))


class Residual(nn.Module):
    """Two convolutions that add up and that a third reads; a concatenation; a linear layer behind 4x4 pixels."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.three = nn.Conv2d(6, 4, 3, padding=1)
        self.four = nn.Conv2d(10, 4, 1)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(4), nn.Linear(64, 5)

    def forward(self, inputs):
        added = relu(self.norm(self.one(inputs)) + self.two(inputs))
        joined = self.four(torch.cat([added, relu(self.three(added))], 1))
        return self.fc(self.pool(relu(joined)).flatten(1))


def test_groups_follow_sums_concatenations_and_flattened_images():
    groups = {group.name: group for group in found_in(Residual()).found}
    assert list(groups) == ["one.weight", "three.weight", "four.weight"]
    added = {(part.tensor, part.dim, part.role): part.indices for part in groups["one.weight"].parts}
    each = tuple((channel,) for channel in range(6))
    assert added[("one.weight", 0, "output")] == added[("two.weight", 0, "output")] == each
    assert added[("norm.weight", 0, "scale")] == added[("three.weight", 1, "input")] == each
    assert added[("norm.running_var", 0, "other")] == added[("one.bias", 0, "other")] == each
    assert added[("four.weight", 1, "input")] == each
    joined = {(part.tensor, part.dim): part.indices for part in groups["three.weight"].parts}
    assert joined["four.weight", 1] == ((6,), (7,), (8,), (9,))
    flat = {(part.tensor, part.dim): part.indices for part in groups["four.weight"].parts}
    assert flat["fc.weight", 1][2] == tuple(range(32, 48))
    assert [part.tensor for part in groups["one.weight"].outputs] == ["one.weight", "two.weight"]


def test_a_part_gives_the_numbers_of_each_channel():
    module = Residual()
    groups = {group.name: group for group in found_in(module).found}
    parameters = dict(module.named_parameters())
    assert torch.equal(groups["one.weight"].outputs[0].of(parameters), module.one.weight.flatten(1))
    inputs = {part.tensor: part for part in groups["one.weight"].inputs}
    assert torch.equal(inputs["three.weight"].of(parameters)[3], module.three.weight[:, 3].flatten())
    (flat,) = groups["four.weight"].inputs
    assert torch.equal(flat.of(parameters)[0], module.fc.weight[:, :16].T.flatten())


def test_the_classifier_keeps_its_outputs():
    assert found_in(Residual()).left_out == {"fc.weight": "they are outputs of the network"}


def test_what_is_not_allowed_stays_whole():
    found = found_in(Residual(), allowed=["one.weight", "three.weight", "four.weight", "fc.weight"])
    assert [group.name for group in found.found] == ["three.weight", "four.weight"]
    assert found.left_out["one.weight"] == "the task or the method keeps the outputs of 'two.weight'"


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (lambda: nn.GroupNorm(2, 8), "'1' normalizes over the channels"),
        (lambda: nn.Conv2d(8, 8, 3, groups=2), "'1' is a convolution in groups of several channels"),
        (lambda: nn.InstanceNorm2d(8, affine=True), "'1' is of type InstanceNorm2d"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1)), "is computed from others"),
    ],
)
def test_channels_that_cannot_be_removed_are_named_with_the_reason(middle, reason):
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), middle(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    found = found_in(module, allowed=[name for name, _ in module.named_parameters()])
    assert "0.weight" not in [group.name for group in found.found]
    assert reason in found.left_out["0.weight"]


class Standardized(nn.Module):
    """Divides by the norm over all channels, which no module shows."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(8, 6), nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, inputs):
        hidden = self.one(inputs)
        hidden = self.two(relu(hidden - hidden.mean(1, keepdim=True)))
        return self.three(relu(hidden))


def test_channels_on_which_the_others_depend_are_left_out_by_trying():
    found = found_in(Standardized(), (Input((8,), kind="features"),))
    assert [group.name for group in found.found] == ["two.weight"]
    assert found.left_out["one.weight"] == "without them the network computes something else"


class FixedWidth(nn.Module):
    """Has the width written into its code."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, inputs):
        return self.two(self.one(inputs).view(-1, 6))


def test_a_network_that_does_not_run_without_channels_keeps_them():
    found = found_in(FixedWidth(), (Input((8,), kind="features"),))
    assert found.found == ()
    assert found.left_out["one.weight"] == "without them the network computes something else"


class Fussy(nn.Module):
    def forward(self, inputs):
        raise ValueError("two are\na crowd")


def test_a_network_that_cannot_be_followed_is_refused_in_a_sentence():
    with pytest.raises(PrunebenchError, match=r"^Torch-Pruning cannot follow the network: two are a crowd$"):
        found_in(Fussy())


def test_finding_groups_leaves_the_network_and_the_generator_as_they_are():
    module = Residual().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(5)
    found_in(module)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_groups_of_frozen_weights_are_found():
    module = Residual()
    module.one.weight.requires_grad_(False)
    assert [group.name for group in found_in(module).found] == ["one.weight", "three.weight", "four.weight"]
    assert not module.one.weight.requires_grad


def test_a_cut_that_changes_what_is_computed_is_refused():
    module = Residual()
    groups = found_in(module).found
    cut = cut_of(groups, halved(groups), module)
    check_cut(module, cut, IMAGE, "mine")
    wrong = [one if one.tensor != "fc.weight" else Kept(one.tensor, 1, 64, tuple(range(32))) for one in cut.kept]
    with pytest.raises(PrunebenchError, match="'mine' computes something else when channels are removed"):
        check_cut(module, NetworkCut(tuple(wrong)), IMAGE, "mine")
    with pytest.raises(PrunebenchError, match="'mine' does not run any more when channels are removed"):
        check_cut(module, NetworkCut((cut.kept[0],)), IMAGE, "mine")


class Nowhere(nn.Sequential):
    def forward(self, inputs):
        return super().forward(inputs) * float("nan")


def test_networks_without_any_finite_output_are_not_taken_to_be_the_same():
    module = Nowhere(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
    cut = NetworkCut((Kept("0.bias", 0, 8, (1, 2)), Kept("0.weight", 0, 8, (1, 2)), Kept("2.weight", 1, 8, (3, 4))))
    assert difference(module, cut, random_inputs(IMAGE, 2))[0] == float("inf")


def test_the_difference_of_a_right_cut_is_that_of_rounding():
    module = Residual()
    groups = found_in(module).found
    differs, allowed = difference(module, cut_of(groups, halved(groups), module), random_inputs(IMAGE, 2))
    assert differs < 1e-12
    assert allowed == 1e-6


class Separate(nn.Module):
    """Attention whose queries, keys and values are layers of their own."""

    def __init__(self, width=12, heads=3):
        super().__init__()
        self.num_attention_heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, hidden):
        parts = [layer(hidden).unflatten(2, (self.num_attention_heads, -1)).transpose(1, 2)
                 for layer in (self.query, self.key, self.value)]  # fmt: skip
        mixed = nn.functional.scaled_dot_product_attention(*parts)
        return hidden + self.out(mixed.transpose(1, 2).flatten(2))


def test_heads_are_removed_with_their_queries_keys_and_values():
    module = nn.Sequential(Separate(), nn.Flatten(), nn.Linear(60, 2))
    inputs = (Input((5, 12), kind="features"),)
    found = found_in(module, inputs)
    (group,) = (one for one in found.found if one.kind == "heads")
    assert (group.name, group.attention, group.size) == ("0.query.weight", "0", 3)
    indices = {part.tensor: part.indices for part in group.parts}
    assert indices["0.key.weight"] == indices["0.value.bias"] == indices["0.out.weight"]
    assert indices["0.query.weight"] == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))
    assert_cut_equals_masked(module, inputs)


def test_heads_of_one_layer_for_queries_keys_and_values(built_in):
    model = built_in("model", "gpt", width=8, heads=2, depth=1)
    module = build(model, TOKENS)
    groups, _ = assert_cut_equals_masked(module, TOKENS.inputs, model.prunable(module))
    heads, hidden = sorted(groups, key=lambda group: group.kind, reverse=True)
    assert heads.parts[0].tensor == "blocks.0.qkv.weight"
    assert heads.parts[0].indices[1] == (4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23)
    assert (hidden.name, hidden.size) == ("blocks.0.up.weight", 32)
    assert (heads.consists_of, hidden.consists_of) == ("heads", "columns")


@pytest.mark.parametrize(
    ("name", "parameters", "groups", "share"),
    [
        ("resnet20", {"width": 0.5}, 12, 0.26),
        ("vgg11", {}, 8, 0.26),
        ("wrn-22-2", {}, 13, 0.26),
        ("conv-2", {}, 4, 0.26),
        ("lenet-300-100", {}, 2, 0.51),
    ],
)
def test_a_cut_network_of_the_built_in_models_equals_the_masked_one(built_in, name, parameters, groups, share):
    module = build(built_in("model", name, **parameters), Interface.of_images((3, 16, 16), 10))
    found, left = assert_cut_equals_masked(module, IMAGE)
    assert len(found) == groups
    assert left < share


@pytest.mark.parametrize(
    ("name", "groups", "heads", "share", "options"),
    [
        ("mobilenetv3_small_050", 26, 0, 0.3, {}),
        ("convnext_atto", 12, 0, 0.56, {}),
        ("vit_tiny_patch16_224", 4, 2, 0.62, {"img_size": 32, "depth": 2}),
        pytest.param("resnet18", 12, 0, 0.26, {}, marks=pytest.mark.slow),
        pytest.param("mobilenetv2_050", 25, 0, 0.3, {}, marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", 40, 0, 0.3, {}, marks=pytest.mark.slow),
        pytest.param("densenet121", 120, 0, 0.7, {}, marks=pytest.mark.slow),
    ],
)
def test_a_cut_network_of_timm_equals_the_masked_one(name, groups, heads, share, options):
    timm = pytest.importorskip("timm")
    module = timm.create_model(name, num_classes=10, **options)
    found, left = assert_cut_equals_masked(module, (Input((3, 32, 32)),))
    assert len(found) == groups
    assert sum(group.kind == "heads" for group in found) == heads
    assert left < share
