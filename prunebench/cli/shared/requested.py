"""The trials of a published row, from a suite with the settings that the board records."""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.api.errors import BoardError, SuiteError
from prunebench.cli.shared import options
from prunebench.suite.overrides import option_of

if TYPE_CHECKING:
    from prunebench.api.tasks import Trial
    from prunebench.records.results import Result
    from prunebench.session import LoadedSuite

_IDENTITY = ("suite", "seed", "sparsity", "task.label", "method.label")
"""Params that identify a trial; the others are its configuration."""


@dataclass(frozen=True)
class SuiteRequest:
    """A suite file, and the options of the command for it."""

    suite: Path
    options: options.SuiteOptions

    def load(self, recorded: Sequence[str] = (), method: str = "", added: Sequence[str] = ()) -> LoadedSuite:
        """Load the suite with the recorded settings, then those of the command, then the added ones.

        Args:
            method: label of a method that is included even if only a plugin file has it.
        """
        chosen = replace(self.options, settings=self._settings(recorded, added))
        loaded = chosen.load(self.suite)
        if not chosen.files or any(entry.label == method for entry in loaded.suite.entries):
            return loaded
        try:
            return replace(chosen, only=(f"method={method}",)).load(self.suite)
        except SuiteError:  # the files do not have this method either
            return loaded

    def listed_methods(self, recorded: Sequence[str]) -> list[str | None]:
        """The labels of the methods that the file lists, in its order."""
        from prunebench.suite.reading import listed_methods

        return listed_methods(self.suite, self._settings(recorded))

    def _settings(self, recorded: Sequence[str], added: Sequence[str] = ()) -> tuple[str, ...]:
        return (*recorded, *(one for one in self.options.settings if one not in recorded), *added)


def trials_of(
    request: SuiteRequest, published: Sequence[Result], row: str, seeds: Sequence[int]
) -> tuple[LoadedSuite, list[str]]:
    """The suite with the trials of a published row, and the settings that the board records for them.

    Raises BoardError if the suite does not have these trials, with the options that would add them.
    """
    done = {result.seed: result for result in published if result.status == "done"}
    if missing := sorted(set(seeds) - done.keys()):
        raise BoardError(f"{row!r} has no published seed {', '.join(map(str, missing))}; it has {sorted(done)}")
    wanted = [result for seed, result in sorted(done.items()) if not seeds or seed in seeds]
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in wanted:
        groups.setdefault(_recorded(result, row), []).append(result)
    found: list[Trial] = []
    for settings, results in groups.items():
        loaded = _loaded(request, settings, results[0], row)
        found += _matching(request, loaded, settings, results)
    if not found:
        raise BoardError(_not_found(request, loaded, wanted, row))
    return replace(loaded, trials=tuple(found)), list(dict.fromkeys(one for settings in groups for one in settings))


def as_options(settings: Iterable[str]) -> str:
    """Settings as `--set` and `--profile` options."""
    return shlex.join(word for one in settings for word in option_of(one))


def _recorded(result: Result, row: str) -> tuple[str, ...]:
    """The settings that the board records. Raises BoardError if they cannot be printed."""
    from prunebench.leaderboard.boards.commands import settings

    found = settings(result)
    if not all(one.isprintable() for one in found):
        raise BoardError(f"the settings of {row!r} have characters that cannot be shown: {list(found)!a}")
    return found


def _loaded(request: SuiteRequest, settings: tuple[str, ...], result: Result, row: str) -> LoadedSuite:
    try:
        return request.load(settings, result.method)
    except SuiteError as error:
        if not settings:
            raise
        raise BoardError(
            f"{row!r} was run with {as_options(settings)}, which {request.suite} does not accept:\n{error}"
        ) from None


def _matching(
    request: SuiteRequest, loaded: LoadedSuite, settings: tuple[str, ...], results: Sequence[Result]
) -> Iterator[Trial]:
    """The trials of these results. Raises BoardError if a trial would need other settings to be as published."""
    trials = {trial.seed: trial for trial in loaded.trials if _is_of(trial, results[0])}
    for result in results:
        if (trial := trials.get(result.seed)) is None:
            continue
        differing = _differing(result, trial)
        if added := _settings_for(request, loaded, settings, trial, differing):
            changes = ", ".join(f"{name} {_shown(old)}, not {_shown(new)}" for name, (old, new) in differing.items())
            raise BoardError(_printable(f"{trial} was published with {changes}: add {as_options(added)}"))
        yield trial


