"""Content keys: what a piece of work is, never where, when or by whom it was done.

A key hashes canonical JSON. Code enters it by versions: the core's, and that of each component. A component that
declares no version enters with the hash of its source, so that an edit of its file makes other keys for its stages,
and for no others.
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
    """The plain value that stands for `value` in a key: dataclasses by their fields, components with their version."""
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
    """A dataclass's name in keys: a class that is renamed keeps it by `__key_name__ = "OldName"`."""
    return str(vars(cls).get("__key_name__", cls.__name__))


def field_values(value: Any) -> dict[str, Any]:
    """The canonical values of a dataclass's fields, by name.

    What makes no two values unequal, such as where a file lies, makes no two keys either; and a field that was added
    later is left out where it means what was computed before (see `prunebench.api.versions.added_later`).
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
    """What stands for the code of a component in a key.

    `version` is the class's own, if it declares one; `source` the hash of the source of what declares none; `bases`
    the versions of the classes of other packages that it builds on. The core's classes are of the protocol's version.
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
