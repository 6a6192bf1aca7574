"""Key inputs: what the keys of a trial are made of, by readable names; each entry of the store records them.

A key is a hash, which shows that something changed but not what. `prunebench why` compares these instead. Hashes of
sources that are not in the keys are recorded as well, for the provenance of rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from prunebench.api.components import Component
from prunebench.api.tasks import Trial
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.records.sources import (
    base_versions,
    core_hashes,
    declared_version,
    keyed_hashes,
    source_files,
    source_hashes,
)
from prunebench.suite.reading import trial_to_plain
from prunebench.suite.sections.pipelines import Pipeline

Inputs = dict[str, str | int | float | bool]
NAMES = ("suite", "task.label", "method.label", "ticket_task.label", "method.ticket_of.task")
"""Of a trial's plain form what is in no key."""
DATA = "data"
PROTOCOL = "protocol version"
VERSION = " version"
BASE = " base "
STAGED = "stage method "
CORE = "prunebench/"
SOURCE = " source "
"""Stands in the name of a source file whose hash is in the keys."""
FILE = " file "
"""Stands in the name of a source file that a version speaks for."""


def inputs_of(trial: Trial, fingerprint: str) -> Inputs:
    """Parameters by their dotted names, the data's fingerprint, versions, and a hash of every source file."""
    plain = flattened(trial_to_plain(trial))
    found: Inputs = {
        PROTOCOL: PROTOCOL_VERSION,
        **{name.removeprefix("task."): value for name, value in plain.items() if name not in NAMES},
    }
    for kind, component in components(trial):
        found |= _code(kind, type(component))
    found |= _staged(trial)
    return {**found, DATA: fingerprint, **{CORE + file: hashed for file, hashed in core_hashes().items()}}


def _code(kind: str, cls: type[Component]) -> Inputs:
    """Of a component: its versions, and its files, those first that are in its keys."""
    version, keyed = declared_version(cls), keyed_hashes(cls)
    found: Inputs = {} if version is None else {kind + VERSION: version}
    found |= {f"{kind}{BASE}{name}{VERSION}": number for name, number in base_versions(cls).items()}
    found |= {f"{kind}{SOURCE}{file}": hashed for file, hashed in keyed.items()}
    others = {file: hashed for file, hashed in source_hashes(cls).items() if hashed not in keyed.values()}
    found |= {f"{kind}{FILE}{file}": hashed for file, hashed in others.items()}
    return found if version is not None or not cls.origin else {**found, f"{kind} distribution": cls.origin}


def _staged(trial: Trial) -> Inputs:
    """The versions of the methods that the stages of a method's chain name: they are in the keys, and not its own."""
    method = trial.entry.method
    try:
        named = [getattr(stage, "by", None) for stage in method.stages(trial)]
    except Exception:  # there is no chain: the plan has the reason
        return {}
    versions = {type(one).name: declared_version(type(one)) for one in named if one and type(one) is not type(method)}
    return {f"{STAGED}{name}{VERSION}": number for name, number in versions.items() if number is not None}


def in_no_key(name: str) -> bool:
    """Whether an input says only what the code was like: the versions are in the keys."""
    return name.startswith(CORE) or FILE in name


def is_of_code(name: str) -> bool:
    """Whether an input is a version, a source file, or the distribution of a plugin."""
    return in_no_key(name) or SOURCE in name or name.endswith((VERSION, " distribution"))


def sources(inputs: Mapping[str, object]) -> dict[str, str]:
    """Of the core and of each component one hash of all its source files, by `core`, `method`, `model`, `dataset`."""
    files: dict[str, list[tuple[str, str]]] = {}
    for name, hashed in inputs.items():
        mark = next((mark for mark in (SOURCE, FILE) if mark in name), "")
        kind = "core" if name.startswith(CORE) else name.partition(mark)[0] if mark else ""
        if kind:
            files.setdefault(kind, []).append((name.partition(mark)[2] if mark else name, str(hashed)))
    return {kind: _joint(some) for kind, some in files.items()}


def _joint(files: list[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()[:16]


def components(trial: Trial) -> Iterator[tuple[str, Component]]:
    """The components of a trial, with the methods that a pipeline names."""
    method = trial.entry.method
    yield "method", method
    for part in method.parts if isinstance(method, Pipeline) else ():
        yield f"method.{part.name}", part
    yield "model", trial.task.model
    yield "dataset", trial.task.dataset
    if source_files(type(trial.task.objective)):  # the core's own is what the core is
        yield "objective", trial.task.objective
    for entry in trial.measure.runtimes if trial.measure else ():
        yield f"runtime.{entry.label}", entry.runtime
    if trial.timed is not None:
        yield "timed", trial.timed.runtime


def flattened(plain: Mapping[str, object], prefix: str = "") -> Inputs:
    """Nested plain values as dotted names; lists as JSON, what is not set left out."""
    flat: Inputs = {}
    for key, value in plain.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value if isinstance(value, (str, int, float)) else json.dumps(value)
    return flat
