"""From jobs of a plan to the specs that workers get, and from a spec back to what its worker performs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from prunebench.api.errors import PrunebenchError
from prunebench.api.executors import CHECKPOINT_EVERY, JobSpec
from prunebench.api.layers import Network
from prunebench.api.registry import Registry
from prunebench.api.tasks import Trial
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.data.prepared import Prepared
from prunebench.execution.key_inputs import inputs_of
from prunebench.execution.values import NotPlain, from_values, to_values
from prunebench.network.description import describe
from prunebench.plan.jobs import Job
from prunebench.plan.planning import Node, Plan, resolve
from prunebench.records.keys import digest

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
            protocol=self._planned[trial.task.label].protocol,
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

    def _network(self, trial: Trial) -> dict[str, Any]:
        label = trial.task.label
        if label not in self._networks:
            network = self._planned[label].network or describe(trial.task)
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
    return digest("job", PROTOCOL_VERSION, trial, [node.stage for node in nodes])


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
