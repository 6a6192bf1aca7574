"""Suites, the plugins that they are read with, and their plans."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from prunebench.api import plugins
from prunebench.api.layers import Network
from prunebench.api.methods import Method
from prunebench.api.registry import Registry
from prunebench.api.tasks import Suite, Task, Trial
from prunebench.data.prepared import Prepared, find
from prunebench.network.description import describe
from prunebench.plan.planning import Plan, make_plan
from prunebench.records.environment import data_folder
from prunebench.records.results import OPTION, PROFILE, Result
from prunebench.suite.overrides import narrow, unlisted
from prunebench.suite.profiles import shortened
from prunebench.suite.reading import from_plain, read_suite, to_plain

if TYPE_CHECKING:
    from prunebench.leaderboard import RequestedRow


@dataclass(frozen=True)
class LoadedSuite:
    """A suite with the plugins that it was read with, and the selected trials."""

    suite: Suite
    trials: tuple[Trial, ...]
    registry: Registry
    files: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)
    """What is needed to request these trials again, for the provenance of their results."""

    @property
    def asked(self) -> list[RequestedRow]:
        """The rows that a leaderboard of these trials shows."""
        return [(trial.task.label, trial.entry.label, trial.sparsity, trial.seed) for trial in self.trials]

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks whose data the selected trials need, by their labels."""
        return {task.label: task for trial in self.trials for task in trial.tasks}


def load_suite(
    source: str | os.PathLike[str],
    *,
    settings: Sequence[str] = (),
    only: Sequence[str] = (),
    plugin_files: Iterable[str | os.PathLike[str]] = (),
    blocked: Iterable[str] = (),
) -> LoadedSuite:
    """Read and check a suite.

    Args:
        source: of the YAML.
        settings: changes such as `seeds=1`; `profile=quick` selects a profile.
        only: narrows the trials, as in `method=imp,seed=0`; a method of a loose plugin need not be in the suite.
        plugin_files: loose plugins.
        blocked: names of installed plugins to leave out.

    Raises:
        SuiteError: with every mistake.
        PluginError: for a file that is no plugin.
    """
    given = tuple(plugin_files)
    files, names = plugins.loose_files(given), tuple(sorted(blocked))
    registry = plugins.load(files, frozenset(names))
    suite = _with_loose_methods(read_suite(source, registry, settings), only, registry, files)
    wanted = narrow(suite, only)
    trials = tuple(trial for trial in suite.trials() if wanted(trial))
    return LoadedSuite(suite, trials, registry, files, names, _origin(source, settings, given, names) | _profile(suite))


def _profile(suite: Suite) -> dict[str, str]:
    """The profile and what it sets, for the pages of a board."""
    if not suite.profile:
        return {}
    changes = ", ".join(f"{one.path}={shortened(one.after)}" for one in suite.changes)
    return {OPTION + PROFILE: f"{suite.profile}: {changes}"}


def _origin(
    source: str | os.PathLike[str],
    settings: Sequence[str],
    given: Sequence[str | os.PathLike[str]],
    blocked: Sequence[str],
) -> dict[str, str]:
    lists = {"settings": settings, "plugins": [_as_typed(file) for file in given], "blocked": blocked}
    found = {OPTION + name: json.dumps(list(values)) for name, values in lists.items() if values}
    return {OPTION + "file": _as_typed(source), **found}


def _as_typed(file: str | os.PathLike[str]) -> str:
    """A relative path as it is; of an absolute one only the name, as the rest depends on the machine."""
    path = PurePath(file)
    return path.name if path.is_absolute() else path.as_posix()


def _with_loose_methods(suite: Suite, only: Sequence[str], registry: Registry, files: Sequence[str]) -> Suite:
    """The suite with the methods of loose files that `--only` asks for, so that a method is tried in any suite."""
    origins = registry.origins.items()
    loose = [cls.name for cls, plugin in origins if issubclass(cls, Method) and plugin.file in files]
    if not (names := unlisted(suite, only, loose)):
        return suite
    plain = to_plain(suite)
    more = from_plain({**plain, "methods": [*plain["methods"], *names]}, registry)
    return replace(more, profile=suite.profile, changes=suite.changes)


def with_origin(result: Result, origin: Mapping[str, str]) -> Result:
    """The result, with how it was requested in its provenance."""
    return replace(result, provenance={**result.provenance, **origin})


def plan_suite(
    loaded: LoadedSuite, prepared: Mapping[str, Prepared], described: Callable[[Task], Network] = describe
) -> Plan:
    """The plan of a suite's trials, for the data that is prepared."""
    return make_plan(loaded.trials, {label: data.fingerprint for label, data in prepared.items()}, described)


def prepared_already(loaded: LoadedSuite, data: Path | None, store: Path) -> dict[str, Prepared]:
    """The data sets that this machine has decoded before, by task; touches no data."""
    found = {label: find(task.dataset, data_folder(data), store / "data") for label, task in loaded.tasks.items()}
    return {label: prepared for label, prepared in found.items() if prepared is not None}
