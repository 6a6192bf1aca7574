"""What a trial needs to perform its stages: its network and its data on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn

from prunebench.api.layers import Network
from prunebench.api.tasks import Trial
from prunebench.data import seeds
from prunebench.data.task_data import Data
from prunebench.network.description import describe
from prunebench.network.modules import build, called
from prunebench.network.starting import start_from


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

    @cached_property
    def model(self) -> nn.Module:
        """A module to load states into."""
        model = fresh_model(self.trial, "scratch").to(self.device)
        return model.to(memory_format=torch.channels_last) if self.trial.task.recipe.channels_last else model

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


def starting_model(trial: Trial) -> nn.Module:
    """The network that a trial starts from: with new weights, or with those of the task's file."""
    task, module = trial.task, fresh_model(trial, "initialize")
    if task.weights is not None:
        start_from(task.weights, module, called(task.model))
    return module
