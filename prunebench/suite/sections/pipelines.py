"""Pipelines: methods whose stages are listed in the suite."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from prunebench.api.errors import DataError, PrunebenchError
from prunebench.api.methods import Method, method_of
from prunebench.api.registry import Registry
from prunebench.api.stages import PRUNING, Cut, Stage
from prunebench.api.tasks import Entry, Trial
from prunebench.api.versions import as_before
from prunebench.messages.suggestions import near, shown
from prunebench.plan.chain import linked
from prunebench.suite import lookup
from prunebench.suite.checking import checked, dumped, exact
from prunebench.suite.input_models import TARGET, method_keys, stage_classes, stage_input, stage_name
from prunebench.suite.nodes import Node, SuiteErrors, kind_of

if TYPE_CHECKING:
    from prunebench.api import contexts
    from prunebench.api.tasks import Task


OPTIONS = frozenset({"align", "allocation", "examples", "exclude", "groups", "reconstruct", "rounds", "structure"})
"""Keys of stages that are by default as in the chain of the stage's method: how it prunes, but not how far."""

CHAIN_ONLY = ("finetune", "rewind_to")
"""Parameters of methods that say what follows a pruning in their own chains; a stage only prunes."""


class Pipeline(Method):
    """A method whose stages are listed in a suite; it has the same keys as other methods with these stages."""

    name = "pipeline"

    chain: tuple[Stage, ...]
    """The stages; a density may be TARGET."""

    @property
    def parts(self) -> Iterator[Method]:
        """The methods of the stages, in their order."""
        values = (getattr(stage, key) for stage in self.chain for key in method_keys(stage_name(type(stage))))
        return (value for value in values if value is not None)

    @property
    def has_target(self) -> bool:
        """Whether it depends on the density of the trial."""
        return any(_is_target(stage) for stage in self.chain)

    def stages(self, trial: contexts.Trial) -> Iterator[Stage]:
        for stage in self.chain:
            changed: dict[str, Any] = {"density": trial.density} if _is_target(stage) else {}
            if isinstance(stage, Cut) and stage.unit == "latency":
                changed["timed"] = trial.timed
            yield replace(stage, **changed)  # type: ignore[type-var]


def _is_target(stage: Stage) -> bool:
    return getattr(stage, "density", None) == TARGET


def pipeline(node: Node, registry: Registry, errors: SuiteErrors) -> Pipeline | None:
    """The method of a list of stages; or None, with errors."""
    stages = [_stage(item, registry, errors) for item in node.value]
    chain = tuple(stage for stage in stages if stage is not None)
    return Pipeline(chain=chain) if chain and len(chain) == len(stages) else None


def _stage(node: Node, registry: Registry, errors: SuiteErrors) -> Stage | None:
    known, named = stage_classes(), _named(node)
    if named is None:
        errors.add(node, f"must be a stage, or a mapping from a stage to its keys, not {kind_of(node)}")
        return None
    name, keys = named
    if name not in known:
        errors.add(keys, f"unknown stage {shown(name)}{near(name, sorted(known))}", at_key=True)
        return None
    return _filled(name, known[name], keys, registry, errors)


def _named(node: Node) -> tuple[str, Node] | None:
    """The name of a stage and its keys; `shuffle` alone has none."""
    if isinstance(node.value, str):
        return node.value, replace(node, value={})
    if isinstance(node.value, dict) and len(node.value) == 1:
        [(name, keys)] = node.value.items()
        return str(name), keys
    return None


def _filled(name: str, cls: type[Stage], node: Node, registry: Registry, errors: SuiteErrors) -> Stage | None:
    """A stage with its fields."""
    before = len(errors)
    found = checked(stage_input(name), node, errors)
    methods = {}
    for key, optional in method_keys(name).items():
        named = node.get(key)
        if named is not None and not (optional and named.value is None):
            methods[key] = part = _part(name, cls.calls, named, registry, errors)
            if part is not None and issubclass(cls, (Cut, *PRUNING)):
                _refuse_chain_only(name, named, errors)
    if found is None or len(errors) > before:
        return None
    by = methods.get("by")
    if by is not None and issubclass(cls, (Cut, *PRUNING)):
        found = _with_own_options(cls, found, by, node, errors)
    return cls(**{one.name: getattr(found, one.name) for one in fields(found)} | methods)


