"""The models for small images: as many weights as the papers say, and initialized as in their code."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from prunebench.api.errors import SuiteError
from prunebench.network.description import describe
from prunebench.suite import read_suite

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
WEIGHTS = {
    "lenet-300-100": 266_200,
    "conv-2": 4_300_992,
    "conv-4": 2_425_024,
    "conv-6": 2_261_184,
    "resnet20": 270_896,
    "resnet32": 464_432,
    "resnet56": 851_504,
    "resnet110": 1_722_416,
    "vgg11": 9_222_848,
    "vgg16": 14_715_584,
    "vgg19": 20_024_000,
    "wrn-22-2": 1_076_912,
}
"""Of every convolution and linear layer, on CIFAR-10; of LeNet on MNIST."""


@pytest.fixture
def network(built_in, tiny):
    """A model as a plan sees it."""

    def make(name, **parameters):
        dataset = built_in("dataset", "mnist" if name.startswith("lenet") else "cifar10")
        return describe(tiny.task(built_in("model", name, **parameters), dataset))

    return make


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_prunable_weights_are_as_many_as_in_the_papers(network, name):
    assert network(name).size == WEIGHTS[name]


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_text_of_a_model_tells_its_weights(built_in, name):
    assert f"{WEIGHTS[name]:,} weights" in " ".join(type(built_in("model", name)).__doc__.split())


@pytest.mark.parametrize("shape", [GREY, COLOUR, (3, 16, 24)])
@pytest.mark.parametrize("name", [*WEIGHTS, "wrn"])
def test_a_batch_of_any_small_images_becomes_logits(built_in, name, shape):
    parameters = {"depth": 10, "width": 1} if name == "wrn" else {}
    module = built_in("model", name, **parameters).build(shape, 7).eval()
    with torch.no_grad():
        assert module(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", ["resnet20", "vgg16", "wrn-22-2"])
def test_every_weight_gets_a_gradient(built_in, name):
    module = built_in("model", name).build(COLOUR, 10)
    module(torch.randn(4, *COLOUR)).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in module.parameters())


@pytest.mark.parametrize(("name", "layers"), [("resnet20", 20), ("resnet110", 110), ("wrn-22-2", 20), ("vgg16", 14)])
def test_the_layers_are_as_many_as_the_name_says(built_in, name, layers):
    # Shortcuts count for none here, which wide ResNets count instead of the last layer; VGG-16 has one linear layer.
    module = built_in("model", name).build(COLOUR, 10)
    main = [path for path, layer in module.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len([path for path in main if "shortcut" not in path]) == layers


def test_the_first_layer_is_first_and_the_last_is_last(built_in, network):
    for name in WEIGHTS:
        layers = network(name).layers
        assert layers[0].shape[1] == (784 if name.startswith("lenet") else 3)
        assert layers[-1].shape[0] == 10


def test_the_width_of_a_resnet_is_a_factor_on_its_channels(network):
    shapes = {name: network("resnet20", width=width).layers[-1].shape for name, width in (("a", 0.25), ("b", 2.0))}
    assert shapes == {"a": (10, 16), "b": (10, 128)}
    assert network("resnet20", width=0.25).size == 17_132


def test_the_width_of_a_vgg_is_a_factor_on_its_channels(network):
    assert network("vgg16", width=0.5).layers[-1].shape == (10, 256)


def test_a_wide_resnet_has_any_depth_and_width(network):
    assert network("wrn", depth=22, width=2) == network("wrn-22-2")
    assert network("wrn").parameters == 36_479_194  # WRN-28-10, 36.5 million in the paper


def test_a_depth_that_no_wide_resnet_has_is_an_error(built_in):
    with pytest.raises(ValueError, match="23 is not a depth of these networks: 10, 16, 22, 28"):
        built_in("model", "wrn", depth=23)


def test_dropout_is_between_the_convolutions_of_a_wide_resnet(built_in):
    module = built_in("model", "wrn-22-2", dropout=0.25).build(COLOUR, 10)
    assert [layer.p for layer in module.modules() if isinstance(layer, nn.Dropout)] == [0.25] * 9


def test_dropout_is_after_both_hidden_linear_layers_of_a_conv_net(built_in):
    layers = list(built_in("model", "conv-2", dropout=0.5).build(COLOUR, 10))
    assert [type(before) for before, layer in pairwise(layers) if isinstance(layer, nn.Dropout)] == [nn.ReLU] * 2
    assert [type(layer).__name__ for layer in layers[-7:]] == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.5] * 2


def test_a_conv_net_without_dropout_drops_nothing(built_in):
    module = built_in("model", "conv-2").build(COLOUR, 10)
    inputs = torch.randn(2, *COLOUR)
    assert torch.equal(module.train()(inputs), module.eval()(inputs))


def layers_of(module):
    return [layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]


def fans(weight):
    receptive = weight[0, 0].numel()
    return weight.shape[1] * receptive, weight.shape[0] * receptive


@pytest.mark.parametrize("name", ["lenet-300-100", "conv-6"])
def test_networks_of_the_lottery_ticket_paper_begin_glorot_normal(built_in, name):
    torch.manual_seed(0)
    for layer in layers_of(built_in("model", name).build(GREY if name.startswith("lenet") else COLOUR, 10)):
        fan_in, fan_out = fans(layer.weight)
        is_normal(layer.weight, (2 / (fan_in + fan_out)) ** 0.5)
        assert not layer.bias.any()


@pytest.mark.parametrize("name", ["resnet20", "vgg11", "wrn-22-2"])
def test_networks_with_batchnorm_begin_kaiming_normal(built_in, name):
    torch.manual_seed(0)
    module = built_in("model", name).build(COLOUR, 10)
    for layer in layers_of(module):
        is_normal(layer.weight, (2 / fans(layer.weight)[0]) ** 0.5)
        assert layer.bias is None or not layer.bias.any()
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


@pytest.mark.parametrize("name", ["resnet20", "vgg11"])
def test_the_scales_of_batchnorm_can_be_drawn(built_in, name):
    torch.manual_seed(0)
    drawn = built_in("model", name, bn_scale="uniform").build(COLOUR, 10)
    torch.manual_seed(0)
    ones = built_in("model", name).build(COLOUR, 10)
    norms = [layer for layer in drawn.modules() if isinstance(layer, nn.BatchNorm2d)]
    scales = torch.cat([norm.weight for norm in norms]).detach()
    assert all(not norm.bias.any() for norm in norms)
    assert 0 <= float(scales.min()) < 0.02
    assert 0.98 < float(scales.max()) <= 1
    assert float(scales.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(scales.std()) == pytest.approx(12**-0.5, abs=0.03)
    for one, other in zip(layers_of(drawn), layers_of(ones), strict=True):
        assert torch.equal(one.weight, other.weight)


def is_normal(weight, deviation):
    """By its deviation, and by its tails, which no uniform distribution has."""
    weight = weight.detach()
    assert float(weight.std()) == pytest.approx(deviation, rel=4 / weight.numel() ** 0.5)
    assert float(weight.abs().max()) > 2.2 * deviation


def test_lenet_is_the_multilayer_perceptron_of_the_offline_suite(network, built_in, tiny):
    perceptron = describe(tiny.task(built_in("model", "mlp"), built_in("dataset", "mnist")))
    assert [layer.shape for layer in network("lenet-300-100").layers] == [layer.shape for layer in perceptron.layers]


def test_a_suite_names_a_model_alone_or_with_its_parameters(tmp_path, registry):
    text = """\
name: small
tasks:
  - {label: a, dataset: cifar10, model: resnet20, recipe: &r {steps: 9, batch_size: 2, optimizer: {name: sgd, lr: 1}}}
  - {label: b, dataset: cifar10, model: {name: resnet20, width: 0.25}, recipe: *r}
methods: [random]
sparsities: [0.5]
seeds: 1
"""
    (tmp_path / "suite.yaml").write_text(text)
    first, second = read_suite(tmp_path / "suite.yaml", registry).tasks
    assert (first.model.width, second.model.width) == (1.0, 0.25)
    (tmp_path / "suite.yaml").write_text(text.replace("width: 0.25", "width: 0"))
    with pytest.raises(SuiteError, match=r"tasks\.1\.model\.width: must be a number above 0, not 0"):
        read_suite(tmp_path / "suite.yaml", registry)
