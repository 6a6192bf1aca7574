"""JSON schema of a suite from the annotations, for editors and for the messages of `prunebench.suite.checking`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prunebench.api.components import Component
from prunebench.api.files import Weights
from prunebench.api.registry import Kind, Registry
from prunebench.api.tasks import Prunable, Recipe
from prunebench.suite.annotations import schema_of
from prunebench.suite.input_models import (
    LABEL,
    ComponentInput,
    MethodInput,
    PipelineInput,
    RuntimeInput,
    SuiteInput,
    TaskInput,
    method_keys,
    stage_classes,
    stage_input,
)

if TYPE_CHECKING:
    pass

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def suite_schema(registry: Registry | None = None) -> dict[str, Any]:
    """The schema of a suite's YAML.

    Args:
        registry: its methods, models and data sets are included with their parameters; without one any name
            and any parameters are allowed, and no plugin is imported.
    """
    suite, task = schema_of(SuiteInput), schema_of(TaskInput)
    for schema, label in ((suite, "name"), (task, "label")):
        _named(schema["properties"][label])
    task["properties"] |= {
        "dataset": _component("dataset", registry),
        "model": _component("model", registry),
        "objective": _component("objective", registry) | task["properties"]["objective"],
        "recipe": schema_of(Recipe),
        "prunable": schema_of(Prunable),
        "weights": {"anyOf": [{"type": "string", "format": "path"}, schema_of(Weights)]}
        | task["properties"]["weights"],
    }
    keys = suite["properties"]
    keys["tasks"]["items"] = task
    keys["methods"]["items"] = _component("method", registry, MethodInput)
    keys["runtimes"]["items"] = _component("runtime", registry, RuntimeInput)
    keys["methods"]["items"]["anyOf"].append(_pipeline(registry))
    (reductions,) = (one for one in keys["reductions"]["anyOf"] if one.get("type") != "null")
    reductions["properties"]["runtime"] = _component("runtime", registry)
    for distinct in (keys["sparsities"], keys["seeds"]["anyOf"][1]):
        distinct["uniqueItems"] = True
    return {"$schema": DIALECT, "title": "prunebench suite", **suite}


def _named(schema: dict[str, Any]) -> None:
    """Add the pattern of labels, which pydantic cannot derive from a predicate."""
    text = next((branch for branch in schema.get("anyOf", ()) if branch.get("type") == "string"), schema)
    text["pattern"] = f"^{LABEL}$"


def _component(kind: Kind, registry: Registry | None, beside: type[ComponentInput] = ComponentInput) -> dict[str, Any]:
    """A name alone, or a mapping with a name; with a registry one mapping for each component.

    Args:
        beside: keys of such a mapping besides the component's parameters.
    """
    if registry is None:
        return {"anyOf": [{"type": "string"}, _input_schema(beside) | {"additionalProperties": True}]}
    classes = [registry.components[kind][name] for name in registry.names(kind)]
    alone = [_name(cls, alone=True) for cls in classes if not _required(cls)]
    return {"anyOf": [{"type": "string", "anyOf": alone}, *(_with_parameters(beside, cls) for cls in classes)]}


def _input_schema(cls: type[Any]) -> dict[str, Any]:
    schema = schema_of(cls)
    if "label" in schema["properties"]:
        _named(schema["properties"]["label"])
    for branch in schema["properties"].get("sparsities", {}).get("anyOf", ()):
        if branch.get("type") == "array":
            branch["uniqueItems"] = True
    return schema


def _pipeline(registry: Registry | None) -> dict[str, Any]:
    """The schema of a pipeline."""
    schema = _input_schema(PipelineInput)
    stages = {name: _stage(name, registry) for name in sorted(stage_classes())}
    alone = [name for name, keys in stages.items() if not keys.get("required")]
    schema["properties"]["stages"]["items"] = {
        "anyOf": [
            {"type": "string", "enum": alone},
            *(
                {"type": "object", "properties": {name: keys}, "required": [name], "additionalProperties": False}
                for name, keys in stages.items()
            ),
        ]
    }
    return schema


def _stage(name: str, registry: Registry | None) -> dict[str, Any]:
    schema = schema_of(stage_input(name))
    for key, optional in method_keys(name).items():
        method = _component("method", registry)
        schema["properties"][key] |= {"anyOf": [*method["anyOf"], *([{"type": "null"}] if optional else [])]}
    return schema


def _with_parameters(beside: type[ComponentInput], cls: type[Component]) -> dict[str, Any]:
    """The schema of a component's mapping with its parameters."""
    schema, own = _input_schema(beside), _own(cls)
    keys = {**own.get("properties", {}), **schema["properties"], "name": _name(cls)}
    if cls.presets:
        keys["preset"] |= {"enum": sorted(cls.presets)}
    else:
        del keys["preset"]
    return {
        "type": "object",
        "description": own.get("description", ""),
        "properties": keys,
        "required": ["name"] if cls.presets else ["name", *_required(cls)],
        "additionalProperties": not own,  # the schema of its parameters is unknown
    }


def _own(cls: type[Component]) -> dict[str, Any]:
    """The schema of a component's parameters; empty if its annotations cannot be read."""
    try:
        return schema_of(cls)
    except Exception:  # a plugin's class, which `prunebench.suite.lookup` reports if a suite names it
        return {}


def _required(cls: type[Component]) -> list[str]:
    return [name for name in _own(cls).get("required", ()) if name != cls.variant]


def _name(cls: type[Component], alone: bool = False) -> dict[str, Any]:
    if not cls.variant:
        return {"const": cls.name}
    must = alone and cls.variant in _own(cls).get("required", ())
    return {"type": "string", "pattern": f"^{re.escape(cls.name)}(/.+){'' if must else '?'}$"}
