"""Trials, stages and networks as plain JSON values; a worker rebuilds them without validating a suite again.

A dataclass becomes its class's name and its fields. Names are looked up among the classes of the core below and the
components of a registry, so that text loads no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from prunebench.api import stages
from prunebench.api.components import Component
from prunebench.api.errors import PluginError, PrunebenchError
from prunebench.api.files import File
from prunebench.api.layers import Layer, Network
from prunebench.api.registry import KINDS, Kind, Registry
from prunebench.api.tasks import Entry, Optimizer, Prunable, Recipe, Schedule, Task, Trial
from prunebench.suite.checking import dumped, exact
from prunebench.suite.pipelines import Pipeline

STAGES = (
    stages.Initialize,
    stages.Train,
    stages.Prune,
    stages.Shuffle,
    stages.Rewind,
    stages.Reinitialize,
    stages.Deploy,
)
CLASSES: Mapping[str, type] = {
    cls.__name__: cls
    for cls in (
        *(Trial, Task, Recipe, Optimizer, Schedule, Prunable, Entry, Pipeline),
        *(Network, Layer, stages.Structure),
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
