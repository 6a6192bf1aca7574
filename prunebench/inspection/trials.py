"""A trial of a suite that has ended, and the states of its chain from the store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from prunebench.api.errors import PrunebenchError, StoreError, Unreachable
from prunebench.api.registry import Registry
from prunebench.api.stages import Initialize, Reinitialize, Rewind, Train
from prunebench.api.tasks import Task, Trial
from prunebench.data.prepared import Prepared, find, prepare
from prunebench.data.task_data import Data
from prunebench.execution.performing import other_states, perform
from prunebench.execution.results import result_of
from prunebench.messages.suggestions import nearest
from prunebench.plan.chain import Adopt
from prunebench.plan.planning import Node, PlannedTrial, chain_of, engine_of_chain, permuted_in_chain, protocol
from prunebench.plan.tuning import Choose, candidates, with_own_recipe
from prunebench.records.environment import data_folder
from prunebench.records.results import Result
from prunebench.store.entries import Record, Store
from prunebench.store.state_files import read_state
from prunebench.training.state import State, snapshot
from prunebench.training.trial_context import TrialContext, redrawn_model

if TYPE_CHECKING:
    from prunebench.session import LoadedSuite


@dataclass(frozen=True)
class Finished:
    """A trial whose last state is in the store."""

    trial: Trial
    nodes: tuple[Node, ...]
    """Of its chain, first to last."""
    store: Store
    prepared: Prepared
    protocol: str
    context: TrialContext
    registry: Registry
    _states: dict[str, State] = field(default_factory=dict, repr=False)

    @property
    def last(self) -> Node:
        return self.nodes[-1]

    @functools.cached_property
    def result(self) -> Result:
        """What the trial's row is made of."""
        keys, engine = tuple(node.key for node in self.nodes), engine_of_chain(self.nodes)
        permuted = permuted_in_chain(self.nodes)
        planned = PlannedTrial(self.trial, self.protocol, keys, engine=engine, permuted=permuted)
        return result_of(planned, self.store, self.registry, self.prepared.fingerprint)

    @functools.cached_property
    def record(self) -> Record:
        """What the store has noted of the trial's end."""
        return self.store.record(self.last.key)

    @property
    def end(self) -> State:
        return self.state(self.last.key)

    def state(self, key: str) -> State:
        """The state after a stage: from the store, or made again from what is there, if that needs no training.

        Raises StoreError for one that the store no longer has.
        """
        if key not in self._states:
            self._states[key] = (
                read_state(self.store, key, self.context) if self.store.has(key) else self._made_again(key)
            )
        return self._states[key]

    def _made_again(self, key: str) -> State:
        node = next(node for node in self.nodes if node.key == key)
        if isinstance(node.stage, Train):
            raise StoreError(f"the store no longer has the state of {self.trial} at step {node.stop}: run it again")
        parent = self.state(node.parent) if node.parent else None
        source = self.state(node.source) if node.source else None
        others = other_states(node, self.context, lambda key, theirs: read_state(self.store, key, theirs))
        return perform(node, parent, source, self.context, others=others)

    def origin(self, before: int) -> State:
        """What the weights at some place of the chain were trained from, nothing pruned.

        That is the initialization; or what a later stage went back to, drew anew, or took from a ticket of another
        task, of which the kept weights are known.

        Args:
            before: number of stages that have passed.
        """
        for node in reversed(self.nodes[:before]):
            if isinstance(node.stage, Rewind) and node.stage.weights and node.source:
                return self.state(node.source)
            if isinstance(node.stage, Reinitialize):
                fresh = snapshot(redrawn_model(self.trial, node.stage.draw, self.end.cut))
                return State(step=0, **fresh, masks={}, cut=self.end.cut)
            if isinstance(node.stage, Initialize) or (isinstance(node.stage, Adopt) and node.stage.weights):
                return self.state(node.key)
        raise PrunebenchError(f"{self.trial} has no initialization")


