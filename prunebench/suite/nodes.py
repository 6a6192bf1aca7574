"""A suite as a tree of nodes with their locations, and the errors that are found in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prunebench.api.errors import SuiteError
from prunebench.messages.suggestions import shown

MAX_LINES = 200
"""Maximum number of errors in a message."""

Keys = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Location:
    """A position in a file (`order` is 0), or the n-th option of the command line (`line` is 0)."""

    order: int
    line: int
    column: int
    source: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(eq=False)
class Node:
    """A scalar, a list or a mapping, with its location and its path from the root.

    A `broken` node already has an error; further errors about it are ignored.
    """

    value: Any
    """A plain scalar, a list of nodes, or a dict of nodes."""
    location: Location
    path: Keys = ()
    key_location: Location | None = None
    broken: bool = False

    @classmethod
    def of(cls, plain: Any, location: Location, path: Keys = ()) -> Node:
        """Nodes of plain values, all with the same location."""
        if isinstance(plain, Mapping):
            return cls(
                {key: cls.of(item, location, (*path, key)) for key, item in plain.items()}, location, path, location
            )
        if isinstance(plain, (list, tuple)):
            return cls(
                [cls.of(item, location, (*path, index)) for index, item in enumerate(plain)], location, path, location
            )
        return cls(plain, location, path, location)

    def plain(self) -> Any:
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def get(self, key: str | int) -> Node | None:
        """The node at a key of a mapping or at an index of a list; None if there is none."""
        found: Node | None = None
        if isinstance(self.value, dict):
            found = self.value.get(key)
        elif isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            found = self.value[key]
        return found

    def items(self, key: str) -> list[Node]:
        """The items of the list at a key; empty if there is no such list."""
        found = self.get(key)
        return found.value if found is not None and isinstance(found.value, list) else []

    def only(self, keys: Sequence[str]) -> Node:
        return replace(self, value={key: item for key, item in self.value.items() if key in keys})

    def without(self, keys: Sequence[str]) -> Node:
        return replace(self, value={key: item for key, item in self.value.items() if key not in keys})

    def walk(self) -> Iterator[Node]:
        yield self
        children = self.value.values() if isinstance(self.value, dict) else self.value
        for child in children if isinstance(self.value, (dict, list)) else ():
            yield from child.walk()


class SuiteErrors:
    """Collects the errors of a suite with their locations, to report them together."""

    def __init__(self) -> None:
        self._found: list[tuple[Location, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, node: Node, message: str, *, at_key: bool = False) -> None:
        """Add an error about a node; with `at_key` at the location of its key, even if the value is broken."""
        if at_key or not node.broken:
            location = node.key_location if at_key and node.key_location else node.location
            self.at(location, f"{written(node.path)}: {message}" if node.path else message)

    def missing(self, parent: Node, key: str | int) -> None:
        """Add the error that a mapping lacks a key."""
        if not parent.broken:
            self.at(parent.key_location or parent.location, f"{written((*parent.path, key))}: is missing")

    def at(self, location: Location, message: str) -> None:
        self._found.append((location, message))

    def report(self) -> None:
        """Raise SuiteError with all errors in the order of their locations, if there are any."""
        lines = list(
            dict.fromkeys(f"{location}: {text}" for location, text in sorted(self._found, key=lambda one: one[0]))
        )
        if len(lines) > MAX_LINES:
            lines[MAX_LINES:] = [f"... and {len(lines) - MAX_LINES} more errors"]
        if lines:
            raise SuiteError("\n".join(lines))


def written(path: Keys) -> str:
    """A path in a suite as text: `tasks.0.recipe.epochs`."""
    return ".".join(str(key) if re.fullmatch(r"[\w/-]{1,60}", str(key)) else shown(key) for key in path)


def kind_of(node: Node) -> str:
    """The kind of a node's value, for an error where a mapping was expected."""
    return "a list" if isinstance(node.value, list) else shown(node.plain())
