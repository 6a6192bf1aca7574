"""Loading plugins: installed distributions and single files.

Each plugin is loaded separately: a broken one is kept with its error and does not affect the others.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from prunebench.api import hooks
from prunebench.api.components import Component
from prunebench.api.errors import PluginError
from prunebench.api.registry import KINDS, NAME, Kind, Plugin, Registry
from prunebench.messages.suggestions import nearest

PLUGINS_VARIABLE = "PRUNEBENCH_PLUGINS"
TRACE_VARIABLE = "PRUNEBENCH_TRACE"
Registered = list[tuple[Kind, type[Component]]]
"""The components that a plugin registers."""
_HOOKS: Mapping[Kind, str] = {kind: f"register_{kind}s" for kind in KINDS}
_MACHINERY = (__file__, *pluggy.__path__, *importlib.__path__, "<frozen importlib")
"""Prefixes of file names in a traceback between this module and a plugin's code."""


def loose_files(given: Iterable[str | os.PathLike[str]] = ()) -> tuple[str, ...]:
    """Absolute paths of plugin files, each once: those in PRUNEBENCH_PLUGINS first, then `given`."""
    listed = os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)
    paths = [str(Path(path).expanduser().resolve()) for path in (*listed, *given) if str(path)]
    return tuple(dict.fromkeys(paths))


@functools.cache
def load(files: tuple[str, ...] = (), blocked: frozenset[str] = frozenset()) -> Registry:
    """Load every installed plugin (entry-point group `prunebench`) and the loose `files`; sorted, so repeatable.

    Args:
        files: as `loose_files` gives them.
        blocked: names of installed plugins that are not even imported. A loose file is left out by not naming it,
            so that the file of an installed plugin can be tried in that plugin's place.
    """
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    if os.environ.get(TRACE_VARIABLE) == "1":
        manager.add_hookcall_monitoring(_trace_call, _trace_result)
    wanted = [(plugin, importer) for plugin, importer in _installed() if plugin.name not in blocked]
    return _collected([_loaded(manager, plugin, importer) for plugin, importer in [*wanted, *_loose(files)]])


def _trace_call(hook: str, implementations: Sequence[pluggy.HookImpl], arguments: Mapping[str, Any]) -> None:
    """Print a hook before it is called, so that hooks that do not return are seen too."""
    names = ", ".join(implementation.plugin_name.lstrip(":") for implementation in implementations)
    print(f"[hook] {hook} of {names}", file=sys.stderr)


def _trace_result(
    outcome: pluggy.Result[Any], hook: str, implementations: Sequence[pluggy.HookImpl], arguments: Mapping[str, Any]
) -> None:
    returned = outcome.get_result() if outcome.exception is None else repr(outcome.exception)
    print(f"[hook]   {hook}: {returned}", file=sys.stderr)


def installed_names() -> list[str]:
    """The names of installed plugins, which are not imported."""
    return sorted({plugin.name for plugin, _ in _installed()})


def foreign_names() -> list[str]:
    """The names of installed plugins of other distributions."""
    own = __name__.partition(".")[0]
    return sorted({plugin.name for plugin, _ in _installed() if plugin.distribution != own})


def _installed() -> Iterator[tuple[Plugin, Callable[[], Any]]]:
    found = importlib.metadata.entry_points(group=hooks.PROJECT)
    distributions = {id(point.dist): point.dist for point in found}
    named = {number: _name_and_version(one) for number, one in distributions.items()}
    for point in sorted(found, key=lambda point: (named[id(point.dist)][0], point.name, point.value)):
        yield Plugin(point.name, point.value, *named[id(point.dist)]), point.load


def _name_and_version(distribution: importlib.metadata.Distribution | None) -> tuple[str, str]:
    """Both are parsed from a file each time that they are asked for."""
    return (distribution.name, distribution.version) if distribution else ("", "")


def _loose(files: Iterable[str]) -> Iterator[tuple[Plugin, Callable[[], Any]]]:
    for file in files:
        yield Plugin(Path(file).stem, file), functools.partial(_import_file, Path(file))


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    # The path is in the name, so that two files of one stem do not replace each other in sys.modules.
    name = f"prunebench_loose_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _loaded(manager: pluggy.PluginManager, plugin: Plugin, importer: Callable[[], Any]) -> tuple[Plugin, Registered]:
    """The plugin with its file and components; or with its error and without components."""
    try:
        module = importer()
        plugin = replace(plugin, file=getattr(module, "__file__", None) or plugin.file)
        registered = _registered(manager, plugin, module)
    except (Exception, SystemExit) as error:  # an error of one plugin must not stop the others
        return replace(plugin, error=_brief(error)), []
    provides = tuple(f"{kind} {cls.name}" for kind, cls in registered)
    return replace(plugin, provides=provides), registered


