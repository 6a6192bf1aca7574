"""The objective of a task in a suite, which is named there or the default for its data."""

from __future__ import annotations

from prunebench.api.components import DataFacts
from prunebench.api.errors import DataError
from prunebench.api.objectives import Classification, Objective
from prunebench.api.registry import Registry
from prunebench.api.tasks import Task
from prunebench.records.results import METRICS
from prunebench.suite.lookup import brief, part
from prunebench.suite.nodes import Node, SuiteErrors


def named_or_default(
    node: Node | None, facts: DataFacts | DataError | None, registry: Registry, task: Node, errors: SuiteErrors
) -> Objective | None:
    """The objective that a task names, or the default one for the targets of its data."""
    if node is not None and node.value is not None:
        return part(Objective, "objective", node, registry, errors)
    if facts is None:
        return None
    if isinstance(facts, DataError):  # the task fails, the suite does not
        return Classification()
    targets = facts.targets
    if targets in Classification.default_for:
        return Classification()
    found = registry.default_objectives(targets)
    if len(found) == 1:
        return found[0]()
    names = ", ".join(repr(cls.name) for cls in found) or "none"
    errors.add(task, f"needs an `objective` for targets that are {targets}; the default ones are {names}")
    return None


def check(task: Task, node: Node, errors: SuiteErrors) -> None:
    """Check that the objective supports the data, and label smoothing if the recipe uses it."""
    if task.recipe.label_smoothing and not task.objective.smooths:
        where = node.value["recipe"].get("label_smoothing") or node.value["recipe"]
        errors.add(where, f"objective {task.objective.name!r} does not support label smoothing")
    where = node.get("objective") or node.value["dataset"]
    if task.dataset.made_for not in ("", task.objective.name):
        name = task.dataset.made_for
        errors.add(
            where, f"data set {task.dataset.name!r} needs the objective {name!r}, and not {task.objective.name!r}"
        )
        return
    try:
        task.objective.check(task.facts)
        _check_metrics(task)
    except DataError:  # the task fails, the suite does not
        return
    except ValueError as error:
        errors.add(where, str(error))
    except (Exception, SystemExit) as error:  # of the plugin's code
        errors.add(where, f"objective {task.objective.name!r} cannot be used: {brief(error)}")


def _check_metrics(task: Task) -> None:
    """Raise ValueError for an objective without a metric, or with names that other figures of a result have."""
    names = [metric.name for metric in task.metrics]
    if not names:
        raise ValueError(f"objective {task.objective.name!r} reports no metric to rank methods by")
    for name in names:
        if name in METRICS or names.count(name) > 1:
            raise ValueError(f"objective {task.objective.name!r}: {name!r} is also the name of another figure")
