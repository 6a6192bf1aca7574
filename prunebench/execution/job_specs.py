"""From jobs of a plan to the specs that workers get, and from a spec back to what its worker performs.

Trials, stages and networks travel as plain JSON, and a worker rebuilds them without validating a suite again. A
dataclass becomes its class's name and its fields. Names are looked up among the classes of the core below and the
components of a registry, so that text loads no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from prunebench.api import stages
from prunebench.api.components import Component
from prunebench.api.errors import PluginError, PrunebenchError
from prunebench.api.executors import CHECKPOINT_EVERY, JobSpec
from prunebench.api.files import File, Weights
from prunebench.api.layers import Layer, Network
from prunebench.api.objectives import Classification
from prunebench.api.registry import KINDS, Kind, Registry
from prunebench.api.runtimes import Latency, Measure, RuntimeEntry
from prunebench.api.tasks import Entry, Optimizer, Prunable, Recipe, Schedule, Task, TicketSource, Trial, Tuning
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.data.prepared import Prepared
from prunebench.execution.key_inputs import inputs_of
from prunebench.network.description import describe
from prunebench.plan.chain import Adopt
from prunebench.plan.jobs import Job
from prunebench.plan.planning import Node, Plan, protocol, resolve
from prunebench.plan.tuning import Choose
from prunebench.records.keys import digest
from prunebench.suite.checking import dumped, exact
from prunebench.suite.sections.pipelines import Pipeline

CHANGED = "the code of a plugin or of prunebench changed while the run was on: run again"


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What the specs of all jobs of a run have in common."""

    store: Path
    plugins: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int = 1
    checkpoint_every: float = CHECKPOINT_EVERY
    environment: Mapping[str, str] = field(default_factory=dict)


class JobSpecs:
    """Makes the specs of a plan's jobs."""

    def __init__(self, plan: Plan, registry: Registry, settings: WorkerSettings) -> None:
        self._plan, self._registry, self._settings = plan, registry, settings
        self._planned = {planned.trial.task.label: planned for planned in plan.trials if planned.chain}
        self._networks: dict[str, dict[str, Any]] = {}

    def spec_of(self, job: Job, prepared: Prepared) -> JobSpec:
        """The spec of a job, for the data that its task has."""
        nodes = [self._plan.nodes[key] for key in job.path]
        trial, settings = nodes[-1].trial, self._settings
        return JobSpec(
            trial=to_values(replace(trial, describe=None), self._registry),
            network=self._network(trial),
            stages=self._stages(nodes),
            checksum=checksum(trial, nodes),
            protocol=self._protocol(trial, prepared.fingerprint),
            path=job.path,
            parent=nodes[0].parent,
            needs=tuple(sorted(job.needs)),
            plugins=settings.plugins,
            blocked=settings.blocked,
            store=str(settings.store),
            data=str(prepared.folder),
            fingerprint=prepared.fingerprint,
            seal=prepared.seal,
            device=settings.device,
            threads=settings.threads,
            environment=tuple(settings.environment.items()),
            checkpoint_every=settings.checkpoint_every,
            inputs=inputs_of(trial, prepared.fingerprint),
        )

    def _protocol(self, trial: Trial, fingerprint: str) -> str:
        """The key of a trial's task. No trial of the plan has it where a tuned trial tries another recipe, or where
        only a ticket of the task is needed."""
        planned = self._planned.get(trial.task.label)
        if planned is not None and trial.task == planned.trial.task:
            return planned.protocol
        return protocol(trial.task, fingerprint)

    def _network(self, trial: Trial) -> dict[str, Any]:
        label = trial.task.label
        if label not in self._networks:
            planned = self._planned.get(label)
            network = (planned and planned.network) or describe(trial.task)
            self._networks[label] = to_values(network, self._registry)
        return self._networks[label]

    def _stages(self, nodes: Sequence[Node]) -> tuple[dict[str, Any], ...]:
        """The nodes as values; nothing where a stage names a component that has no name in the registry."""
        try:
            return tuple(
                {one.name: to_values(getattr(node, one.name), self._registry) for one in NODE_FIELDS} for node in nodes
            )
        except NotPlain:
            return ()


NODE_FIELDS = tuple(one for one in fields(Node) if one.name != "trial")


def checksum(trial: Trial, nodes: Sequence[Node]) -> str:
    """Of all that decides what a job computes: parameters, stages, and the versions or sources of the code."""
    return digest("job", PROTOCOL_VERSION, trial, [(node.stage, node.engine) for node in nodes])