def open_trial(
    loaded: LoadedSuite,
    name: str,
    store: Path = Path(".prunebench"),
    data: Path | None = None,
    device: str = "cpu",
    command: str = "prunebench run SUITE",
) -> Finished:
    """The trial of a suite that a run calls `name`: task/method/sparsity/seed.

    Args:
        command: what runs the suite, for the message of an error.

    Raises PrunebenchError for a name that the suite does not have, StoreError for a trial that is not in the store.
    """
    trial = named(loaded.trials, name, loaded.suite.name)
    trial.task.facts  # noqa: B018 (raises DataError where no run can help)
    opened = Store(store.resolve())
    again = f"`{command} --only {narrowed(trial)}`"
    found = {task.label: find(task.dataset, data_folder(data), opened.data) for task in trial.tasks}
    prints = {label: one.fingerprint for label, one in found.items() if one is not None}
    prepared = found[trial.task.label]
    if prepared is None or len(prints) < len(found):
        raise StoreError(f"{trial} is not in the store {store}, nor is its data: {again} runs it")
    try:

        def root_of(task: Task) -> str:
            return protocol(task, prints[task.label])

        common, nodes = root_of(trial.task), tuple(chain_of(trial, root_of))
    except Unreachable as reason:
        raise PrunebenchError(f"{trial} is skipped, so that there is nothing to see: {reason}") from None
    if not opened.has(nodes[-1].key):
        failure = next((failed for node in nodes if (failed := opened.failure(node.key))), None)
        if failure is not None:
            raise StoreError(f"{trial} failed: {failure['reason']}; {again} --retry-failed tries it again")
        raise StoreError(
            f"{trial} is not in the store {store}, or was made by other code or other parameters: {again} runs it"
        )
    trial = with_own_recipe(trial)
    if trial.entry.tune is not None:
        trial, nodes = _chosen(trial, nodes, opened, root_of)
    nodes = tuple(node for node in nodes if node.trial.task.label == trial.task.label)  # without another task's ticket
    where = torch.device(device)
    dataset, root = trial.task.dataset, data_folder(data)
    context = TrialContext(
        trial, where, lambda: Data(trial.task, prepare(dataset, root, opened.data), where, trial.seed)
    )
    return Finished(trial, nodes, opened, prepared, common, context, loaded.registry)


def _chosen(
    trial: Trial, nodes: tuple[Node, ...], store: Store, root_of: Callable[[Task], str]
) -> tuple[Trial, tuple[Node, ...]]:
    """The candidate that a tuned trial has chosen, under the trial's own label; and its chain, up to the choice."""
    place = next(place for place, node in enumerate(nodes) if isinstance(node.stage, Choose))
    choice = store.record(nodes[place].key)["state"]["tuned"]["chosen"]
    candidate = list(candidates(trial).values())[choice]
    chain = chain_of(candidate, root_of)
    return replace(candidate, entry=replace(candidate.entry, label=trial.entry.label)), (*chain, *nodes[place:])


def named(trials: Sequence[Trial], name: str, suite: str) -> Trial:
    """The trial of that name; raises PrunebenchError with the nearest one."""
    parts = name.strip().split("/")
    names = {str(trial): trial for trial in trials}
    if name in names:
        return names[name]
    if len(parts) != 4:
        raise PrunebenchError(f"{name!r} is not a trial: write task/method/sparsity/seed, such as {next(iter(names))}")
    for trial in trials:
        if parts[:2] == [trial.task.label, trial.entry.label] and _numbers(parts[2:]) == (trial.sparsity, trial.seed):
            return trial
    near = nearest(name, names, cutoff=0.6)
    raise PrunebenchError(f"suite {suite!r} has no trial {name!r}{f'; did you mean {near[0]!r}?' if near else ''}")


def _numbers(parts: Sequence[str]) -> tuple[float, int] | None:
    try:
        return float(parts[0]), int(parts[1])
    except ValueError:
        return None


def narrowed(trial: Trial) -> str:
    """The value of `--only` that means one trial."""
    own = f"method={trial.entry.label},sparsity={trial.sparsity:g}," if not trial.entry.method.control else ""
    return f"task={trial.task.label},{own}seed={trial.seed}"
