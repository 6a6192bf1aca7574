"""timm's pretrained weights, from a filled cache and never from a network."""

import socket
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants

from prunebench import Interface
from prunebench.api.errors import SuiteError
from prunebench.network.modules import build
from prunebench.network.starting import start_from
from prunebench.plan.planning import protocol
from prunebench.suite import read_suite
from prunebench.suite.checking import exact

pytestmark = pytest.mark.slow  # timm takes seconds to import

PLAIN = Interface.of_images((3, 64, 64), 1000)
SUITE = """\
name: timm
tasks:
  - {dataset: digits, model: MODEL, recipe: {epochs: 1, batch_size: 128, optimizer: {name: sgd, lr: 0.1}}}
methods: [random]
sparsities: [0.5]
seeds: 1
"""


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Empty caches, and no network."""

    def refuse(*given):
        raise AssertionError(f"asked the network: {given}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.fixture
def model(registry):
    cls, _ = registry.find("model", "timm")
    return lambda name, **parameters: exact(cls, {"architecture": name, "pretrained": True, **parameters})


def drawn(model, interface=PLAIN, seed=7):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = build(model, interface)
        for parameter in module.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return module


def fill(tmp_path, repository, module, name="model.safetensors", save=safetensors.torch.save_file):
    """Put weights into the cache of the hub, as the hub's library lays it out."""
    folder, commit = tmp_path / "hub" / f"models--{repository.replace('/', '--')}", "0" * 40
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    tensors = {key: value.contiguous() for key, value in module.state_dict().items()}
    save(tensors, folder / "snapshots" / commit / name)
    return module


def started(model, interface):
    module = drawn(model, interface, seed=1)
    start_from(model.starting_weights(interface), module, model)
    return module


@pytest.mark.parametrize(
    ("name", "save"), [("model.safetensors", safetensors.torch.save_file), ("pytorch_model.bin", torch.save)]
)
def test_weights_come_from_the_cache_of_the_hub(model, tmp_path, name, save):
    source = fill(tmp_path, "timm/test_resnet.r160_in1k", drawn(model("test_resnet")), name, save)
    module = started(model("test_resnet"), PLAIN)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in module.state_dict().items())


def test_weights_come_from_torchs_cache(model, tmp_path):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    source = drawn(model("resnet18"))
    torch.save(source.state_dict(), folder / "resnet18_a1_0-d63eafa0.pth")
    assert torch.equal(started(model("resnet18"), PLAIN).fc.weight, source.fc.weight)


def test_a_tag_names_other_weights(model, tmp_path):
    fill(tmp_path, "timm/resnet18.a2_in1k", drawn(model("resnet18")))
    model("resnet18", pretrained="a2_in1k").starting_weights(PLAIN)
    with pytest.raises(
        ValueError, match=r"weights of timm/resnet18\.a1_in1k are neither in .*hub nor in .*checkpoints, "
    ):
        model("resnet18").starting_weights(PLAIN)


def test_the_output_layer_is_new_for_other_classes_and_channels_are_adapted(model, tmp_path):
    source = fill(tmp_path, "timm/test_resnet.r160_in1k", drawn(model("test_resnet")))
    chosen, grey = model("test_resnet"), Interface.of_images((1, 64, 64), 10)
    assert chosen.starting_weights(grey).fresh == (r"^fc\.",)
    module = started(chosen, grey)
    first = module.pretrained_cfg["first_conv"] + ".weight"
    torch.testing.assert_close(module.get_parameter(first), source.get_parameter(first).sum(1, keepdim=True))
    assert module.fc.weight.shape[0] == 10
    inner = next(name for name in source.state_dict() if name.startswith("layer2") and name.endswith("weight"))
    assert torch.equal(module.get_parameter(inner), source.get_parameter(inner))


def test_positions_are_adapted_to_the_size_of_the_images(model, tmp_path):
    source = fill(
        tmp_path, "timm/test_vit.r160_in1k", drawn(model("test_vit"), Interface.of_images((3, 160, 160), 1000))
    )
    module = started(model("test_vit"), PLAIN)
    assert module.pos_embed.shape[1] < source.pos_embed.shape[1]
    assert torch.equal(module.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)


def test_keys_follow_the_content_and_without_weights_they_are_those_from_before(model, tmp_path, tiny):
    fill(tmp_path, "timm/test_resnet.r160_in1k", drawn(model("test_resnet")))
    given = model("test_resnet").starting_weights(PLAIN)
    task = tiny.task(model("test_resnet"))
    assert protocol(replace(task, weights=given), "data") != protocol(task, "data")
    assert len(given.file.sha256) == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("timm/test_resnet, pretrained: true", "model: the pretrained weights of timm/test_resnet.r160_in1k are"),
        ("timm/resnet18, pretrained: a9", "'resnet18' has no pretrained weights called 'a9': its tags are a1_in1k, "),
        ("timm/resnet18, pretrained: 3", "pretrained"),
    ],
)
def test_what_is_not_there_is_an_error_at_its_place(tmp_path, registry, text, words):
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.replace("MODEL", f"{{name: {text}}}"))
    with pytest.raises(SuiteError) as caught:
        read_suite(path, registry)
    assert words in str(caught.value)


def test_a_suite_starts_from_the_file_in_the_cache(tmp_path, registry, model):
    fill(tmp_path, "timm/test_resnet.r160_in1k", drawn(model("test_resnet")))
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.replace("MODEL", "{name: timm/test_resnet, pretrained: true}"))
    task = read_suite(path, registry).tasks[0]
    assert task.weights.fresh == (r"^fc\.",)
    assert task.weights.file.path.endswith("model.safetensors")
