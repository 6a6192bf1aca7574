"""`recipe` and `tune` of an entry of the methods: values that are validated as if the suite had them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import reduce
from math import prod
from typing import Any

from prunebench.api.errors import DataError
from prunebench.api.methods import Method
from prunebench.api.tasks import Entry, Recipe, Task, Tuning
from prunebench.messages.suggestions import near, shown
from prunebench.suite.checking import checked, dumped
from prunebench.suite.lookup import brief
from prunebench.suite.nodes import Node, SuiteErrors
from prunebench.suite.sections.pipelines import Pipeline
from prunebench.training import optimizers

RECIPE = "recipe."
TUNABLE = (
    "optimizer",
    "schedule",
    "batch_size",
    "epochs",
    "steps",
    "label_smoothing",
    "augmentation",
    "clip_norm",
)
"""The parts of a recipe that an entry may change: those that decide how a network is trained."""
SHORT = {"lr": "recipe.optimizer.lr", "weight_decay": "recipe.optimizer.weight_decay"}
"""Short names of values that are tuned most often, where the method has no parameter of the name."""
MOST_POINTS = 10_000


def with_recipe(entry: Entry, node: Node, tasks: Sequence[Task], errors: SuiteErrors) -> Entry:
    """The entry with the values of its `recipe`, each of the type that it has in a recipe.

    Args:
        tasks: of the suite, whose recipes must all be able to have these values together.
    """
    given = node.get("recipe")
    if given is None or not isinstance(given.value, dict):
        return entry
    before, recipes, found = len(errors), [task.recipe for task in tasks], []
    for name, item in given.value.items():
        path = str(name).split(".")
        if path[0] not in TUNABLE:
            hint = near(str(name), TUNABLE) or f"; it may have {', '.join(TUNABLE)}"
            errors.add(item, f"unknown value {shown(name)} of a recipe{hint}", at_key=True)
            continue
        changed = [_recipe(recipe, path, item, errors) for recipe in recipes]
        recipes = [recipe for recipe in changed if recipe is not None]
        found.append((RECIPE + str(name), reduce(getattr, path, recipes[-1]) if recipes else item.plain()))
    return entry if len(errors) > before else replace(entry, recipe=tuple(found))


def recipe_to_plain(entry: Entry) -> dict[str, Any]:
    """`recipe` as in a suite."""
    return {name.removeprefix(RECIPE): _dumped(name, value, entry.method) for name, value in entry.recipe}


def with_tuning(entry: Entry, node: Node, tasks: Sequence[Task], errors: SuiteErrors) -> Entry:
    """The entry with the space of its `tune`, whose values have the types that the suite's own would have.

    Args:
        tasks: of the suite; the values of the recipe are validated in each of them.
    """
    tune = node.get("tune")
    if tune is None or not isinstance(tune.value, dict) or not isinstance(space := tune.get("space"), Node):
        return entry
    if not isinstance(space.value, dict) or not all(isinstance(one.value, list) for one in space.value.values()):
        return entry  # reported by the validation of the mapping
    before = len(errors)
    found = [
        (full, tuple(_value(full, item, entry.method, tasks, errors) for item in values.value))
        for name, values in space.value.items()
        if (full := _full_name(name, values, entry.method, errors))
    ]
    _check_validation(tune, tasks, errors)
    if (points := prod(len(values) for _, values in found)) > MOST_POINTS:
        errors.add(space, f"has {points:,} points: at most {MOST_POINTS:,} can be drawn from", at_key=True)
    if len(errors) > before:
        return entry
    return replace(entry, tune=Tuning(trials=tune.value["trials"].value, space=tuple(found)))


def to_plain(tuning: Tuning, method: Method) -> dict[str, Any]:
    """`tune` as in a suite."""
    space = {name: [_dumped(name, value, method) for value in values] for name, values in tuning.space}
    return {"trials": tuning.trials, "space": space, "on": tuning.on}


def _dumped(name: str, value: Any, method: Method) -> Any:
    """A value as it is written."""
    if not name.startswith(RECIPE):
        return dumped(replace(method, **{name: value}))[name]
    return dumped(value) if is_dataclass(value) else list(value) if isinstance(value, tuple) else value


def _full_name(name: str, values: Node, method: Method, errors: SuiteErrors) -> str:
    """The name of a parameter of the method, or of a value of the recipe; empty, with an error, for another."""
    parameters = [] if isinstance(method, Pipeline) else [one.name for one in fields(method)]
    if name in parameters:
        return name
    full = SHORT.get(name, name)
    if full.startswith(RECIPE) and full.split(".")[1] in TUNABLE:
        return full
    known = [*parameters, *SHORT, *(RECIPE + part for part in TUNABLE)]
    hint = near(name, known) or f"; values of the recipe are named as {SHORT['lr']}"
    errors.add(values, f"unknown parameter {shown(name)}{hint}", at_key=True)
    return ""


def _value(name: str, item: Node, method: Method, tasks: Sequence[Task], errors: SuiteErrors) -> Any:
    """A value of the space with the type that it has where it belongs; an error where it cannot be there."""
    if not name.startswith(RECIPE):
        try:
            found = checked(type(method), _beside(dumped(method), [name], item), errors)
        except (Exception, SystemExit) as error:  # of the plugin's __post_init__
            errors.add(item, f"method {method.name!r} cannot have it: {brief(error)}")
            return None
        return None if found is None else getattr(found, name)
    path, typed = name.split(".")[1:], item.plain()
    for task in tasks:
        recipe = _recipe(task.recipe, path, item, errors)
        if recipe is None:
            return None
        typed = reduce(getattr, path, recipe)
    return typed


def _recipe(recipe: Recipe, path: Sequence[str], item: Node, errors: SuiteErrors) -> Recipe | None:
    """The recipe with the value; None, with an error, where it has no such value."""
    found = checked(Recipe, _beside(dumped(recipe), path, item), errors)
    for _, reason in optimizers.option_errors(found.optimizer) if found else ():
        errors.add(item, reason)
    return found


def _beside(plain: dict[str, Any], path: Sequence[str], item: Node) -> Node:
    """Plain values as nodes, with a node in place of one of them."""
    nodes = Node.of({key: value for key, value in plain.items() if value is not None}, item.location, item.path)
    head, *rest = path
    inner = plain.get(head)
    nodes.value[head] = _beside(inner if isinstance(inner, dict) else {}, rest, item) if rest else item
    return nodes


def _check_validation(tune: Node, tasks: Iterable[Task], errors: SuiteErrors) -> None:
    """Candidates are compared on examples that are held out of the training, and never on the test set."""
    for task in tasks:
        try:
            held_out = task.recipe.validation
            task.facts  # noqa: B018
        except DataError:  # the task fails, the suite does not
            continue
        if not held_out:
            message = f"chooses on validation data, and task {task.label} holds none out: set recipe.validation there"
            errors.add(tune, message, at_key=True)
