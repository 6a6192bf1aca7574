"""Tables of what was measured from the states of a run, as CSV beside the board that they belong to."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
TYPES = {"float": float, "int": int, "str": str}


def read(cls: type[T], path: Path) -> list[T]:
    """The rows of a table; none if there is no such file.

    Args:
        cls: a dataclass whose fields are numbers and texts.
    """
    if not path.exists():
        return []
    of: Any = cls
    types = {one.name: TYPES[str(one.type)] for one in fields(of)}
    with path.open(encoding="utf-8", newline="") as file:
        return [cls(**{name: types[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]


def write(path: Path, measured: Iterable[Any]) -> None:
    """Write rows, of which there must be one at least."""
    rows = [asdict(one) for one in measured]  # compute all rows before the old file is replaced
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
