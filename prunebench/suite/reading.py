"""A suite from YAML, with everything that is wrong in it told at once; and from and to plain values.

The plain form of a suite is a suite as one would write it with nothing left to defaults, so both ways in are one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunebench.api.components import Dataset, Model
from prunebench.api.errors import SuiteError
from prunebench.api.methods import Method
from prunebench.api.registry import Registry
from prunebench.api.tasks import Entry, Prunable, Recipe, Suite, Task, Trial
from prunebench.suite import document, pipelines
from prunebench.suite.checking import checked, dumped
from prunebench.suite.input_models import (
    ABLATIONS,
    METHOD_KEYS,
    EntryInput,
    MethodInput,
    PipelineInput,
    SuiteInput,
    TaskInput,
)
from prunebench.suite.lookup import brief, component, name_of, named, part
from prunebench.suite.lookup import to_plain as component_to_plain
from prunebench.suite.nodes import Location, Node, SuiteErrors, kind_of, written
from prunebench.suite.overrides import apply
from prunebench.suite.pipelines import Pipeline
from prunebench.training import optimizers


def read_suite(source: str | os.PathLike[str], registry: Registry, settings: Sequence[str] = ()) -> Suite:
    """The suite in a YAML file.

    Args:
        source: the file.
        registry: where the names in it are looked up.
        settings: changes to the file, such as `seeds=1` or `tasks.recipe.epochs=2`; see `prunebench.suite.overrides`.

    Raises:
        SuiteError: every mistake in the file and the settings, one a line, with its place.
    """
    mistakes = SuiteErrors()
    root = document.read(Path(source), mistakes)
    apply(settings, root, mistakes)
    return _reported(_suite(root, registry, mistakes), mistakes)


def to_plain(suite: Suite) -> dict[str, Any]:
    """A suite as values for JSON, everything spelt out; `from_plain` gives an equal one."""
    return {
        "name": suite.name,
        "description": suite.description,
        "tasks": [_task_to_plain(task) for task in suite.tasks],
        "methods": [_entry_to_plain(entry) for entry in suite.entries],
        "sparsities": list(suite.sparsities),
        "seeds": list(suite.seeds),
        "resources": dumped(suite.resources),
    }


def from_plain(plain: Mapping[str, Any], registry: Registry) -> Suite:
    """Raises SuiteError for what `read_suite` would not have accepted, or this registry does not know."""
    mistakes = SuiteErrors()
    return _reported(_suite(Node.of(plain, Location(0, 0, 0, "suite")), registry, mistakes), mistakes)


def trial_to_plain(trial: Trial) -> dict[str, Any]:
    """One trial as values for JSON; `trial_from_plain` gives an equal one."""
    return {
        "suite": trial.suite,
        "task": _task_to_plain(trial.task),
        "method": _entry_to_plain(trial.entry),
        "sparsity": trial.sparsity,
        "seed": trial.seed,
    }


def trial_from_plain(plain: Mapping[str, Any], registry: Registry) -> Trial:
    """Raises SuiteError for what this registry does not know."""
    mistakes = SuiteErrors()
    node = Node.of(plain, Location(0, 0, 0, "trial"))
    task = _task(node.value["task"], registry, mistakes)
    entry = _entry(node.value["method"], registry, mistakes)
    mistakes.report()
    assert task is not None
    assert entry is not None
    return Trial(suite=plain["suite"], task=task, entry=entry, sparsity=float(plain["sparsity"]), seed=plain["seed"])


def task_from_plain(plain: Mapping[str, Any], registry: Registry) -> Task:
    """Raises SuiteError for what this registry does not know."""
    mistakes = SuiteErrors()
    task = _task(Node.of(plain, Location(0, 0, 0, "task")), registry, mistakes)
    mistakes.report()
    assert task is not None
    return task


def _task_to_plain(task: Task) -> dict[str, Any]:
    return {
        "label": task.label,
        "dataset": component_to_plain(task.dataset),
        "model": component_to_plain(task.model),
        "recipe": dumped(task.recipe),
        "prunable": dumped(task.prunable),
    }


def _entry_to_plain(entry: Entry) -> dict[str, Any]:
    method = entry.method
    named = {"stages": pipelines.to_plain(method)} if isinstance(method, Pipeline) else component_to_plain(method)
    ablations = {name: getattr(entry, name) for name in ABLATIONS}
    own = {} if entry.sparsities is None else {"sparsities": list(entry.sparsities)}
    return {"label": entry.label, **named, **ablations, **own}


def _reported(suite: Suite | None, mistakes: SuiteErrors) -> Suite:
    mistakes.report()
    if suite is None:
        raise SuiteError("the suite cannot be read, and no mistake was found in it: please report this")
    return suite


def _suite(root: Node, registry: Registry, mistakes: SuiteErrors) -> Suite | None:
    """The suite, if nothing is wrong with it; otherwise as many mistakes as can be told."""
    if not isinstance(root.value, dict):
        mistakes.add(root, f"must be a mapping with name, tasks, methods, sparsities and seeds, not {kind_of(root)}")
        return None
    outline = checked(SuiteInput, root, mistakes)
    before = len(mistakes)
    tasks = [_task(node, registry, mistakes) for node in root.items("tasks")]
    known = tuple(task for task in tasks if task) if len(mistakes) == before else ()
    methods = [*_unlisted_controls(root, registry), *root.items("methods")]
    entries = [_entry(node, registry, mistakes) for node in methods]
    _once(((node, _task_label(node)) for node in root.items("tasks")), mistakes)
    _once(((node, _method_label(node)) for node in methods), mistakes)
    for key in ("sparsities", "seeds"):
        _numbers_once(root.items(key), mistakes)
    for node, entry in zip(methods, entries, strict=True):
        if entry is not None:
            _check_pipeline(entry, node, known, mistakes)
    if outline is None or mistakes:
        return None
    return Suite(
        name=outline.name,
        tasks=known,
        entries=tuple(entry for entry in entries if entry),
        sparsities=outline.sparsities,
        seeds=tuple(range(outline.seeds)) if isinstance(outline.seeds, int) else outline.seeds,
        description=outline.description,
        resources=outline.resources,
    )


def _unlisted_controls(root: Node, registry: Registry) -> list[Node]:
    """The controls, which are in every suite, that this one does not list itself."""
    listed = {name_of(node) for node in root.items("methods")}
    place = root.key_place or root.place
    return [Node.of(cls.name, place, ("methods",)) for cls in registry.controls() if cls.name not in listed]


def _task(node: Node, registry: Registry, mistakes: SuiteErrors) -> Task | None:
    if not isinstance(node.value, dict):
        mistakes.add(node, f"must be a mapping with dataset, model and recipe, not {kind_of(node)}")
        return None
    checked(TaskInput, node, mistakes)
    given = {key: node.get(key) for key in ("dataset", "model")}  # what is not there is reported as missing
    dataset = part(Dataset, "dataset", given["dataset"], registry, mistakes) if given["dataset"] else None
    model = part(Model, "model", given["model"], registry, mistakes) if given["model"] else None
    recipe = _recipe(node.get("recipe"), mistakes)
    prunable = checked(Prunable, node.get("prunable") or Node({}, node.place), mistakes)
    if dataset is not None and recipe is not None:
        _check_validation(dataset, recipe, node, mistakes)
    if dataset is None or model is None or recipe is None or prunable is None:
        return None
    return Task(label=_task_label(node) or "", dataset=dataset, model=model, recipe=recipe, prunable=prunable)


def _recipe(node: Node | None, mistakes: SuiteErrors) -> Recipe | None:
    recipe = checked(Recipe, node, mistakes) if node else None
    if node and recipe:
        optimizer = node.value["optimizer"]
        for key, reason in optimizers.amiss(recipe.optimizer):
            mistakes.add(optimizer.get(key) or optimizer, reason)
    return recipe


def _check_validation(dataset: Dataset, recipe: Recipe, task: Node, mistakes: SuiteErrors) -> None:
    """Some training examples must be left; how many there are is a stranger's code."""
    try:
        examples = int(dataset.facts().train)
    except (Exception, SystemExit) as error:
        mistakes.add(task.value["dataset"], f"dataset {dataset.name!r} cannot tell its size: {brief(error)}")
        return
    if recipe.drop_last and 0 < examples - recipe.validation < recipe.batch_size:
        left = examples - recipe.validation
        message = f"drop_last leaves no batch of the {left} training examples: at most {left}, or without drop_last"
        mistakes.add(task.value["recipe"].get("batch_size") or task.value["recipe"], message)
    if 0 < examples <= recipe.validation:  # an empty set fails its task alone, when the data is prepared
        node = task.value["recipe"].get("validation") or task.value["recipe"]
        message = f"must be below {examples}, the training examples of {dataset.name!r}, not {recipe.validation}"
        mistakes.add(node, message)


