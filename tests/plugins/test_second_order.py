"""Second order of the loss: OBD's scores and WoodFisher's blocks and corrections, worked out by hand."""

from types import SimpleNamespace

import pytest
import torch
from prunebench_plugins import obd
from prunebench_plugins.woodfisher import in_blocks, jointly, one_by_one
from torch import nn

from prunebench import Initialize, Prune, Train
from prunebench.api.errors import PluginError

F64 = torch.float64


class Fixed:
    """A scoring context of one layer whose mini-batches have the given gradients."""

    def __init__(self, weight, *gradients):
        self.weights = {"w": nn.Parameter(torch.tensor(weight))}
        self.given, self.memory = [{"w": torch.tensor(one)} for one in gradients], {}
        self.masks = {"w": torch.ones(len(weight), dtype=torch.bool)}


@pytest.fixture
def fixed(monkeypatch):
    """Scoring contexts whose gradients are those that a test says."""

    def given(scoring, count, size):
        yield from scoring.given[:count]

    monkeypatch.setattr(obd, "gradients", given)
    monkeypatch.setattr("prunebench_plugins.woodfisher.gradients", given)
    return Fixed


def test_obd_scores_are_half_of_w_squared_times_the_mean_squared_gradient(fixed, method):
    """F is ((1 + 9) / 2, (4 + 0) / 2) = (5, 2): 4 * 5 / 2 and 9 * 2 / 2."""
    found = method("obd").scores(fixed([2.0, -3.0], [1.0, 2.0], [-3.0, 0.0]))
    assert found["w"].tolist() == pytest.approx([10.0, 9.0])


def test_the_gradients_are_those_of_single_examples_in_evaluation_mode(method, scoring_of, tiny):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3), nn.BatchNorm1d(3), nn.Dropout(0.9))
    scoring = scoring_of(net, (1, 6, 6), tiny.task())
    found = list(obd.gradients(scoring, 4, 1))
    net.eval()
    for (inputs, targets), gradient in zip(scoring.batches(4, 1), found, strict=True):
        loss = nn.functional.cross_entropy(net(inputs), targets)
        [expected] = torch.autograd.grad(loss, [net[1].weight])
        assert torch.allclose(gradient["1.weight"], expected)


def test_the_fisher_information_is_damped_and_in_blocks(fixed, method):
    """Of gradients (1, 2, 3) and (1, 0, 1): means of products, without those between the blocks {1, 2} and {3}."""
    scoring = fixed([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], [1.0, 0.0, 1.0])
    method("woodfisher", block=2, damping=0.5).scores(scoring)
    assert scoring.memory["w"].tolist() == [[[1.5, 1.0], [1.0, 2.5]], [[5.5, 0.0], [0.0, 0.5]]]


def test_all_gradients_are_in_the_fisher_information_however_few_are_in_memory(fixed, method, monkeypatch):
    """The mean of 1, 4, 9, 16 and 25."""
    monkeypatch.setattr("prunebench_plugins.woodfisher.CHUNK", 2)
    scoring = fixed([1.0], [1.0], [2.0], [3.0], [4.0], [5.0])
    method("woodfisher", block=1, damping=1e-9).scores(scoring)
    assert scoring.memory["w"].tolist() == [[[pytest.approx(11.0)]]]


def test_scores_are_those_of_the_inverse(fixed, method):
    """F = [[2, 1], [1, 2]], whose inverse has 2/3 on its diagonal: w² / (4/3)."""
    scoring = fixed([2.0, 3.0], [1.0, 1.0], [1.0, -1.0], [1.0, 2.0], [1.0, -0.0])
    method("woodfisher", block=2, damping=1e-12).scores(scoring)
    scoring.memory["w"] = torch.tensor([[[2.0, 1.0], [1.0, 2.0]]], dtype=F64)
    found = method("woodfisher", block=2)._scores(scoring.weights["w"], scoring.memory["w"])
    assert found.tolist() == pytest.approx([3.0, 6.75])


PAIR = torch.tensor([[[2.0, 1.0], [1.0, 2.0]]], dtype=F64)
TRIPLE = torch.tensor([[[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]]], dtype=F64)


def tensor(*values):
    return torch.tensor([values], dtype=F64)


@pytest.mark.parametrize("correct", [one_by_one, jointly])
def test_one_removed_weight_is_made_up_for(correct):
    """F⁻¹ = [[2, -1], [-1, 2]] / 3: the second becomes 3 + 1/2 * 1, and the first 0."""
    found = correct(tensor(1.0, 3.0), torch.tensor([[False, True]]), PAIR)
    assert found.tolist() == [[0.0, pytest.approx(3.5)]]


