"""Pipelines: chains that a suite writes out itself, of the stages that methods make theirs of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from prunebench.api.errors import PrunebenchError
from prunebench.api.methods import Method
from prunebench.api.registry import Registry
from prunebench.api.stages import Stage
from prunebench.messages.suggestions import near, shown
from prunebench.plan.chain import linked
from prunebench.suite import lookup
from prunebench.suite.checking import checked, dumped
from prunebench.suite.input_models import TARGET, method_keys, stage_classes, stage_name, stage_outline
from prunebench.suite.nodes import Node, SuiteErrors, kind_of

if TYPE_CHECKING:
    from prunebench.api.contexts import Trial
    from prunebench.api.tasks import Task


class Pipeline(Method):
    """A chain of stages as it stands in a suite; its keys are those of any other method with these stages."""

    name = "pipeline"

    chain: tuple[Stage, ...]
    """What they do is settled, but that a density may be TARGET."""

    @property
    def parts(self) -> Iterator[Method]:
        """The methods that the stages name, in their order."""
        values = (getattr(stage, key) for stage in self.chain for key in method_keys(stage_name(type(stage))))
        return (value for value in values if value is not None)

    @property
    def has_target(self) -> bool:
        """Whether the trial's density matters to it."""
        return any(_is_target(stage) for stage in self.chain)

    def stages(self, trial: Trial) -> Iterator[Stage]:
        for stage in self.chain:
            yield replace(stage, density=trial.density) if _is_target(stage) else stage  # type: ignore[type-var]


def _is_target(stage: Stage) -> bool:
    return getattr(stage, "density", None) == TARGET


def pipeline(node: Node, registry: Registry, mistakes: SuiteErrors) -> Pipeline | None:
    """The method that a list of stages makes; or None, and a mistake for everything that is wrong with it."""
    stages = [_stage(item, registry, mistakes) for item in node.value]
    chain = tuple(stage for stage in stages if stage is not None)
    return Pipeline(chain=chain) if chain and len(chain) == len(stages) else None


def _stage(node: Node, registry: Registry, mistakes: SuiteErrors) -> Stage | None:
    known, given = stage_classes(), _named(node)
    if given is None:
        mistakes.add(node, f"must be a stage, or a mapping from a stage to its keys, not {kind_of(node)}")
        return None
    name, keys = given
    if name not in known:
        mistakes.add(keys, f"unknown stage {shown(name)}{near(name, sorted(known))}", at_key=True)
        return None
    return _filled(name, known[name], keys, registry, mistakes)


def _named(node: Node) -> tuple[str, Node] | None:
    """The name of a stage and its keys; `shuffle` alone has none."""
    if isinstance(node.value, str):
        return node.value, replace(node, value={})
    if isinstance(node.value, dict) and len(node.value) == 1:
        [(name, keys)] = node.value.items()
        return str(name), keys
    return None


def _filled(name: str, cls: type[Stage], node: Node, registry: Registry, mistakes: SuiteErrors) -> Stage | None:
    """A stage with its fields."""
    before = len(mistakes)
    found = checked(stage_outline(name), node, mistakes)
    methods = {}
    for key, optional in method_keys(name).items():
        given = node.get(key)
        if given is not None and not (optional and given.value is None):
            methods[key] = _part(name, cls.calls, given, registry, mistakes)
    if found is None or len(mistakes) > before:
        return None
    return cls(**{one.name: getattr(found, one.name) for one in fields(found)} | methods)


def _part(stage: str, calls: str, node: Node, registry: Registry, mistakes: SuiteErrors) -> Method | None:
    """The method that a stage names, which must have what the stage calls."""
    method = lookup.part(Method, "method", node, registry, mistakes)
    if method is not None and getattr(type(method), calls) is getattr(Method, calls):
        mistakes.add(node, f"method {method.name!r} has no {calls}, so that {stage} can do nothing by it")
    return method


def check_chain(composed: Pipeline, nodes: Sequence[Node], tasks: Sequence[Task], mistakes: SuiteErrors) -> None:
    """Say which stage makes no sense where it stands, by the clock of each task."""
    for task in tasks:
        for length, node in enumerate(nodes, 1):
            try:
                linked(composed.chain[:length], task.clock)
            except PrunebenchError as error:
                mistakes.add(node, f"{error} (task {task.label})")
                break


def to_plain(composed: Pipeline) -> list[dict[str, Any]]:
    """The stages as a suite has them, with all their keys spelt out."""
    return [_stage_to_plain(stage) for stage in composed.chain]


def _stage_to_plain(stage: Stage) -> dict[str, Any]:
    name = stage_name(type(stage))
    outline = stage_outline(name)
    values = {one.name: getattr(stage, one.name) for one in fields(outline)}
    for key in method_keys(name):
        values[key] = None if values[key] is None else lookup.to_plain(values[key])
    return {name: dumped(outline(**values))}
