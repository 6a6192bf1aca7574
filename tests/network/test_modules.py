"""Modules whose weights are tied, parametrized or computed by hooks: finite when pruned, copied, delivered."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import prunebench
from prunebench.api.components import Interface
from prunebench.api.errors import PrunebenchError
from prunebench.api.stages import Deploy, Prune, Train
from prunebench.execution.performing import measured
from prunebench.network.deployment import dense_bytes, stored_bytes
from prunebench.network.modules import build, copied, loadable, plain
from prunebench.training.state import from_tensors, to_tensors

INPUTS = torch.linspace(-1, 1, 8).view(2, 4)
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")


class Built(prunebench.Model):
    name = "built"

    of: object

    def build(self, shape, classes):
        return self.of()


def new_norm():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2))


def old_norm():
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2))


def old_spectral():
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 3)), nn.Linear(3, 2))


def new_spectral():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 3)), nn.Linear(3, 2))


DIRECTIONS = {new_norm: "0.parametrizations.weight.original1", old_norm: "0.weight_v"}
of_norm = pytest.mark.parametrize("of", DIRECTIONS, ids=lambda of: of.__name__)


def pruned(of):
    """Built, the first output without a weight."""
    module = build(Built(of=of), Interface.of_images((4,), 2))
    with torch.no_grad():
        dict(module.named_parameters())[DIRECTIONS[of]][0] = 0.0
    return module


@of_norm
def test_an_output_without_weights_is_its_bias_and_its_weights_get_no_gradient(of):
    module = pruned(of)
    hidden = module[0](INPUTS)
    assert torch.equal(hidden[:, 0], module[0].bias[0].expand(2))
    module(INPUTS).sum().backward()
    gradient = dict(module.named_parameters())[DIRECTIONS[of]].grad
    assert torch.equal(gradient[0], torch.zeros(4))
    assert gradient[1:].count_nonzero() > 0
    assert gradient.isfinite().all()


@of_norm
def test_weight_norm_with_weights_is_torchs_own_bit_for_bit(of):
    torch.manual_seed(0)
    theirs = of()
    torch.manual_seed(0)
    ours = build(Built(of=of), Interface.of_images((4,), 2))
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert torch.equal(ours(INPUTS), theirs(INPUTS))


@of_norm
def test_what_is_exported_is_right_in_a_module_that_divides_by_zero(of):
    module, theirs = pruned(of), of()
    expected = module(INPUTS)
    theirs.load_state_dict(loadable(module).state_dict())
    assert torch.equal(theirs(INPUTS), expected)


@pytest.mark.parametrize("of", [new_norm, old_norm, new_spectral, old_spectral], ids=lambda of: of.__name__)
def test_a_copy_is_made_after_a_pass_and_is_one(of):
    module = build(Built(of=of), Interface.of_images((4,), 2)).eval()
    expected = module(INPUTS)
    again = copied(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert torch.equal(again(INPUTS), expected)


@pytest.mark.parametrize("of", [new_norm, old_norm, new_spectral, old_spectral], ids=lambda of: of.__name__)
def test_a_copy_that_is_made_plain_leaves_the_original_as_it_was(of):
    module = build(Built(of=of), Interface.of_images((4,), 2)).eval()
    expected = module(INPUTS)
    for _ in range(2):
        torch.testing.assert_close(plain(copied(module))[0](INPUTS), expected)
    assert torch.equal(module(INPUTS), expected)


@pytest.mark.parametrize("of", [new_norm, old_norm, new_spectral, old_spectral], ids=lambda of: of.__name__)
def test_a_network_is_delivered_with_plain_weights(of):
    module = build(Built(of=of), Interface.of_images((4,), 2)).eval()
    expected = module(INPUTS)
    delivered, names = plain(module)
    assert set(dict(delivered.named_parameters())) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert set(names.values()) == {"0.weight"}
    torch.testing.assert_close(delivered(INPUTS), expected)
    copy.deepcopy(delivered)


SPECTRAL = {new_spectral: "0.parametrizations.weight.original", old_spectral: "0.weight_orig"}
of_spectral = pytest.mark.parametrize("of", SPECTRAL, ids=lambda of: of.__name__)


def spectral(of, weight=None):
    """Built, and its first weight by name; set to some values if there are any."""
    torch.manual_seed(0)
    module = build(Built(of=of), Interface.of_images((4,), 2))
    parameter = dict(module.named_parameters())[SPECTRAL[of]]
    if weight is not None:
        with torch.no_grad():
            parameter.copy_(torch.as_tensor(weight))
    return module, parameter


@of_spectral
def test_spectral_norm_with_weights_is_torchs_own_bit_for_bit(of):
    torch.manual_seed(0)
    theirs = of()
    ours, _ = spectral(of)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    for _ in range(3):  # in training mode, where each pass changes the buffers
        assert torch.equal(ours(INPUTS), theirs(INPUTS))
    for module in (ours, theirs):
        module(INPUTS).square().sum().backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert torch.equal(ours.eval()(INPUTS), theirs.eval()(INPUTS))
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


@of_spectral
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_without_weights_under_spectral_norm_is_its_bias_and_gets_no_gradient(of, training):
    module, weight = spectral(of, torch.zeros(3, 4))
    module.train(training)
    for _ in range(3):
        assert torch.equal(module[0](INPUTS), module[0].bias.expand(2, 3))
    module(INPUTS).sum().backward()
    assert torch.equal(weight.grad, torch.zeros(3, 4))
    assert all(buffer.isfinite().all() for buffer in module.buffers())


@of_spectral
@pytest.mark.parametrize("between", [None, torch.zeros(3, 4)], ids=["moved", "pruned and grown"])
@pytest.mark.parametrize("training", [True, False])
def test_weights_that_grow_elsewhere_are_divided_by_their_own_norm(of, between, training):
    """The singular vectors of the weights before are 0 where the new weights are."""
    first, second = torch.zeros(3, 4), torch.zeros(3, 4)
    first[0, 0], second[2, 1], second[2, 3] = 5.0, 3.0, -4.0
    module, weight = spectral(of, first)
    for _ in range(5):
        module(INPUTS)
    for values in [second] if between is None else [between, second]:
        with torch.no_grad():
            weight.copy_(values)
        module.train(training)
        hidden = module[0](INPUTS)
    # One row: its spectral norm is its length.
    torch.testing.assert_close(hidden, INPUTS @ (second / 5).T + module[0].bias)


@of_spectral
def test_a_state_dict_that_torch_would_divide_by_zero_with_is_refused(of):
    module, weight = spectral(of, torch.zeros(3, 4))
    with pytest.raises(PrunebenchError, match="layer '0' has spectral norm and no weight is left in it"):
        loadable(module)
    with torch.no_grad():
        weight[1, 1] = 1.0
    assert loadable(module) is module
    delivered, _ = plain(spectral(of, torch.zeros(3, 4))[0])
    assert torch.equal(delivered[0].weight, torch.zeros(3, 4))


def test_a_tied_weight_is_stored_once():
    module = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))
    untied = dense_bytes(module)
    module[1].weight = module[0].weight
    assert untied - dense_bytes(module) > 40_000
    assert stored_bytes(module) < dense_bytes(nn.Linear(100, 100)) + 2000


NORMS = {
    "old weight norm": nn.utils.weight_norm,
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old spectral norm": nn.utils.spectral_norm,
}


class Normalized(prunebench.Model):
    """Weight norm, by default by the old hooks, before a tied pair of layers."""

    name = "normalized"
    norm: str = "old weight norm"

    def build(self, shape, classes):
        layers = [NORMS[self.norm](nn.Linear(36, 8)), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, classes)]
        net = nn.Sequential(nn.Flatten(), *(part for layer in layers for part in (layer, nn.ReLU())))[:-1]
        net[5].weight = net[3].weight
        return net


@pytest.mark.parametrize("name", ["magnitude", "snip", "synflow", "grasp", "random"])
def test_such_networks_are_pruned_trained_saved_and_delivered(tiny, method, run_stages, name):
    def hand_on(state):
        shapes = {name: list(mask.shape) for name, mask in state.masks.items()}
        fields = ("step", "trajectory", "history", "loss_sum", "loss_steps")
        rest = {name: getattr(state, name) for name in fields}
        return from_tensors(to_tensors(state), shapes, {**rest, "cost": vars(state.cost)})

    task = tiny.task(Normalized())
    chain = run_stages(task, Prune(by=method(name), density=0.1), Train(), Deploy(), hand_on=hand_on)
    assert list(chain.end.masks) == ["1.weight_v", "3.weight", "7.weight"]
    assert sum(int(mask.sum()) for mask in chain.end.masks.values()) == round(0.1 * (288 + 64 + 24))
    assert sum(chain.end.kept().values()) <= round(0.1 * (288 + 64 + 24))
    assert chain.end.history[-1]["test_loss"] < 10


@pytest.mark.parametrize("norm", list(NORMS)[1:])
def test_parametrized_networks_are_delivered(tiny, method, run_stages, norm):
    task = tiny.task(Normalized(norm=norm), steps=2)
    chain = run_stages(task, Prune(by=method("magnitude"), density=0.02), Train(), Deploy())
    figures, _ = measured(chain.nodes[-1].stage, chain.end, chain.context)
    again, _ = measured(chain.nodes[-1].stage, chain.end, chain.context)
    assert figures["test_loss"] == again["test_loss"] < 10
