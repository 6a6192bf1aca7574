"""Masks from elsewhere: of each form of file, what does not fit, and the rows that they give."""

import json
import os
import pickle
import struct
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune

import prunebench
from prunebench import Initialize, Prune, Structure, Train
from prunebench.api.errors import PrunebenchError, Unreachable, WeightsError
from prunebench.api.files import File, Weights
from prunebench.api.tasks import Prunable
from prunebench.plan.planning import make_plan, protocol, resolve
from prunebench.records.keys import digest
from prunebench.testing import NETWORKS, conformance
from prunebench.testing.tasks import task_of

KEPT = {"1.weight": 108, "4.weight": 9}
"""Of the 36 x 12 and the 12 x 3 weights: the sparsity is 0.75."""


def masks_of_a_quarter():
    """Every fourth weight of each layer."""
    sizes = {"1.weight": (12, 36), "4.weight": (3, 12)}
    return {name: (torch.arange(a * b) % 4 == 0).view(a, b) for name, (a, b) in sizes.items()}


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Dropout(0.0), nn.Linear(12, 3))


@pytest.fixture
def written(tmp_path):
    def write(tensors, name="masks.safetensors", save=safetensors.torch.save_file):
        save(tensors, tmp_path / name)
        return File.at(str(tmp_path / name))

    return write


@pytest.fixture
def imported(method, written):
    """The method with masks by the names of the weights, and other parameters."""

    def make(tensors=None, **parameters):
        file = tensors if isinstance(tensors, File) else written(tensors or masks_of_a_quarter())
        return method("imported", masks=file, source="elsewhere", **parameters)

    return make


@pytest.fixture
def refused(tiny, imported):
    """What is said of masks that are refused, in one line."""

    def say(tensors, **parameters):
        with pytest.raises(WeightsError) as caught:
            list(imported(tensors, **parameters).stages(tiny.trial(tiny.ByChance(), sparsity=0.75)))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return say


def kept(state):
    return {name: int(mask.sum()) for name, mask in state.masks.items()}


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.bfloat16])
def test_masks_of_any_type_keep_the_weights_that_they_say(tiny, imported, run_chain, kind):
    masks = masks_of_a_quarter()
    given = {name: mask.to(kind) for name, mask in masks.items()}
    chain = run_chain(tiny.trial(imported(given), sparsity=0.75))
    assert kept(chain.end) == KEPT
    for name, mask in masks.items():
        assert torch.equal(chain.end.masks[name], mask)
        assert not bool(chain.end.parameters[name][~mask].any())


def test_a_network_of_torchs_own_pruning_is_what_it_computes(tiny, imported, written, run_chain):
    net, masks = network(), masks_of_a_quarter()
    for index in (1, 4):
        prune.custom_from_mask(net[index], "weight", masks[f"{index}.weight"])
    file = written(net.state_dict(), "pruned.pt", torch.save)
    chain = run_chain(tiny.trial(imported(file, weights=file, train=0), sparsity=0.75))
    assert [type(node.stage) for node in chain.nodes] == [Initialize, Prune]
    for index in (1, 4):
        assert torch.equal(chain.end.parameters[f"{index}.weight"], net[index].weight)
        assert torch.equal(chain.end.parameters[f"{index}.bias"], net[index].bias)
    inputs = torch.randn(5, 1, 6, 6)
    assert torch.equal(chain.module(inputs), net(inputs))
    assert chain.end.cost.flops == 0


def test_the_zeros_of_a_state_dict_are_what_is_pruned(tiny, imported, written, run_chain):
    net, masks = network(), masks_of_a_quarter()
    values = {f"net.{name}": value * masks.get(name, 1) for name, value in net.state_dict().items()}
    file = written(values)
    given = Weights(file=file, prefix="net.")
    method = imported(file, weights=given, zeros=True, prefix="net.", train="1ep")
    chain = run_chain(tiny.trial(method, sparsity=0.75))
    for name, mask in masks.items():
        assert torch.equal(chain.end.masks[name], mask)
        assert torch.equal(chain.after(Initialize).parameters[name], values[f"net.{name}"])
    assert chain.end.step == chain.context.trial.task.clock.steps_per_epoch


