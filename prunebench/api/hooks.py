"""The hooks that a plugin may implement, and the marker `hookimpl` for the implementations.

Each hook is called once when the plugin is loaded, without arguments, and returns a list of classes; it must have no
side effects. A plugin is one file:

    import prunebench

    class Mine(prunebench.Method): ...

    @prunebench.hookimpl
    def register_methods():
        return [Mine]
"""

from __future__ import annotations

import pluggy

from prunebench.api.components import Dataset, Model
from prunebench.api.executors import Executor
from prunebench.api.methods import Method
from prunebench.api.objectives import Objective
from prunebench.api.runtimes import Runtime

PROJECT = "prunebench"
"""The name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_methods() -> list[type[Method]]:  # type: ignore[empty-body]
    """Return pruning methods, as subclasses of `prunebench.Method`."""


@hookspec
def register_models() -> list[type[Model]]:  # type: ignore[empty-body]
    """Return network architectures, as subclasses of `prunebench.Model`."""


@hookspec
def register_datasets() -> list[type[Dataset]]:  # type: ignore[empty-body]
    """Return data sets, as subclasses of `prunebench.Dataset`."""


@hookspec
def register_objectives() -> list[type[Objective]]:  # type: ignore[empty-body]
    """Return what networks can be trained for, as subclasses of `prunebench.Objective`."""


@hookspec
def register_executors() -> list[type[Executor]]:  # type: ignore[empty-body]
    """Return executors, as subclasses of `prunebench.Executor`, for `prunebench run --executor NAME`."""


@hookspec
def register_runtimes() -> list[type[Runtime]]:  # type: ignore[empty-body]
    """Return what runs delivered networks, as subclasses of `prunebench.Runtime`, for `runtimes` of a suite."""