def test_two_removed_weights_are_made_up_for_each_or_jointly():
    """Each for itself adds 1/3 * 1 twice to the third weight, jointly the third one becomes 1 + (1 + 1) / 2."""
    kept = torch.tensor([[False, False, True]])
    assert one_by_one(tensor(1.0, 1.0, 1.0), kept, TRIPLE).tolist() == [[0.0, 0.0, pytest.approx(5 / 3)]]
    assert jointly(tensor(1.0, 1.0, 1.0), kept, TRIPLE).tolist() == [[0.0, 0.0, pytest.approx(2.0)]]


def test_the_correction_is_the_one_that_the_method_is_asked_for(fixed, method):
    scoring, kept = fixed([1.0, 1.0, 1.0]), {"w": torch.tensor([False, False, True])}
    scoring.memory["w"] = TRIPLE

    def corrected(**parameters):
        found = method("woodfisher", block=3, **parameters).compensate(scoring, kept)
        return {name: values.tolist() for name, values in found.items()}

    assert corrected(update="each") == {"w": [0.0, 0.0, pytest.approx(5 / 3)]}
    assert corrected(update="joint") == {"w": [0.0, 0.0, pytest.approx(2.0)]} == corrected()
    assert corrected(update="none") == {}


def test_the_joint_correction_is_never_worse_than_the_other_one_or_none():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(20, 6, 9, generator=generator, dtype=F64)
    fisher, weight = root.mT @ root + 0.1 * torch.eye(9), torch.randn(20, 9, generator=generator, dtype=F64)
    kept = torch.rand(20, 9, generator=generator) < 0.5

    def cost(changed):
        step = changed - weight
        return torch.einsum("bi,bij,bj->b", step, fisher, step)

    joint = cost(jointly(weight, kept, fisher))
    assert (joint <= cost(one_by_one(weight, kept, fisher)) + 1e-9).all()
    assert (joint <= cost(weight * kept) + 1e-9).all()


def test_values_are_cut_into_blocks_the_last_of_which_is_filled_up():
    assert in_blocks(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), 4).tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]
    assert in_blocks(torch.tensor([1.0, 2.0]), 2).tolist() == [[1, 2]]


def test_what_a_method_corrects_is_in_the_state_and_removed_weights_are_zero(method, tiny, run_chain):
    settings = {"gradients": 20, "block": 7}
    found = {
        update: run_chain(tiny.trial(method("woodfisher", update=update, **settings), task=tiny.task(steps=8))).end
        for update in ("each", "joint", "none")
    }
    for update, end in found.items():
        assert all(torch.equal(mask, found["none"].masks[name]) for name, mask in end.masks.items())
        assert not any(end.parameters[name][~mask].any() for name, mask in end.masks.items())
        assert (update == "none") == torch.equal(end.parameters["1.weight"], found["none"].parameters["1.weight"])


def test_their_chains_are_pruned_after_training(method, tiny):
    rule = method("obd", finetune="2ep", allocation="erk")
    assert list(rule.stages(tiny.trial(rule, sparsity=0.7))) == [
        Initialize(),
        Train(),
        Prune(by=rule, density=0.3, allocation="erk"),
        Train(until="+2ep"),
    ]


def test_each_gradient_and_each_inverse_is_in_the_ledger(method):
    network = SimpleNamespace(flops=100.0, size=10)
    assert method("obd", gradients=7, batch_size=2).scoring_flops(network, 1.0) == 3 * 100 * 14
    assert method("woodfisher", gradients=7, batch_size=2, block=5).scoring_flops(network, 1.0) == (
        3 * 100 * 14 + 10 * (2 * 7 * 5 + 2 * 25)
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ([], "must return a dict of weights by name"),
        ({"nothing": torch.zeros(2)}, "'nothing' is not one of the prunable weights"),
        ({"1.weight": torch.zeros(2)}, r"the new weights of '1\.weight' have shape \(2,\)"),
        ({"1.weight": torch.full((12, 36), torch.nan)}, r"the new weights of '1\.weight' are not all finite"),
    ],
)
def test_corrections_that_do_not_fit_are_an_error(tiny, run_stages, changed, reason):
    class Correcting(tiny.ByChance):
        name = "correcting"

        def compensate(self, scoring, masks):
            return changed

    with pytest.raises(PluginError, match=reason):
        run_stages(tiny.task(), Prune(by=Correcting(), density=0.5))
