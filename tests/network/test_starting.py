"""Trials that start from a file of weights: read without running code, and compared name by name."""

import os
import pickle
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn

import prunebench
from prunebench import Initialize, Prune, Reinitialize, Train
from prunebench.api.components import Interface
from prunebench.api.errors import WeightsError
from prunebench.api.files import File, Weights
from prunebench.network.modules import build
from prunebench.network.starting import check_start, read_weights, start_from
from prunebench.plan.planning import make_plan, protocol

TENSORS = {
    "1.weight": torch.arange(12 * 36.0).view(12, 36) / 1000,
    "1.bias": torch.ones(12),
    "4.weight": torch.arange(36.0).view(3, 12) / 100,
    "4.bias": torch.zeros(3),
}


@pytest.fixture
def written(tmp_path):
    """Write tensors to a file, by default as safetensors; gives what a task starts from."""

    def write(tensors=TENSORS, name="a.safetensors", save=safetensors.torch.save_file, **keys):
        path = tmp_path / name
        save(tensors, path)
        return Weights(file=File.at(str(path)), **keys)

    return write


@pytest.fixture
def task(tiny):
    return lambda weights, **recipe: replace(tiny.task(**recipe), weights=weights)


def message(task_of_weights):
    with pytest.raises(WeightsError) as caught:
        check_start(task_of_weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def nested(tensors, path):
    torch.save({"epoch": 3, "state_dict": tensors, "optimizer": {"state": {}}}, path)


@pytest.mark.parametrize(
    ("name", "save"), [("a.safetensors", safetensors.torch.save_file), ("a.pt", torch.save), ("a.tar", nested)]
)
def test_every_trial_starts_from_the_weights_in_the_file(written, task, run_stages, name, save):
    chain = run_stages(task(written(name=name, save=save)))
    for name, value in TENSORS.items():
        assert torch.equal(chain.end.parameters[name], value)


def test_the_seed_draws_nothing_but_the_order_of_the_data(written, task, run_stages):
    one, other = (run_stages(task(written()), Train(until="1it"), seed=seed) for seed in (0, 1))
    assert torch.equal(one.after(Initialize).parameters["4.weight"], other.after(Initialize).parameters["4.weight"])
    assert not torch.equal(one.end.parameters["4.weight"], other.end.parameters["4.weight"])


def test_new_random_weights_are_random_still(written, task, run_stages, tiny):
    stages = (Prune(by=tiny.ByChance(), density=0.5), Reinitialize())
    started, plain = (run_stages(one, *stages).end for one in (task(written()), tiny.task()))
    assert torch.equal(started.parameters["4.weight"], plain.parameters["4.weight"])


def test_names_may_have_a_prefix_and_parts_may_be_left_as_they_are(written, task, run_stages, tiny):
    tensors = {f"model.{name}": value for name, value in TENSORS.items() if not name.startswith("4")}
    given = written({**tensors, "model.head.weight": torch.ones(7), "teacher.x": torch.ones(1)},
                    prefix="model.", fresh=(r"^4\.",), ignore=("head",))  # fmt: skip
    found, plain = run_stages(task(given)).end.parameters, run_stages(tiny.task()).end.parameters
    assert torch.equal(found["1.weight"], TENSORS["1.weight"])
    assert torch.equal(found["4.weight"], plain["4.weight"])


def test_other_precisions_become_the_networks(written, task, run_stages):
    half = {name: value.to(torch.bfloat16) for name, value in TENSORS.items()}
    found = run_stages(task(written(half))).end.parameters["1.weight"]
    assert found.dtype == torch.float32
    assert torch.equal(found, half["1.weight"].float())


def test_every_mismatch_is_listed(written, task):
    wrong = {
        "1.weight": TENSORS["1.weight"].T.contiguous(),
        "4.weight": TENSORS["4.weight"] / 0,
        "4.bias": torch.zeros(3, dtype=torch.int64),
        "head.weight": torch.ones(2),
    }
    found = message(task(written(wrong, fresh=("nowhere",))))
    for part in (
        "a.safetensors does not fit model 'tiny-mlp'",
        "not in the file (`fresh` leaves them as they are drawn): 1.bias",
        "not in the network (`ignore` leaves them out): head.weight",
        "1.weight (36×12 in the file, 12×36 in the network)",
        "4.weight (not all finite)",
        "4.bias (int64 in the file, float32 in the network)",
        "patterns that match nothing: nowhere",
    ):
        assert part in found


def test_a_prefix_that_no_name_has_is_told_with_the_names(written, task):
    assert "no name in it begins with 'net.': 1.bias, 1.weight, 4.bias, 4.weight" in message(
        task(written(prefix="net."))
    )


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 and no archive",
        pickle.dumps(Evil()),
        pickle.dumps([1, 2, 3]),
        b"\xff" * 64,
        (2**40).to_bytes(8, "little") + b"{}",
        (8).to_bytes(8, "little") + b"{[[[[[[[",
        (50).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}',
    ],
    ids=["empty", "archive", "code", "list", "length", "header", "json", "offsets"],
)
def test_hostile_files_are_refused_in_a_sentence_and_run_nothing(tmp_path, task, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    found = message(task(Weights(file=File.at(str(path)))))
    assert found.startswith("weights.bin cannot be read as weights: ")
    assert "weights_only" not in found
    assert len(found) < 400
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3}, "it holds no state dict; its keys are epoch"),
        ([torch.ones(2)], "it holds a list and not a state dict"),
        ({"a": torch.ones(2), "b": 3}, "has entries that are no dense tensors: b"),
        ({"a": torch.ones(2, 2).to_sparse()}, "has entries that are no dense tensors: a"),
    ],
)
def test_what_is_no_state_dict_is_told(written, task, content, words):
    assert words in message(task(written(content, "a.pt", torch.save)))


