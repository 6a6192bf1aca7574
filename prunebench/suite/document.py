"""Nodes of a YAML text.

Only the composer of ruamel is used. Its constructors stop at the first error, convert tags and dates to objects, share
the value of an alias, and lose the positions of scalars. Here all errors are collected with their positions, and the
limit on nodes counts each expansion of an alias.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from prunebench.api.errors import SuiteError
from prunebench.messages.suggestions import shown
from prunebench.suite.nodes import Keys, Location, Node, SuiteErrors
from prunebench.suite.shipped import file_of, hint

MAX_BYTES = 1_000_000
MAX_NODES = 100_000
MAX_DEPTH = 50
MAX_WHOLE = 2**63 - 1

_TAGS = "tag:yaml.org,2002:"


def read(source: Path, errors: SuiteErrors) -> Node:
    """The root of a YAML file, or of a shipped suite. Raises SuiteError if it cannot be read or parsed."""
    start = Location(0, 1, 1, str(source))
    try:
        text = text_of(file_of(source))
    except (OSError, ValueError) as error:
        raise SuiteError(f"{source}: {_reason(source, error)}") from None
    root = composed(text, start, errors)
    if root is None:
        errors.report()
        raise AssertionError("composed returns None only with an error")
    return root


def text_of(source: Path) -> str:
    """The text of a file. Raises OSError, or ValueError for a file that is no suite."""
    with source.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES:,} bytes: this is not a suite")
    return content.decode("utf-8-sig")


def _reason(source: Path, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no such file{hint(source)}"
    if isinstance(error, IsADirectoryError):
        return "is a directory; name a suite's YAML file"
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].count(b"\n") + 1
        return f"is not UTF-8 text: line {line} has the byte 0x{error.object[error.start]:02x}"
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def composed(text: str, start: Location, errors: SuiteErrors) -> Node | None:
    """The nodes of a YAML text; None, with an error, if it cannot be parsed.

    Args:
        text: one YAML document.
        start: the location of its first character; with line 0, the location of every node.
        errors: collects errors of single nodes (tags, dates, repeated keys).
    """
    try:
        raw = _compose(text, start)
        return Node(None, start) if raw is None else _Builder(start, errors).node(raw, ())
    except _UnreadableError as error:
        errors.at(error.location, error.message)
        return None


class _UnreadableError(Exception):
    def __init__(self, location: Location, message: str) -> None:
        super().__init__(message)
        self.location, self.message = location, message


def _compose(text: str, start: Location) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ruamel warns about an anchor that is defined twice
            return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        reason = ": ".join(part for part in (error.context, error.problem) if part)
        raise _UnreadableError(_at(start, error.problem_mark or error.context_mark), f"is not YAML: {reason}") from None
    except ReaderError as error:
        line, column = text.count("\n", 0, error.position), error.position - text.rfind("\n", 0, error.position)
        location = replace(start, line=line + 1, column=column) if start.line else start
        raise _UnreadableError(location, f"is not YAML: it has the character {text[error.position]!a}") from None
    except RecursionError:
        raise _UnreadableError(start, f"is nested more than {MAX_DEPTH} deep") from None
    except Exception as error:  # ruamel does not catch all errors of its own code, such as that of chr(0x110000)
        raise _UnreadableError(start, f"is not YAML: {type(error).__name__}: {error}") from None


def _at(start: Location, mark: Any) -> Location:
    return replace(start, line=mark.line + 1, column=mark.column + 1) if start.line and mark else start


class _Builder:
    """Converts nodes of ruamel. Aliases are expanded to copies, up to a limit."""

    def __init__(self, start: Location, errors: SuiteErrors) -> None:
        from ruamel.yaml import YAML

        self.start, self.errors, self.spent = start, errors, 0
        self.constructor = YAML(typ="safe", pure=True).constructor

    def node(self, raw: Any, path: Keys, key: Any = None, depth: int = 0) -> Node:
        # An empty value is located at its key; the composer gives it the position of the next token.
        empty = key is not None and raw.start_mark.index == raw.end_mark.index
        location = _at(self.start, (key if empty else raw).start_mark)
        node = Node(None, location, path, _at(self.start, key.start_mark) if key is not None else location)
        self._spend(raw, location, depth)
        kind, fill = type(raw).__name__.removesuffix("Node"), str(raw.tag).removeprefix(_TAGS)
        if kind == "Mapping":
            node.value = self._mapping(raw, path, depth) if self._plain(node, fill, "map") else {}
        elif kind == "Sequence":
            node.value = self._sequence(raw, path, depth) if self._plain(node, fill, "seq") else []
        else:
            node.value = self._scalar(node, raw, fill)
        return node

    def _spend(self, raw: Any, location: Location, depth: int) -> None:
        # A long text counts as several nodes, because aliases can repeat it.
        self.spent += 1 + len(raw.value) // 100
        if self.spent > MAX_NODES:
            raise _UnreadableError(location, f"has more than {MAX_NODES:,} nodes, with every alias expanded")
        if depth > MAX_DEPTH:
            raise _UnreadableError(location, f"is nested more than {MAX_DEPTH} deep")

    def _plain(self, node: Node, tag: str, expected: str) -> bool:
        if tag != expected:
            self._break(node, _foreign(tag))
        return tag == expected

    def _break(self, node: Node, message: str) -> None:
        self.errors.add(node, message)
        node.broken = True

    def _sequence(self, raw: Any, path: Keys, depth: int) -> list[Node]:
        return [self.node(item, (*path, index), depth=depth + 1) for index, item in enumerate(raw.value)]

    def _mapping(self, raw: Any, path: Keys, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        merged: list[Any] = []
        for key, value in raw.value:
            if key.tag == f"{_TAGS}merge":
                merged += value.value if type(value).__name__ == "SequenceNode" else [value]
            elif (name := self._key(key, path)) in found:
                self._repeated(key, found[name])
            elif name is not None:
                found[name] = self.node(value, (*path, name), key, depth + 1)
        for value in merged:
            for name, node in self._merged(value, path, depth).items():
                found.setdefault(name, node)
        return found

    def _key(self, raw: Any, path: Keys) -> str | None:
        if type(raw).__name__ != "ScalarNode":  # not expanded, because it could contain itself
            location = _at(self.start, raw.start_mark)
            self.errors.add(Node(None, location, path), "a key must be a word, not a list or a mapping")
            return None
        node = self.node(raw, path)
        if isinstance(node.value, str) and not node.broken:
            return node.value
        self.errors.add(node, f"a key must be a word, not {shown(node.value)}")
        return None

    def _repeated(self, key: Any, first: Node) -> None:
        location = first.key_location
        where = f"on line {location.line}" if location and location.line else "in the same text"
        repeated = Node(None, _at(self.start, key.start_mark), first.path)
        self.errors.add(repeated, f"is given twice; the first is {where}")

    def _merged(self, raw: Any, path: Keys, depth: int) -> dict[str, Node]:
        node = self.node(raw, path, depth=depth + 1)
        if isinstance(node.value, dict):
            return node.value
        self.errors.add(node, f"<< needs a mapping or a list of mappings, not {shown(node.plain())}")
        return {}

    def _scalar(self, node: Node, raw: Any, tag: str) -> Any:
        text = raw.value
        if tag not in _SCALARS:
            self._break(node, _foreign(tag, text))
        elif tag in ("str", "value", "merge"):
            if not text.isascii() and text != text.encode(errors="replace").decode():
                self._break(node, f"{shown(text)} is not Unicode text: half of a surrogate pair")
        else:
            try:
                return _finite(self.constructor.construct_object(raw))
            except OverflowError:
                self._break(node, f"{shown(text)} is too large or not a number")
            except Exception:  # ruamel does not turn the errors of int, float and dict into one of its own
                self._break(node, f"{shown(text)} is not {_SCALARS[tag]}")
        return text


def _foreign(tag: str, text: str = "") -> str:
    if tag == "timestamp":
        return f"{shown(text)} is read as a date: write it in quotes"
    name = tag if tag.startswith("!") else f"!!{tag}"
    return f"the tag {shown(name)} is not allowed; if it is text, write it in quotes"


def _finite(value: Any) -> Any:
    """The value. Raises OverflowError for a number that is not finite or does not fit into 64 bits."""
    if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, int) and abs(value) > MAX_WHOLE):
        raise OverflowError
    return value


_SCALARS = {
    "null": "null",
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "str": "text",
    "value": "text",
    "merge": "text",
}
"""The tags of scalars that a suite may have, and what their values are."""
