"""Transfer: a ticket that one trial found, as the mask that another begins with."""

import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import torch
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import TicketError, Unreachable


class Transfer(prunebench.Method):
    """Prune at initialization by the mask of a ticket (`prunebench export` writes them), then train.

    Layers are matched by name and shape. The output layer stays dense where the ticket's has another shape, as with
    another number of classes; anything else that differs is an error. The sparsity is the ticket's own.
    """

    name = "transfer"
    family = "at initialization"
    version = 1
    reference = "Morcos et al. 2019, arXiv:1906.02773"
    exempt = {
        "seeds": "the mask is the ticket's, whatever the seed",
        "excluded": "a ticket fits the tasks that may prune the same layers as its own, and is an error in all others",
        "inversion": "the scores are a mask, which ranks neither what it keeps nor what it prunes",
    }

    ticket: Annotated[prunebench.File, Doc("what `prunebench export` wrote; keys follow its content, not its path")]
    weights: Annotated[
        Literal["own", "ticket"],
        Doc("what is trained under the mask: the trial's own initialization, or the initial weights in the ticket"),
    ] = "own"

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        return ranks(_opened(self.ticket).masks, scoring.weights)

    def updater(self, density: float | None) -> prunebench.Updater:
        return _Begun(_opened(self.ticket))

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        density = _density(_opened(self.ticket), trial)
        yield prunebench.Initialize()
        yield prunebench.Prune(by=self, density=density)
        yield prunebench.Train(by=self) if self.weights == "ticket" else prunebench.Train()


class _Begun(prunebench.Updater):
    """Puts the ticket's initial weights where the trial's own were; the mask stays as it is."""

    def __init__(self, ticket: prunebench.Ticket) -> None:
        self.ticket = ticket

    @torch.no_grad()
    def begin(self, training: prunebench.Training) -> None:
        targets = {**training.parameters, **dict(training.model.named_buffers())}
        output = _layer_of(training.network.output)
        wrong = []
        for name, target in targets.items():
            value = self.ticket.initial.get(name)
            if value is not None and value.shape == target.shape:
                target.copy_(value)
            elif _layer_of(name) != output:
                wrong.append(name)
        if wrong:
            raise TicketError(f"the ticket has no initial weights of this shape for {', '.join(sorted(wrong))}")
        for name, mask in training.masks.items():
            training.parameters[name].mul_(mask)


def _layer_of(name: str) -> str:
    """The path of the layer that a parameter belongs to, parametrized or not."""
    layer, parametrized, _ = f".{name}".partition(".parametrizations.")
    return layer if parametrized else layer.rpartition(".")[0]


@functools.lru_cache(maxsize=4)
def _opened(file: prunebench.File) -> prunebench.Ticket:
    return prunebench.load_ticket(file)


def ranks(masks: dict[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """1 for what a ticket keeps and -1 for what it prunes; 1 everywhere in a layer that is not the ticket's."""
    return {
        name: 2 * masks[name].float() - 1 if _is_pruned(masks, name, weight) else torch.ones(weight.shape)
        for name, weight in weights.items()
    }


def _is_pruned(masks: dict[str, torch.Tensor], name: str, weight: torch.Tensor) -> bool:
    return name in masks and masks[name].shape == weight.shape


def _density(ticket: prunebench.Ticket, trial: prunebench.Trial) -> float:
    """What the ticket keeps of the trial's network.

    Raises TicketError for a network that it does not fit, Unreachable for a trial of another sparsity.
    """
    network, theirs = trial.network, dict(ticket.facts.layers)
    if reason := network.unlike(theirs, "in the ticket"):
        raise TicketError(f"the ticket of {ticket.facts.trial} does not fit: {reason}")
    matched = [layer for layer in network.layers if theirs.get(layer.name) == layer.shape]
    kept = sum(int(ticket.masks[one.name].sum()) if one.name in ticket.masks else one.size for one in matched)
    size = sum(layer.size for layer in matched)
    total = kept + network.size - size
    # The ticket's own target was met to the next whole weight; the output layer may be another one here.
    reached = [(total, network.size)]
    if network.size <= 1.05 * size:  # a twentieth may be an output layer that stays dense
        reached.append((kept, size))
    if min(abs(trial.density * whole - part) for part, whole in reached) > 1:
        raise Unreachable(f"the ticket has a sparsity of {1 - total / network.size:.4g} here, and no other")
    return total / network.size


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Transfer]
