"""What each stage does to a state."""

from __future__ import annotations

import reprlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from prunebench.api.components import Method
from prunebench.api.errors import PluginError, PrunebenchError
from prunebench.api.stages import Deploy, Initialize, Prune, Reinitialize, Rewind, Shuffle, Stage, Train
from prunebench.api.tasks import Trial
from prunebench.api.updating import Updater
from prunebench.data import seeds
from prunebench.data.prepared import Data
from prunebench.network.deployment import Deployed, measure
from prunebench.network.description import Network, describe
from prunebench.network.modules import build, copied, plain
from prunebench.plan.planning import Node
from prunebench.pruning.choices import choice_of
from prunebench.pruning.masks import Masks, keep_highest, shuffled
from prunebench.pruning.scoring import Scoring
from prunebench.training.arithmetic import repeatable
from prunebench.training.cost import Cost
from prunebench.training.loop import Keeper, Trainer, evaluate, load, snapshot, train
from prunebench.training.state import State, Tensors


@dataclass(frozen=True)
class Bench:
    """A trial's network and data on a device, made when they are first needed."""

    trial: Trial
    device: torch.device
    load_data: Callable[[], Data]

    @cached_property
    def network(self) -> Network:
        return describe(self.trial.task)

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

    @property
    def trainer(self) -> Trainer:
        return Trainer(self.trial.task, self.network, self.model, self.data, self.trial.seed)


def fresh_model(trial: Trial, purpose: str) -> nn.Module:
    """The task's network with new weights, drawn from (seed, purpose)."""
    facts = trial.task.dataset.facts()
    with seeds.seeded(trial.seed, purpose):
        return build(trial.task.model, facts.shape, facts.classes)


def perform(node: Node, state: State | None, source: State | None, bench: Bench, keeper: Keeper | None = None) -> State:
    """The state after a node's stage, with the seconds that it took added to its cost.

    Args:
        state: the parent's, or one that a keeper kept of this very training; None before Initialize.
        source: that of the node's `source`, for the stages which have one.
        keeper: keeps states of a training on its way.
    """
    begun = time.perf_counter()
    with repeatable(bench.device):
        after = _performed(node, state, source, bench, keeper)
    return after.changed(cost=after.cost + Cost(wall_seconds=time.perf_counter() - begun))


def _performed(node: Node, state: State | None, source: State | None, bench: Bench, keeper: Keeper | None) -> State:
    stage = node.stage
    if isinstance(stage, Initialize):
        return State(step=0, **snapshot(fresh_model(bench.trial, "initialize")), masks={})
    assert state is not None, f"{stage} follows no state"
    if isinstance(stage, Train):
        return _train(stage, node, state, bench, keeper)
    if isinstance(stage, Prune):
        return _prune(stage, state, bench)
    if isinstance(stage, Deploy):
        return state
    if isinstance(stage, Reinitialize):
        fresh = snapshot(fresh_model(bench.trial, "reinitialize"))
        return _under_masks(_begun_again(state, 0).changed(**fresh, optimizer={}), state.masks)
    assert source is not None, f"{stage} goes back to no state"
    if isinstance(stage, Rewind):
        return _rewind(stage, state, source)
    if isinstance(stage, Shuffle):
        return _shuffle(state, source, bench.trial.seed)
    raise PrunebenchError(f"nobody knows how to perform {stage}")


def _train(stage: Train, node: Node, state: State, bench: Bench, keeper: Keeper | None) -> State:
    updater = Updater() if stage.by is None else _updater(stage.by, stage.density)
    fresh = state.trajectory != node.trajectory
    begun = state.changed(memory={}, trajectory=node.trajectory) if fresh else state
    return train(bench.trainer, begun, node.stop, stage.stream, updater, fresh, keeper)


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


def _shuffle(state: State, source: State, seed: int) -> State:
    masks = {name: shuffled(mask, seeds.generator(seed, "shuffle", name)) for name, mask in state.masks.items()}
    return _under_masks(state.changed(parameters=source.parameters, optimizer=source.optimizer), masks)


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


def _prune(stage: Prune, state: State, bench: Bench) -> State:
    network, cost, choice = bench.network, state.cost, state.choice
    masks = {
        layer.name: state.masks.get(layer.name, torch.ones(layer.shape, dtype=torch.bool)) for layer in network.layers
    }
    begin = sum(int(mask.sum()) for mask in masks.values()) / network.size
    for done in range(1, stage.rounds + 1):
        density = begin * (stage.density / begin) ** (done / stage.rounds) if done < stage.rounds else stage.density
        pruned = _under_masks(state, masks)
        left = sum(int(mask.sum()) for mask in masks.values()) / network.size
        cost += Cost(scoring_flops=stage.by.scoring_flops(network, left))
        scores = _scores(stage.by, _lent(stage.by, pruned, bench))
        if stage.invert:
            scores = {name: -score for name, score in scores.items()}
        try:
            kept = keep_highest(scores, masks, network.layers, density, stage.allocation, stage.structure)
        except PrunebenchError as error:
            raise type(error)(f"method {stage.by.name!r}: {error}") from None
        choice |= choice_of(scores, kept, network.layers, stage.allocation, stage.structure, masks)
        masks = kept
    return _under_masks(_begun_again(state, state.step), masks).changed(cost=cost, choice=choice)


def _scores(by: Method, scoring: Scoring) -> Tensors:
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


def _lent(by: Method | None, state: State, bench: Bench) -> Scoring:
    load(bench.model, state)
    return Scoring(
        model=_differentiable(copied(bench.model), bench.network),
        layers=bench.network.layers,
        input_shape=bench.trial.task.dataset.facts().shape,
        masks={name: mask.to(bench.device, copy=True) for name, mask in state.masks.items()},
        seed=bench.trial.seed,
        purpose=by.name if by else "",
        open_data=lambda: bench.data,
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


def _plainly_lent(lent: Scoring) -> Scoring:
    """The same in evaluation mode, with plain weights where they were parametrized, under their plain names."""
    model, names = plain(lent.model.eval())
    layers = tuple(replace(layer, name=names.get(layer.name, layer.name)) for layer in lent.layers)
    masks = {names.get(name, name): mask for name, mask in lent.masks.items()}
    return replace(lent, model=model, layers=layers, masks=masks)


def final_figures(state: State, bench: Bench) -> dict[str, float]:
    """Loss and accuracy of a state, from its last evaluation if that is of this very step."""
    if state.history and state.history[-1]["step"] == state.step:
        return {key: value for key, value in state.history[-1].items() if key not in ("step", "time", "train_loss")}
    trainer = bench.trainer
    load(trainer.model, state)
    return evaluate(trainer.model, trainer.data, state.step)


def measured(stage: Stage, state: State, bench: Bench) -> tuple[dict[str, float], dict[str, str]]:
    """The figures of the state after a stage, and remarks on them: what this machine could not measure, and why."""
    with repeatable(bench.device):
        return _measured(stage, state, bench)


def _measured(stage: Stage, state: State, bench: Bench) -> tuple[dict[str, float], dict[str, str]]:
    if not isinstance(stage, Deploy):
        return final_figures(state, bench), {}
    lent = _plainly_lent(_lent(stage.by, state, bench))
    dense, _ = plain(copied(bench.model).eval())
    deployed = stage.by.deploy(lent) if stage.by else Deployed(lent.model, bench.device)
    return measure(deployed, dense, bench.data, state.step, stage.batch), dict(deployed.notes)
