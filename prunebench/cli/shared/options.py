"""Options that several commands share, as decorators."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from prunebench.api import plugins
from prunebench.api.errors import PluginError
from prunebench.api.registry import Registry
from prunebench.messages import durations
from prunebench.messages.suggestions import nearest
from prunebench.records.files import unwritable
from prunebench.records.results import PROFILE
from prunebench.suite.overrides import option_of

if TYPE_CHECKING:
    from prunebench.session import LoadedSuite

Command = Callable[..., Any]
STORE = ".prunebench"


@dataclass(frozen=True)
class Plugins:
    """The plugins of a command; `files` and `blocked` are plain values that can be sent to workers."""

    files: tuple[str, ...]
    blocked: frozenset[str]
    registry: Registry


def load_plugins(files: Iterable[str | os.PathLike[str]] = (), blocked: Iterable[str] = ()) -> Plugins:
    """Load the installed plugins except the blocked ones, and plugin files.

    Raises PluginError for a file that cannot be used, and for a blocked name that no installed plugin has. A broken
    installed plugin is kept with its error, because the command may not need it.
    """
    loose, names = plugins.loose_files(files), frozenset(blocked)
    _check_names(names)
    loaded = plugins.load(loose, names)
    broken = [plugin for plugin in loaded.plugins if plugin.error and plugin.file in loose]
    if broken:
        raise PluginError("\n".join(f"{plugin.origin} could not be loaded: {plugin.error}" for plugin in broken))
    return Plugins(loose, names, loaded)


def _check_names(blocked: frozenset[str]) -> None:
    installed = plugins.installed_names()
    for name in sorted(blocked.difference(installed)):
        near = nearest(name, installed, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else "`prunebench plugins` lists them"
        raise PluginError(f"--no-plugin: no installed plugin is called {name!r}; {hint}")


@dataclass(frozen=True)
class SuiteOptions:
    """The options of a command that select and change a suite, and name the folders of its results and data."""

    settings: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    store: Path = Path(STORE)
    data: Path | None = None

    def load(self, source: str | os.PathLike[str], more: Sequence[str] = ()) -> LoadedSuite:
        """Load the suite in a file with these options, and with more settings."""
        from prunebench import session  # imports torch

        load_plugins(self.files, self.blocked)
        return session.load_suite(
            source, settings=(*self.settings, *more), only=self.only, plugin_files=self.files, blocked=self.blocked
        )

    def run_command(self, suite: Path) -> str:
        """The command that would run the suite with these options."""
        pairs = [option_of(one) for one in self.settings]
        pairs += [("--store", str(self.store))] if str(self.store) != STORE else []
        pairs += [*(("--plugin", one) for one in self.files), *(("--no-plugin", one) for one in self.blocked)]
        return shlex.join(["prunebench", "run", str(suite), *(word for pair in pairs for word in pair)])


def suite_options(*more: str) -> Callable[[Command], Command]:
    """Add `--profile`, `--set`, `--plugin` and `--no-plugin`, and those of `only`, `store` and `data` in `more`; the
    command is passed these as `chosen: SuiteOptions`; and `json`, as `as_json: bool`."""
    parts = {"only": only, "store": store, "data": data, "json": json}
    names = {"settings", "files", "blocked", *more} - {"json"}

    def decorated(function: Command) -> Command:
        @functools.wraps(function)
        def command(*args: Any, **kwargs: Any) -> Any:
            selected = [f"{PROFILE}={one}" for one in [kwargs.pop("profile")] if one]
            chosen = SuiteOptions(**{name: kwargs.pop(name) for name in names})
            return function(*args, chosen=replace(chosen, settings=(*selected, *chosen.settings)), **kwargs)

        decorators = (profile, settings, *(parts[name] for name in more), plugin_names)
        return functools.reduce(lambda below, decorator: decorator(below), reversed(decorators), cast(Command, command))

    return decorated


def plugin_names(function: Command) -> Command:
    """`--plugin` and `--no-plugin`, as `files` and `blocked: tuple[str, ...]`; no plugin is loaded."""
    function = click.option(
        "--no-plugin", "blocked", metavar="NAME", multiple=True, help="Do not load this installed plugin."
    )(function)
    return click.option("--plugin", "files", metavar="FILE.py", multiple=True, help="Load this plugin file.")(function)


def loaded_plugins(function: Command) -> Command:
    """`--plugin` and `--no-plugin`; the plugins are loaded, as `plugins: Plugins`."""

    @plugin_names
    @functools.wraps(function)
    def command(*args: Any, files: tuple[str, ...], blocked: tuple[str, ...], **kwargs: Any) -> Any:
        return function(*args, plugins=load_plugins(files, blocked), **kwargs)

    return command


def store(function: Command) -> Command:
    """`--store`, as `store: Path`."""
    return click.option(
        "--store",
        type=click.Path(file_okay=False, path_type=Path),
        default=STORE,
        envvar="PRUNEBENCH_STORE",
        show_default=True,
        show_envvar=True,
        metavar="DIR",
        help="Where results and checkpoints are kept.",
    )(function)


def data(function: Command) -> Command:
    """`--data`, as `data: Path | None`."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="PRUNEBENCH_DATA",
        show_envvar=True,
        metavar="DIR",
        help="The folder of data sets.",
    )(function)


def json(function: Command) -> Command:
    """`--json`, as `as_json: bool`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def profile(function: Command) -> Command:
    """`--profile`, as `profile: str | None`."""
    return click.option("--profile", metavar="NAME", help="Use this profile of the suite, as it lists them.")(function)


def settings(function: Command) -> Command:
    """`--set`, as `settings: tuple[str, ...]`, for `prunebench.suite.reading.read_suite`."""
    return click.option(
        "--set",
        "settings",
        metavar="PATH=VALUE",
        multiple=True,
        help="Change the suite, as in seeds=1 or tasks.recipe.epochs=2.",
    )(function)


def only(function: Command) -> Command:
    """`--only`, as `only: tuple[str, ...]`, for `prunebench.suite.overrides.narrow`."""
    return click.option(
        "--only",
        metavar="KEY=VALUE",
        multiple=True,
        help="Only these trials, as in method=imp,seed=0; keys are task, method, sparsity and seed.",
    )(function)


def seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Callback that converts a length of time to seconds."""
    try:
        return None if value is None else durations.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def writable(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Callback that checks before any work that a folder can be written to."""
    if value is not None:
        check_writable(value)
    return value


def check_writable(folder: Path) -> None:
    """Raise BadParameter if nothing can be written to the folder of `--output`."""
    if reason := unwritable(folder):
        raise click.BadParameter(f"cannot write to {folder}: {reason}", param_hint="'--output'")


def writable_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Callback that checks before any work that the folder of a file, by default the current one, is writable."""
    check_writable(Path() if value is None else value.parent)
    return value
