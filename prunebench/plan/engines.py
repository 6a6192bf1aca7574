"""Which engine computes a training: decided by rules and never by the clock, so that keys can contain it."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.layers import Network
from prunebench.api.methods import Updater, method_of
from prunebench.api.stages import Train
from prunebench.api.tasks import Engine, Recipe, Task
from prunebench.network.compressible import why_not_compressible
from prunebench.training.optimizers import trains_kept_weights

VERSION = 1
"""Of what the sparse engine computes; see `prunebench.api.versions`."""
AUTO_DENSITY = 0.2
"""The largest density at which `engine: auto` takes the sparse engine; `benchmarks/sparse_engine.py` measures it."""


def engine_key(engine: Engine) -> tuple[object, ...]:
    """What a training's key contains of its engine: nothing of the dense one, which was there first."""
    return ((engine, VERSION),) if engine == "sparse" else ()


def without_engine(task: Task) -> Task:
    """The task as all engines share it."""
    return replace(task, recipe=replace(task.recipe, engine="dense"))


def engine_of(stage: Train, density: float, task: Task, network: Network) -> Engine:
    """The engine of a training. A network of which nothing is pruned yet is trained densely by either.

    Args:
        density: of the prunable weights before the stage.

    Raises:
        PrunebenchError: for `engine: sparse` where the network or the recipe do not allow it; without numba.
        Unreachable: for `engine: sparse` where the method does not allow it.
    """
    asked = task.recipe.engine
    target = density if stage.density is None else stage.density
    densest = {"sparse": 1.0, "auto": AUTO_DENSITY}.get(asked, 0.0)
    if target >= 1 or target > densest:
        return "dense"
    obstacle = recipe_obstacle(task.recipe) or _network_obstacle(task, network)
    if not obstacle and not (reason := _method_obstacle(stage)):
        _check_installed(task)
        return "sparse"
    if asked == "auto":
        return "dense"
    if obstacle:
        raise PrunebenchError(f"task {task.label!r}: `engine: sparse` cannot train it: {obstacle}")
    raise Unreachable(f"`engine: sparse` cannot train it: {reason}; `engine: auto` trains it densely")


def recipe_obstacle(recipe: Recipe) -> str:
    """What of a recipe the sparse engine cannot do; empty if it can do all of it."""
    if recipe.precision != "float32":
        return f"it computes in float32, not in {recipe.precision}"
    if recipe.compile:
        return "it does not work with `compile: true`"
    if not trains_kept_weights(recipe.optimizer):
        return (
            f"optimizer {recipe.optimizer.name!r} gives other weights if it sees only the kept ones of a matrix; sgd, "
            "adam and adamw do not"
        )
    return ""


def _network_obstacle(task: Task, network: Network) -> str:
    return why_not_compressible(task.model, task.interface, tuple(layer.name for layer in network.layers))


def _method_obstacle(stage: Train) -> str:
    by = method_of(stage)
    if by is None:
        return ""
    updater = by.updater(stage.density)
    if type(updater).needs_dense_gradient is not Updater.needs_dense_gradient and not updater.trains_dense:
        return ""
    return f"method {by.name!r} needs the gradients of all weights, or their dense values, in each step"


def _check_installed(task: Task) -> None:
    if importlib.util.find_spec("numba") is None:
        raise PrunebenchError(
            f"task {task.label!r}: `engine: {task.recipe.engine}` needs the package numba: "
            "pip install 'prunebench[sparse]'"
        )
