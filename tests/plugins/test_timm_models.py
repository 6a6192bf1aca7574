"""Models of timm by name: built for the data set's images, never with weights that were trained elsewhere."""

from statistics import median

import pytest
import torch
from torch.nn.functional import cross_entropy

from prunebench.api.errors import PrunebenchError, SuiteError
from prunebench.api.weights import prunable_by_default
from prunebench.network.description import describe
from prunebench.suite import read_suite

pytestmark = pytest.mark.slow  # timm takes seconds to import

SMALL = (3, 32, 32)
VIT = 12 * (4 + 8) * 192**2 + 192 * 10
"""Weights of the tiny vision transformer but its patches: attention and perceptron of 12 blocks, the head."""
SUITE = """\
name: timm
tasks:
  - {dataset: cifar10, model: MODEL, recipe: {epochs: 1, batch_size: 128, optimizer: {name: sgd, lr: 0.1}}}
methods: [random]
sparsities: [0.5]
seeds: 1
"""


@pytest.fixture
def model(built_in):
    return lambda architecture, **parameters: built_in("model", "timm", architecture=architecture, **parameters)


@pytest.fixture
def network(model, built_in, tiny):
    return lambda *names, **parameters: describe(tiny.task(model(*names, **parameters), built_in("dataset", "cifar10")))


@pytest.mark.parametrize(
    ("architecture", "parameters", "weights"),
    [
        ("resnet18", {}, 11_172_032),
        ("resnet18", {"small_stem": True}, 11_172_032 - 3 * 64 * (49 - 9)),
        ("resnet50", {}, 25_502_912 - 2048 * 990),
        ("vit_tiny_patch16_224", {}, 3 * 192 * 16**2 + VIT),
        ("vit_tiny_patch16_224", {"patch_size": 4}, 3 * 192 * 4**2 + VIT),
    ],
)
def test_every_convolution_and_linear_layer_is_prunable(network, architecture, parameters, weights):
    assert network(architecture, **parameters).size == weights


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        ("resnet18", {}),
        ("resnet18", {"small_stem": True}),
        ("densenet121", {"small_stem": True}),
        ("mobilenetv3_small_100", {"small_stem": True}),
        ("resnet50d", {"small_stem": True}),
        ("convnext_atto", {"patch_size": 2}),
        ("vit_tiny_patch16_224", {"patch_size": 4, "drop_path": 0.1}),
        ("deit_tiny_patch16_224", {}),
        ("swin_tiny_patch4_window7_224", {"patch_size": 2}),
    ],
)
def test_a_batch_of_small_images_becomes_logits(model, architecture, parameters):
    module = model(architecture, **parameters).build(SMALL, 7).eval()
    with torch.no_grad():
        assert module(torch.randn(2, *SMALL)).shape == (2, 7)


def test_images_of_one_channel_and_of_any_shape_are_fine(model):
    module = model("vit_tiny_patch16_224", patch_size=7).build((1, 28, 42), 10).eval()
    assert module(torch.zeros(1, 1, 28, 42)).shape == (1, 10)


def test_a_small_stem_keeps_the_size_of_small_images(model):
    for architecture, stem in (("resnet18", "layer1"), ("densenet121", "features.denseblock1")):
        module, shapes = model(architecture, small_stem=True).build(SMALL, 10).eval(), []
        module.get_submodule(stem).register_forward_pre_hook(
            lambda _, inputs, seen=shapes: seen.append(inputs[0].shape)
        )
        module(torch.zeros(1, *SMALL))
        assert shapes == [(1, 64, 32, 32)]


def test_a_small_stem_without_a_stem_to_shrink_is_an_error(model):
    with pytest.raises(PrunebenchError, match="timm/vgg11_bn has no strided convolution to begin with"):
        model("vgg11_bn", small_stem=True).build(SMALL, 10)
    with pytest.raises(PrunebenchError, match="timm/vit_tiny_patch16_224 begins with patches: give a small patch_size"):
        model("vit_tiny_patch16_224", small_stem=True).build(SMALL, 10)
    with pytest.raises(PrunebenchError, match="timm/repvgg_a0 has no strided convolution"):
        model("repvgg_a0", small_stem=True).build(SMALL, 10)


def test_what_an_architecture_does_not_know_is_an_error_that_names_it(model):
    with pytest.raises(
        PrunebenchError, match=r"timm/resnet18 with \{'patch_size': 4\} for inputs of \(3, 32, 32\): .*"
    ):
        model("resnet18", patch_size=4).build(SMALL, 10)


