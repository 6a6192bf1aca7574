"""The annotations of a dataclass: pydantic's validator, its JSON schema, and the schema in words.

The same words are used in listings, in the reference and in error messages.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Union

from typing_extensions import Doc

from prunebench.messages.suggestions import shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

Schema = Mapping[str, Any]

_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ONES = ("items", "additionalProperties")
_NOUNS = {
    "integer": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "string": ("text", "texts"),
    "boolean": ("true or false", "true or false"),
    "object": ("a mapping", "mappings"),
}


@functools.cache
def adapter(cls: Any) -> TypeAdapter[Any]:
    """Pydantic's validator of a class; cached, because making one takes longer than validating."""
    from pydantic import TypeAdapter

    typing.get_type_hints(cls)  # raises NameError with the missing name, which pydantic's error lacks
    return TypeAdapter(cls)


def first_error(error: ValidationError, whole: str = "it") -> str:
    """Where the first problem is that pydantic found, and what it is; `whole` stands for the value itself."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"


def schema_of(cls: Any) -> dict[str, Any]:
    """The schema of a dataclass, with the texts of its annotations, nested ones written out; or that of anything."""
    from pydantic.errors import PydanticInvalidForJsonSchema

    try:
        schema = adapter(cls).json_schema()
    except PydanticInvalidForJsonSchema:  # JSON Schema cannot express the type of a parameter
        return {}
    definitions = schema.pop("$defs", {})
    for nested in {cls, *_nested(cls)}:
        _describe(schema if nested is cls else definitions.get(nested.__name__, {}), nested)
    return _inlined(schema, definitions)


def _describe(schema: dict[str, Any], cls: type[Any]) -> None:
    """Add the texts of `Doc` annotations, which pydantic does not read."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for name, value in schema.get("properties", {}).items():
        if text := " ".join(_texts(hints[name])):
            value["description"] = text


def _texts(hint: Any) -> Iterator[str]:
    """The texts of a type, and of the members of a union: `Annotated[int, Doc("...")] | None`."""
    if typing.get_origin(hint) is Annotated:
        yield from _texts(typing.get_args(hint)[0])
        yield from (note.documentation for note in hint.__metadata__ if isinstance(note, Doc))
    elif typing.get_origin(hint) in (Union, types.UnionType):
        for member in typing.get_args(hint):
            yield from _texts(member)


def _nested(cls: Any, seen: frozenset[Any] = frozenset()) -> Iterator[type[Any]]:
    """The dataclasses that a class's annotations mention, at any depth."""
    hints = typing.get_type_hints(cls).values() if is_dataclass(cls) else typing.get_args(cls)
    for hint in hints:
        if hint not in seen:
            if is_dataclass(hint):
                yield typing.cast(type[Any], hint)
            yield from _nested(hint, seen | {cls, hint})


def _inlined(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], open_: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """A schema without references, and without titles, which only repeat the names."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name in open_:  # a class that contains itself
        return {}
    if name:
        schema = {**definitions[name], **schema}
    inline = functools.partial(_inlined, definitions=definitions, open_=open_ | ({name} if name else set()))
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _LISTS:
            result[key] = [inline(item) for item in value]
        elif key == "properties":
            result[key] = {inner: inline(item) for inner, item in value.items()}
        elif key not in ("title", "$ref"):
            result[key] = inline(value) if key in _ONES and isinstance(value, dict) else value
    return result


def part_of(schema: Schema, key: str | int) -> Schema:
    """The schema of an item or a key of a value; empty if it allows anything."""
    if isinstance(key, int):
        fixed = schema.get("prefixItems", ())
        return _schema(fixed[key] if key < len(fixed) else schema.get("items"))
    return _schema(schema.get("properties", {}).get(key, schema.get("additionalProperties")))


def _schema(found: Any) -> Schema:
    return found if isinstance(found, Mapping) else {}


def choices(schema: Schema) -> tuple[Any, ...]:
    """The values that a schema lists, without null."""
    listed = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    return (*listed, *(one for branch in schema.get("anyOf", ()) for one in choices(branch)))


def phrase(schema: Schema, many: bool = False) -> str:
    """The values that a schema allows, to be used after `must be`; empty if it allows anything."""
    branches = [branch for branch in schema.get("anyOf", ()) if branch.get("type") != "null"]
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if branches:
        return " or ".join(dict.fromkeys(filter(None, (phrase(branch, many) for branch in branches))))
    if values:
        return " or ".join(filter(None, [", ".join(map(shown, values[:-1])), shown(values[-1])]))
    if schema.get("type") == "array":
        return _list(schema, many)
    if schema.get("format") == "path":
        return "paths" if many else "a path"
    one, several = _NOUNS.get(schema.get("type", ""), ("", ""))
    return (several if many else one) + _range(schema, many) if one else ""


def _range(schema: Schema, many: bool) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}"
    words = {
        "minimum": "of at least {:g}",
        "exclusiveMinimum": "above {:g}",
        "maximum": "of at most {:g}",
        "exclusiveMaximum": "below {:g}",
        "multipleOf": "that are multiples of {:g}" if many else "that is a multiple of {:g}",
        "minLength": "of at least {:g} characters",
        "maxLength": "of at most {:g} characters",
    }
    limits = [text.format(schema[word]) for word, text in words.items() if word in schema]
    return f" {' and '.join(limits)}" if limits else ""


def _list(schema: Schema, many: bool) -> str:
    name, fixed = "lists" if many else "a list", schema.get("prefixItems", ())
    if any(item != fixed[0] for item in fixed):
        return f"{name} [{', '.join(phrase(item) or 'anything' for item in fixed)}]"
    items = phrase(fixed[0] if fixed else _schema(schema.get("items")), many=True)
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if least == most:
        return f"{name} of {least} {items or 'items'}"
    if least == 1 and most is None:
        name = "non-empty lists" if many else "a non-empty list"
    elif least or most:
        name += f" ({f'at least {least}' if most is None else f'{least} to {most}'} items)"
    return f"{name} of {items}" if items else name
