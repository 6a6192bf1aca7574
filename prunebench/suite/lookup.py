"""Components in a suite: a name, with an optional preset and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from prunebench.api.components import Component
from prunebench.api.errors import PluginError
from prunebench.api.registry import Kind, Registry
from prunebench.messages.suggestions import near, shown
from prunebench.suite.checking import checked, dumped
from prunebench.suite.input_models import COMPONENT_KEYS, ComponentInput
from prunebench.suite.nodes import Node, SuiteErrors, kind_of

C = TypeVar("C", bound=Component)


def named(kind: Kind, node: Node, errors: SuiteErrors) -> Node | None:
    """The mapping of a component; a name becomes a mapping with this name."""
    if isinstance(node.value, str):
        return replace(node, value={"name": node})
    if isinstance(node.value, dict):
        return node
    errors.add(node, f"must be the name of a {kind}, or a mapping with a name, not {kind_of(node)}")
    return None


def name_of(node: Node | None) -> str | None:
    """The name of a component, as written in the suite."""
    name = node.get("name") if node is not None and isinstance(node.value, dict) else node
    return name.value if name is not None and isinstance(name.value, str) else None


def component(
    base: type[C], kind: Kind, node: Node, keys: Sequence[str], registry: Registry, errors: SuiteErrors
) -> C | None:
    """The component of a mapping; or None, with errors.

    Args:
        keys: keys of the mapping that are not parameters of the component.
    """
    name = node.value.get("name")
    if name is None or not isinstance(name.value, str):  # reported by the validation of the mapping
        return None
    try:
        cls, implied = registry.find(kind, name.value)
    except PluginError as error:
        errors.add(name, str(error))
        return None
    parameters = {**_preset(cls, node, errors), **_implied(implied, node, errors), **node.without(keys).value}
    try:
        _refuse_ambiguous(cls, keys)
        found = checked(cls, replace(node, value=parameters), errors, beside=keys)
    except (Exception, SystemExit) as error:  # of the plugin's annotations or __post_init__
        errors.add(name, f"{kind} {name.value!r} cannot be used: {brief(error)}")
        return None
    return found if isinstance(found, base) else None


def part(base: type[C], kind: Kind, node: Node, registry: Registry, errors: SuiteErrors) -> C | None:
    """A component without other keys: the data set or the model of a task, the method of a stage."""
    mapping = named(kind, node, errors)
    if mapping is None:
        return None
    checked(ComponentInput, mapping.only(COMPONENT_KEYS), errors)
    return component(base, kind, mapping, COMPONENT_KEYS, registry, errors)


def to_plain(component: Component) -> dict[str, Any]:
    """The mapping of a component with all parameters."""
    return {"name": component.name, **dumped(component)}


def _preset(cls: type[Component], node: Node, errors: SuiteErrors) -> dict[str, Node]:
    """The parameters of the preset in a mapping."""
    preset = node.get("preset")
    if preset is None or not isinstance(preset.value, str):
        return {}
    if preset.value not in cls.presets:
        hint = near(preset.value, sorted(cls.presets)) or f"; {cls.name!r} has none"
        errors.add(preset, f"unknown preset {shown(preset.value)}{hint}")
        return {}
    values = cls.presets[preset.value].values
    return {key: Node.of(value, preset.location, (*preset.path, key)) for key, value in values.items()}


def _implied(implied: dict[str, str], node: Node, errors: SuiteErrors) -> dict[str, Node]:
    """The parameters in the name itself, as in `timm/resnet18`."""
    name = node.value["name"]
    for key in implied.keys() & node.value.keys():
        errors.add(node.value[key], f"the name {shown(name.value)} already sets this", at_key=True)
    return {key: Node.of(text, name.location, name.path) for key, text in implied.items()}


def _refuse_ambiguous(cls: type[Component], keys: Sequence[str]) -> None:
    for name in sorted({one.name for one in fields(cls)} & set(keys)):
        raise TypeError(f"its parameter {name!r} has the name of a key that suites already use")


def brief(error: BaseException) -> str:
    """An error of a plugin's code, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
