"""All that there is to see of a trial that has ended, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from prunebench.api.errors import StoreError, TicketError
from prunebench.api.objectives import Metric
from prunebench.api.stages import PRUNING, Cut, Train
from prunebench.inspection.measures import (
    Density,
    Movement,
    Overlap,
    densities,
    movements,
    overlaps,
)
from prunebench.inspection.stability import Stability, stability
from prunebench.inspection.trials import Finished
from prunebench.network.description import describe
from prunebench.network.groups import find_groups
from prunebench.pruning.masks import Masks
from prunebench.training.state import Tensors


@dataclass(frozen=True)
class Training:
    """One training of the chain."""

    start: int
    stop: int
    density: float
    """Of the prunable weights, as counted at its end."""
    value: float
    """Of the objective's primary metric on the test set, at its end."""


@dataclass(frozen=True)
class GroupLeft:
    """What is left of a group."""

    name: str
    """Of its first weight."""
    kind: str
    """What it consists of; see `prunebench.GroupKind`."""
    left: int
    size: int


@dataclass(frozen=True)
class LowRank:
    """The low-rank factors beside a weight."""

    layer: str
    rank: int
    size: int
    """Numbers in both factors."""


@dataclass(frozen=True)
class Findings:
    """What `prunebench inspect` shows."""

    trial: str
    metrics: Mapping[str, float]
    """Those of the trial's row."""
    objective: tuple[Metric, ...]
    """Which of them are the objective's, and how they are written; the primary one first."""
    trainings: tuple[Training, ...]
    """Of the chain, in their order; those that the store no longer has are left out."""
    history: tuple[Mapping[str, float], ...]
    """Evaluations of the last training."""
    densities: tuple[Density, ...]
    movements: tuple[Movement, ...]
    output_errors: Mapping[str, float] = field(default_factory=dict)
    """Relative output error of each layer that was pruned or reconstructed by its inputs, right after that."""
    tuned: Mapping[str, Any] = field(default_factory=dict)
    """Of a tuned trial `scores`, the primary metric of each candidate on the validation split, by what it changes; and
    `chosen`, the number of the one that the trial is, from 0."""
    structure: str = ""
    """N:M of permuted channels, and what kernels need for it; empty for all else."""
    groups: tuple[GroupLeft, ...] = ()
    low_rank: tuple[LowRank, ...] = ()
    """Of a network from which channels were removed, in the order of its layers."""
    other: str = ""
    """The trial whose masks these are compared with."""
    other_from: str = ""
    """Where that one is from, if not from the same suite and store."""
    overlaps: tuple[Overlap, ...] = ()
    stability: Stability | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values; what was not requested is absent."""
        found: dict[str, Any] = {
            "trial": self.trial,
            "metrics": dict(self.metrics),
            "objective": [asdict(metric) for metric in self.objective],
            "trainings": [asdict(training) for training in self.trainings],
            "history": [dict(point) for point in self.history],
            "densities": [{**asdict(row), "density": row.density} for row in self.densities],
            "movements": [asdict(row) for row in self.movements],
        }
        if self.output_errors:
            found["output_errors"] = dict(self.output_errors)
        for name in ("groups", "low_rank"):
            if rows := getattr(self, name):
                found[name] = [asdict(row) for row in rows]
        if self.tuned:
            found["tuned"] = dict(self.tuned)
        if self.structure:
            found["structure"] = self.structure
        if self.overlaps:
            rows = [{**asdict(row), "iou": row.iou, "chance": row.chance} for row in self.overlaps]
            found |= {"other": self.other, "overlaps": rows}
            found |= {"other_from": self.other_from} if self.other_from else {}
        if self.stability is not None:
            found["stability"] = {**asdict(self.stability), "barrier": self.stability.barrier}
        return found


def inspect(
    finished: Finished,
    other: Finished | None = None,
    stable: bool = False,
    note: Callable[[str], object] = lambda message: None,
) -> Findings:
    """Look into a trial.

    Args:
        other: a trial of the same layers, to compare the masks with; of any suite and store.
        stable: measure the stability to the noise of SGD too, which trains twice.
        note: called with a line before each step that takes long.

    Raises TicketError for another trial whose layers are others.
    """
    layers, end = describe(finished.trial.task).layers, finished.end.whole()
    if other is not None:
        _check_layers(finished, other)
    origin = finished.origin(len(finished.nodes)).whole()
    kept = {layer["name"]: layer["kept"] for layer in finished.record["layers"]}
    return Findings(
        trial=str(finished.trial),
        metrics=finished.result.metrics,
        objective=finished.trial.task.metrics,
        trainings=tuple(_trainings(finished)),
        history=tuple(finished.record["state"]["history"]),
        densities=tuple(densities(layers, kept)),
        movements=tuple(movements(layers, (origin.parameters, end.parameters, end.masks), _pruned(finished))),
        output_errors=dict(end.layer_errors),
        tuned=dict(end.tuned),
        structure=finished.result.provenance.get("note.permuted", ""),
        groups=tuple(_groups(finished)),
        low_rank=tuple(_low_rank(finished)),
        other=str(other.trial) if other else "",
        other_from=_from(finished, other) if other else "",
        overlaps=tuple(overlaps(layers, end.masks, other.end.whole().masks)) if other else (),
        stability=stability(finished, note) if stable else None,
    )


def _groups(finished: Finished) -> Iterator[GroupLeft]:
    """What cuts have left of each group of the whole network."""
    cut, context = finished.end.cut, finished.context
    if not cut.without_factors:
        return
    names = {layer.name for layer in context.network.layers}
    kept = {(one.tensor, one.dim): frozenset(one.indices) for one in cut.kept}
    for group in find_groups(context.model, context.trial.task.interface.inputs, names).found:
        part = group.parts[0]
        here = kept.get((part.tensor, part.dim))
        left = group.size if here is None else sum(here.issuperset(indices) for indices in part.indices)
        if all(cut.in_removed_block(one.tensor) for one in group.outputs):
            left = 0
        yield GroupLeft(group.name, group.consists_of, left, group.size)


def _low_rank(finished: Finished) -> Iterator[LowRank]:
    end = finished.end
    for name, rank in end.cut.ranks:
        yield LowRank(name, rank, sum(end.parameters[factor].numel() for factor in end.cut.factors[name]))


def _from(one: Finished, other: Finished) -> str:
    """What of another trial's origin is not this one's; no path, which is a machine's own affair."""
    (task, entry), (its_task, its_entry) = ((each.trial.task, each.trial.entry) for each in (one, other))
    otherwise = any(ours.label == its.label and ours != its for ours, its in ((task, its_task), (entry, its_entry)))
    found = {
        f"suite {other.trial.suite}": one.trial.suite != other.trial.suite,
        "other parameters": otherwise and one.trial.suite == other.trial.suite,
        "another store": one.store.root != other.store.root,
    }
    return ", ".join(text for text, holds in found.items() if holds)


