"""The components that plugins provide, of all kinds (methods, models, runtimes, ...), with their origins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from prunebench.api.components import Component, Dataset, Model
from prunebench.api.errors import PluginError
from prunebench.api.executors import Executor
from prunebench.api.hooks import PROJECT
from prunebench.api.methods import Method
from prunebench.api.objectives import Objective
from prunebench.api.runtimes import Runtime
from prunebench.messages.suggestions import nearest

Kind = Literal["method", "model", "dataset", "objective", "executor", "runtime"]
KINDS: Mapping[Kind, type[Component]] = {
    "method": Method,
    "model": Model,
    "dataset": Dataset,
    "objective": Objective,
    "executor": Executor,
    "runtime": Runtime,
}
NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
"""Allowed names of components."""


@dataclass(frozen=True)
class Plugin:
    """An installed plugin or a plugin file; `error` says why it could not be loaded."""

    name: str
    file: str = ""
    distribution: str = ""
    version: str = ""
    error: str = ""
    provides: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        package = f"{self.distribution} {self.version}, " if self.distribution else ""
        return f"plugin {self.name!r} ({package}{self.file})"


@dataclass(frozen=True)
class Registry:
    """Components by kind and name. Names that two plugins register are only in `conflicts`."""

    plugins: tuple[Plugin, ...] = ()
    components: Mapping[Kind, Mapping[str, type[Component]]] = field(default_factory=dict)
    origins: Mapping[type[Component], Plugin] = field(default_factory=dict)
    conflicts: Mapping[tuple[Kind, str], str] = field(default_factory=dict)

    def names(self, kind: Kind) -> list[str]:
        return sorted(self.components.get(kind, {}))

    def find(self, kind: Kind, name: str) -> tuple[type[Component], dict[str, str]]:
        """The class with a name, and the parameters that the name itself sets (`timm/resnet18`).

        Raises PluginError for an unknown name, with the most similar one and the plugins that could not be loaded.
        """
        family, slash, variant = name.partition("/")
        for wanted in (name, family):
            if (kind, wanted) in self.conflicts:
                raise PluginError(self.conflicts[kind, wanted])
        table = self.components.get(kind, {})
        if name in table:
            return table[name], {}
        if slash and family in table and table[family].variant:
            return table[family], {table[family].variant: variant}
        raise PluginError(f"unknown {kind} {name!r}{self._hint(kind, name)}")

    def controls(self) -> list[type[Method]]:
        """The controls, with which all other methods are compared."""
        methods = (self.components["method"][name] for name in self.names("method"))
        return [cls for cls in methods if issubclass(cls, Method) and cls.control]

    def default_objectives(self, targets: str) -> list[type[Objective]]:
        """The objectives that are the default for targets of a kind; a task needs that there is exactly one."""
        objectives = (self.components["objective"][name] for name in self.names("objective"))
        return [cls for cls in objectives if issubclass(cls, Objective) and targets in cls.default_for]

    def is_foreign(self, cls: type[Component]) -> bool:
        """Whether a component comes from another distribution than this one, or from a loose file."""
        plugin = self.origins.get(cls)
        return plugin is not None and plugin.distribution != PROJECT

    def _hint(self, kind: Kind, name: str) -> str:
        near = self._near(kind, name)
        hint = f"; did you mean {near[0]!r}?" if near else f"; `prunebench {kind}s` lists them"
        broken = [plugin for plugin in self.plugins if plugin.error]
        for plugin in broken:
            hint += f"\n    note: {plugin.origin} could not be loaded: {plugin.error}"
        return hint

    def _near(self, kind: Kind, name: str) -> list[str]:
        """The most similar name; for a family with variants (`timm/resnet18`) with the same variant."""
        family, slash, variant = name.partition("/")
        table = self.components.get(kind, {})
        families = [known for known, cls in table.items() if cls.variant]
        if slash and (near := nearest(family, families)):
            return [f"{near[0]}/{variant}"]
        return nearest(name, self.names(kind))