def test_without_weights_the_masks_are_put_on_what_the_task_starts_from(tiny, imported, written, run_chain):
    start = network().state_dict()
    task = replace(tiny.task(), weights=Weights(file=written(start, "start.safetensors")))
    chain = run_chain(tiny.trial(imported(train=0), sparsity=0.75, task=task))
    assert torch.equal(chain.end.parameters["1.weight"], start["1.weight"] * masks_of_a_quarter()["1.weight"])
    drawn = run_chain(tiny.trial(imported(train=0), sparsity=0.75))
    other = run_chain(tiny.trial(tiny.ByChance(), sparsity=0.75)).after(Initialize)
    assert torch.equal(drawn.after(Initialize).parameters["1.weight"], other.parameters["1.weight"])


def test_the_cost_is_that_of_the_training_under_the_masks(tiny, imported, run_chain):
    chain = run_chain(tiny.trial(imported(), sparsity=0.75))
    # 5 epochs of 60 examples, 3 passes of 2 FLOPs a weight, and none for the biases as everywhere.
    dense = chain.context.network.flops - 2 * (36 * 12 + 12 * 3)
    assert chain.end.cost.flops == 5 * 60 * 3 * (2 * sum(KEPT.values()) + dense)


def test_a_layer_without_a_mask_is_dense_if_that_is_declared(tiny, imported, refused, run_chain):
    masks = masks_of_a_quarter()
    masks.pop("4.weight")
    assert "without a mask in it (`dense` names weights that stay dense): 4.weight" in refused(masks)
    chain = run_chain(tiny.trial(imported(masks, dense=(r"^4\.",)), sparsity=1 - (108 + 36) / 468))
    assert kept(chain.end) == {"1.weight": 108, "4.weight": 36}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"1.weight": torch.full((12, 36), 0.5)}, "1.weight (0.5 is neither 0 nor 1; if these are weights, set `zeros"),
        ({"1.weight": torch.full((12, 36), -1)}, "1.weight (-1 is neither 0 nor 1"),
        ({"1.weight": torch.full((12, 36), torch.nan)}, "1.weight (not all finite)"),
        ({"1.weight": torch.ones(12, 36, dtype=torch.complex64)}, "1.weight (complex64, not numbers that are 0 or 1)"),
        ({"1.weight": torch.ones(36, 12)}, "1.weight (36×12 in the file, 12×36 in the network)"),
        ({"1.bias": torch.zeros(12)}, "masks in it for what cannot be pruned here: 1.bias"),
        ({name: torch.ones_like(mask) for name, mask in masks_of_a_quarter().items()}, "nothing is pruned in any"),
        ({name: torch.zeros_like(mask) for name, mask in masks_of_a_quarter().items()}, "nothing is kept in any layer"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_sentence(refused, change, said):
    found = refused(masks_of_a_quarter() | change)
    assert found.startswith("the masks of masks.safetensors do not fit; ")
    assert said in found


def test_masks_that_keep_everything_may_be_for_anything(tiny, imported):
    masks = masks_of_a_quarter() | {"1.bias": torch.ones(12)}
    assert list(imported(masks).stages(tiny.trial(tiny.ByChance(), sparsity=0.75)))


def test_other_names_and_patterns_are_listed(refused):
    found = refused({f"a.{name}": mask for name, mask in masks_of_a_quarter().items()}, dense=("nowhere",))
    for part in ("1.weight, 4.weight", "a.1.weight, a.4.weight", "match no weight without a mask: nowhere"):
        assert part in found


def test_masks_are_no_weights_with_zeros(refused):
    assert "1.weight (bool, which weights are not: leave out `zeros`)" in refused(masks_of_a_quarter(), zeros=True)


def test_a_structure_is_checked_group_by_group(tiny, imported, refused):
    masks = {name: (torch.arange(mask.numel()) % 4 < 2).view(mask.shape) for name, mask in masks_of_a_quarter().items()}
    trial = tiny.trial(tiny.ByChance(), sparsity=0.5)
    assert list(imported(masks, structure=Structure(2, 4)).stages(trial))
    moved = masks["1.weight"].clone()
    moved[0, 0], moved[0, 4 + 2] = False, True  # as many as before, and two groups that do not keep two
    assert "not 2:4: 1.weight (2 of 108 groups)" in refused(masks | {"1.weight": moved}, structure=Structure(2, 4))
    assert "not 1:5: 1.weight (36 inputs cannot be" in refused(masks, structure=Structure(1, 5))
    whole = masks | {"4.weight": torch.ones(3, 12)}
    assert list(imported(whole, structure=Structure(2, 4)).stages(replace_sparsity(trial, 1 - (216 + 36) / 468)))


def replace_sparsity(trial, sparsity):
    return replace(trial, sparsity=sparsity)


def test_groups_are_along_the_inputs_of_a_convolution(tiny, imported):
    """Of 8 x 4 weights 3x3 each group of four inputs keeps two at each place: not four weights that lie together."""

    class Plain(prunebench.Model):
        name = "plain-conv"

        def build(self, shape, classes):
            return nn.Sequential(
                nn.Conv2d(shape[0], 4, 3), nn.Conv2d(4, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
            )

    by_input = torch.zeros(8, 4, 3, 3, dtype=torch.bool)
    by_input[:, :2] = True
    masks = {"1.weight": by_input, "0.weight": torch.ones(4, 1, 3, 3), "4.weight": torch.ones(3, 8)}
    trial = tiny.trial(tiny.ByChance(), sparsity=1 - (144 + 36 + 24) / 348, task=tiny.task(Plain()))
    assert list(imported(masks, structure=Structure(2, 4)).stages(trial))
    by_place = torch.zeros(8, 4, 9, dtype=torch.bool)
    by_place[:, :, :4] = by_place[:, :2, 4] = True
    with pytest.raises(WeightsError, match=r"not 2:4: 1\.weight \(64 of 72 groups\)"):
        list(imported(masks | {"1.weight": by_place.view(8, 4, 3, 3)}, structure=Structure(2, 4)).stages(trial))


def test_another_sparsity_is_skipped_with_the_one_to_write(tiny, imported):
    masks = masks_of_a_quarter()
    masks["1.weight"][0, 1:4] = True  # 120 of 468, where 0.75 would be 117, and 0.74 121.7
    with pytest.raises(Unreachable, match=r"keep 120 of 468 weights, a sparsity of 0\.744 and no other") as caught:
        list(imported(masks).stages(tiny.trial(tiny.ByChance(), sparsity=0.5)))
    assert "write `sparsities: [0.744]`" in str(caught.value)
    stages = list(imported(masks).stages(tiny.trial(tiny.ByChance(), sparsity=0.744)))
    assert stages[1].density == 120 / 468


def test_a_layer_may_be_empty(tiny, imported, run_chain):
    masks = masks_of_a_quarter() | {"4.weight": torch.zeros(3, 12)}
    chain = run_chain(tiny.trial(imported(masks, train=0), sparsity=1 - 108 / 468))
    assert kept(chain.end) == {"1.weight": 108, "4.weight": 0}


def test_layers_that_the_task_excludes_cannot_have_masks(tiny, imported):
    task = tiny.task(prunable=Prunable(first=False))
    with pytest.raises(WeightsError, match=r"for what cannot be pruned here: 1\.weight$"):
        list(imported().stages(tiny.trial(tiny.ByChance(), sparsity=0.75, task=task)))


def test_weights_that_do_not_fit_fail_the_plan(tiny, imported, written):
    start = network().state_dict()
    start.pop("1.bias")
    trial = tiny.trial(imported(weights=written(start, "weights.safetensors")), sparsity=0.75)
    with pytest.raises(WeightsError, match=r"^tiny/mine/0\.75/0: weights\.safetensors does not fit .*: 1\.bias$"):
        make_plan([trial], {})


def test_keys_follow_the_content_of_both_files_and_not_their_place(tiny, imported, written):
    start = network().state_dict()
    shifted = start | {"4.bias": start["4.bias"] + 1}
    turned = {name: mask.roll(1, 1) for name, mask in masks_of_a_quarter().items()}
    cases = {
        "here": (masks_of_a_quarter(), start),
        "there": (masks_of_a_quarter(), start),
        "masks": (turned, start),
        "weights": (masks_of_a_quarter(), shifted),
    }
    keys = {}
    for name, (masks, weights) in cases.items():
        made = imported(written(masks, f"{name}-m"), weights=written(weights, f"{name}-w"))
        trial = tiny.trial(made, sparsity=0.75)
        keys[name] = (digest(made), *(node.key for node in resolve(trial, protocol(trial.task, ""))))
    assert keys["here"] == keys["there"]
    assert keys["here"][1] == keys["masks"][1] != keys["weights"][1]
    assert set(keys["here"][2:]).isdisjoint(keys["masks"][2:] + keys["weights"][2:])


class Evil:
    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def broken(kind, path):
    whole = safetensors.torch.save(masks_of_a_quarter())
    if kind == "truncated":
        return whole[: len(whole) // 2]
    if kind == "huge header":
        return struct.pack("<Q", 2**62) + b"{"
    if kind == "lying":
        header = json.dumps({"1.weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}).encode()
        return struct.pack("<Q", len(header)) + header + b"\0" * 4
    if kind == "pickle":
        evil = Evil()
        evil.path = path
        return pickle.dumps(evil)
    return b""


@pytest.mark.parametrize("kind", ["truncated", "huge header", "lying", "pickle", "empty"])
def test_a_hostile_file_is_refused_unread(refused, tmp_path, kind):
    path = tmp_path / "masks"
    path.write_bytes(broken(kind, tmp_path / "ran"))
    assert refused(File.at(str(path))).startswith("masks cannot be read as weights: ")
    assert not (tmp_path / "ran").exists()


def test_a_few_bytes_that_are_a_tensor_of_any_size_are_not_looked_through(refused, written):
    endless = torch.ones(1).expand(10**6, 10**6)
    file = written(masks_of_a_quarter() | {"other": endless}, "masks.pt", torch.save)
    assert "cannot be pruned here: other" in refused(file)


def test_the_plan_says_of_which_trial_a_mask_does_not_fit(tiny, imported):
    trial = tiny.trial(imported({"1.weight": torch.ones(2)}), sparsity=0.75)
    with pytest.raises(PrunebenchError, match=r"^tiny/mine/0\.75/0: the masks of masks\.safetensors do not fit; "):
        make_plan([trial], {})


@pytest.mark.parametrize("network", [pytest.param(one, marks=pytest.mark.slow) for one in NETWORKS[1:]] + [NETWORKS[0]])
def test_it_conforms(tiny, imported, network):
    dataset, objective = task_of(network)
    trial = tiny.trial(tiny.ByChance(), task=replace(tiny.task(network, dataset=dataset), objective=objective))
    masks = {layer.name: (torch.arange(layer.size) % 2 == 0).view(layer.shape) for layer in trial.network.layers}
    report = conformance(imported(masks), networks=[network])
    assert report.ok, str(report)
    skipped = {finding.check for finding in report.findings if finding.status == "skipped"}
    assert skipped <= {"devices", *type(imported()).exempt}


def test_the_training_of_a_task_is_the_one_of_any_method(tiny, imported):
    stages = list(imported().stages(tiny.trial(tiny.ByChance(), sparsity=0.75)))
    assert stages == [Initialize(), Prune(by=imported(), density=117 / 468), Train()]