def _refuse_chain_only(stage: str, by: Node, errors: SuiteErrors) -> None:
    """Add errors for parameters of a stage's method that the stage does not use; plain forms have all parameters."""
    for key in CHAIN_ONLY if isinstance(by.value, dict) else ():
        given = by.get(key)
        if given is not None and (given.location.line or given.location.order):
            errors.add(given, f"the stage {stage} does not train; list `train`, or `rewind` and `train`", at_key=True)


def _with_own_options(cls: type[Stage], found: Any, method: Method, node: Node, errors: SuiteErrors) -> Any:
    """The keys of a stage that prunes; what the suite leaves out is as in the method's own chain.

    So `prune: {by: synflow}` prunes in 100 rounds, and `prune_layerwise: {by: {name: wanda, structure: {n: 2, m: 4}}}`
    keeps two of four, as the methods do.
    """
    own = _own_options(cls, method, {one.name for one in fields(found)} & OPTIONS - set(node.value))
    try:
        return exact(type(found), dumped(replace(found, **own)))
    except ValueError:
        names = ", ".join(own)
        errors.add(node, f"{names} of method {method.name!r} cannot be those of this stage; give them as its keys")
        return found


def _own_options(cls: type[Stage], method: Method, keys: Collection[str]) -> dict[str, Any]:
    """The values of these fields in the first stage of its class by which a method itself prunes; or none."""
    entry = Entry(label=method.name, method=method)
    trial = Trial(suite="", task=None, entry=entry, sparsity=0.5, seed=0)  # type: ignore[arg-type]
    try:
        found = next((one for one in method.stages(trial) if type(one) is cls and method_of(one) is method), None)
    except Exception:  # it asks for the network, or is broken, as a trial by the method alone would say
        return {}
    return {} if found is None else {key: getattr(found, key) for key in sorted(keys)}


def _part(stage: str, calls: str, node: Node, registry: Registry, errors: SuiteErrors) -> Method | None:
    """The method of a stage, which must have the function that the stage calls."""
    method = lookup.part(Method, "method", node, registry, errors)
    if method is not None and getattr(type(method), calls) is getattr(Method, calls):
        errors.add(node, f"method {method.name!r} has no {calls}, which {stage} needs")
    return method


def check_chain(composed: Pipeline, nodes: Sequence[Node], tasks: Sequence[Task], errors: SuiteErrors) -> None:
    """Add an error for the first stage that cannot follow the stages before it, for the recipe of each task."""
    for task in tasks:
        try:
            clock = task.clock
        except DataError:  # the task fails, the suite does not
            continue
        for length, node in enumerate(nodes, 1):
            try:
                linked(composed.chain[:length], clock)
            except PrunebenchError as error:
                errors.add(node, f"{error} (task {task.label})")
                break


def to_plain(composed: Pipeline) -> list[dict[str, Any]]:
    """The stages as in a suite, with all keys but those that were added later and say what was done before."""
    return [_stage_to_plain(stage) for stage in composed.chain]


def _stage_to_plain(stage: Stage) -> dict[str, Any]:
    name = stage_name(type(stage))
    input_class = stage_input(name)
    values = {one.name: getattr(stage, one.name) for one in fields(input_class)}
    for key in method_keys(name):
        values[key] = None if values[key] is None else lookup.to_plain(values[key])
    later = {one.name for one in fields(type(stage)) if as_before(one, getattr(stage, one.name))}  # type: ignore[arg-type]
    return {name: {key: value for key, value in dumped(input_class(**values)).items() if key not in later}}
