"""Profiles of a suite: named sets of changes, such as a short version of it, selected by `--profile NAME`.

    profiles:
      quick: {tasks.recipe.epochs: 3, seeds: 1}

A key is a path as in `--set`, and the changes are made before those of `--set`. In a list of settings the profile is
`profile=NAME`. The key `profile` of a suite names the one that is used by default.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunebench.api.tasks import Change
from prunebench.messages.suggestions import near, shown
from prunebench.records.results import PROFILE
from prunebench.suite import document
from prunebench.suite.nodes import Location, Node, SuiteErrors, kind_of
from prunebench.suite.overrides import PROFILES, Setting, apply, profile_of, values_at

_OWN = (PROFILE, PROFILES)


def take(root: Node, settings: Sequence[str], errors: SuiteErrors) -> tuple[str, list[Change]]:
    """Apply the selected profile and the settings to the nodes of a suite, and remove the profiles from it.

    Returns:
        the name of the profile, empty if there is none, and what it changed.
    """
    if not isinstance(root.value, dict):
        return "", []
    profiles = _profiles(root, errors)
    chosen = _chosen(root, settings)
    for key in _OWN:
        root.value.pop(key, None)
    changes = [] if chosen is None else list(_apply(root, *chosen, profiles, errors))
    apply(settings, root, errors)
    return (chosen[0] if chosen else ""), changes


def _chosen(root: Node, settings: Sequence[str]) -> tuple[str, Location] | None:
    """The name of the selected profile and where it is named: the last setting, or else the key of the suite."""
    named = [(order, name) for order, one in enumerate(settings, 1) if (name := profile_of(one)) is not None]
    if named:
        order, name = named[-1]
        return (name, Location(order, 0, 0, f"--profile {name}")) if name not in ("", "null") else None
    node = root.get(PROFILE)
    if node is None or node.value is None:
        return None
    return str(node.value), node.location


def _profiles(root: Node, errors: SuiteErrors) -> Mapping[str, Node]:
    """The profiles by their names; adds an error for each that is not a mapping from paths to values."""
    node = root.get(PROFILES)
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        errors.add(node, f"must be a mapping from names of profiles to their changes, not {kind_of(node)}")
        return {}
    for one in node.value.values():
        if not isinstance(one.value, dict):
            errors.add(
                one, f"must be a mapping from paths to values, such as tasks.recipe.epochs: 3, not {kind_of(one)}"
            )
            continue
        for path, value in one.value.items():
            keys = path.split(".")
            if not all(keys) or len(keys) > document.MAX_DEPTH or keys[0] in _OWN:
                errors.add(value, f"{shown(path)} is not the path of a value, such as tasks.recipe.epochs", at_key=True)
    return node.value


def _apply(
    root: Node, name: str, where: Location, profiles: Mapping[str, Node], errors: SuiteErrors
) -> Iterator[Change]:
    if name not in profiles:
        errors.at(where, f"unknown profile {shown(name)}{near(name, list(profiles)) or '; the suite has none'}")
        return
    changes = profiles[name].value
    for path, node in changes.items() if isinstance(changes, dict) and not errors else ():
        keys, after = path.split("."), node.plain()
        before = tuple(values_at(root, keys))
        Setting(node.location, after, errors).put(root, keys)
        yield Change(path, before, after)


def names(source: str | os.PathLike[str]) -> list[str]:
    """The names of a suite's profiles. Raises SuiteError if it cannot be read."""
    errors = SuiteErrors()
    found = list(_profiles(document.read(Path(source), errors), errors))
    errors.report()
    return found


def shortened(value: Any) -> str:
    """A value of a suite on one line, in which tasks and methods are only named."""
    if isinstance(value, list):
        return f"[{', '.join(map(shortened, value))}]"
    if isinstance(value, dict) and isinstance(named := value.get("label", value.get("name")), str):
        return named
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
