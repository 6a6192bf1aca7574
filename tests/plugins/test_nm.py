"""One-shot N:M, and its deployment where there is no hardware for it."""

import pytest
import torch
from prunebench_plugins.nm import is_two_of_four
from torch import nn

from prunebench import Deploy, Initialize, Prune, Rewind, Structure, Train
from prunebench.execution.performing import measured


@pytest.fixture
def wide(tiny):
    return tiny.task(tiny.MLP(hidden=(16,)), steps=10)


def test_it_trains_prunes_and_trains_again_by_the_whole_recipe(tiny, method, wide):
    nm = method("nm", n=1)
    chain = list(nm.stages(tiny.trial(nm, sparsity=0.75, task=wide)))
    magnitude = method("magnitude")
    assert chain == [
        Initialize(),
        Train(),
        Prune(by=magnitude, density=0.25, structure=Structure(1, 4)),
        Rewind(to=0, weights=False),
        Train(),
    ]


def test_or_it_fine_tunes(tiny, method, wide):
    nm = method("nm", finetune="2ep")
    assert list(nm.stages(tiny.trial(nm, task=wide)))[-1] == Train("+2ep")


def test_every_four_trained_weights_keep_the_two_largest_and_their_values(tiny, method, wide, run_chain):
    chain = run_chain(tiny.trial(method("nm"), task=wide))
    trained, pruned = chain.before(Prune).parameters, chain.after(Prune)
    for name, mask in pruned.masks.items():
        groups = trained[name].abs().view(-1, 4)
        assert torch.equal(mask.view(-1, 4), groups >= groups.sort(dim=1).values[:, 2:3])
        assert torch.equal(pruned.parameters[name], trained[name] * mask)
    assert torch.equal(chain.after(Rewind).parameters["1.weight"], pruned.parameters["1.weight"])
    assert chain.end.kept() == {"1.weight": 288, "4.weight": 24}
    assert (chain.end.step, chain.end.cost.steps) == (10, 20)


def test_the_retraining_costs_half_of_the_dense_training(tiny, method, wide, run_chain):
    chain = run_chain(tiny.trial(method("nm"), task=wide))
    assert chain.end.cost.training_flops == pytest.approx(1.5 * chain.after(Train, 0).cost.training_flops)


def test_keeping_the_smallest_of_each_four_hurts(tiny, method, run_chain, digits_task):
    task = digits_task(hidden=(100,))
    rule = method("nm", n=1, finetune=0)
    best, worst = (run_chain(tiny.trial(rule, sparsity=0.75, task=task, invert=invert)) for invert in (False, True))
    assert best.accuracy > 0.7
    assert worst.accuracy < best.accuracy - 0.3
    assert best.end.kept() == worst.end.kept()


def test_two_of_four_is_told_from_what_is_not():
    assert is_two_of_four(torch.tensor([[1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]]))
    assert not is_two_of_four(torch.tensor([[1.0, 0.0, 2.0, 3.0]]))
    assert not is_two_of_four(torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({}, "not applicable: 2:4 needs an NVIDIA GPU of the Ampere generation or later"),
        ({"n": 1}, "not applicable: hardware multiplies 2:4, not 1:4"),
    ],
)
def test_without_the_hardware_there_is_no_latency_and_the_reason_why(tiny, method, wide, run_chain, numbers, reason):
    nm = method("nm", **numbers)
    sparsity = 0.75 if numbers else 0.5
    chain = run_chain(tiny.trial(nm, sparsity=sparsity, task=wide))
    figures, notes = measured(Deploy(by=nm), chain.end, chain.context)
    assert notes == {"latency_ms": reason}
    assert figures.keys() == {"test_loss", "test_accuracy", "size_bytes", "size_bytes_dense"}
    assert figures["test_accuracy"] == chain.accuracy


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0), reason="needs sparse tensor cores"
)
def test_on_the_hardware_linear_layers_are_compressed_and_compute_the_same(method, scoring_of):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)).cuda().eval()
    with torch.no_grad():
        for layer in (module[0], module[2]):
            layer.weight.view(-1, 4)[:, 1::2] = 0
    inputs = torch.rand(32, 128, device="cuda")
    with torch.inference_mode():
        expected = module(inputs)
        deployed = method("nm").deploy(scoring_of(module, (128,)))
        found = deployed.model(inputs.half())
    assert deployed.notes == {"kernels": "2:4, float16, in 0"}  # ten outputs are too few for the second
    assert torch.allclose(found.float(), expected, atol=0.02)
