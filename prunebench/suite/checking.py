"""Conversion of plain values to dataclasses, with an error message for each invalid value.

Pydantic validates in strict JSON mode (a list becomes a tuple; "0.5" is not a number, and true is not 1). The messages
are made from the JSON schema of the class: they say which values are allowed and which one was found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from types import SimpleNamespace
from typing import Any, TypeVar

from prunebench.messages.suggestions import near, nearest, shown
from prunebench.suite.nodes import MAX_LINES, Keys, Node, SuiteErrors
from prunebench.suite.schema import adapter, schema_of

T = TypeVar("T")
Schema = Mapping[str, Any]

_NOUNS = {
    "integer": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "string": ("text", "texts"),
    "boolean": ("true or false", "true or false"),
    "object": ("a mapping", "mappings"),
}
_LIMITS = {
    "literal_error",
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "too_short",
    "too_long",
    "string_too_short",
    "string_too_long",
    "int_from_float",
    "missing",
}
"""Error types of pydantic, besides `*_type`, whose messages are made from the schema."""


def dumped(value: Any) -> Any:
    """A dataclass as plain values; floats are exact."""
    return adapter(value.__class__).dump_python(value, mode="json", warnings=False)


def exact(cls: Any, plain: Mapping[str, Any]) -> Any:
    """An instance from plain values, which is equal to the instance from its own dump.

    Pydantic does not validate defaults: the default 1 of a float would be 1 here, and 1.0 after a round trip.
    """
    first = adapter(cls).validate_json(json.dumps(plain), strict=True)
    return adapter(cls).validate_json(json.dumps(dumped(first), allow_nan=False), strict=True)


def checked(cls: type[T], node: Node, errors: SuiteErrors, beside: Sequence[str] = ()) -> T | None:
    """An instance of `cls` from a node; or None, with an error for each invalid value.

    Args:
        beside: keys of the same mapping that do not belong to `cls`, which are suggested for unknown keys.
    """
    from pydantic import ValidationError

    try:
        found: T = exact(cls, node.plain())
        return found
    except ValidationError as error:
        details = error.errors(include_url=False)[:MAX_LINES]
        _explain([*details, *_rules(cls, node, details)], _Position(node, schema_of(cls)), errors, beside)
        return None


def _rules(cls: type[Any], node: Node, found: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """The error of `__post_init__` for the valid fields, if other fields are invalid.

    Pydantic does not call it in that case, and its error would appear only after the others are fixed. If a key is
    missing or unknown, it is not called, because it may fail only for that reason.
    """
    lost = {error["loc"][0] for error in found if error["loc"]}
    keys = {"missing", "unexpected_keyword_argument"} & {error["type"] for error in found if len(error["loc"]) == 1}
    rule = getattr(cls, "__post_init__", None)
    if rule is None or keys or not lost or not isinstance(node.value, dict):
        return
    given = {key: item.plain() for key, item in node.value.items()}
    known = {one.name: given.get(one.name, _default(one)) for one in fields(cls) if one.name not in lost}
    try:
        rule(SimpleNamespace(**known))
    except ValueError as error:
        yield {"type": "value_error", "loc": (), "ctx": {"error": error}}
    except (Exception, SystemExit):  # it used a field that has an error
        return


def _default(declared: Field[Any]) -> Any:
    return declared.default if declared.default_factory is MISSING else declared.default_factory()


class _Position:
    """A node, and the schema of its value."""

    def __init__(self, node: Node, schema: Schema) -> None:
        self.node, self.schema = node, _sole(schema)

    def at(self, loc: Keys) -> _Position:
        """The position at the end of a path, or the last position before a missing node or a union."""
        if not loc or "anyOf" in self.schema or "oneOf" in self.schema:
            return self
        child = self.node.get(loc[0])
        return self if child is None else _Position(child, _part(self.schema, loc[0])).at(loc[1:])


def _explain(found: Sequence[Any], root: _Position, errors: SuiteErrors, beside: Sequence[str]) -> None:
    messages: dict[Keys, tuple[Node, str]] = {}
    for error in found:
        loc = tuple(error["loc"])
        parent = root.at(loc[:-1])
        if error["type"] == "unexpected_keyword_argument":
            _unknown(parent, loc[-1], errors, () if len(loc) > 1 else beside)
        elif error["type"] == "missing" and isinstance(loc[-1], str):
            errors.missing(parent.node, loc[-1])
        else:
            node, message, own = _described(error, root.at(loc))
            if own or node.path not in messages:  # the message of a class is more helpful than that of a union
                messages[node.path] = node, message
    for node, message in messages.values():
        errors.add(node, message)


def _unknown(parent: _Position, key: str | int, errors: SuiteErrors, beside: Sequence[str]) -> None:
    known = [*beside, *parent.schema.get("properties", {})]
    child = parent.node.get(key) or parent.node
    errors.add(child, f"unknown key{near(str(key), known)}", at_key=True)


def _described(error: Mapping[str, Any], position: _Position) -> tuple[Node, str, bool]:
    """The node of an error, its message, and whether the message is from the class itself."""
    if error["type"] in ("value_error", "assertion_error"):
        message = " ".join(str(error["ctx"]["error"]).split()) or "is not allowed"
        return _quoted(position.node, message), message, True
    given, expected = shown(position.node.plain()), phrase(position.schema)
    if expected and (error["type"].endswith("_type") or error["type"] in _LIMITS):
        return position.node, f"must be {expected}, not {given}{_suggestion(position)}", False
    reason = str(error["msg"]).removeprefix("Input should be ")
    return position.node, (f"must be {reason}" if reason != error["msg"] else reason) + f", not {given}", False


def _suggestion(position: _Position) -> str:
    """The allowed text that is most similar to the value, as a suggestion."""
    given, values = position.node.value, list(_enumerated(position.schema))
    near = nearest(given, values) if isinstance(given, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _enumerated(schema: Schema) -> Iterator[str]:
    """The texts that a schema lists."""
    listed = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    yield from (value for value in listed if isinstance(value, str))
    for branch in schema.get("anyOf", ()):
        yield from _enumerated(branch)


def _quoted(node: Node, message: str) -> Node:
    """The value in a node that a message starts with, if there is exactly one: `'5epp' is not a time`."""
    scalars = [one for one in node.walk() if isinstance(one.value, (str, int, float))]
    found = [one for one in scalars if message.startswith(f"{one.value!r} ")]
    return found[0] if len(found) == 1 else node


def _sole(schema: Schema) -> Schema:
    """The schema of an optional value without its null."""
    rest = [branch for branch in schema.get("anyOf", ()) if branch.get("type") != "null"]
    return _sole(rest[0]) if len(rest) == 1 else schema


def _part(schema: Schema, key: str | int) -> Schema:
    if isinstance(key, int):
        fixed = schema.get("prefixItems", ())
        return _schema(fixed[key] if key < len(fixed) else schema.get("items"))
    return _schema(schema.get("properties", {}).get(key, schema.get("additionalProperties")))


def _schema(found: Any) -> Schema:
    return found if isinstance(found, Mapping) else {}


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
    one, several = _NOUNS.get(schema.get("type", ""), ("", ""))
    return (several if many else one) + _range(schema) if one else ""


def _range(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}"
    words = {
        "minimum": "of at least {:g}",
        "exclusiveMinimum": "above {:g}",
        "maximum": "of at most {:g}",
        "exclusiveMaximum": "below {:g}",
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
