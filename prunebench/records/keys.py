"""Content keys: hashes of canonical JSON, which identify work independently of where and when it is done.

Keys contain the version of the core and of each component instead of their code. For a component that declares no
version they contain the hash of its source, so that an edit of its file changes the keys of its stages and no others.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from typing import Any

from prunebench.api.components import Component
from prunebench.api.versions import as_before
from prunebench.records.sources import base_versions, declared_version, joint_hash, unversioned_modules


def canonical(value: Any) -> Any:
    """The plain form of a value in keys: dataclasses as their fields, components with their version."""
    if isinstance(value, Component):
        return {"name": value.name, **code_of(type(value)), "parameters": field_values(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": _kind(type(value)), **field_values(value)}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, dict):
        return {str(key): canonical(item) for key, item in value.items()}
    return value


def _kind(cls: type) -> str:
    """Name of a dataclass in keys; a renamed class keeps its old name by `__key_name__ = "OldName"`."""
    return str(vars(cls).get("__key_name__", cls.__name__))


def field_values(value: Any) -> dict[str, Any]:
    """The canonical values of a dataclass's fields, by name.

    Fields that are not compared, such as the path of a file, are omitted. So are fields that were added later, if their
    value gives the behaviour from before (see `prunebench.api.versions.added_later`).
    """
    found = ((one, getattr(value, one.name)) for one in fields(value) if one.compare)
    return {one.name: canonical(item) for one, item in found if not as_before(one, item)}


def digest(*parts: Any) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of the parts' canonical JSON."""
    text = json.dumps(canonical(parts), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def canonical_digest(value: Hashable) -> str:
    """`digest` of a frozen value, computed once: thousands of trials share a few hundred stages."""
    return digest(value)


def code_of(cls: type[Component]) -> dict[str, Any]:
    """The part of a key that represents the code of a component.

    `version` is the version that the class declares; `source` is the hash of the source of classes without one; `bases`
    has the versions of its base classes in other packages. Classes of the core have the protocol version.
    """
    found: dict[str, Any] = {}
    own = declared_version(cls)
    if own is not None:
        found["version"] = own
    if modules := unversioned_modules(cls):
        found["source"] = joint_hash(modules)
        if own is None and cls.origin:
            found["origin"] = cls.origin
    if bases := base_versions(cls):
        found["bases"] = bases
    return found
