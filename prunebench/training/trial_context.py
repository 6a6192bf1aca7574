"""What a trial needs to perform its stages: its network and its data on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import nn

from prunebench.api.errors import PrunebenchError
from prunebench.api.files import Weights
from prunebench.api.layers import Network
from prunebench.api.tasks import Task, Trial
from prunebench.data import seeds
from prunebench.data.task_data import Data
from prunebench.network.cuts import NOTHING, NetworkCut
from prunebench.network.description import describe
from prunebench.network.modules import build
from prunebench.network.profiles import Specification, specifications
from prunebench.network.starting import start_from
from prunebench.training.state import State, load


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
    _modules: dict[NetworkCut, tuple[nn.Module, Outline]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def network(self) -> Network:
        return self.known or describe(self.trial.task)

    def of_task(self, task: Task) -> TrialContext:
        """That of the same trial on another task, whose data is not read."""
        return TrialContext(replace(self.trial, task=task), self.device, _no_data)

    @property
    def model(self) -> nn.Module:
        """A module to load states of the whole network into."""
        return self.model_at(NOTHING)

    def model_at(self, cut: NetworkCut) -> nn.Module:
        """A module of what a cut leaves of the network, to load states into."""
        return self._built(cut)[0]

    def outline_at(self, cut: NetworkCut) -> Outline:
        """Of that module when it was built, whatever its code has done since."""
        return self._built(cut)[1]

    def network_at(self, cut: NetworkCut) -> Network:
        """The description of what a cut leaves of the network."""
        return describe(self.trial.task, cut) if cut else self.network

    def loaded(self, state: State) -> nn.Module:
        """The network of a state, with its values; every use of a state builds it here."""
        model = self.model_at(state.cut)
        load(model, state)
        return model

    def _built(self, cut: NetworkCut) -> tuple[nn.Module, Outline]:
        if cut not in self._modules:
            for other in [one for one in self._modules if one and cut]:  # one cut network beside the whole one
                del self._modules[other]
            model = fresh_model(self.trial, "scratch", cut).to(self.device)
            if self.trial.task.recipe.channels_last:
                model = model.to(memory_format=torch.channels_last)
            self._modules[cut] = model, Outline.of(model.named_parameters(), model.named_buffers())
        return self._modules[cut]

    @cached_property
    def data(self) -> Data:
        return self.load_data()

    def check_data(self) -> None:
        """Raise DamagedData when data that is in use was changed on the disk since it was opened."""
        if "data" in vars(self):
            self.data.check()


def _no_data() -> Data:
    raise PrunebenchError("the data of another task is not read")


def fresh_model(trial: Trial, purpose: str, cut: NetworkCut = NOTHING) -> nn.Module:
    """The task's network with new weights, drawn from (seed, purpose); or what a cut leaves of it and of them."""
    with seeds.seeded(trial.seed, purpose):
        return build(trial.task.model, trial.task.interface, cut)


def redrawn_model(trial: Trial, draw: int, cut: NetworkCut) -> nn.Module:
    """What a cut leaves of the network with the weights of a reinitialization, by the number of its draw."""
    return fresh_model(trial, "reinitialize" if draw == 1 else f"reinitialize-{draw}", cut)


def starting_model(trial: Trial, weights: Weights | None = None) -> nn.Module:
    """The network that a trial starts from: with new weights, or with those of a file.

    Args:
        weights: the file of the first stage; by default that of the task, if it has one.
    """
    task, module = trial.task, fresh_model(trial, "initialize")
    if (chosen := weights or task.weights) is not None:
        start_from(chosen, module, task.model)
    return module