def test_tied_weights_need_one_of_their_names(written, built_in):
    interface = Interface((prunebench.Input((4,), "text", 7),), (4, 7))
    model = built_in("model", "gpt", width=8, depth=1, heads=2)
    source, target = build(model, interface), build(model, interface)
    tensors = {name: value.detach().clone() for name, value in source.named_parameters()}
    tensors["head.weight"] = tensors.pop("embedding.weight")
    start_from(written(tensors), target, model)
    assert torch.equal(target.embedding.weight, source.embedding.weight)
    assert target.head.weight is target.embedding.weight
    tensors["embedding.weight"] = tensors["head.weight"].clone()
    start_from(written(tensors), target, model)
    tensors["embedding.weight"][0, 0] += 1
    with pytest.raises(WeightsError, match=r"other in the file: .*one weight in the network, and not the same as"):
        start_from(written(tensors), target, model)


def test_buffers_are_read_and_an_older_file_may_lack_a_counter(written, tiny):
    source, target = (tiny.Conv().build((1, 6, 6), 3) for _ in range(2))
    nn.init.constant_(source[1].running_mean, 3.0)
    values = {name: value for name, value in source.state_dict().items() if "num_batches" not in name}
    start_from(written(values), target, tiny.Conv())
    assert (target[1].running_mean == 3.0).all()


def test_keys_follow_the_content_and_not_the_path(written, task):
    keys = {
        protocol(task(written(tensors, name)), "data")
        for tensors, name in (
            (TENSORS, "a.safetensors"),
            (TENSORS, "b.safetensors"),
            (TENSORS | {"4.bias": torch.ones(3)}, "c.safetensors"),
        )
    }
    assert len(keys) == 2
    assert protocol(task(None), "data") not in keys
    assert protocol(task(written(fresh=("4",))), "data") not in keys


def test_a_file_that_does_not_fit_is_found_in_the_plan(written, task, tiny):
    trial = tiny.trial(tiny.ByChance(), task=task(written({"1.weight": torch.ones(2)})))
    with pytest.raises(WeightsError, match=r"task 'tiny': a\.safetensors does not fit model 'tiny-mlp'"):
        make_plan([trial], {})


def test_a_file_is_read_once_for_many_trials(written, monkeypatch):
    given, reads = written(), []
    whole = File.read
    monkeypatch.setattr(File, "read", lambda self: reads.append(self) or whole(self))
    assert read_weights(given.file) is read_weights(given.file)
    assert len(reads) <= 1
