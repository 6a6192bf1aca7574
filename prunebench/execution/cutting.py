"""Cutting: channels and heads with the lowest scores are removed, and the state is that of a smaller network."""

from __future__ import annotations

import re
from collections.abc import Callable

from prunebench.api.errors import Unreachable
from prunebench.api.layers import Network
from prunebench.api.methods import Method
from prunebench.api.stages import Cut, Unit
from prunebench.network.cuts import NetworkCut
from prunebench.network.groups import Groups, check_cut, cut_of, find_groups
from prunebench.network.modules import called
from prunebench.pruning.channels import Kept, check_scores, keep_highest_channels
from prunebench.pruning.scoring import ScoringContext
from prunebench.training.cost import Cost
from prunebench.training.state import State
from prunebench.training.trial_context import TrialContext

AMOUNTS: dict[Unit, Callable[[Network], float]] = {
    "weights": lambda network: network.size,
    "parameters": lambda network: network.parameters,
    "macs": lambda network: network.flops / 2,
    "channels": lambda network: sum(layer.outputs for layer in network.layers),
}
"""How much of a unit a network has."""
SHOWN = 3


def groups_in(stage: Cut, state: State, context: TrialContext) -> Groups:
    """What can be removed from the network of a state.

    Raises Unreachable where that is nothing.
    """
    names = [layer.name for layer in context.network_at(state.cut).layers]
    allowed = {name for name in names if not any(re.search(pattern, name) for pattern in stage.exclude)}
    found = find_groups(context.loaded(state), context.trial.task.interface.inputs, allowed)
    if not found.found:
        reasons = [f"those of {name!r} stay: {reason}" for name, reason in found.left_out.items()]
        why = "; ".join(reasons[:SHOWN]) or "it has no layers that follow each other"
        raise Unreachable(f"no channels of model {called(context.trial.task.model)!r} can be removed: {why}")
    return found


def cut(stage: Cut, by: Method, groups: Groups, scoring: ScoringContext, state: State, context: TrialContext) -> State:
    """The state after a cut: without the channels whose scores are the lowest, as few as reach the target.

    Args:
        scoring: what the method is passed, with these groups.

    Raises Unreachable for a target that is not reached when one channel of each group is left.
    """
    network = context.network_at(state.cut)
    left = sum(state.kept().get(layer.name, layer.size) for layer in network.layers) / network.size
    cost = state.cost + Cost(scoring_flops=by.scoring_flops(network, left))
    scores = check_scores(by.channel_scores(scoring), groups.found, by.name)
    if stage.invert:
        scores = {name: -score for name, score in scores.items()}
    whole = context.loaded(state)

    def removed(kept: Kept) -> NetworkCut:
        return cut_of(groups.found, kept, whole).after(state.cut)

    target = AMOUNTS[stage.unit](context.network) * stage.density * (1 + 1e-9)

    def enough(kept: Kept) -> bool:
        return AMOUNTS[stage.unit](context.network_at(removed(kept))) <= target

    try:
        kept = keep_highest_channels(scores, groups.found, stage.allocation, stage.align, enough)
    except Unreachable:
        raise Unreachable(_too_far(stage, groups, removed, context)) from None
    check_cut(whole, cut_of(groups.found, kept, whole), scoring.inputs, called(context.trial.task.model))
    return state.narrowed(removed(kept)).changed(cost=cost, left_out=dict(groups.left_out), layer_errors={})


def _too_far(stage: Cut, groups: Groups, removed: Callable[[Kept], NetworkCut], context: TrialContext) -> str:
    """Why a target cannot be reached, with what can be."""
    least: Kept = {
        group.name: tuple(range(min(group.size, stage.align if group.kind == "channels" else 1)))
        for group in groups.found
    }
    amount = AMOUNTS[stage.unit]
    reached = amount(context.network_at(removed(least))) / amount(context.network)
    kept = ", ".join(list(groups.left_out)[:SHOWN]) + (", ..." if len(groups.left_out) > SHOWN else "")
    return (
        f"{stage.density:.4g} of the {stage.unit} cannot be reached by removing channels: with the fewest in each of "
        f"{len(groups.found)} groups, {reached:.4g} are left; the channels of {kept} stay whole"
    )
