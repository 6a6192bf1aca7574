"""What each stage does to a state."""

from __future__ import annotations

import reprlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import overload

import torch
from torch import nn

from prunebench.api.contexts import Training
from prunebench.api.errors import PluginError, PrunebenchError, Unreachable
from prunebench.api.layers import Network
from prunebench.api.methods import Deployed, Method, Updater, method_of
from prunebench.api.runtimes import Measure
from prunebench.api.stages import (
    Cut,
    Deploy,
    Initialize,
    Prune,
    PruneLayerwise,
    Reconstruct,
    Reinitialize,
    Rewind,
    Shuffle,
    Stage,
    Structure,
    Train,
)
from prunebench.data import seeds
from prunebench.execution import cutting
from prunebench.execution.measuring.runtimes import measured_in_runtimes
from prunebench.execution.measuring.timing import calibration, dense_network
from prunebench.network.cuts import NetworkCut
from prunebench.network.delivery import FinishedNetwork
from prunebench.network.deployment import Delivered, measure
from prunebench.network.modules import copied, plain
from prunebench.plan.chain import Adopt
from prunebench.plan.planning import Node
from prunebench.plan.tuning import Choose
from prunebench.pruning.allocation import total_kept
from prunebench.pruning.blocks import blocks_of
from prunebench.pruning.choices import choice_of
from prunebench.pruning.layerwise import Calibrated, Calibration, Calibrator
from prunebench.pruning.masks import Masks, keep_highest, shuffled
from prunebench.pruning.scoring import ScoringContext
from prunebench.pruning.solutions import by_method
from prunebench.store.state_files import check_lasting
from prunebench.training.arithmetic import repeatable
from prunebench.training.choosing import best_of
from prunebench.training.cost import Cost
from prunebench.training.distillation import Teacher
from prunebench.training.loop import CheckpointCallback, train
from prunebench.training.metrics import evaluate
from prunebench.training.state import State, Tensors, snapshot
from prunebench.training.trial_context import TrialContext, redrawn_model, starting_model


def perform(
    node: Node,
    state: State | None,
    source: State | None,
    context: TrialContext,
    callback: CheckpointCallback | None = None,
    others: Sequence[State] = (),
) -> State:
    """The state after a node's stage, with the seconds that it took added to its cost.

    Args:
        state: the parent's, or a checkpoint of this training; None before Initialize.
        source: that of the node's `source`, for the stages which have one.
        callback: saves checkpoints of a training.
        others: those of the node's `sources`, see `other_states`.
    """
    begun = time.perf_counter()
    with repeatable(context.device):
        if isinstance(node.stage, Choose):
            figures = partial(final_figures, context=context)
            after = best_of(node.stage.candidates, others, figures, node.stage.metric, node.stage.sign)
        else:
            after = _performed(node, state, source, context, callback, others)
    check_lasting(after, context)
    return after.changed(cost=after.cost + Cost(wall_seconds=time.perf_counter() - begun))


def other_states(node: Node, context: TrialContext, read: Callable[[str, TrialContext], State]) -> list[State]:
    """The states of a node's `sources`; that of a ticket is of the task in which it was found.

    Args:
        read: the state of a key, given the context of its task.
    """
    transfer = node.trial.entry.ticket_of if isinstance(node.stage, Adopt) else None
    theirs = context if transfer is None else context.of_task(transfer.task)
    return [read(key, theirs) for key in node.sources]


def _performed(
    node: Node,
    state: State | None,
    source: State | None,
    context: TrialContext,
    callback: CheckpointCallback | None,
    others: Sequence[State],
) -> State:
    stage = node.stage
    if isinstance(stage, Initialize):
        return State(step=0, **snapshot(starting_model(context.trial, stage.start)), masks={})
    assert state is not None, f"{stage} follows no state"
    if isinstance(stage, Train):
        return _train(stage, node, state, source, context, callback)
    if isinstance(stage, (Prune, PruneLayerwise, Cut)):
        return _removed(stage, state, context)
    if isinstance(stage, (Deploy, Measure)):
        return state
    if isinstance(stage, Adopt):
        return _adopted(stage, state, others[0], context)
    if isinstance(stage, Reinitialize):
        fresh = snapshot(redrawn_model(context.trial, stage.draw, state.cut))
        return _under_masks(_begun_again(state, 0).changed(**fresh, optimizer={}), state.masks)
    assert source is not None, f"{stage} goes back to no state"
    if isinstance(stage, Rewind):
        return _rewind(stage, state, source.narrowed(state.cut))
    if isinstance(stage, Shuffle):
        return _shuffle(state, source.narrowed(state.cut), context.trial.seed)
    if isinstance(stage, Reconstruct):
        return _reconstruct(stage, state, source.narrowed(state.cut), context)
    raise PrunebenchError(f"{stage} is not a stage that can be performed")


