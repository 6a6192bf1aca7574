"""Components as a suite names them: by a name, perhaps with a preset and parameters."""

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


def named(kind: Kind, node: Node, mistakes: SuiteErrors) -> Node | None:
    """The mapping that names a component; one that is given by its name alone becomes the mapping it stands for."""
    if isinstance(node.value, str):
        return replace(node, value={"name": node})
    if isinstance(node.value, dict):
        return node
    mistakes.add(node, f"must be the name of a {kind}, or a mapping with a name, not {kind_of(node)}")
    return None


def name_of(node: Node | None) -> str | None:
    """The name that a component is given by, as it is written."""
    name = node.get("name") if node is not None and isinstance(node.value, dict) else node
    return name.value if name is not None and isinstance(name.value, str) else None


def component(
    base: type[C], kind: Kind, node: Node, keys: Sequence[str], registry: Registry, mistakes: SuiteErrors
) -> C | None:
    """The component that a mapping names; or None, and a mistake for everything that is wrong with it.

    Args:
        keys: of the mapping that are not the component's parameters.
    """
    name = node.value.get("name")
    if name is None or not isinstance(name.value, str):  # reported with the outline
        return None
    try:
        cls, implied = registry.find(kind, name.value)
    except PluginError as error:
        mistakes.add(name, str(error))
        return None
    parameters = {**_preset(cls, node, mistakes), **_implied(implied, node, mistakes), **node.without(keys).value}
    try:
        _refuse_ambiguous(cls, keys)
        found = checked(cls, replace(node, value=parameters), mistakes, beside=keys)
    except Exception as error:  # a stranger's annotations, or __post_init__
        mistakes.add(name, f"{kind} {name.value!r} cannot be used: {brief(error)}")
        return None
    return found if isinstance(found, base) else None


def part(base: type[C], kind: Kind, node: Node, registry: Registry, mistakes: SuiteErrors) -> C | None:
    """A component with nothing beside its parameters: the data set or the model of a task, the method of a stage."""
    given = named(kind, node, mistakes)
    if given is None:
        return None
    checked(ComponentInput, given.only(COMPONENT_KEYS), mistakes)
    return component(base, kind, given, COMPONENT_KEYS, registry, mistakes)


def to_plain(component: Component) -> dict[str, Any]:
    """What a component is named by, with all its parameters spelt out."""
    return {"name": component.name, **dumped(component)}


def _preset(cls: type[Component], node: Node, mistakes: SuiteErrors) -> dict[str, Node]:
    """The parameters of the preset that a mapping names."""
    preset = node.get("preset")
    if preset is None or not isinstance(preset.value, str):
        return {}
    if preset.value not in cls.presets:
        hint = near(preset.value, sorted(cls.presets)) or f"; {cls.name!r} has none"
        mistakes.add(preset, f"unknown preset {shown(preset.value)}{hint}")
        return {}
    values = cls.presets[preset.value].values
    return {key: Node.of(value, preset.place, (*preset.path, key)) for key, value in values.items()}


def _implied(implied: dict[str, str], node: Node, mistakes: SuiteErrors) -> dict[str, Node]:
    """The parameters that a name itself gives, such as `timm/resnet18`."""
    name = node.value["name"]
    for key in implied.keys() & node.value.keys():
        mistakes.add(node.value[key], f"the name {shown(name.value)} gives this already", at_key=True)
    return {key: Node.of(text, name.place, name.path) for key, text in implied.items()}


def _refuse_ambiguous(cls: type[Component], keys: Sequence[str]) -> None:
    for name in sorted({one.name for one in fields(cls)} & set(keys)):
        raise TypeError(f"its parameter {name!r} has the name of a key that every suite has beside the parameters")


def brief(error: BaseException) -> str:
    """What a stranger's code raised, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
