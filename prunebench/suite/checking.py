"""Plain values to typed ones by their annotations; what does not fit is explained in the annotations' own words.

Pydantic decides, strictly and as for JSON (a list becomes a tuple, "0.5" is no number, true is no 1). Its errors are
looked up in the JSON schema of the same class, so that each says what is allowed there and what was given.
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
"""Pydantic's errors that the schema explains, beside those of type."""


def dumped(value: Any) -> Any:
    """A dataclass as plain values, floats to the last bit."""
    return adapter(value.__class__).dump_python(value, mode="json", warnings=False)


def exact(cls: Any, plain: Mapping[str, Any]) -> Any:
    """An instance from plain values, equal to the one that its own dump gives.

    Defaults are not validated the first time: a float's default of 1 would be 1 here, and 1.0 after a round trip.
    """
    first = adapter(cls).validate_json(json.dumps(plain), strict=True)
    return adapter(cls).validate_json(json.dumps(dumped(first), allow_nan=False), strict=True)


def checked(cls: type[T], node: Node, mistakes: SuiteErrors, beside: Sequence[str] = ()) -> T | None:
    """An instance of `cls` from a node; or None, and a mistake for everything in it that does not fit.

    Args:
        beside: keys that belong to the same mapping but not to `cls`, to be suggested for an unknown one.
    """
    from pydantic import ValidationError

    try:
        found: T = exact(cls, node.plain())
        return found
    except ValidationError as error:
        errors = error.errors(include_url=False)[:MAX_LINES]
        _explain([*errors, *_rules(cls, node, errors)], _Place(node, schema_of(cls)), mistakes, beside)
        return None


def _rules(cls: type[Any], node: Node, errors: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """The error that `__post_init__` raises for the fields that are right, while others are not.

    Pydantic never gets there then, and the author of the suite would be told one thing after the other. Nothing is
    said where a key is missing or unknown, for the rule may only fail because of that.
    """
    lost = {error["loc"][0] for error in errors if error["loc"]}
    keys = {"missing", "unexpected_keyword_argument"} & {error["type"] for error in errors if len(error["loc"]) == 1}
    rule = getattr(cls, "__post_init__", None)
    if rule is None or keys or not lost or not isinstance(node.value, dict):
        return
    given = {key: item.plain() for key, item in node.value.items()}
    known = {one.name: given.get(one.name, _default(one)) for one in fields(cls) if one.name not in lost}
    try:
        rule(SimpleNamespace(**known))
    except ValueError as error:
        yield {"type": "value_error", "loc": (), "ctx": {"error": error}}
    except Exception:  # it asked for a field that is not right
        return


def _default(declared: Field[Any]) -> Any:
    return declared.default if declared.default_factory is MISSING else declared.default_factory()


class _Place:
    """A node, and the schema of what may stand there."""

    def __init__(self, node: Node, schema: Schema) -> None:
        self.node, self.schema = node, _sole(schema)

    def at(self, loc: Keys) -> _Place:
        """As far down a way as there are nodes and a single schema: a union is left as a whole."""
        if not loc or "anyOf" in self.schema or "oneOf" in self.schema:
            return self
        child = self.node.get(loc[0])
        return self if child is None else _Place(child, _part(self.schema, loc[0])).at(loc[1:])


def _explain(errors: Sequence[Any], root: _Place, mistakes: SuiteErrors, beside: Sequence[str]) -> None:
    messages: dict[Keys, tuple[Node, str]] = {}
    for error in errors:
        loc = tuple(error["loc"])
        parent = root.at(loc[:-1])
        if error["type"] == "unexpected_keyword_argument":
            _unknown(parent, loc[-1], mistakes, () if len(loc) > 1 else beside)
        elif error["type"] == "missing" and isinstance(loc[-1], str):
            mistakes.missing(parent.node, loc[-1])
        else:
            place = root.at(loc)
            node, message, own = _said(error, place)
            if own or node.path not in messages:  # what a class says itself tells more than the shape of a union
                messages[node.path] = node, message
    for node, message in messages.values():
        mistakes.add(node, message)


def _unknown(parent: _Place, key: str | int, mistakes: SuiteErrors, beside: Sequence[str]) -> None:
    known = [*beside, *parent.schema.get("properties", {})]
    child = parent.node.get(key) or parent.node
    mistakes.add(child, f"unknown key{near(str(key), known)}", at_key=True)


def _said(error: Mapping[str, Any], place: _Place) -> tuple[Node, str, bool]:
    """The node that an error is about, its message, and whether that is a class's own."""
    if error["type"] in ("value_error", "assertion_error"):
        message = " ".join(str(error["ctx"]["error"]).split()) or "is not allowed"
        return _quoted(place.node, message), message, True
    given, expected = shown(place.node.plain()), phrase(place.schema)
    if expected and (error["type"].endswith("_type") or error["type"] in _LIMITS):
        return place.node, f"must be {expected}, not {given}{_meant(place)}", False
    reason = str(error["msg"]).removeprefix("Input should be ")
    return place.node, (f"must be {reason}" if reason != error["msg"] else reason) + f", not {given}", False


def _meant(place: _Place) -> str:
    """The value of an enumeration that a text is nearest to, as a question."""
    given, values = place.node.value, list(_enumerated(place.schema))
    near = nearest(given, values) if isinstance(given, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _enumerated(schema: Schema) -> Iterator[str]:
    """The texts that a schema lists."""
    listed = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    yield from (value for value in listed if isinstance(value, str))
    for branch in schema.get("anyOf", ()):
        yield from _enumerated(branch)


def _quoted(node: Node, message: str) -> Node:
    """The value inside a node that a message begins with, when there is one such: `'5epp' is not a time`."""
    scalars = [one for one in node.walk() if isinstance(one.value, (str, int, float))]
    found = [one for one in scalars if message.startswith(f"{one.value!r} ")]
    return found[0] if len(found) == 1 else node


def _sole(schema: Schema) -> Schema:
    """What a value that may also be null has to be otherwise."""
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
    """What a schema allows, as the end of `must be`; empty where the schema says nothing."""
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
