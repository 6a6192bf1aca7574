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
from prunebench.suite.annotations import Schema, adapter, choices, part_of, phrase, schema_of
from prunebench.suite.nodes import MAX_LINES, Keys, Node, SuiteErrors

T = TypeVar("T")

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
        return self if child is None else _Position(child, part_of(self.schema, loc[0])).at(loc[1:])


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
    given, values = position.node.value, [one for one in choices(position.schema) if isinstance(one, str)]
    near = nearest(given, values) if isinstance(given, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _quoted(node: Node, message: str) -> Node:
    """The value in a node that a message starts with, if there is exactly one: `'5epp' is not a time`."""
    scalars = [one for one in node.walk() if isinstance(one.value, (str, int, float))]
    found = [one for one in scalars if message.startswith(f"{one.value!r} ")]
    return found[0] if len(found) == 1 else node


def _sole(schema: Schema) -> Schema:
    """The schema of an optional value without its null."""
    rest = [branch for branch in schema.get("anyOf", ()) if branch.get("type") != "null"]
    return _sole(rest[0]) if len(rest) == 1 else schema
