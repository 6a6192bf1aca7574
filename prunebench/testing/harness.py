"""The test harness: runs trials of a method on small networks in this process, and watches them."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from prunebench.api.components import Dataset, Model
from prunebench.api.errors import PluginError, Unreachable
from prunebench.api.methods import Method, Updater, method_of
from prunebench.api.registry import Registry
from prunebench.api.stages import PRUNING, Cut, Deploy, Train
from prunebench.api.tasks import Entry, Optimizer, Prunable, Recipe, Task, Trial
from prunebench.data.prepared import Prepared, prepare
from prunebench.data.task_data import Data
from prunebench.execution.performing import measured, perform
from prunebench.plan.planning import Node, protocol, resolve
from prunebench.records.sources import files_of
from prunebench.suite.reading import trial_from_plain, trial_to_plain
from prunebench.testing import global_state
from prunebench.testing.spies import SpiedMethod, Spy
from prunebench.testing.tasks import DATASETS, OBJECTIVES, task_of
from prunebench.training.state import State
from prunebench.training.trial_context import TrialContext

TARGETS = (0.5, 0.75, 0.9, 0.95, 0.99)
STRUCTURED = (0.35, 0.5, 0.75)
"""Those of methods that remove channels: of the small networks not many more weights belong to channels."""
"""The sparsities that a method is asked for."""
SHORT, LONG = 24, 140
"""Steps of a recipe; the long one is for updaters, which often do something every 100 steps in the first 75 %."""

MOMENTUM = Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-2)
ADAM = Optimizer(name="adam", lr=0.01)
ADAMW = Optimizer(name="adamw", lr=0.01, weight_decay=1.0)

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A trial to be made of the method."""

    network: Model
    sparsity: float
    seed: int = 0
    optimizer: Optimizer = MOMENTUM
    prunable: Prunable = field(default_factory=Prunable)
    invert: bool = False
    steps: int | None = None
    """Of the recipe; by default as many as the method needs."""
    evaluate_every: str = "17it"


@dataclass
class Run:
    """A chain that was performed: its stages, the state after each, and what the spy noted."""

    trial: Trial
    nodes: Sequence[Node]
    context: TrialContext
    spy: Spy = field(default_factory=Spy)
    states: dict[str, State] = field(default_factory=dict)
    """By the nodes' keys; not of all of them after an error."""
    figures: dict[str, float] = field(default_factory=dict)
    """Of what was deployed."""
    error: Exception | None = None

    @property
    def end(self) -> State:
        return self.states[self.nodes[-1].key]

    def steps(self) -> Iterator[tuple[Node, State | None, State]]:
        """Each stage with the states before and after it."""
        for node in self.nodes:
            if node.key in self.states:
                yield node, self.states.get(node.parent or ""), self.states[node.key]


Performer = Callable[[Node, State | None, State | None, Run], State]
"""Performs a node of a run, from the states of its parent and its source."""


class Harness:
    """Performs trials of one method on some networks."""

    def __init__(self, method: Method, networks: Sequence[Model]) -> None:
        if not isinstance(getattr(method, "name", None), str):
            raise PluginError(f'{type(method).__name__} has no name: write name = "..." in the class')
        self.method, self.networks = method, tuple(networks)
        self.before = copy.deepcopy(attributes_of(method))
        """The attributes of the method at the beginning."""
        self._runs: dict[Case, Run] = {}
        self._states: dict[str, State] = {}

    @property
    def targets(self) -> tuple[float, ...]:
        """A control is never pruned; channels are not all of a network's weights."""
        if self.method.control:
            return (0.0,)
        return STRUCTURED if self.method.structured else TARGETS

    @cached_property
    def files(self) -> set[Path]:
        """The files of the method's author."""
        return files_of([self.method])

    @cached_property
    def registry(self) -> Registry:
        """Knows the method, the networks, the data sets and the objectives."""
        return Registry(
            components={
                "method": {self.method.name: type(self.method)},
                "model": {network.name: type(network) for network in self.networks},
                "dataset": {cls.name: cls for cls in DATASETS},
                "objective": {cls.name: cls for cls in OBJECTIVES},
            }
        )

    def case(self, network: Model, **changes: Any) -> Case:
        """The case that most checks are about: at the first target that the method reaches.

        Raises Unreachable when it reaches none.
        """
        reason = None
        for sparsity in self.targets:
            case = Case(network=network, sparsity=sparsity, **changes)
            try:
                nodes_of(self.trial(case))
            except Unreachable as error:
                reason = reason or error
            else:
                return case
        assert reason is not None
        raise reason

    def trial(self, case: Case) -> Trial:
        if case.steps is None:
            nodes = nodes_of(self.trial(replace(case, steps=SHORT)))
            updated = any(isinstance(node.stage, Train) and node.stage.by is not None for node in nodes)
            case = replace(case, steps=LONG if updated else SHORT)
        recipe = Recipe(optimizer=case.optimizer, batch_size=16, steps=case.steps, evaluate_every=case.evaluate_every)
        dataset, objective = task_of(case.network)
        task = Task(
            label="testing",
            dataset=dataset,
            model=case.network,
            recipe=recipe,
            prunable=case.prunable,
            objective=objective,
        )
        entry = Entry(label="method", method=self.method, invert=case.invert)
        return Trial(suite="testing", task=task, entry=entry, sparsity=case.sparsity, seed=case.seed)

    def watched(self, network: Model) -> Run:
        """The run of a network's `case` from its very beginning; an error that stopped it is in it."""
        case = self.case(network)
        if case not in self._runs:
            self._runs[case] = run = performed(self.trial(case))
            self._states |= run.states
        return self._runs[case]

    def run(self, case: Case) -> Run:
        """The run of a case; what it has in common with earlier ones is not performed again.

        Raises what the method does.
        """
        if case not in self._runs:
            self._runs[case] = performed(self.trial(case), known=self._states)
        return raised(self._runs[case])

    def again(self, trial: Trial) -> Trial:
        """The trial as another process would have it."""
        return trial_from_plain(json.loads(json.dumps(trial_to_plain(trial))), self.registry)


