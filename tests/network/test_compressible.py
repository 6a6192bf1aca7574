"""Which networks can be trained on their kept weights, and why others cannot."""

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

import prunebench
from prunebench.api.components import Input, Interface
from prunebench.network.compressible import draws_at_random, why_not_compressible

INTERFACE = Interface((Input((1, 6, 6)),), (3,))


class Given(prunebench.Model):
    """A network that is made by a function."""

    name = "given"
    make: object

    def build(self, shape, classes):
        return self.make()


def reason(make, *names):
    return why_not_compressible(Given(make=make), INTERFACE, names)


class Body(nn.Module):
    """Two linear layers, with a pass to be overridden."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(36, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.first(x.flatten(1)).relu())


class ByHand(Body):
    def forward(self, x):
        return nn.functional.linear(self.first(x.flatten(1)).relu(), self.last.weight, self.last.bias)


class Regularized(Body):
    def forward(self, x):
        return super().forward(x) * self.first.weight.norm()


class Flat(Body):
    def forward(self, x):
        return self.last(self.first(x.flatten(1)).view(-1).view(-1, 8))


class Looks(Body):
    """Decides by values, which the meta device has none of."""

    def forward(self, x):
        return super().forward(x) * (2.0 if float(x.sum()) > 0 else 1.0)


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(36, 3)

    def forward(self, x):
        return self.last(self.attention(x[:, 0], x[:, 0], x[:, 0])[0].flatten(1))


class Tied(Body):
    def __init__(self):
        super().__init__()
        self.middle, self.again = nn.Linear(8, 8), nn.Linear(8, 8)
        self.again.weight = self.middle.weight

    def forward(self, x):
        return self.last(self.again(self.middle(self.first(x.flatten(1)))))


class Own(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def convolutional():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3))


def sequential(*layers):
    return lambda: nn.Sequential(nn.Flatten(), *layers)


@pytest.mark.parametrize("make", [Body, Looks, Tied, lambda: nn.Sequential(nn.BatchNorm2d(1), Body())])
def test_linear_layers_can_be_compressed_whatever_is_around_them(make):
    names = [name for name, one in make().named_parameters() if one.dim() == 2]
    assert reason(make, *names) == ""


def test_layers_that_are_not_pruned_may_be_anything():
    assert reason(convolutional, "2.weight") == ""
    assert reason(Attends, "last.weight") == ""


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (convolutional, "0.weight", "'0.weight' is in a Conv2d, and only plain linear layers are supported"),
        (sequential(Own(36, 3)), "1.weight", "'1.weight' is in a Own, and only plain linear layers are supported"),
        (sequential(nn.Bilinear(36, 36, 3)), "1.weight", "'1.weight' is in a Bilinear, and only plain"),
        (ByHand, "last.weight", "the network does not run with the outputs of 'last.weight' alone, without the weight"),
        (Regularized, "first.weight", "the network does not run with the outputs of 'first.weight' alone"),
        (Flat, "first.weight", "the network does not run with the outputs of 'first.weight' alone"),
        (Attends, "attention.out_proj.weight", "does not run with the outputs of 'attention.out_proj.weight' alone"),
        (Attends, "attention.in_proj_weight", "'attention.in_proj_weight' is in a MultiheadAttention"),
    ],
)
def test_others_are_refused_and_named(make, name, expected):
    found = reason(make, name)
    assert expected in found
    assert "\n" not in found


def test_other_types_of_numbers_are_refused():
    assert "is of type float64" in reason(lambda: Body().double(), "first.weight")


def test_a_parametrized_weight_is_refused():
    def make():
        return nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(36, 3)))

    assert "only plain linear layers are supported" in reason(make, "1.parametrizations.weight.original1")


class Drops(Body):
    def forward(self, x):
        return super().forward(dropout(x, 0.5, self.training))


def test_draws_are_found_in_modules_and_in_functions():
    assert not draws_at_random(Given(make=Body), INTERFACE)
    assert draws_at_random(Given(make=Drops), INTERFACE)
    assert draws_at_random(Given(make=sequential(nn.Linear(36, 3), nn.Dropout(0.1))), INTERFACE)


def test_looking_changes_no_random_numbers():
    before = torch.get_rng_state()
    draws_at_random(Given(make=Drops), INTERFACE)
    reason(Tied, "first.weight")
    assert torch.equal(torch.get_rng_state(), before)
