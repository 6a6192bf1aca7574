"""A chain of stages on the clock of a recipe: where each begins and ends, and which earlier state it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prunebench.api import times
from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.methods import method_of
from prunebench.api.stages import (
    PRUNING,
    Cut,
    Initialize,
    Prune,
    PruneLayerwise,
    Reconstruct,
    Reinitialize,
    Rewind,
    Shuffle,
    Stage,
    Train,
)


@dataclass(frozen=True)
class Adopt(Stage):
    """Prune by the masks of a ticket of another task; the cost of finding it is added.

    Args:
        ticket: key of the ticket's state.
        weights: take its weights and buffers too, where they have the shape that they have here. Otherwise the kept
            weights are the trial's own.
        density: of the ticket.
    """

    ticket: str
    weights: bool
    density: float


@dataclass(frozen=True)
class Link:
    """A stage at its place in a chain."""

    stage: Stage
    start: int
    stop: int
    """The state's step before and after."""
    source: int | None = None
    """Place of the link whose state the stage reads as well (rewinding, shuffling, reconstruction, distillation)."""


def linked(stages: Iterable[Stage], clock: times.Clock) -> list[Link]:
    """The chain of some stages, without the trainings that have no steps.

    Raises PrunebenchError for a chain that makes no sense, Unreachable for one that has nothing to do its work on.
    """
    chain: list[Link] = []
    for stage in stages:
        link = _link(stage, chain, clock)
        if not isinstance(stage, Train) or link.stop > link.start:
            chain.append(link)
    return chain


def _link(stage: Stage, chain: Sequence[Link], clock: times.Clock) -> Link:
    _check(stage, chain)
    if isinstance(stage, Initialize):
        return Link(stage, 0, 0)
    now = chain[-1].stop
    if isinstance(stage, Train):
        stop = times.step_of(stage.until, clock, now)
        if stop < now:
            raise PrunebenchError(f"Train(until={stage.until!r}) lies before step {now}, where the chain stands")
        return Link(stage, now, stop, None if stage.distillation is None else _teacher(stage, chain))
    if isinstance(stage, Rewind):
        source = _rewind_target(stage, chain, clock)
        return Link(stage, now, chain[source].stop, source)
    if isinstance(stage, (Shuffle, Reconstruct)):
        return Link(stage, now, now, _before_pruning(stage, chain))
    return Link(stage, now, 0 if isinstance(stage, Reinitialize) else now)


def _check(stage: Stage, chain: Sequence[Link]) -> None:
    """Raises PrunebenchError for a stage that cannot follow a chain, PluginError for one by something else."""
    if not isinstance(stage, Stage):
        raise PrunebenchError(f"a chain is made of stages, such as prunebench.Train(), and not of {stage!r}")
    if method_of(stage) is None and isinstance(stage, (Cut, *PRUNING)):
        raise PrunebenchError(f"{type(stage).__name__} names the method that it prunes by, and `by` is None")
    if isinstance(stage, Initialize) and chain:
        raise PrunebenchError("Initialize begins a chain, and comes nowhere else in it")
    if not isinstance(stage, Initialize) and not chain:
        raise PrunebenchError(f"a chain begins with Initialize, not with {stage}")
    if isinstance(stage, PruneLayerwise) and not _is_dense(chain):
        raise PrunebenchError("PruneLayerwise prunes a dense network, and earlier stages of its chain made masks")


def _rewind_target(stage: Rewind, chain: Sequence[Link], clock: times.Clock) -> int:
    """The first point of the chain at that step: the original one, not one that was itself reached by rewinding."""
    step = times.step_of(stage.to, clock)
    for place, link in enumerate(chain):
        if isinstance(link.stage, (Initialize, Train)) and link.stop == step:
            return place
    raise PrunebenchError(f"cannot rewind to {stage.to} (step {step}): the chain did not stop there")


def _before_pruning(stage: Stage, chain: Sequence[Link]) -> int:
    """The last state that was whole: what is shuffled or reconstructed needs weights that were removed since then."""
    last, back = chain[-1].stage, chain[-1].source
    if back is not None and isinstance(last, Rewind) and last.weights and _is_whole(chain[: back + 1]):
        return back
    whole = None
    for place in reversed(range(len(chain))):
        passed = chain[place].stage
        if isinstance(passed, (Adopt, *PRUNING)):
            whole = place - 1
        elif whole is not None and isinstance(passed, Train) and passed.by is not None:
            break  # its masks are not made by pruning: what lies before is another network
    if whole is None:
        raise Unreachable(f"there is no mask to {type(stage).__name__.lower()}: nothing was pruned yet")
    return whole


def _teacher(stage: Train, chain: Sequence[Link]) -> int:
    """The last state before anything was removed."""
    first = next((place for place, link in enumerate(chain) if not leaves_dense(link.stage)), len(chain))
    if first == len(chain) and leaves_dense(stage):
        raise PrunebenchError("a training with `distillation` follows a pruning, or makes masks itself")
    return first - 1


def removes(stage: Stage) -> bool:
    """Whether a stage makes masks, or removes channels."""
    return isinstance(stage, (Adopt, Cut, *PRUNING)) or (isinstance(stage, Train) and stage.by is not None)


def leaves_dense(stage: Stage) -> bool:
    """Whether the network is as dense after a stage as before: it removes nothing, or only adds a penalty."""
    by = method_of(stage)
    penalizes = isinstance(stage, Train) and by is not None and by.updater(stage.density).keeps_masks
    return penalizes or not removes(stage)


def _is_whole(chain: Sequence[Link]) -> bool:
    return not any(isinstance(link.stage, Prune) or getattr(link.stage, "by", None) for link in chain)


def _is_dense(chain: Sequence[Link]) -> bool:
    """Whether no mask was made yet."""
    return not any(isinstance(link.stage, (*PRUNING, Train)) and getattr(link.stage, "by", None) for link in chain)
