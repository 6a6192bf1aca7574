"""Reads a suite from YAML, and reports all its errors at once; converts suites to plain values and back.

The plain form of a suite is a suite in which all defaults are written out, so both are read by the same code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from prunebench.api.components import DataFacts, Dataset, Model
from prunebench.api.data_facts import AUGMENTATIONS, facts_of
from prunebench.api.errors import BrokenDataset, DataError, PrunebenchError, SuiteError
from prunebench.api.files import Weights
from prunebench.api.methods import Method
from prunebench.api.objectives import Classification
from prunebench.api.registry import Registry
from prunebench.api.tasks import Entry, Prunable, Recipe, Suite, Task, Trial
from prunebench.isolation.calls import NoAnswer, call_in_child
from prunebench.suite import document, profiles
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
from prunebench.suite.lookup import component, name_of, named, part
from prunebench.suite.lookup import to_plain as component_to_plain
from prunebench.suite.nodes import Location, Node, SuiteErrors, kind_of, written
from prunebench.suite.sections import objectives, pipelines, reductions, runtimes, transfers, tuning
from prunebench.suite.sections.pipelines import Pipeline
from prunebench.training import optimizers

PATIENCE = 60.0
"""Seconds in which a data set must say its sizes and shapes."""


def read_suite(source: str | os.PathLike[str], registry: Registry, settings: Sequence[str] = ()) -> Suite:
    """The suite in a YAML file.

    Args:
        source: path of the file, or the name of a shipped suite.
        registry: where the names in it are looked up.
        settings: changes to the file, such as `seeds=1` or `tasks.recipe.epochs=2`; see `prunebench.suite.overrides`.

    Raises:
        SuiteError: all errors in the file and the settings, one on each line, with their locations.
    """
    errors = SuiteErrors()
    root = document.read(Path(source), errors)
    profile, changes = profiles.take(root, settings, errors)
    suite = _reported(_suite(root, registry, errors), errors)
    return replace(suite, profile=profile, changes=tuple(changes))


def listed_methods(source: str | os.PathLike[str], settings: Sequence[str] = ()) -> list[str | None]:
    """The labels of the methods that a suite file lists, in its order. Raises SuiteError as `read_suite` does."""
    errors = SuiteErrors()
    root = document.read(Path(source), errors)
    profiles.take(root, settings, errors)
    errors.report()
    return [_method_label(node) for node in root.items("methods")]


def to_plain(suite: Suite) -> dict[str, Any]:
    """A suite as values for JSON, with all defaults; `from_plain` returns an equal suite."""
    return {
        "name": suite.name,
        "description": suite.description,
        "tasks": [_task_to_plain(task) for task in suite.tasks],
        "methods": [_entry_to_plain(entry) for entry in suite.entries],
        "sparsities": list(suite.sparsities),
        "seeds": list(suite.seeds),
        "resources": dumped(suite.resources),
        **runtimes.to_plain(suite.measure),
        **reductions.to_plain(suite.reductions),
    }


def from_plain(plain: Mapping[str, Any], registry: Registry) -> Suite:
    """The suite of plain values. Raises SuiteError as `read_suite` does."""
    errors = SuiteErrors()
    return _reported(_suite(Node.of(plain, Location(0, 0, 0, "suite")), registry, errors), errors)


def trial_to_plain(trial: Trial) -> dict[str, Any]:
    """A trial as values for JSON; `trial_from_plain` returns an equal trial."""
    return {
        "suite": trial.suite,
        "task": _task_to_plain(trial.task),
        "method": _entry_to_plain(trial.entry),
        "sparsity": trial.sparsity,
        **({} if trial.unit == "weights" else {"unit": trial.unit}),
        **({} if trial.timed is None else {"timed": reductions.timed_to_plain(trial.timed)}),
        "seed": trial.seed,
        **runtimes.to_plain(trial.measure),
        **({} if trial.entry.ticket_of is None else {"ticket_task": _task_to_plain(trial.entry.ticket_of.task)}),
    }


def trial_from_plain(plain: Mapping[str, Any], registry: Registry) -> Trial:
    """The trial of plain values. Raises SuiteError for components that are not in the registry."""
    errors = SuiteErrors()
    node = Node.of(plain, Location(0, 0, 0, "trial"))
    task = _task(node.value["task"], registry, errors)
    other = _task(node.value["ticket_task"], registry, errors) if "ticket_task" in plain else None
    entry = _entry(node.value["method"], registry, errors)
    measure = runtimes.from_plain(plain, registry, errors)
    timed = reductions.timed_from_plain(plain.get("timed"), registry, errors)
    errors.report()
    assert task is not None
    assert entry is not None
    entry = _completed(entry, node.value["method"], [task, *filter(None, [other])], errors)
    errors.report()
    return Trial(
        suite=plain["suite"],
        task=task,
        entry=entry,
        sparsity=float(plain["sparsity"]),
        seed=plain["seed"],
        measure=measure,
        unit=plain.get("unit", "weights"),
        timed=timed,
    )


def task_from_plain(plain: Mapping[str, Any], registry: Registry) -> Task:
    """The task of plain values. Raises SuiteError for components that are not in the registry."""
    errors = SuiteErrors()
    task = _task(Node.of(plain, Location(0, 0, 0, "task")), registry, errors)
    errors.report()
    assert task is not None
    return task


def _task_to_plain(task: Task) -> dict[str, Any]:
    """As in keys, the objective is left out where it is that of results from before there were objectives."""
    objective = {} if task.objective == Classification() else {"objective": component_to_plain(task.objective)}
    return {
        "label": task.label,
        "dataset": component_to_plain(task.dataset),
        "model": component_to_plain(task.model),
        **objective,
        "recipe": _recipe_to_plain(task.recipe),
        "prunable": dumped(task.prunable),
        **({} if task.weights is None else {"weights": dumped(task.weights)}),
    }


def _recipe_to_plain(recipe: Recipe) -> dict[str, Any]:
    """Without the engine where it is that of results from before there were engines."""
    plain: dict[str, Any] = dumped(recipe)
    return (
        plain if recipe.engine != Recipe.engine else {name: value for name, value in plain.items() if name != "engine"}
    )


def _entry_to_plain(entry: Entry) -> dict[str, Any]:
    method = entry.method
    named = {"stages": pipelines.to_plain(method)} if isinstance(method, Pipeline) else component_to_plain(method)
    ablations = {name: getattr(entry, name) for name in ABLATIONS}
    own = {} if entry.sparsities is None else {"sparsities": list(entry.sparsities)}
    distilled = {} if entry.distillation is None else {"distillation": dumped(entry.distillation)}
    transferred = transfers.to_plain(entry.ticket_of)
    tuned = {} if entry.tune is None else {"tune": tuning.to_plain(entry.tune, method)}
    trained = {"recipe": tuning.recipe_to_plain(entry)} if entry.recipe else {}
    return {"label": entry.label, **named, **ablations, **distilled, **tuned, **trained, **transferred, **own}


def _reported(suite: Suite | None, errors: SuiteErrors) -> Suite:
    errors.report()
    if suite is None:
        raise SuiteError("the suite cannot be read, but no error was found in it: please report this")
    return suite


def _suite(root: Node, registry: Registry, errors: SuiteErrors) -> Suite | None:
    """The suite; or None, with as many errors as can be found."""
    if not isinstance(root.value, dict):
        errors.add(root, f"must be a mapping with name, tasks, methods, sparsities and seeds, not {kind_of(root)}")
        return None
    values = checked(SuiteInput, root, errors)
    before = len(errors)
    tasks = [_task(node, registry, errors, in_child=True) for node in root.items("tasks")]
    known = tuple(task for task in tasks if task) if len(errors) == before else ()
    given = any(task.has_all_weights for task in tasks if task)
    methods = [*_unlisted_controls(root, registry, given), *root.items("methods")]
    entries = [_entry(node, registry, errors) for node in methods]
    _once(((node, _task_label(node)) for node in root.items("tasks")), errors)
    _once(((node, _method_label(node)) for node in methods), errors)
    measure = runtimes.measurement(root, registry, errors)
    for key in ("sparsities", "seeds"):
        _numbers_once(root.items(key), errors)
    if (reduced := root.get("reductions")) is not None:
        _numbers_once(reduced.items("of"), errors)
    targets = reductions.targets(reduced, values.reductions if values else None, registry, errors)
    for node, entry in zip(methods, entries, strict=True):
        if entry is not None:
            _check_pipeline(entry, node, known, errors)
            reductions.check_pipeline(entry, node, targets, errors)
            _check_given(entry, node, known, errors)
    entries = [entry and _completed(entry, node, known, errors) for node, entry in zip(methods, entries, strict=True)]
    if values is None or errors:
        return None
    return Suite(
        name=values.name,
        tasks=known,
        entries=tuple(entry for entry in entries if entry),
        sparsities=values.sparsities,
        seeds=tuple(range(values.seeds)) if isinstance(values.seeds, int) else values.seeds,
        description=values.description,
        resources=values.resources,
        measure=measure,
        reductions=targets,
    )


def _unlisted_controls(root: Node, registry: Registry, given: bool) -> list[Node]:
    """The controls that the suite does not list; every suite has them.

    Args:
        given: whether a task has a network that is given.
    """
    listed = {name_of(node) for node in root.items("methods")}
    location = root.key_location or root.location
    controls = [cls for cls in registry.controls() if given or not cls.as_given]
    return [Node.of(cls.name, location, ("methods",)) for cls in controls if cls.name not in listed]


def _task(node: Node, registry: Registry, errors: SuiteErrors, in_child: bool = False) -> Task | None:
    """The task; or None, and its errors.

    Args:
        in_child: call the code of data sets of other distributions and of loose files in a child process.
    """
    if not isinstance(node.value, dict):
        errors.add(node, f"must be a mapping with dataset, model and recipe, not {kind_of(node)}")
        return None
    checked(TaskInput, node, errors)
    nodes = {key: node.get(key) for key in ("dataset", "model", "objective")}  # a missing key is reported above
    dataset = part(Dataset, "dataset", nodes["dataset"], registry, errors) if nodes["dataset"] else None
    model = part(Model, "model", nodes["model"], registry, errors) if nodes["model"] else None
    recipe = _recipe(node.get("recipe"), errors)
    prunable = checked(Prunable, node.get("prunable") or Node({}, node.location), errors)
    before = len(errors)
    weights = _weights(node.get("weights"), errors)
    if len(errors) > before:
        return None
    facts = None if dataset is None else _facts(dataset, in_child and registry.is_foreign(type(dataset)))
    objective = objectives.named_or_default(nodes["objective"], facts, registry, node, errors)
    if dataset is not None and isinstance(facts, DataFacts) and recipe is not None:
        _check_validation(dataset, facts, recipe, node, errors)
    if dataset is None or facts is None or model is None or objective is None or recipe is None or prunable is None:
        return None
    label = _task_label(node) or ""
    task = Task(
        label=label,
        dataset=dataset,
        model=model,
        objective=objective,
        recipe=recipe,
        prunable=prunable,
        weights=weights,
    ).with_facts(facts)
    objectives.check(task, node, errors)
    _check_augmentation(task, node, errors)
    own = type(model).starting_weights is not Model.starting_weights and weights is None and not errors
    return _with_own_weights(task, nodes["model"] or node, errors) if own else task


def _with_own_weights(task: Task, node: Node, errors: SuiteErrors) -> Task:
    """The task with the file that its model starts from by itself, if there is one."""
    try:
        weights = task.model.starting_weights(task.interface)
    except DataError:  # the task fails, the suite does not
        return task
    except (ValueError, PrunebenchError) as error:
        errors.add(node, str(error))
        return task
    return task if weights is None else replace(task, weights=weights).with_facts(task.facts)


def _weights(node: Node | None, errors: SuiteErrors) -> Weights | None:
    """What trials start from: a path alone, or a mapping."""
    if node is None or node.value is None:
        return None
    if isinstance(node.value, str):
        node = replace(node, value={"file": node})
    return checked(Weights, node, errors)


def _recipe(node: Node | None, errors: SuiteErrors) -> Recipe | None:
    recipe = checked(Recipe, node, errors) if node else None
    if node and recipe:
        optimizer = node.value["optimizer"]
        for key, reason in optimizers.option_errors(recipe.optimizer):
            errors.add(optimizer.get(key) or optimizer, reason)
    return recipe


def _check_augmentation(task: Task, node: Node, errors: SuiteErrors) -> None:
    """Each augmentation is for one kind of inputs."""
    try:
        inputs = task.facts.every_input
    except DataError:  # the task fails, the suite does not
        return
    allowed = AUGMENTATIONS[inputs[0].kind] if len(inputs) == 1 else ()
    at = node.value["recipe"].get("augmentation")
    for name in task.recipe.augmentation:
        if name not in allowed and at is not None:
            kinds = " and ".join(kind for kind, names in AUGMENTATIONS.items() if name in names)
            given = " and ".join(dict.fromkeys(one.kind for one in inputs))
            errors.add(at, f"{name!r} is for one input of {kinds}, and the inputs of {task.dataset.name!r} are {given}")


def _facts(dataset: Dataset, in_child: bool) -> DataFacts | DataError:
    """The facts of a data set, or why there are none: then its tasks fail, and the suite does not."""
    try:
        return call_in_child(partial(facts_of, dataset), PATIENCE) if in_child else facts_of(dataset)
    except DataError as error:
        return error
    except NoAnswer as reason:
        return BrokenDataset(f"data set {dataset.name!r}: `facts`: {reason}")


def _check_validation(dataset: Dataset, facts: DataFacts, recipe: Recipe, task: Node, errors: SuiteErrors) -> None:
    """Some training examples must be left, and a running text is not drawn from."""
    node, examples = task.value["recipe"], facts.train
    if recipe.validation_draw == "seed" and facts.every_input[0].kind == "text":
        message = f"the validation examples of a running text, as in {dataset.name!r}, are its end for every seed"
        errors.add(node.get("validation_draw") or node, message)
    left = examples - recipe.validation
    if recipe.drop_last and 0 < left < recipe.batch_size:
        message = f"drop_last leaves no batch of the {left} training examples: at most {left}, or without drop_last"
        errors.add(node.get("batch_size") or node, message)
    if left <= 0:
        message = f"must be below {examples}, the training examples of {dataset.name!r}, not {recipe.validation}"
        errors.add(node.get("validation") or node, message)


def _entry(node: Node, registry: Registry, errors: SuiteErrors) -> Entry | None:
    stages = node.get("stages")
    if stages is not None and node.get("name") is None:
        return _pipeline(node, stages, registry, errors)
    mapping = named("method", node, errors)
    if mapping is None:
        return None
    if stages is not None:
        errors.add(stages, "a pipeline has stages, a method has a name: give one or the other", at_key=True)
        mapping = mapping.without(["stages"])
    values = checked(MethodInput, mapping.only(METHOD_KEYS), errors)
    method = component(Method, "method", mapping, METHOD_KEYS, registry, errors)
    _numbers_once(mapping.items("sparsities"), errors)
    if values is None or method is None:
        return None
    for name in (*ABLATIONS, "distillation", "tune", "recipe", "ticket_of", "sparsities") if method.control else ():
        if getattr(values, name):
            errors.add(mapping.value[name], f"{method.name!r} is the control, which is not pruned: remove this")
    return _entry_of(node, values, method)


def _pipeline(node: Node, stages: Node, registry: Registry, errors: SuiteErrors) -> Entry | None:
    values = checked(PipelineInput, node, errors)
    method = pipelines.pipeline(stages, registry, errors) if isinstance(stages.value, list) else None
    _numbers_once(node.items("sparsities"), errors)
    if values is None or method is None:
        return None
    return _entry_of(node, values, method)


def _check_pipeline(entry: Entry, node: Node, tasks: Sequence[Task], errors: SuiteErrors) -> None:
    """Add errors of a pipeline that depend on the tasks and sparsities of its suite."""
    if not isinstance(entry.method, Pipeline):
        return
    pipelines.check_chain(entry.method, node.items("stages"), tasks, errors)
    if not entry.method.has_target and len(entry.sparsities or ()) != 1:
        message = (
            "no density is `target`, so all sparsities would be the same: give `sparsities` with this one sparsity"
        )
        errors.add(node.value["stages"], message, at_key=True)


def _check_given(entry: Entry, node: Node, tasks: Sequence[Task], errors: SuiteErrors) -> None:
    """Add an error for a network as it is given where no task has one."""
    if entry.method.as_given and tasks and not any(task.has_all_weights for task in tasks):
        errors.add(
            node,
            f"{entry.method.name!r} is the network in a task's file of weights, and no task here starts from a file "
            "that has all of them: remove this",
        )


def _completed(entry: Entry, node: Node, tasks: Sequence[Task], errors: SuiteErrors) -> Entry:
    """The entry with the keys that depend on the tasks of its suite."""
    for added in (tuning.with_recipe, tuning.with_tuning, transfers.with_transfer):
        entry = added(entry, node, tasks, errors)
    return entry


def _entry_of(node: Node, values: EntryInput, method: Method) -> Entry:
    ablations = {name: getattr(values, name) for name in ABLATIONS}
    own = {"distillation": values.distillation, "sparsities": values.sparsities}
    return Entry(label=_method_label(node) or "", method=method, **own, **ablations)  # type: ignore[arg-type]


def _once(labelled: Iterable[tuple[Node, str | None]], errors: SuiteErrors) -> None:
    seen: dict[str, Node] = {}
    for node, label in labelled:
        first = seen.setdefault(label, node) if label else node
        if first is not node:
            owner = "the control in every suite" if first.path == ("methods",) else written(first.path)
            location = node.get("label") or node
            errors.add(location, f"{label!r} is also the label of {owner}: give one of them another label")


def _numbers_once(nodes: Sequence[Node], errors: SuiteErrors) -> None:
    seen = set()
    for node in nodes:
        if isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            if node.value in seen:
                errors.add(node, f"{node.value!r} is listed twice")
            seen.add(node.value)


def _task_label(node: Node) -> str | None:
    names = (name_of(node.get("dataset")), name_of(node.get("model")))
    return _label(node, "-".join(map(str, names)) if all(names) else None)


def _method_label(node: Node) -> str | None:
    return _label(node, name_of(node))


def _label(node: Node, default: str | None) -> str | None:
    """The label of a mapping, or else the default with invalid characters replaced."""
    label = node.get("label")
    if label is not None and label.value is not None:
        return label.value if isinstance(label.value, str) else None
    return re.sub(r"[^A-Za-z0-9._-]", "-", default)[:100] if default else None