def _entry(node: Node, registry: Registry, mistakes: SuiteErrors) -> Entry | None:
    stages = node.get("stages")
    if stages is not None and node.get("name") is None:
        return _pipeline(node, stages, registry, mistakes)
    given = named("method", node, mistakes)
    if given is None:
        return None
    if stages is not None:
        mistakes.add(stages, "a pipeline has stages, a method has a name: give one or the other", at_key=True)
        given = given.without(["stages"])
    outline = checked(MethodInput, given.only(METHOD_KEYS), mistakes)
    method = component(Method, "method", given, METHOD_KEYS, registry, mistakes)
    _numbers_once(given.items("sparsities"), mistakes)
    if outline is None or method is None:
        return None
    for name in (*ABLATIONS, "sparsities") if method.control else ():
        if getattr(outline, name):
            mistakes.add(given.value[name], f"{method.name!r} is the control, which is never pruned: remove this")
    return _entry_of(node, outline, method)


def _pipeline(node: Node, stages: Node, registry: Registry, mistakes: SuiteErrors) -> Entry | None:
    outline = checked(PipelineInput, node, mistakes)
    method = pipelines.pipeline(stages, registry, mistakes) if isinstance(stages.value, list) else None
    _numbers_once(node.items("sparsities"), mistakes)
    if outline is None or method is None:
        return None
    return _entry_of(node, outline, method)