def _check_layers(one: Finished, other: Finished) -> None:
    ours, theirs = ({layer.name: layer.shape for layer in describe(each.trial.task).layers} for each in (one, other))
    wrong = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if wrong:
        theirs_of = f"{other.trial}{f' ({origin})' if (origin := _from(one, other)) else ''}"
        raise TicketError(f"{one.trial} and {theirs_of} have other layers, and no masks in common: {', '.join(wrong)}")


def _trainings(finished: Finished) -> list[Training]:
    found, metric = [], finished.trial.task.metrics[0]
    for node in finished.nodes:
        if isinstance(node.stage, Train) and finished.store.has(node.key):
            record = finished.store.record(node.key)
            kept, total = (sum(layer[key] for layer in record["layers"]) for key in ("kept", "total"))
            found.append(Training(node.start, node.stop, kept / total, record["figures"][f"test_{metric.name}"]))
    return found


def _pruned(finished: Finished) -> tuple[Tensors, Tensors, Masks, Masks] | None:
    """The training before the last pruning: its weights at first and in the end, the masks before and after pruning."""
    nodes = finished.nodes
    places = [place for place, node in enumerate(nodes) if isinstance(node.stage, (Cut, *PRUNING))]
    if not places or not any(isinstance(node.stage, Train) for node in nodes[: places[-1]]):
        return None
    prune = nodes[places[-1]]
    assert prune.parent is not None
    try:
        before, after = finished.state(prune.parent).whole(), finished.state(prune.key).whole()
        return finished.origin(places[-1]).whole().parameters, before.parameters, before.masks, after.masks
    except StoreError:  # removed from the store since: there is nothing to be seen of it
        return None