def _registered(manager: pluggy.PluginManager, plugin: Plugin, module: Any) -> Registered:
    """The components that the hooks of a module return. A module with an error is unregistered again."""
    if (twin := manager.get_name(module)) is not None:
        raise PluginError(f"it is the same module as {twin}")
    unique = f"{plugin.distribution}:{plugin.name}:{plugin.file}"
    try:
        manager.register(module, name=unique)
        implemented = _checked_hooks(manager, module)
        return [
            (kind, _checked(cls, KINDS[kind], hook))
            for kind, hook in _HOOKS.items()
            if hook in implemented
            for cls in _answers(manager, module, hook)
        ]
    except BaseException:
        if manager.has_plugin(unique):
            manager.unregister(name=unique)
        raise


def _checked_hooks(manager: pluggy.PluginManager, module: Any) -> set[str]:
    """The hooks that a module implements. Raises PluginError for errors that pluggy ignores: a misspelt hook, a
    missing marker, no hook."""
    callers = manager.get_hookcallers(module) or []
    known = sorted(_HOOKS.values())
    for caller in callers:
        if not (caller.has_spec() or all(found.optionalhook for found in caller.get_hookimpls())):
            near = nearest(caller.name, known, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise PluginError(f"there is no hook {caller.name}; {hint}")
    implemented = {caller.name for caller in callers}
    for name in known:
        if callable(getattr(module, name, None)) and name not in implemented:
            raise PluginError(f"its function {name} lacks the marker: write @prunebench.hookimpl above it")
    if not implemented:
        raise PluginError(f"it implements no hook; there are {', '.join(known)}")
    return implemented


def _answers(manager: pluggy.PluginManager, module: Any, hook: str) -> list[Any]:
    """The classes that a hook of one plugin returns. Pluggy drops None, which is a forgotten `return`."""
    others = {other for other in manager.get_plugins() if other is not module}
    answers = manager.subset_hook_caller(hook, others)() or [None]
    return [cls for answer in answers for cls in _listed(answer, hook)]


def _listed(answer: Any, hook: str) -> list[Any]:
    if not isinstance(answer, (list, tuple)):
        raise PluginError(f"{hook} must return a list of classes, and returned {answer!r}")
    return list(answer)


def _checked(cls: Any, base: type[Component], hook: str) -> type[Component]:
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        raise PluginError(f"{hook} must return subclasses of prunebench.{base.__name__}, and returned {cls!r}")
    name = getattr(cls, "name", None)
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise PluginError(
            f"{hook} returned {cls.__name__}, whose name is {name!r}: a name is lower-case letters, digits, "
            "dots and hyphens"
        )
    _check_version(cls)
    return cls


def _check_version(cls: type[Component]) -> None:
    """Raise PluginError for a version that is not a positive integer, and for a parameter of that name."""
    if any(one.name == "version" for one in fields(cls)):
        raise PluginError(
            f"{cls.__name__} has a parameter called version, which is the name of the version of its code: "
            "write `version = 1` without a type, or rename the parameter"
        )
    version = vars(cls).get("version")
    if version is not None and (type(version) is not int or version < 1):
        raise PluginError(
            f"{cls.__name__} has the version {version!r}: a version is a whole number from 1 on, and a class without "
            "one is keyed by its source"
        )


def _brief(error: BaseException) -> str:
    """The error on one line, with the last line of the plugin in its traceback."""
    text = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
    machinery = (*_MACHINERY, *_import_hooks())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(machinery)]
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    return " ".join(text.split()) + (f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else "")


def _import_hooks() -> Iterator[str]:
    """Files of import hooks, such as those of MLflow once it is loaded."""
    for finder in sys.meta_path:
        module = sys.modules.get(getattr(finder, "__module__", type(finder).__module__))
        if file := getattr(module, "__file__", None):
            yield file


def _collected(loaded: Sequence[tuple[Plugin, Registered]]) -> Registry:
    """The components of all plugins; names that two of them register are conflicts."""
    components: dict[Kind, dict[str, type[Component]]] = {kind: {} for kind in KINDS}
    origins: dict[type[Component], Plugin] = {}
    conflicts: dict[tuple[Kind, str], str] = {}
    by_name: dict[tuple[Kind, str], list[tuple[type[Component], Plugin]]] = {}
    for plugin, registered in loaded:
        for kind, cls in registered:
            by_name.setdefault((kind, cls.name), []).append((cls, plugin))
    for (kind, name), registrations in sorted(by_name.items()):
        if len(registrations) > 1:
            both = " and by ".join(plugin.origin for _, plugin in registrations)
            conflicts[kind, name] = (
                f"{kind} {name!r} is registered by {both}; leave an installed one out with --no-plugin NAME, "
                "or rename one"
            )
            continue
        ((cls, plugin),) = registrations
        components[kind][name], origins[cls] = cls, plugin
        _set_origin(cls, plugin)
    return Registry(tuple(plugin for plugin, _ in loaded), components, origins, conflicts)


def _set_origin(cls: type[Component], plugin: Plugin) -> None:
    """Record in a class the distribution that it comes from, as hashes of Python files do not cover compiled code."""
    if plugin.distribution not in ("", hooks.PROJECT):
        cls.origin = f"{plugin.distribution} {plugin.version}"