def _check_pipeline(entry: Entry, node: Node, tasks: Sequence[Task], mistakes: SuiteErrors) -> None:
    """Say where a pipeline makes no sense among the tasks and sparsities of its suite."""
    if not isinstance(entry.method, Pipeline):
        return
    pipelines.check_chain(entry.method, node.items("stages"), tasks, mistakes)
    if not entry.method.has_target and len(entry.sparsities or ()) != 1:
        message = "no density is `target`, so that all sparsities would be one: give `sparsities` with that one"
        mistakes.add(node.value["stages"], message, at_key=True)


def _entry_of(node: Node, outline: EntryInput, method: Method) -> Entry:
    ablations = {name: getattr(outline, name) for name in ABLATIONS}
    return Entry(label=_method_label(node) or "", method=method, sparsities=outline.sparsities, **ablations)


def _once(labelled: Iterable[tuple[Node, str | None]], mistakes: SuiteErrors) -> None:
    seen: dict[str, Node] = {}
    for node, label in labelled:
        first = seen.setdefault(label, node) if label else node
        if first is not node:
            owner = "the control in every suite" if first.path == ("methods",) else written(first.path)
            place = node.get("label") or node
            mistakes.add(place, f"{label!r} is the label of {owner} too: give one of them a label of its own")


def _numbers_once(nodes: Sequence[Node], mistakes: SuiteErrors) -> None:
    seen = set()
    for node in nodes:
        if isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            if node.value in seen:
                mistakes.add(node, f"{node.value!r} is listed twice")
            seen.add(node.value)


def _task_label(node: Node) -> str | None:
    names = (name_of(node.get("dataset")), name_of(node.get("model")))
    return _label(node, "-".join(map(str, names)) if all(names) else None)


def _method_label(node: Node) -> str | None:
    return _label(node, name_of(node))


def _label(node: Node, default: str | None) -> str | None:
    """The label that a mapping gives, or else the default in characters that a label may have."""
    given = node.get("label")
    if given is not None and given.value is not None:
        return given.value if isinstance(given.value, str) else None
    return re.sub(r"[^A-Za-z0-9._-]", "-", default)[:100] if default else None