def test_weights_depend_on_the_global_generator_alone(model):
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(model("resnet18", small_stem=True).build(SMALL, 10).conv1.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_what_a_network_keeps_from_its_first_pass_is_there_when_it_is_built(network, model):
    import timm  # seconds

    convit = {"patch_size": 4}
    built = model("convit_tiny", **convit).build(SMALL, 10)
    caches = {name: tuple(buffer.shape) for name, buffer in built.named_buffers() if name.endswith("rel_indices")}
    assert set(caches.values()) == {(1, 64, 64, 3)}
    assert built.training
    assert network("convit_tiny", **convit).layers
    torch.manual_seed(0)
    model("convit_tiny", **convit).build(SMALL, 10)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    timm.create_model("convit_tiny", img_size=(32, 32), patch_size=4, num_classes=10)
    assert torch.equal(drawn, torch.rand(1))


def read(tmp_path, registry, text):
    (tmp_path / "suite.yaml").write_text(SUITE.replace("MODEL", text))
    return read_suite(tmp_path / "suite.yaml", registry).tasks[0]


def test_a_suite_names_an_architecture_after_a_slash(tmp_path, registry, model):
    task = read(tmp_path, registry, "timm/resnet18")
    assert task.model == model("resnet18")
    assert task.label == "cifar10-timm-resnet18"
    assert read(tmp_path, registry, "{name: timm/resnet18, small_stem: true}").model.small_stem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timm/resnet81", r"'resnet81' is not an architecture of timm; did you mean 'resnet18' or .*\?"),
        ("timm/resnet18.a1_in1k", r"'resnet18\.a1_in1k' is not an architecture of timm; did you mean 'resnet18'"),
        ("timm/hf-hub:someone/some", "'hf-hub:someone/some' is not an architecture of timm"),
    ],
)
def test_an_unknown_architecture_is_a_mistake_in_the_suite(tmp_path, registry, text, message):
    with pytest.raises(SuiteError, match=message):
        read(tmp_path, registry, text)


@pytest.mark.parametrize(
    ("architecture", "size", "closed"),
    [
        ("resnet18", 32, 0),  # BatchNorm's gamma
        ("resnest14d", 32, 0),
        ("mixer_s32_224", 64, 0),  # the output layer
        ("swinv2_tiny_window8_256", 64, 0),  # LayerNorm's gamma
        ("nf_resnet26", 64, 0),  # the gain of a weight-standardized convolution
        ("convnextv2_atto", 64, 0),  # response normalization, which adds to its inputs, stays at 0
        ("convnext_atto", 64, 1e-4),  # layer scale of 1e-6
        ("deit3_small_patch16_224", 64, 1e-4),
        ("resmlp_12_224", 64, 1e-2),
    ],
)
def test_no_branch_begins_closed_unless_asked_for(model, architecture, size, closed):
    """Scores of SNIP, |w * dL/dw|: where timm closes branches they are 0, or nearly."""
    opened, timms = (sensitivities(model(architecture, zero_init=zero), size) for zero in (False, True))
    assert min(opened) > 1e-3 * median(opened)
    assert architecture == "convnextv2_atto" or min(timms) <= closed * max(timms)


def sensitivities(model, size):
    """The mean score in each layer."""
    torch.manual_seed(0)
    module = model.build((3, size, size), 10).train()
    weights = dict(module.named_parameters())
    weights = [weights[name] for name in prunable_by_default(module)]
    loss = cross_entropy(module(torch.randn(4, 3, size, size)), torch.arange(4))
    gradients = torch.autograd.grad(loss, weights)
    return [float((w.detach() * g).abs().mean()) for w, g in zip(weights, gradients, strict=True)]


def test_only_what_closes_a_branch_begins_otherwise_than_timm_has_it(model):
    torch.manual_seed(0)
    timms = model("resnet18", zero_init=True).build(SMALL, 10).state_dict()
    torch.manual_seed(0)
    opened = model("resnet18").build(SMALL, 10).state_dict()
    changed = [name for name in timms if not torch.equal(timms[name], opened[name])]
    assert changed == [f"layer{layer}.{block}.bn2.weight" for layer in (1, 2, 3, 4) for block in (0, 1)]
    assert all((opened[name] == 1).all() and not timms[name].any() for name in changed)


@pytest.mark.parametrize("name", ["resnet20", "wrn-22-2", "vgg11", "conv-4", "mlp", "lenet-300-100"])
def test_the_models_that_are_built_here_begin_with_no_closed_branch(built_in, name):
    parameters = {"width": 0.25} if name in ("resnet20", "vgg11") else {}
    assert min(found := sensitivities(built_in("model", name, **parameters), 32)) > 1e-3 * median(found)
