"""What a trial needs to perform its stages: its network and its data on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn

from prunebench.api.files import Weights
from prunebench.api.layers import Network
from prunebench.api.tasks import Trial
from prunebench.data import seeds
from prunebench.data.task_data import Data
from prunebench.network.description import describe
from prunebench.network.modules import build
from prunebench.network.profiles import Specification, specifications
from prunebench.network.starting import start_from


@dataclass(frozen=True)
class Outline:
    """The shapes and types of a module's parameters and buffers."""

    parameters: Mapping[str, Specification]
    buffers: Mapping[str, Specification]

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, torch.Tensor]], buffers: Iterable[tuple[str, torch.Tensor]]) -> Outline:
        return cls(specifications(parameters), specifications(buffers))


@dataclass(frozen=True)
class TrialContext:
    """A trial's network and data on a device, made when they are first needed."""

    trial: Trial
    device: torch.device
    load_data: Callable[[], Data]
    known: Network | None = field(default=None, repr=False)
    """The network, where it was described before."""

    @cached_property
    def network(self) -> Network:
        return self.known or describe(self.trial.task)

    @property
    def model(self) -> nn.Module:
        """A module to load states into."""
        return self._built[0]

    @property
    def outline(self) -> Outline:
        """Of the module when it was built, whatever its code has done since."""
        return self._built[1]

    @cached_property
    def _built(self) -> tuple[nn.Module, Outline]:
        model = fresh_model(self.trial, "scratch").to(self.device)
        if self.trial.task.recipe.channels_last:
            model = model.to(memory_format=torch.channels_last)
        return model, Outline.of(model.named_parameters(), model.named_buffers())

    @cached_property
    def data(self) -> Data:
        return self.load_data()

    def check_data(self) -> None:
        """Raise DamagedData when data that is in use was changed on the disk since it was opened."""
        if "data" in vars(self):
            self.data.check()


def fresh_model(trial: Trial, purpose: str) -> nn.Module:
    """The task's network with new weights, drawn from (seed, purpose)."""
    with seeds.seeded(trial.seed, purpose):
        return build(trial.task.model, trial.task.interface)


def starting_model(trial: Trial, weights: Weights | None = None) -> nn.Module:
    """The network that a trial starts from: with new weights, or with those of a file.

    Args:
        weights: the file of the first stage; by default that of the task, if it has one.
    """
    task, module = trial.task, fresh_model(trial, "initialize")
    if (chosen := weights or task.weights) is not None:
        start_from(chosen, module, task.model)
    return module
