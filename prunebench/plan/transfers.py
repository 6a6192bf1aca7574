"""Trials that begin with a ticket of another task: how it is found there, and the stage that takes it over here.

The chain of the method on the other task is shared with that task's own trials, up to its last training. What is
transferred is the ticket as it stands before that training, with its masks and the weights that it would train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prunebench.api.errors import Unreachable
from prunebench.api.layers import Network
from prunebench.api.methods import method_of
from prunebench.api.stages import Cut, Deploy, Initialize, Stage, Train
from prunebench.api.tasks import Trial
from prunebench.plan.ablations import ablated
from prunebench.plan.chain import Adopt, leaves_dense


def ticket_trial(trial: Trial) -> Trial:
    """The trial of the other task: same method, target and seed, without what is asked of the transferred ticket."""
    assert trial.entry.ticket_of is not None, f"{trial} has no ticket of another task"
    entry = replace(trial.entry, ticket_of=None, shuffle=False, reinitialize=False)
    return replace(trial, task=trial.entry.ticket_of.task, entry=entry, measure=None)


def ticket_length(stages: Sequence[Stage], name: str) -> int:
    """How many stages of a method's chain find a ticket: all before its last training under masks that stay.

    Raises Unreachable for a chain without masks, or whose network is not that of the task any more.
    """
    for stage in stages:
        by = method_of(stage)
        if isinstance(stage, Cut) or (by is not None and by.low_rank):
            what = "removes channels" if isinstance(stage, Cut) else "adds factors of low rank"
            raise Unreachable(f"method {name!r} {what}: another task has no place for its masks")
    length = len(stages)
    while length and isinstance(last := stages[length - 1], (Train, Deploy)) and method_of(last) is None:
        length -= 1
    if all(leaves_dense(stage) for stage in stages[:length]):
        raise Unreachable(f"method {name!r} makes no masks that another task could train")
    return length


def transferred_stages(trial: Trial, ticket: str, density: float) -> list[Stage]:
    """The chain of the trial's own task, with the ablations that its entry asks for."""
    transfer = trial.entry.ticket_of
    assert transfer is not None, f"{trial} has no ticket of another task"
    adopted = Adopt(ticket, transfer.weights, density)
    return ablated([Initialize(), adopted, Train()], replace(trial.entry, invert=False))


def check_alike(trial: Trial, theirs: Network, ours: Network) -> None:
    """Raise Unreachable where a layer besides the last one is not as in the network that the ticket was found in."""
    shapes = {layer.name: layer.shape for layer in theirs.layers}
    if reason := ours.unlike(shapes, f"in {trial.tasks[1].label}"):
        raise Unreachable(f"the ticket does not fit: {reason}")