def _removed(stage: Prune | PruneLayerwise | Cut, state: State, context: TrialContext) -> State:
    if isinstance(stage, Prune):
        return _prune(stage, state, context)
    return _cut(stage, state, context) if isinstance(stage, Cut) else _prune_layerwise(stage, state, context)


def _train(
    stage: Train,
    node: Node,
    state: State,
    source: State | None,
    context: TrialContext,
    callback: CheckpointCallback | None,
) -> State:
    by, teacher = method_of(stage), None
    if stage.distillation is not None:
        assert source is not None, f"{stage} has no teacher"
        teacher = Teacher(stage.distillation, context.model_at(source.cut), source)
    updater = FixedMasks() if by is None else _updater(by, _share_left(stage.density, state, context))
    fresh = state.trajectory != node.trajectory
    begun = state.changed(memory={}, trajectory=node.trajectory) if fresh else state
    return train(context, begun, node.stop, stage.stream, updater, fresh, callback, teacher, node.engine)


class FixedMasks(Updater):
    """Leaves the masks as they are."""

    def needs_dense_gradient(self, training: Training) -> bool:
        return False


def _updater(by: Method, density: float | None) -> Updater:
    updater = by.updater(density)
    if not isinstance(updater, Updater):
        raise PluginError(f"updater of method {by.name!r} must return a prunebench.Updater, and returned {updater!r}")
    return updater


def _rewind(stage: Rewind, state: State, source: State) -> State:
    again = _begun_again(state, source.step)
    if stage.weights:
        again = again.changed(parameters=source.parameters, buffers=source.buffers, optimizer={})
    if stage.optimizer:
        again = again.changed(optimizer=source.optimizer)
    return _under_masks(again, state.masks)


def _adopted(stage: Adopt, state: State, ticket: State, context: TrialContext) -> State:
    """The state under the masks of a ticket of another task; a layer of another shape there stays dense."""
    shapes = {layer.name: layer.shape for layer in context.network.layers}
    masks = {name: mask for name, mask in ticket.masks.items() if shapes.get(name) == tuple(mask.shape)}
    if not masks:
        raise PrunebenchError("the ticket of the other task has no mask of a layer of this network")
    if stage.weights:
        values = {"parameters": state.parameters, "buffers": state.buffers}
        theirs = {"parameters": ticket.parameters, "buffers": ticket.buffers}
        state = state.changed(**{kind: _taken(own, theirs[kind]) for kind, own in values.items()})
    return _under_masks(state, masks).changed(cost=state.cost + ticket.cost)


def _taken(own: Tensors, theirs: Tensors) -> Tensors:
    """The tensors of another network, where it has one of this name and shape."""
    return {
        name: theirs[name] if name in theirs and theirs[name].shape == value.shape else value
        for name, value in own.items()
    }


def _shuffle(state: State, source: State, seed: int) -> State:
    masks = {name: shuffled(mask, seeds.generator(seed, "shuffle", name)) for name, mask in state.masks.items()}
    values = {"parameters": source.parameters, "optimizer": source.optimizer, "layer_errors": {}}
    return _under_masks(state.changed(**values), masks)


def _begun_again(state: State, step: int) -> State:
    return state.changed(step=step, memory={}, trajectory="", history=(), loss_sum=0.0, loss_steps=0)


def _under_masks(state: State, masks: Masks) -> State:
    """The state with its weights, and what the optimizer remembers of them, zero wherever `masks` prune."""

    def masked(name: str, value: torch.Tensor) -> torch.Tensor:
        mask = masks.get(name)
        return value if mask is None or value.shape != mask.shape else torch.where(mask, value, 0.0)

    parameters: Tensors = {name: masked(name, value) for name, value in state.parameters.items()}
    optimizer: Tensors = {key: masked(key.partition("/")[2], value) for key, value in state.optimizer.items()}
    return state.changed(parameters=parameters, optimizer=optimizer, masks=masks)


@overload
def _share_left(density: float, state: State, context: TrialContext) -> float: ...
@overload
def _share_left(density: None, state: State, context: TrialContext) -> None: ...
def _share_left(density: float | None, state: State, context: TrialContext) -> float | None:
    """A density of the whole network as a share of the weights that cuts have left.

    Raises Unreachable for a density above what they have left.
    """
    if density is None or not state.cut:
        return density
    share = density * context.network.size / context.network_at(state.cut).size
    if share > 1:
        raise Unreachable(
            f"a density of {density:.4g} cannot be reached: {density / share:.4g} of the weights are left after the "
            "channels that were removed"
        )
    return share