def _is_of(trial: Trial, result: Result) -> bool:
    """Whether a trial is in the row of a result, with exactly its sparsity."""
    return (trial.task.label, trial.entry.label, trial.sparsity) == (result.task, result.method, result.sparsity)


def _differing(result: Result, trial: Trial) -> dict[str, tuple[Any, Any]]:
    """Params with different values, as (published, in the suite); None if one of them does not have the param."""
    from prunebench.execution.key_inputs import flattened
    from prunebench.suite.reading import trial_to_plain

    before, now = _configuration(result.params), _configuration(flattened(trial_to_plain(trial)))
    names = sorted(before.keys() | now.keys())
    return {name: (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def _configuration(params: Mapping[str, Any]) -> dict[str, Any]:
    """The params that configure a trial; for a file only the hash of its content, as its path may differ."""
    return {
        name: re.sub(r'[^"]*@sha256:', "@sha256:", value) if isinstance(value, str) else value
        for name, value in params.items()
        if name not in _IDENTITY
    }


def _settings_for(
    request: SuiteRequest,
    loaded: LoadedSuite,
    settings: tuple[str, ...],
    trial: Trial,
    differing: Mapping[str, tuple[Any, Any]],
) -> list[str]:
    """The settings that give params their published values; empty if the suite does not accept them.

    A param that the published row does not have was null, or was added later and is not changed.
    """
    published = {name: before for name, (before, _) in differing.items()}
    present = {name: before for name, before in published.items() if before is not None}
    paths = _paths(request, loaded, settings, trial) if differing else {}
    for params in (published, present):
        added = list(_as_settings(params, paths))
        try:
            request.load(settings, trial.entry.label, added)
        except SuiteError:  # a param of another version
            continue
        return added
    return []


def _paths(request: SuiteRequest, loaded: LoadedSuite, settings: tuple[str, ...], trial: Trial) -> dict[str, str]:
    """The paths of a trial's task and method in the suite file."""
    tasks, methods = [task.label for task in loaded.suite.tasks], request.listed_methods(settings)
    paths = {"task": f"tasks.{tasks.index(trial.task.label)}"}
    if trial.entry.label in methods:
        paths["method"] = f"methods.{methods.index(trial.entry.label)}"
    return paths


def _as_settings(params: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[str]:
    for name, value in params.items():
        part, _, rest = name.partition(".")
        if part in paths and rest:
            yield f"{paths[part]}.{rest}={_yaml(value)}"


def _yaml(value: Any) -> str:
    """A value as YAML on one line; lists are JSON in params already."""
    from ruamel.yaml import YAML

    if isinstance(value, str) and value.startswith("["):
        return value
    stream, yaml = io.StringIO(), YAML(typ="safe", pure=True)
    yaml.width = sys.maxsize
    yaml.dump(value, stream)
    return stream.getvalue().removesuffix("...\n").strip()


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value)


def _printable(text: str) -> str:
    """Text of a board that others wrote, without control characters."""
    return text if text.isprintable() else ascii(text)


def _not_found(request: SuiteRequest, loaded: LoadedSuite, results: Sequence[Result], row: str) -> str:
    """The message for a suite without these trials, with the options that would add them."""
    from prunebench.leaderboard.boards.commands import plugins

    first, seeds = results[0], sorted(result.seed for result in results)
    suite = loaded.suite
    settings = [] if set(seeds) <= set(suite.seeds) else [f"seeds={seeds}"]
    if any(_is_of(trial, first) for trial in loaded.trials):
        text = f"the suite {suite.name!r} has none of the published seeds {seeds} of {row!r}"
        return f"{text}: add {as_options(settings)}"
    text = f"the suite {suite.name!r} has no row {row!r}"
    entry = next((entry for entry in suite.entries if entry.label == first.method), None)
    files = [file for file in plugins(first) if file not in request.options.files and file.isprintable()]
    if entry is None and files:
        added = shlex.join(word for file in files for word in ("--plugin", file))
        return f"{text}: it was run with {added}; add that"
    if entry is None or entry.method.control or first.task not in {task.label for task in suite.tasks}:
        return text
    methods = request.listed_methods(_recorded(first, row))
    own = f"methods.{methods.index(entry.label)}." if entry.sparsities and entry.label in methods else ""
    return f"{text}: add {as_options([f'{own}sparsities=[{first.sparsity!r}]', *settings])}"
