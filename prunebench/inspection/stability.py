"""Stability to the noise of SGD: whether two trainings of one state end in the same basin (Frankle et al. 2020).

The last training of a chain is run twice more from the state that it began with. Everything is the same but the stream
that names its randomness: data order, augmentation and dropout are drawn anew. Then the error is measured along the
straight line between the two ends. How far it rises above the mean of its ends is the barrier; below 2 % the paper
calls a state stable.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunebench.api.errors import Unreachable
from prunebench.api.objectives import Metric
from prunebench.api.stages import Train
from prunebench.data.task_data import Data
from prunebench.execution.performing import perform
from prunebench.execution.worker import write_state
from prunebench.inspection.measures import barrier, between
from prunebench.inspection.trials import Finished
from prunebench.network.modules import copied
from prunebench.plan.planning import Node
from prunebench.pruning.masks import Masks
from prunebench.records.environment import describe_environment
from prunebench.records.keys import canonical_digest, digest
from prunebench.store.state_files import read_state
from prunebench.training.arithmetic import repeatable
from prunebench.training.metrics import EVALUATION_BATCH, evaluate
from prunebench.training.state import State, load

STREAMS = ("noise-1", "noise-2")
POINTS = 11
STABLE = 0.02
"""The barrier of error rates below which Frankle et al. call a state stable; there is none of other metrics."""


@dataclass(frozen=True)
class Stability:
    """Two children of one state, and the line between them."""

    start: int
    stop: int
    """Steps of the training."""
    shares: tuple[float, ...]
    """Of the way from the first child to the second."""
    errors: tuple[float, ...]
    """On the test set there, in the primary metric as an error: 1 - accuracy, or a perplexity."""
    reestimated: bool
    """Whether BatchNorm statistics were measured anew at each point, the ends included."""
    same_masks: bool
    metric: Metric
    """What the errors are of."""

    @property
    def label(self) -> str:
        """What an error is called: an error rate, or the metric itself where less is better."""
        return "test error" if self.metric.direction == "higher" else f"test {self.metric.label}"

    @property
    def barrier(self) -> float:
        return barrier(self.errors)


def stability(finished: Finished, note: Callable[[str], object] = lambda message: None) -> Stability:
    """Train the two children, unless the store has them from an earlier time, and measure between them.

    Args:
        note: called with a line before each step that takes long.

    Raises Unreachable for a chain that trains nothing.
    """
    node = next((node for node in reversed(finished.nodes) if isinstance(node.stage, Train)), None)
    if node is None:
        raise Unreachable(f"{finished.trial} trains nothing, so that there is no noise of SGD to be stable to")
    children = [_child(finished, node, stream, note) for stream in STREAMS]
    note(f"measuring {POINTS} points between them")
    shares = tuple(point / (POINTS - 1) for point in range(POINTS))
    errors, reestimated = errors_between(finished, children[0], children[1], shares)
    same = _same(children[0].masks, children[1].masks)
    metric = finished.trial.task.metrics[0]
    return Stability(node.start, node.stop, shares, errors, reestimated, same, metric)


def child_node(node: Node, stream: str) -> Node:
    """A training with another stream; its key is that of any chain that trains so."""
    assert isinstance(node.stage, Train)
    stage = replace(node.stage, stream=stream)
    trajectory = digest(node.parent, canonical_digest(replace(stage, until="end")))
    return replace(node, stage=stage, trajectory=trajectory, key=digest(trajectory, node.stop))


def _child(finished: Finished, node: Node, stream: str, note: Callable[[str], object]) -> State:
    child, store = child_node(node, stream), finished.store
    if store.has(child.key):
        return read_state(store, child.key, finished.context)
    assert node.parent is not None
    parent = finished.state(node.parent)
    note(f"training from step {node.start} to {node.stop} with other noise ({stream})")
    threads, started = torch.get_num_threads(), time.time()
    state = perform(child, parent, None, finished.context)
    write_state(store, child, node.parent, state, finished.context, started, describe_environment(threads))
    return state


def _same(one: Masks, other: Masks) -> bool:
    return one.keys() == other.keys() and all(torch.equal(mask, other[name]) for name, mask in one.items())


def errors_between(
    finished: Finished, one: State, other: State, shares: tuple[float, ...]
) -> tuple[tuple[float, ...], bool]:
    """Test errors on the straight way between two states; and whether BatchNorm statistics were measured there."""
    model, data = copied(finished.context.model_at(one.cut)), finished.context.data
    metric = finished.trial.task.metrics[0]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    errors = []
    for share in shares:
        point = one.changed(
            parameters=between(one.parameters, other.parameters, share),
            buffers=between(one.buffers, other.buffers, share),
        )
        load(model, point)
        with repeatable(finished.context.device):
            if norms:
                reestimate(model, norms, data)
            errors.append(metric.error(evaluate(model, data, point.step)[f"test_{metric.name}"]))
    return tuple(errors), bool(norms)


@torch.no_grad()
def reestimate(model: nn.Module, norms: list[_BatchNorm], data: Data) -> None:
    """Measure BatchNorm statistics anew: the mean over the training examples, as they are."""
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, the same weight to each
        norm.train()
    for inputs, _ in data.in_order(data.train, EVALUATION_BATCH):
        model(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
