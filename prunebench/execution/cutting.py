"""Cutting: channels and heads with the lowest scores are removed, and the state is that of a smaller network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.layers import Network
from prunebench.api.methods import Method
from prunebench.api.stages import Cut, Unit
from prunebench.execution.measuring.timing import timing
from prunebench.network.block_groups import find_blocks
from prunebench.network.cut_checks import check_cut
from prunebench.network.cuts import NetworkCut, cut_out
from prunebench.network.groups import Groups, cut_of, find_groups
from prunebench.network.modules import called, copied
from prunebench.pruning.channels import Kept, check_scores, keep_highest_channels
from prunebench.pruning.scoring import ScoringContext
from prunebench.training.cost import Cost
from prunebench.training.state import State
from prunebench.training.trial_context import TrialContext

AMOUNTS: Mapping[Unit, Callable[[Network], float]] = {
    "weights": lambda network: network.size,
    "parameters": lambda network: network.parameters,
    "macs": lambda network: network.flops / 2,
    "channels": lambda network: sum(layer.outputs for layer in network.layers),
}
"""How much of a unit a network has, where it can be counted."""
SHOWN = 3


def groups_in(stage: Cut, by: Method, state: State, context: TrialContext) -> Groups:
    """What can be removed from the network of a state.

    Raises Unreachable where that is nothing.
    """
    names = [layer.name for layer in context.network_at(state.cut).layers]
    allowed = {name for name in names if not any(re.search(pattern, name) for pattern in stage.exclude)}
    task, module = context.trial.task, context.loaded(state)
    if by.whole_blocks:
        found, what = find_blocks(module, task.interface.inputs, allowed, task.model.blocks(module)), "blocks"
    else:
        found, what = find_groups(module, task.interface.inputs, allowed), "channels"
    found = _only(stage, found)
    what = " or ".join(stage.groups) or what
    if not found.found:
        reasons = [
            f"{name!r} stays: {reason}" if by.whole_blocks else f"those of {name!r} stay: {reason}"
            for name, reason in found.left_out.items()
        ]
        why = "; ".join(reasons[:SHOWN]) or "it has no layers that follow each other"
        raise Unreachable(f"no {what} of model {called(task.model)!r} can be removed: {why}")
    return found


def _only(stage: Cut, groups: Groups) -> Groups:
    """The groups of the kinds that a stage names; all where it names none."""
    if not stage.groups:
        return groups
    others = {
        group.name: f"they are {group.consists_of}" for group in groups.found if group.consists_of not in stage.groups
    }
    return Groups(tuple(group for group in groups.found if group.name not in others), {**groups.left_out, **others})


def cut(stage: Cut, by: Method, groups: Groups, scoring: ScoringContext, state: State, context: TrialContext) -> State:
    """The state after a cut: without the channels whose scores are the lowest, as few as reach the target.

    Args:
        scoring: what the method is passed, with these groups.

    Raises Unreachable for a target that is not reached when one channel of each group is left, PrunebenchError for a
    latency that cannot be measured.
    """
    network = context.network_at(state.cut)
    left = sum(state.kept().get(layer.name, layer.size) for layer in network.layers) / network.size
    cost = state.cost + Cost(scoring_flops=by.scoring_flops(network, left))
    scores = check_scores(by.channel_scores(scoring), groups.found, by.name)
    if stage.invert:
        scores = {name: -score for name, score in scores.items()}
    whole = context.loaded(state)

    def removed(kept: Kept) -> NetworkCut:
        return cut_of(groups.found, kept, whole)

    with _shares(stage, whole, state, context) as share_of:
        try:
            kept = keep_highest_channels(
                scores,
                groups.found,
                stage.allocation,
                stage.align,
                lambda kept: share_of(removed(kept)) <= stage.density * (1 + 1e-9),
            )
        except Unreachable:
            raise Unreachable(_too_far(stage, groups, lambda kept: share_of(removed(kept)))) from None
    check_cut(whole, removed(kept), scoring.inputs, called(context.trial.task.model))
    after = state.narrowed(removed(kept).after(state.cut))
    return after.changed(cost=cost, left_out=dict(groups.left_out), layer_errors={})


@contextmanager
def _shares(
    stage: Cut, whole: nn.Module, state: State, context: TrialContext
) -> Iterator[Callable[[NetworkCut], float]]:
    """Context with a function that says which share of the dense network's unit a cut of a state's network leaves.

    Args:
        whole: the network of the state.
    """
    if stage.unit != "latency":
        amount, of_all = AMOUNTS[stage.unit], AMOUNTS[stage.unit](context.network)
        yield lambda removed: amount(context.network_at(removed.after(state.cut))) / of_all
    elif stage.timed is None:
        raise PrunebenchError("a cut by latency must be told what is timed: `Cut(..., timed=trial.timed)`")
    else:
        with timing(stage.timed, context) as share:
            yield lambda removed: share(cut_out(copied(whole), removed))


def _too_far(stage: Cut, groups: Groups, share_of: Callable[[Kept], float]) -> str:
    """Why a target cannot be reached, with what can be."""
    least: Kept = {
        group.name: tuple(range(min(group.size, stage.align if group.kind == "channels" else 1)))
        for group in groups.found
    }
    reached = share_of(least)
    kept = ", ".join(list(groups.left_out)[:SHOWN]) + (", ..." if len(groups.left_out) > SHOWN else "")
    what, of = ("blocks", "") if groups.found[0].kind == "blocks" else ("channels", "the channels of ")
    stay = f"; {of}{kept} stay whole" if kept else ""
    return (
        f"{stage.density:.4g} of the {stage.unit} cannot be reached by removing {what}: with the fewest in each of "
        f"{len(groups.found)} groups, {reached:.4g} are left{stay}"
    )
