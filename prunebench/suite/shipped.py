"""Suites that are installed with this package, by name; nothing heavy is imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from prunebench.messages.suggestions import nearest

PACKAGE = "prunebench_suites"
"""The package with the YAML files; in the sources it is the folder `suites`."""
ENDING = ".yaml"


def shipped() -> Mapping[str, Path]:
    """The files of the shipped suites by their names, sorted."""
    spec = find_spec(PACKAGE)
    folders = [] if spec is None else spec.submodule_search_locations or []
    found = {path.stem: path for folder in folders for path in Path(folder).glob(f"*{ENDING}")}
    return dict(sorted(found.items()))


def file_of(source: str | os.PathLike[str]) -> Path:
    """The file of a suite: the one at this path if there is one, else the shipped suite of this name.

    The path itself is returned if it is neither.
    """
    path = Path(source)
    return path if path.is_file() else shipped().get(str(path), path)


def ambiguity(source: str | os.PathLike[str]) -> str:
    """Says which suite is used where a name and a file could both be meant; empty if only one could."""
    path, local = Path(source), Path(f"{source}{ENDING}")
    if str(path) not in shipped():
        return ""
    if path.is_file():
        return f"{str(path)!r} is a file in this folder, and is used instead of the shipped suite of this name"
    if local.is_file():
        return f"{str(path)!r} is the shipped suite; for the file in this folder write {str(local)!r}"
    return ""


def origin(source: str | os.PathLike[str]) -> str:
    """Where a suite was read from, for people."""
    return str(source) if file_of(source) == Path(source) else "the shipped suite"


def hint(source: str | os.PathLike[str]) -> str:
    """The end of a message about a path at which there is no file: the shipped suite that may be meant."""
    path = Path(source)
    if path.suffix in (ENDING, ".yml"):
        return f"; the shipped suite is {path.stem!r}" if path.stem in shipped() else ""
    if len(path.parts) != 1:
        return ""
    near = nearest(str(path), shipped(), cutoff=0.6)
    return ", and no shipped suite has this name; " + (
        f"did you mean {near[0]!r}?" if near else "`prunebench suites` lists them"
    )