def _check_structure(structure: Structure | None, state: State, context: TrialContext) -> None:
    """Raise Unreachable for a structure that does not fit what cuts have left."""
    if structure is not None and state.cut:
        try:
            structure.check(structure.density, context.network_at(state.cut).layers)
        except Unreachable as error:
            raise Unreachable(f"{error}; `align: {structure.m}` keeps channels that it fits") from None


def _cut(stage: Cut, state: State, context: TrialContext) -> State:
    by = method_of(stage)
    assert by is not None, "Cut names a method"
    groups = cutting.groups_in(stage, by, state, context)
    scoring = replace(_scoring_context(by, state, context), groups=groups.found)
    after = cutting.cut(stage, by, groups, scoring, state, context)
    return _begun_again(after, state.step)


def _prune(stage: Prune, state: State, context: TrialContext) -> State:
    by, network, whole = method_of(stage), context.network_at(state.cut), context.network.size
    cost, choice = state.cost, state.choice
    assert by is not None, "Prune names a method"
    masks = {
        layer.name: state.masks.get(layer.name, torch.ones(layer.shape, dtype=torch.bool)) for layer in network.layers
    }
    begin = sum(int(mask.sum()) for mask in masks.values()) / whole
    _check_structure(stage.structure, state, context)
    for done in range(1, stage.rounds + 1):
        density = begin * (stage.density / begin) ** (done / stage.rounds) if done < stage.rounds else stage.density
        pruned = _under_masks(state, masks)
        left = sum(int(mask.sum()) for mask in masks.values()) / network.size  # of what the method sees
        cost += Cost(scoring_flops=by.scoring_flops(network, left))
        share = density if stage.structure else _share_left(density, state, context)
        keep = total_kept(network.size, share) if stage.structure is None else stage.structure.kept(network.layers)
        scoring = replace(_scoring_context(by, pruned, context), keep=keep)
        scores = _scores(by, scoring)
        if stage.invert:
            scores = {name: -score for name, score in scores.items()}
        try:
            kept = keep_highest(scores, masks, network.layers, share, stage.allocation, stage.structure)
        except PrunebenchError as error:
            raise type(error)(f"method {by.name!r}: {error}") from None
        choice |= choice_of(scores, kept, network.layers, stage.allocation, stage.structure, masks)
        masks, state = kept, _compensated(by, scoring, state, kept)
    return _under_masks(_begun_again(state, state.step), masks).changed(cost=cost, choice=choice, layer_errors={})


def _compensated(by: Method, scoring: ScoringContext, state: State, masks: Masks) -> State:
    """The state with the weights that a method changes after a pruning. Raises PluginError for what are none."""
    changed = by.compensate(scoring, {name: mask.to(scoring.device, copy=True) for name, mask in masks.items()})
    if not isinstance(changed, Mapping):
        raise PluginError(
            f"compensate of method {by.name!r} must return a dict of weights by name, not {reprlib.repr(changed)}"
        )
    new: Tensors = {}
    for name, value in changed.items():
        if name not in masks:
            raise PluginError(f"compensate of method {by.name!r}: {name!r} is not one of the prunable weights")
        old = state.parameters[name]
        if value.shape != old.shape:
            raise PluginError(
                f"method {by.name!r}: the new weights of {name!r} have shape {tuple(value.shape)}, "
                f"not {tuple(old.shape)}"
            )
        new[name] = value.detach().to("cpu", old.dtype)
        if not bool(new[name].isfinite().all()):
            raise PluginError(f"method {by.name!r}: the new weights of {name!r} are not all finite")
    return state.changed(parameters=state.parameters | new)


def _prune_layerwise(stage: PruneLayerwise, state: State, context: TrialContext) -> State:
    by = method_of(stage)
    assert by is not None, "PruneLayerwise names a method"
    calibrator = _calibrator(state, context, stage.examples)
    _check_structure(stage.structure, state, context)
    density = _share_left(stage.density, state, context) if stage.structure is None else 1.0
    keep = {} if stage.structure is not None else calibrator.counts(density, stage.allocation)
    return _calibrated(state, calibrator.prune(by_method(by, stage.reconstruct), keep, stage.structure))


def _reconstruct(stage: Reconstruct, state: State, source: State, context: TrialContext) -> State:
    masks = {name: mask for name, mask in state.masks.items() if not bool(mask.all())}
    calibrator = _calibrator(state, context, stage.examples)
    return _calibrated(state, calibrator.reconstruct(masks, source.parameters, stage.damping))


def _calibrator(state: State, context: TrialContext, examples: int) -> Calibrator:
    model, network = copied(context.loaded(state)).eval(), context.network_at(state.cut)
    blocks = blocks_of(model, [layer.name for layer in network.layers], context.trial.task.model.blocks(model))
    return Calibrator(model, network, blocks, Calibration.drawn(context.data, context.trial.seed, examples))


