"""N of every M weights: along the input channels, exactly, and an error where that cannot be."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import prunebench
from prunebench import Initialize, Prune, Structure, Train
from prunebench.api.errors import Unreachable
from prunebench.api.layers import Layer
from prunebench.api.tasks import Prunable
from prunebench.network.description import describe
from prunebench.plan.planning import make_plan, resolve
from prunebench.pruning.masks import keep_highest, pack, unpack

TWO_OF_FOUR = Structure(2, 4)


def chosen(scores, structure=TWO_OF_FOUR, mask=None):
    """The mask of one layer."""
    layers = [Layer("w", tuple(scores.shape), 0.0)]
    masks = {"w": torch.ones_like(scores, dtype=torch.bool) if mask is None else mask}
    return keep_highest({"w": scores}, masks, layers, 0.5, "global", structure)["w"]


# --- Top-k in groups


def test_the_two_highest_of_four_are_kept():
    assert chosen(torch.tensor([[0.1, 0.9, 0.3, 0.2]])).tolist() == [[False, True, True, False]]


def test_each_row_and_each_group_of_it_chooses_by_itself():
    scores = torch.tensor([[9.0, 8.0, 7.0, 6.0, 1.0, 2.0, 3.0, 4.0], [1.0, 5.0, 2.0, 6.0, 0.0, 0.0, -1.0, -2.0]])
    assert chosen(scores).int().tolist() == [[1, 1, 0, 0, 0, 0, 1, 1], [0, 1, 0, 1, 1, 1, 0, 0]]


def test_among_equals_the_first_are_kept():
    assert chosen(torch.zeros(1, 8)).int().tolist() == [[1, 1, 0, 0, 1, 1, 0, 0]]
    assert chosen(torch.tensor([[0.0, 1.0, 0.0, 0.0]])).int().tolist() == [[1, 1, 0, 0]]


def test_a_convolution_is_grouped_along_its_input_channels_at_each_place_of_the_kernel():
    # (1 output, 4 inputs, 1 x 2 kernel): one place of the kernel prefers the first two channels, the other the last.
    scores = torch.tensor([[[[4.0, 1.0]], [[3.0, 2.0]], [[2.0, 3.0]], [[1.0, 4.0]]]])
    assert chosen(scores)[0, :, 0].int().tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]


def test_a_grouped_convolution_has_the_input_channels_of_one_group():
    scores = torch.rand(6, 4, 3, 3)  # 12 inputs in three groups
    assert (chosen(scores).sum(1) == 2).all()


@pytest.mark.parametrize("shape", [(8, 3, 7, 7), (8, 1, 3, 3), (5, 6), (2, 2, 1, 1)])
def test_a_layer_whose_inputs_are_not_divisible_stays_dense(shape):
    assert chosen(torch.rand(shape)).all()


@given(
    st.sampled_from([(1, 2), (1, 4), (2, 4), (4, 8), (3, 4), (4, 4)]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([(), (1,), (3, 3)]),
    st.integers(0, 2**32),
)
def test_every_group_keeps_exactly_n_and_none_that_is_lower_than_one_it_drops(numbers, outputs, groups, kernel, seed):
    n, m = numbers
    scores = torch.rand(outputs, groups * m, *kernel, generator=torch.Generator().manual_seed(seed))
    mask = chosen(scores, Structure(n, m))
    in_groups = mask.transpose(0, 1).reshape(groups, m, -1)
    values = scores.transpose(0, 1).reshape(groups, m, -1)
    assert (in_groups.sum(1) == n).all()
    lowest = torch.where(in_groups, values, 2.0).amin(1)
    highest = torch.where(in_groups, -1.0, values).amax(1)
    assert (lowest >= highest).all()
    assert torch.equal(unpack(pack(mask), mask.shape), mask)


def test_what_was_pruned_before_stays_pruned_however_high_its_score():
    mask = torch.tensor([[False, True, True, True, False, False, False, True]])
    scores = torch.tensor([[9.0, 1.0, 2.0, 3.0, 9.0, 9.0, 9.0, -5.0]])
    # The second group has one left: it keeps it, though two would be its due.
    assert chosen(scores, mask=mask).int().tolist() == [[0, 0, 1, 1, 0, 0, 0, 1]]


# --- Transposed and grouped convolutions


class Upsampling(prunebench.Model):
    """A grouped convolution, then two transposed ones, the second grouped."""

    name = "upsampling"

    def build(self, shape, classes):
        return nn.Sequential(
            nn.Conv2d(shape[0], 8, 3, stride=2, padding=1),
            nn.Conv2d(8, 16, 3, padding=1, groups=2),
            nn.ConvTranspose2d(16, 6, 2, stride=2),
            nn.ConvTranspose2d(6, 12, (1, 2), groups=3),
            nn.Flatten(),
            nn.Linear(12 * 6 * 7, classes),
        )


def test_a_layer_knows_the_inputs_of_an_output_and_its_outputs(tiny):
    layers = describe(tiny.task(Upsampling())).layers
    # Of shapes (8, 1, 3, 3), (16, 4, 3, 3), (16, 6, 2, 2), (6, 4, 1, 2) and (3, 504).
    assert [(one.inputs, one.outputs) for one in layers] == [(1, 8), (4, 16), (16, 6), (2, 12), (504, 3)]
    assert [one.input_dim for one in layers] == [1, 1, 0, 0, 1]


def transposed(scores, structure=TWO_OF_FOUR, groups=1):
    """The mask of a transposed convolution."""
    layers = [Layer("w", tuple(scores.shape), 0.0, input_dim=0, groups=groups)]
    masks = {"w": torch.ones_like(scores, dtype=torch.bool)}
    return keep_highest({"w": scores}, masks, layers, 0.5, "global", structure)["w"]


def test_a_transposed_convolution_is_grouped_along_its_inputs_too():
    # (4 inputs, 2 outputs, 1 x 1): of each output the two highest of its four inputs.
    scores = torch.tensor([[4.0, 1.0], [3.0, 2.0], [2.0, 3.0], [1.0, 4.0]])[:, :, None, None]
    assert transposed(scores)[:, :, 0, 0].int().tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert transposed(torch.rand(8, 3, 2, 2)).sum((0, 2, 3)).tolist() == [16, 16, 16]


def test_it_is_as_a_convolution_whose_weight_is_transposed():
    scores = torch.rand(8, 4, 3, 3)
    assert torch.equal(transposed(scores), chosen(scores.transpose(0, 1)).transpose(0, 1))


def test_a_group_of_a_transposed_convolution_has_whole_groups_of_weights_or_stays_dense():
    assert transposed(torch.rand(6, 4, 2, 2)).all()  # 6 inputs
    assert transposed(torch.rand(8, 4, 2, 2), groups=4).all()  # 2 inputs of each output, though 4 divides 8
    mask = transposed(torch.rand(8, 4, 2, 2), groups=2)
    assert (mask.view(2, 4, 4, 2, 2).sum(1) == 2).all()


@pytest.mark.parametrize("name", ["nm", "sr-ste"])
def test_a_trained_transposed_convolution_is_n_of_m_along_its_inputs(tiny, method, run_chain, name):
    trial = tiny.trial(method(name, n=1, m=2), task=tiny.task(Upsampling(), prunable=Prunable(exclude=("^[01]\\.",))))
    end = run_chain(trial).end
    upsampling, grouped = end.parameters["2.weight"], end.parameters["3.weight"]
    assert ((upsampling.view(8, 2, 6, 2, 2) != 0).sum(1) == 1).all()
    assert ((grouped.view(3, 2, 4, 1, 2) != 0).sum(1) == 1).all()


# --- What can be reached


def test_a_structure_reads_as_n_to_m_and_keeps_no_more_than_all():
    assert str(TWO_OF_FOUR) == "2:4"
    assert TWO_OF_FOUR.density == 0.5
    with pytest.raises(ValueError, match=r"^5:4 keeps more than all weights: n must be at most m$"):
        Structure(5, 4)


def test_the_number_kept_counts_dense_layers_in_full(layer):
    layers = [layer("stem", 8, 3, 3, 3), layer("body", 16, 8, 3, 3), layer("head", 10, 16)]
    assert TWO_OF_FOUR.kept(layers) == 216 + 576 + 80


def test_another_sparsity_is_unreachable_and_the_one_that_is_not_is_named(layer):
    for structure, sparsity in ((TWO_OF_FOUR, "0.5"), (Structure(1, 4), "0.75")):
        with pytest.raises(Unreachable, match=rf"^{structure} has a sparsity of {sparsity} and no other$"):
            structure.check(0.1, [layer("a", 4, 8)])
    TWO_OF_FOUR.check(0.5, [layer("a", 4, 8)])
    Structure(1, 3).check(0.3333, [layer("a", 4, 9)])


def test_a_network_that_is_mostly_of_other_layers_cannot_reach_it(layer):
    layers = [layer("odd", 4, 9), layer("even", 4, 8)]
    with pytest.raises(
        Unreachable, match=r"sparsity of 0\.2353 here and no other: the input channels of odd are not divisible"
    ):
        TWO_OF_FOUR.check(0.5, layers)
    TWO_OF_FOUR.check(0.5, [layer("stem", 16, 3), layer("body", 100, 100)])


# --- In a chain


@pytest.fixture
def wide(tiny):
    """36 → 16 → 3, all of it divisible by four."""
    return tiny.task(tiny.MLP(hidden=(16,)), steps=6)


def test_pruning_by_structure_keeps_two_of_every_four_of_the_trained_weights(tiny, wide, method, run_stages):
    chain = run_stages(wide, Train(), Prune(by=method("magnitude"), density=0.5, structure=TWO_OF_FOUR), Train("+4it"))
    before, after = chain.before(Prune), chain.after(Prune)
    for name, mask in after.masks.items():
        groups = before.parameters[name].abs().view(-1, 4)
        second = groups.sort(dim=1).values[:, 2:3]
        assert torch.equal(mask.view(-1, 4), groups >= second)
    assert chain.end.kept() == {name: mask.numel() // 2 for name, mask in after.masks.items()}


def test_undivided_layers_of_a_convolutional_network_are_left_dense(tiny, method, run_stages):
    # 0.weight (1 input channel) and 6.weight (depthwise) fit nothing; 3.weight has 4 inputs in two groups.
    prunable = Prunable(exclude=("^0", "^6"))
    task = tiny.task(tiny.Conv(), steps=3, prunable=prunable)
    chain = run_stages(task, Prune(by=method("magnitude"), density=0.5, structure=Structure(1, 2)), Train())
    assert (chain.end.masks["3.weight"].sum(1) == 1).all()
    assert chain.end.kept() == {"3.weight": 72, "11.weight": 12}


def test_the_plan_counts_the_dense_layers_and_skips_what_cannot_be_reached(tiny, wide, method):
    pruned = Prune(by=method("magnitude"), density=0.5, structure=TWO_OF_FOUR)
    (_, node) = resolve(tiny.trial(tiny.Chained(chain=(Initialize(), pruned)), task=wide), "root")
    assert node.density == 0.5
    twice = tiny.Chained(chain=(Initialize(), Prune(by=method("magnitude"), density=0.2), pruned))
    assert [node.density for node in resolve(tiny.trial(twice, task=wide), "root")] == [1.0, 0.2, 0.2]
    plan = make_plan([tiny.trial(method("nm"), sparsity=sparsity, task=wide) for sparsity in (0.5, 0.9)], {})
    assert [trial.skipped for trial in plan.trials] == ["", "2:4 has a sparsity of 0.5 and no other"]
    (trial,) = make_plan([tiny.trial(method("nm"), task=tiny.task(tiny.Conv()))], {}).trials
    assert trial.skipped.startswith("2:4 has a sparsity of 0.04348 here and no other: the input channels of 0.weight")


def test_the_structure_is_in_the_key(tiny, wide, method):
    def key(**how):
        stages = (Initialize(), Prune(by=method("magnitude"), density=0.5, **how))
        return list(resolve(tiny.trial(tiny.Chained(chain=stages), task=wide), "root"))[-1].key

    assert len({key(), key(structure=TWO_OF_FOUR), key(structure=Structure(1, 2))}) == 3
