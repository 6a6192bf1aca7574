"""Descriptions of components: parameters with types, ranges and texts, presets and origin.

They are read from the classes, so that listings, schema and code agree.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prunebench.api.components import Component, Preset
from prunebench.api.errors import PluginError
from prunebench.api.registry import Kind, Plugin, Registry
from prunebench.suite.annotations import Schema, choices, phrase, schema_of


@dataclass(frozen=True)
class Parameter:
    """One parameter of a component; `default` is None if it is `required`."""

    name: str
    schema: Schema
    """The JSON schema of its values; empty if pydantic has none."""
    required: bool = False
    default: Any = None

    @property
    def values(self) -> str:
        """The allowed values in words: `a whole number of at least 1`."""
        return phrase(self.schema) or "anything"

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values that a Literal allows."""
        return choices(self.schema)

    @property
    def description(self) -> str:
        """The text of its annotation; that of a nested class describes the class."""
        return "" if "properties" in self.schema else str(self.schema.get("description", ""))


@dataclass(frozen=True)
class Description:
    """A component as the listings show it."""

    kind: Kind
    name: str
    summary: str
    text: str
    reference: str
    variant: str
    """The parameter whose value is the part of a name after a slash, if any."""
    parameters: tuple[Parameter, ...]
    presets: Mapping[str, Preset]
    plugin: Plugin


def describe(kind: Kind, cls: type[Component], plugin: Plugin) -> Description:
    """Raises PluginError for annotations that cannot be read, as of a type that is not imported."""
    text = _docstring(cls)
    return Description(
        kind=kind,
        name=cls.name,
        summary=text.partition("\n")[0],
        text=text,
        reference=cls.reference,
        variant=cls.variant,
        parameters=parameters(cls),
        presets=cls.presets,
        plugin=plugin,
    )


def describe_all(registry: Registry, kind: Kind) -> list[Description]:
    """Every component of a kind, by name."""
    classes = (registry.components[kind][name] for name in registry.names(kind))
    return [describe(kind, cls, registry.origins[cls]) for cls in classes]


def parameters(cls: type[Any]) -> tuple[Parameter, ...]:
    """The parameters of a component class, or the fields of any dataclass, in the order in which they are declared.

    Raises PluginError for annotations that cannot be read.
    """
    from pydantic.errors import PydanticUserError

    try:
        schemas = schema_of(cls).get("properties", {})
    except PydanticUserError:  # pydantic has no schema for the type of a parameter
        schemas = {}
    except Exception as error:
        raise PluginError(f"the annotations of {cls.__module__}.{cls.__qualname__} cannot be read: {error}") from error
    return tuple(Parameter(one.name, schemas.get(one.name, {}), *_default(one)) for one in dataclasses.fields(cls))


def as_json(description: Description) -> dict[str, Any]:
    """A description as plain values."""
    plugin = description.plugin
    return {
        "kind": description.kind,
        "name": description.name,
        "variant": description.variant,
        "summary": description.summary,
        "description": description.text,
        "reference": description.reference,
        "parameters": [_parameter_as_json(parameter) for parameter in description.parameters],
        "presets": {
            name: {"source": preset.source, "values": plain(preset.values)}
            for name, preset in description.presets.items()
        },
        "plugin": {key: getattr(plugin, key) for key in ("name", "distribution", "version", "file")},
    }


def plain(value: Any) -> Any:
    """A parameter's value as JSON and YAML can hold it; a component becomes its name and its non-default parameters."""
    if isinstance(value, Component):
        return {"name": value.name, **_changed(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, types.NoneType)) else str(value)


def _changed(component: Component) -> dict[str, Any]:
    declared = ((item, getattr(component, item.name)) for item in dataclasses.fields(component))
    return {item.name: plain(value) for item, value in declared if _default(item) != (False, value)}


def _docstring(cls: type[Component]) -> str:
    """The class's own docstring; empty for the signature that dataclasses use as a default."""
    text = inspect.cleandoc(cls.__doc__ or "")
    return "" if text.startswith(f"{cls.__name__}(") else text


def _default(declared: dataclasses.Field[Any]) -> tuple[bool, Any]:
    """Whether a value must be given, and the value otherwise."""
    if declared.default_factory is not dataclasses.MISSING:
        return False, declared.default_factory()
    required = declared.default is dataclasses.MISSING
    return required, None if required else declared.default


def _parameter_as_json(parameter: Parameter) -> dict[str, Any]:
    """The JSON schema of a parameter with its name; its default as in a suite."""
    default = {} if parameter.required else {"default": plain(parameter.default)}
    head = {"name": parameter.name, "required": parameter.required, "description": parameter.description}
    return {**parameter.schema, **head, **default}