class Assignment:
    """What a worker performs, rebuilt from its spec."""

    def __init__(self, spec: JobSpec, registry: Registry) -> None:
        """Raises PrunebenchError when the spec names what this process does not have."""
        self._spec, self._registry = spec, registry
        try:
            self.trial = cast(Trial, from_values(spec.trial, registry))
        except ValueError as error:
            raise PrunebenchError(str(error)) from None

    @cached_property
    def network(self) -> Network:
        return cast(Network, from_values(self._spec.network, self._registry))

    @cached_property
    def nodes(self) -> list[Node]:
        """The nodes to perform, first to last. Raises PrunebenchError when this process has other code."""
        nodes = self._given() if self._spec.stages else self._planned_again()
        if checksum(self.trial, nodes) != self._spec.checksum:
            raise PrunebenchError(CHANGED)
        return nodes

    def _given(self) -> list[Node]:
        plain = ({key: from_values(value, self._registry) for key, value in one.items()} for one in self._spec.stages)
        return [Node(trial=self.trial, **values) for values in plain]

    def _planned_again(self) -> list[Node]:
        """The same from the method itself: a stage of its chain names a component that is not registered."""
        chain = {node.key: node for node in resolve(self.trial, self._spec.protocol, lambda _: self.network)}
        try:
            return [chain[key] for key in self._spec.path]
        except KeyError:
            raise PrunebenchError(CHANGED) from None


STAGES = (
    stages.Initialize,
    stages.Train,
    stages.Prune,
    stages.PruneLayerwise,
    stages.Cut,
    stages.Reconstruct,
    stages.Shuffle,
    stages.Rewind,
    stages.Reinitialize,
    stages.Deploy,
    Measure,
    Choose,
    Adopt,
)
CLASSES: Mapping[str, type] = {
    cls.__name__: cls
    for cls in (
        *(Trial, Task, Recipe, Optimizer, Schedule, Prunable, Weights, Entry, Tuning, TicketSource, Pipeline),
        Classification,
        *(
            Network,
            Layer,
            stages.Structure,
            stages.Outliers,
            stages.Distillation,
            stages.TimedPass,
            RuntimeEntry,
            Latency,
        ),
        *STAGES,
    )
}
"""The classes of the core that travel."""
SCALARS = (type(None), bool, int, float, str)


class NotPlain(PrunebenchError):
    """A value has no plain form: a class that neither the core nor a plugin names, or a type of a plugin's own."""

    def __init__(self, value: object) -> None:
        name = type(value).__name__
        super().__init__(f"a worker cannot be given a {name}: it belongs to no plugin that is loaded")


def to_values(value: Any, registry: Registry) -> Any:
    """A value in plain JSON; `from_values` gives an equal one. Raises NotPlain where there is no such form."""
    if type(value) in SCALARS:
        return value
    if type(value) is list:
        return [to_values(item, registry) for item in value]
    if type(value) is tuple:
        return {"tuple": [to_values(item, registry) for item in value]}
    if type(value) is dict and all(type(key) is str for key in value):
        return {"dict": {key: to_values(item, registry) for key, item in value.items()}}
    if type(value) is File:
        return {"file": str(value)}
    if CLASSES.get(type(value).__name__) is type(value):
        return {"class": type(value).__name__, "fields": _fields(value, registry)}
    if isinstance(value, Component):
        return _component(value, registry)
    raise NotPlain(value)


def from_values(plain: Any, registry: Registry) -> Any:
    """The value that `to_values` wrote.

    Raises:
        PluginError: when it names a component that is not registered.
        ValueError: when a file is not the one that was meant, or the text was not written by `to_values`.
    """
    if isinstance(plain, list):
        return [from_values(item, registry) for item in plain]
    if not isinstance(plain, dict):
        return plain
    match plain:
        case {"tuple": items}:
            return tuple(from_values(item, registry) for item in items)
        case {"dict": items}:
            return {key: from_values(item, registry) for key, item in items.items()}
        case {"file": text}:
            return File.at(text)
        case {"class": name, "fields": values} if name in CLASSES:
            return CLASSES[name](**{key: from_values(item, registry) for key, item in values.items()})
        case {"component": name, "kind": kind, "fields": values}:
            return _class(kind, name, registry)(**{key: from_values(item, registry) for key, item in values.items()})
        case {"component": name, "kind": kind, "dumped": parameters}:
            return exact(_class(kind, name, registry), parameters)
    raise ValueError(f"these are not the values of a job: {plain}")


def _fields(value: Any, registry: Registry) -> dict[str, Any]:
    """The fields of a dataclass that its constructor takes."""
    return {one.name: to_values(getattr(value, one.name), registry) for one in fields(value) if one.init}


def _component(value: Component, registry: Registry) -> dict[str, Any]:
    """A component by its name; parameters of a plugin's own types are validated again when they are read."""
    cls, kind = type(value), _kind(value)
    if registry.components.get(kind, {}).get(getattr(cls, "name", "")) is not cls:
        raise NotPlain(value)
    try:
        return {"component": cls.name, "kind": kind, "fields": _fields(value, registry)}
    except NotPlain:
        return {"component": cls.name, "kind": kind, "dumped": dumped(value)}


def _kind(value: Component) -> Kind:
    return next(kind for kind, base in KINDS.items() if isinstance(value, base))


def _class(kind: Kind, name: str, registry: Registry) -> type[Component]:
    cls = registry.components.get(kind, {}).get(name)
    if cls is None:
        registry.find(kind, name)  # raises PluginError, with the reason why it is missing
        raise PluginError(f"unknown {kind} {name!r}")
    return cls
