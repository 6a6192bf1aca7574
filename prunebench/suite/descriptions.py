"""Descriptions of components: parameters with types, ranges and texts, presets and origin.

They are read from the classes, so that listings, schema and code agree.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import annotated_types
from typing_extensions import Doc

from prunebench.api.components import Component, Dataset, Model, Preset
from prunebench.api.errors import PluginError
from prunebench.api.files import File
from prunebench.api.methods import Method
from prunebench.api.objectives import Objective
from prunebench.api.registry import Kind, Plugin, Registry

_LIMITS = {
    annotated_types.Ge: ("minimum", "ge", ">= {}"),
    annotated_types.Gt: ("exclusiveMinimum", "gt", "> {}"),
    annotated_types.Le: ("maximum", "le", "<= {}"),
    annotated_types.Lt: ("exclusiveMaximum", "lt", "< {}"),
    annotated_types.MultipleOf: ("multipleOf", "multiple_of", "a multiple of {}"),
    annotated_types.MinLen: ("minLength", "min_length", "at least {} long"),
    annotated_types.MaxLen: ("maxLength", "max_length", "at most {} long"),
}
"""Annotation: (keyword of JSON Schema, attribute, format for people)."""

_WORDS: Mapping[Any, str] = {
    int: "integer",
    float: "number",
    bool: "true or false",
    str: "text",
    Path: "path",
    File: "path of a file",
    types.NoneType: "null",
    Any: "anything",
}
_KINDS: Mapping[type, str] = {Method: "method", Model: "model", Dataset: "dataset", Objective: "objective"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a component; `default` is None if it is `required`."""

    name: str
    type: str
    required: bool = False
    default: Any = None
    choices: tuple[Any, ...] = ()
    """The values that a Literal allows."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Its range, by keywords of JSON Schema: minimum, exclusiveMaximum, ..."""
    description: str = ""

    @property
    def range(self) -> str:
        """The limits for people: `>= 0, < 1`."""
        forms = {word: form for word, _, form in _LIMITS.values()}
        return ", ".join(forms[word].format(value) for word, value in self.limits.items())


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
    """The parameters of a component class, or the fields of any dataclass, in the order in which they are declared."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as error:
        raise PluginError(f"the annotations of {cls.__module__}.{cls.__qualname__} cannot be read: {error}") from error
    return tuple(_parameter(declared, hints[declared.name]) for declared in dataclasses.fields(cls))


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


def _parameter(declared: dataclasses.Field[Any], hint: Any) -> Parameter:
    required, default = _default(declared)
    notes = list(_notes(hint))
    texts = [note.documentation for note in notes if isinstance(note, Doc)]
    text, choices = " ".join(texts), _choices(hint)
    return Parameter(declared.name, written(hint), required, default, choices, _limits(notes), text)


def _default(declared: dataclasses.Field[Any]) -> tuple[bool, Any]:
    """Whether a value must be given, and the value otherwise."""
    if declared.default_factory is not dataclasses.MISSING:
        return False, declared.default_factory()
    required = declared.default is dataclasses.MISSING
    return required, None if required else declared.default


def _choices(hint: Any) -> tuple[Any, ...]:
    """The values of a Literal, also of one that is annotated or may be None."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return members
    if origin is Annotated:
        return _choices(members[0])
    if origin in (Union, types.UnionType) and types.NoneType in members:
        return tuple(choice for member in members for choice in _choices(member))
    return ()


def _notes(hint: Any) -> Iterator[Any]:
    """Annotations of a type, and of the members of a union: `Annotated[int, Ge(1)] | None`."""
    if typing.get_origin(hint) is Annotated:
        inner, *extras = typing.get_args(hint)
        yield from _notes(inner)
        yield from extras
    elif typing.get_origin(hint) in (Union, types.UnionType):
        for member in typing.get_args(hint):
            yield from _notes(member)


def _limits(notes: Iterable[Any]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for note in notes:
        parts = note if isinstance(note, annotated_types.GroupedMetadata) else [note]
        for part in parts:
            if type(part) in _LIMITS:
                word, attribute, _ = _LIMITS[type(part)]
                limits[word] = getattr(part, attribute)
    return limits


def written(hint: Any) -> str:
    """A type in words: `integer`, `flip or crop`, `[number, ...]`, `integer or null`."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return written(members[0])
    if origin in (Literal, Union, types.UnionType):
        *head, last = dict.fromkeys(_alternatives(hint))
        return f"{', '.join(head)} or {last}" if head else last
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"{{{': '.join(written(member) for member in members)}}}"
    if origin is not None and members:
        return _sequence(origin, members)
    return _class(hint)


def _alternatives(hint: Any) -> Iterator[str]:
    """The words for each member of a union, and for each value of a Literal."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        yield from _alternatives(members[0])
    elif origin is Literal:
        yield from (str(plain(member)) for member in members)
    elif origin in (Union, types.UnionType):
        for member in members:
            yield from _alternatives(member)
    else:
        yield written(hint)


def _sequence(origin: Any, members: tuple[Any, ...]) -> str:
    """A list of any length, or with as many items as a tuple has members."""
    if origin is tuple and Ellipsis not in members:
        return f"[{', '.join(_with_range(member) for member in members)}]"
    return f"[{_with_range(members[0])}, ...]"


def _with_range(hint: Any) -> str:
    text, limits = written(hint), Parameter("", "", limits=_limits(_notes(hint))).range
    return f"{text} {limits}".rstrip()


def _class(hint: Any) -> str:
    if hint in _WORDS:
        return _WORDS[hint]
    if inspect.isclass(hint):
        kinds = (word for base, word in _KINDS.items() if issubclass(hint, base))
        return next(kinds, str(hint.__name__))
    return str(hint)


def _parameter_as_json(parameter: Parameter) -> dict[str, Any]:
    head = {"name": parameter.name, "type": parameter.type, "required": parameter.required}
    default = {} if parameter.required else {"default": plain(parameter.default)}
    choices = {"enum": plain(parameter.choices)} if parameter.choices else {}
    return {**head, **default, **choices, **parameter.limits, "description": parameter.description}