def _calibrated(state: State, found: Calibrated) -> State:
    """The state with the weights that were found, the errors of the layers, and the cost."""
    if found.ranks:  # an optimizer remembers nothing of factors, and not all remember of some weights alone
        cut = NetworkCut(ranks=tuple(found.ranks.items())).after(state.cut)
        state = state.changed(cut=cut, parameters=state.parameters | found.factors, optimizer={})
    begun = _begun_again(state, state.step).changed(
        parameters=state.parameters | found.weights,
        cost=state.cost + Cost(scoring_flops=found.flops),
        layer_errors=found.errors,
    )
    return _under_masks(begun, state.masks | found.masks)


def _scores(by: Method, scoring: ScoringContext) -> Tensors:
    """A method's scores on the CPU; raises PluginError for what are none."""
    scores = by.scores(scoring)
    if not isinstance(scores, Mapping):
        raise PluginError(
            f"scores of method {by.name!r} must return a dict of tensors by the names of the weights, and returned "
            f"{reprlib.repr(scores)}"
        )
    for name, score in scores.items():
        if not isinstance(score, torch.Tensor):
            raise PluginError(
                f"scores of method {by.name!r} must return tensors, and returned {reprlib.repr(score)} for {name!r}"
            )
    return {name: score.cpu() for name, score in scores.items()}


def _scoring_context(by: Method | None, state: State, context: TrialContext) -> ScoringContext:
    network = context.network_at(state.cut)
    return ScoringContext(
        model=_differentiable(copied(context.loaded(state)), network),
        layers=network.layers,
        inputs=context.trial.task.interface.inputs,
        masks={name: mask.to(context.device, copy=True) for name, mask in state.masks.items()},
        seed=context.trial.seed,
        purpose=by.name if by else "",
        open_data=lambda: context.data,
    )


def _differentiable(model: nn.Module, network: Network) -> nn.Module:
    """The model with frozen prunable weights whose gradient is 0 instead of missing.

    A method that calls `backward` or `torch.autograd.grad` itself works on them too.
    """
    parameters = dict(model.named_parameters())
    for layer in network.layers:
        weight = parameters[layer.name]
        if not weight.requires_grad and (weight.is_floating_point() or weight.is_complex()):
            weight.requires_grad_(True)
            weight.register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]
    return model


def _without_parametrizations(scoring: ScoringContext) -> ScoringContext:
    """The same in evaluation mode, with plain weights where they were parametrized, under their plain names."""
    model, names = plain(scoring.model.eval())
    layers = tuple(replace(layer, name=names.get(layer.name, layer.name)) for layer in scoring.layers)
    masks = {names.get(name, name): mask for name, mask in scoring.masks.items()}
    return replace(scoring, model=model, layers=layers, masks=masks)


def finished_network(state: State, context: TrialContext, threads: int = 1) -> FinishedNetwork:
    """The network of a state, as it is passed to runtimes."""
    scoring = replace(_without_parametrizations(_scoring_context(None, state, context)), purpose="runtimes")
    kept, network = state.nonzero(), context.network_at(state.cut)
    zeros = 1 - sum(kept.get(layer.name, layer.size) for layer in network.layers) / network.size
    return FinishedNetwork(scoring.model.cpu(), scoring.inputs, zeros, threads, calibration(context))


def final_figures(state: State, context: TrialContext) -> dict[str, float]:
    """Loss and metrics of a state, from its last evaluation if that is of this very step."""
    if state.history and state.history[-1]["step"] == state.step:
        return {key: value for key, value in state.history[-1].items() if key not in ("step", "time", "train_loss")}
    return evaluate(context.loaded(state), context.data, state.step)


def measured(stage: Stage, state: State, context: TrialContext) -> tuple[dict[str, float], dict[str, str]]:
    """The figures of the state after a stage, and remarks on them: what this machine could not measure, and why."""
    with repeatable(context.device):
        return _measured(stage, state, context)


def _measured(stage: Stage, state: State, context: TrialContext) -> tuple[dict[str, float], dict[str, str]]:
    if isinstance(stage, Measure):
        threads = stage.latency.threads
        network, reference = finished_network(state, context, threads), dense_network(context, threads)
        found = measured_in_runtimes(stage, network, reference, context.data)
        return final_figures(state, context) | found.figures, found.notes
    if not isinstance(stage, Deploy):
        return final_figures(state, context), {}
    by = method_of(stage)
    scoring = _without_parametrizations(_scoring_context(by, state, context))
    # Only its size and its latency are measured, for which no values matter.
    dense, _ = plain(copied(context.model).eval())
    deployed = by.deploy(scoring) if by else Deployed(scoring.model, context.device)
    figures = evaluate(Delivered(deployed), context.data, state.step)
    return figures | measure(deployed, dense, context.data, stage.batch), dict(deployed.notes)
