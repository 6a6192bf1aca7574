"""A cache of network descriptions in a folder: to make one takes a second and more.

A description is found by all that it depends on: the model with its parameters and source, the data's shape, what may
be pruned, this package's code, and the versions of all that is installed. A file that is damaged is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from prunebench.api.layers import Network
from prunebench.api.tasks import Task
from prunebench.network.description import describe
from prunebench.records.environment import installed
from prunebench.records.files import read_json, write_store_file
from prunebench.records.keys import digest
from prunebench.records.sources import core_files, source_hash


class NetworkCache:
    """Describes the networks of tasks, each once in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Task, Network] = {}

    def has(self, task: Task) -> bool:
        """Whether a task's network was described before; False as well where it cannot be described."""
        try:
            return task in self._known or (self._folder / f"{_key(task)}.json").is_file()
        except Exception:  # of the data set's or the model's own code: the plan reports it
            return False

    def of(self, task: Task) -> Network:
        """The description of a task's network."""
        if task not in self._known:
            path = self._folder / f"{_key(task)}.json"
            found = _read(path)
            if found is None:
                found = describe(task)
                _write(path, found)
            self._known[task] = found
        return self._known[task]


def _key(task: Task) -> str:
    code = _code(), source_hash(type(task.model))  # a version may not have been raised yet
    return digest(task.model, task.interface, task.prunable, code, installed())


@cache
def _code() -> str:
    """Hash of the core's files, byte by byte: to parse them takes as long as a description."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in core_files().values())).hexdigest()


def _read(path: Path) -> Network | None:
    found = read_json(path)
    try:
        plain = found["network"]
        if found["checksum"] != _checksum(path.stem, plain):
            return None
        network: Network = TypeAdapter(Network).validate_json(json.dumps(plain), strict=True)
        return network
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _write(path: Path, network: Network) -> None:
    """Write a description; one that cannot be written is made again the next time."""
    plain = json.loads(json.dumps(asdict(network)))
    with contextlib.suppress(OSError):
        write_store_file(path, json.dumps({"network": plain, "checksum": _checksum(path.stem, plain)}).encode())


def _checksum(key: str, plain: Any) -> str:
    return hashlib.sha256(json.dumps([key, plain], sort_keys=True).encode()).hexdigest()
