"""Multilayer perceptrons, LeNet-300-100 among them."""

from math import prod
from typing import Annotated, Literal

from annotated_types import Ge, Len
from torch import nn
from typing_extensions import Doc

import prunebench


class MLP(prunebench.Model):
    """Fully connected layers with ReLU between them, on flattened inputs."""

    name = "mlp"
    version = 1
    reference = "LeCun et al. 1998, LeNet-300-100"

    hidden: Annotated[tuple[Annotated[int, Ge(1)], ...], Len(1), Doc("widths of the hidden layers")] = (300, 100)
    initialization: Annotated[
        Literal["glorot-normal", "default"],
        Doc("glorot-normal: as Frankle & Carbin 2019, biases 0; default: torch's own"),
    ] = "glorot-normal"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        width = prod(shape)
        layers: list[nn.Module] = [nn.Flatten()]
        for hidden in self.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        layers.append(nn.Linear(width, classes))
        if self.initialization == "glorot-normal":
            for layer in layers:
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_normal_(layer.weight)
                    nn.init.zeros_(layer.bias)
        return nn.Sequential(*layers)


@prunebench.hookimpl
def register_models() -> list[type[prunebench.Model]]:
    return [MLP]
