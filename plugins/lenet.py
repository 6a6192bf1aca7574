"""LeNet-300-100."""

from collections import OrderedDict
from math import prod

from torch import nn

import prunebench

from .initialization import glorot_normal


class LeNet300100(prunebench.Model):
    """Fully connected layers of 300 and 100 units on flattened inputs: 266,200 weights on MNIST."""

    name = "lenet-300-100"
    version = 1
    reference = "LeCun et al. 1998; initialized as in Frankle & Carbin 2019, arXiv:1803.03635: Glorot normal"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        layers = OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(prod(shape), 300),
            relu1=nn.ReLU(),
            fc2=nn.Linear(300, 100),
            relu2=nn.ReLU(),
            output=nn.Linear(100, classes),
        )
        net = nn.Sequential(layers)
        glorot_normal(net)
        return net


@prunebench.hookimpl
def register_models() -> list[type[prunebench.Model]]:
    return [LeNet300100]