def attributes_of(method: Method) -> dict[str, Any]:
    """The attributes of an instance, without its cached properties."""
    cls = type(method)
    return {
        name: value for name, value in vars(method).items() if not isinstance(getattr(cls, name, None), cached_property)
    }


def nodes_of(trial: Trial) -> tuple[Node, ...]:
    """The chain of a trial."""
    return tuple(resolve(trial, protocol(trial.task, "testing")))


def performed(
    trial: Trial,
    known: dict[str, State] | None = None,
    draw: int = 0,
    by: Performer | None = None,
    device: torch.device = CPU,
) -> Run:
    """A run of a trial; an error that stopped it is in it.

    Args:
        known: states that need not be made again; the new ones are put there too.
        draw: what the global generators are seeded with before.
        by: what performs a node.
    """
    run = Run(trial, (), context_of(trial, device))
    states = {} if known is None else known
    with global_state.kept():
        global_state.disturb(draw)
        try:
            run.nodes = _planned(run)
            for node in run.nodes:
                if node.key not in states:
                    states[node.key] = (by or perform_watched)(
                        node, states.get(node.parent or ""), states.get(node.source or ""), run
                    )
                run.states[node.key] = states[node.key]
        except Exception as error:
            run.error = error
    return run


def raised(run: Run) -> Run:
    """The run; raises the error that stopped it."""
    if run.error is not None:
        raise run.error
    return run


def _planned(run: Run) -> tuple[Node, ...]:
    with run.spy.call("stages"):
        return nodes_of(run.trial)


def perform_watched(node: Node, state: State | None, source: State | None, run: Run) -> State:
    """Perform a node, its method's hooks watched; what is deployed is measured too."""
    watched = with_spy(node, run.spy)
    after = perform(watched, state, source, run.context)
    if isinstance(node.stage, Deploy):
        run.figures, _ = measured(watched.stage, after, run.context)
    return after


def with_spy(node: Node, spy: Spy) -> Node:
    """The node with a spy in place of its method."""
    stage = node.stage
    if not isinstance(stage, (*PRUNING, Cut, Train, Deploy)) or (isinstance(stage, Deploy) and stage.by is None):
        return node
    by = SpiedMethod(method=method_of(stage) or Still(), spy=spy)
    return replace(node, stage=replace(stage, by=by))


class Still(Method):
    """Trains under the masks as they are."""

    name = "still"

    def updater(self, density: float | None) -> Updater:
        return Updater()


def context_of(trial: Trial, device: torch.device = CPU) -> TrialContext:
    return TrialContext(trial, device, lambda: data_of(trial.task, device))


def data_of(task: Task, device: torch.device = CPU) -> Data:
    """A separate copy of the task's data."""
    return Data(task, _prepared(task.dataset)[0], device)


@functools.cache
def _prepared(dataset: Dataset) -> tuple[Prepared, TemporaryDirectory[str]]:
    """Beside the folder stands what removes it when the process ends."""
    folder = TemporaryDirectory(prefix="prunebench-testing-")
    return prepare(dataset, None, Path(folder.name)), folder
