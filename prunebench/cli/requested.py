"""The trials that a published row is of, in a suite that is changed as it was when they were run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.api.errors import BoardError, SuiteError
from prunebench.cli import options

if TYPE_CHECKING:
    from prunebench.api.results import Result
    from prunebench.api.tasks import Trial
    from prunebench.session import LoadedSuite

_NAMES = ("suite", "seed", "sparsity", "task.label", "method.label")
"""Params that say which trial it is, not how it was done."""
_PLAIN = re.compile(r"[A-Za-z0-9][\w./-]*")
"""Text that YAML reads as text, unless JSON knows it as something else."""


@dataclass(frozen=True)
class SuiteRequest:
    """A suite's file, and what the options of a command say of it."""

    suite: Path
    given: options.Given

    def load(self, settings: Iterable[str] = (), method: str = "", more: Iterable[str] = ()) -> LoadedSuite:
        """The suite with these settings before the command's own; a loose file's method is in it when it is named.

        Args:
            more: settings that come last.
        """
        first = list(settings)
        own = (*first, *(one for one in self.given.settings if one not in first), *more)
        given = replace(self.given, settings=own)
        loaded = given.load(self.suite)
        if not given.files or any(entry.label == method for entry in loaded.suite.entries):
            return loaded
        try:
            return replace(given, only=(f"method={method}",)).load(self.suite)
        except SuiteError:  # no file has such a method either
            return loaded


def trials_of(
    asked: SuiteRequest, published: Sequence[Result], row: str, seeds: Sequence[int]
) -> tuple[LoadedSuite, list[str]]:
    """The suite with the trials that are the published ones, and the settings that the board says they had.

    Raises BoardError when the suite does not have them, with the options that it takes.
    """
    done = {result.seed: result for result in published if result.status == "done"}
    if absent := sorted(set(seeds) - done.keys()):
        raise BoardError(f"{row!r} has no published seed {', '.join(map(str, absent))}; it has {sorted(done)}")
    wanted = [result for seed, result in sorted(done.items()) if not seeds or seed in seeds]
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in wanted:
        groups.setdefault(_settings(result, row), []).append(result)
    found: list[Trial] = []
    for settings, some in groups.items():
        loaded = _loaded(asked, settings, some[0], row)
        found += _found(asked, loaded, settings, some)
    if not found:
        raise BoardError(_absent(asked, loaded, wanted, row))
    return replace(loaded, trials=tuple(found)), list(dict.fromkeys(one for some in groups for one in some))


def _settings(result: Result, row: str) -> tuple[str, ...]:
    """What the board says, which is going to be printed."""
    from prunebench.leaderboard.boards.commands import settings

    found = settings(result)
    if not all(one.isprintable() for one in found):
        raise BoardError(f"the settings that {row!r} was run with are no plain text: {list(found)!a}")
    return found


def _loaded(asked: SuiteRequest, settings: tuple[str, ...], result: Result, row: str) -> LoadedSuite:
    try:
        return asked.load(settings, result.method)
    except SuiteError as error:
        if not settings:
            raise
        raise BoardError(
            f"{row!r} was run with {as_options(settings)}, and {asked.suite} is not so:\n{error}"
        ) from None


def _found(
    asked: SuiteRequest, loaded: LoadedSuite, settings: tuple[str, ...], results: Sequence[Result]
) -> Iterator[Trial]:
    """The suite's trials of these results. Raises BoardError for one that is configured otherwise."""
    trials = {trial.seed: trial for trial in loaded.trials if _place(trial) == _place_of(results[0])}
    for result in results:
        if (trial := trials.get(result.seed)) is None:
            continue
        if _differing(result, trial):
            _refuse(asked, loaded, settings, result, trial)
        yield trial


def _place(trial: Trial) -> tuple[str, str, float]:
    return (trial.task.label, trial.entry.label, trial.sparsity)


def _place_of(result: Result) -> tuple[str, str, float]:
    return (result.task, result.method, result.sparsity)


# --- a trial that is configured otherwise


def _differing(result: Result, trial: Trial) -> dict[str, tuple[Any, Any]]:
    """Of each param that is another: how it was published, and how it is in the suite; None where it is not there."""
    from prunebench.execution.key_inputs import flattened
    from prunebench.suite.reading import trial_to_plain

    before, now = _compared(result.params), _compared(flattened(trial_to_plain(trial)))
    names = sorted(before.keys() | now.keys())
    return {name: (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def _compared(params: Mapping[str, Any]) -> dict[str, Any]:
    """What says how a trial is done: of a file its content, and not where it lies."""
    return {
        name: re.sub(r'[^"]*@sha256:', "@sha256:", value) if isinstance(value, str) else value
        for name, value in params.items()
        if name not in _NAMES
    }


def _refuse(asked: SuiteRequest, loaded: LoadedSuite, settings: tuple[str, ...], result: Result, trial: Trial) -> None:
    """Raises BoardError if there are settings that mend it; what no setting mends is told with the verdict."""
    differing = _differing(result, trial)
    published = {name: before for name, (before, _) in differing.items() if before is not None}
    gone = dict.fromkeys(name for name, (before, _) in differing.items() if before is None)
    candidates = [
        list(_as_settings(some, task, method))
        for task, method in _numbers(loaded, trial)
        for some in ({**published, **gone}, published)
    ]

    def mends(again: LoadedSuite) -> bool:
        same = (one for one in again.trials if (_place(one), one.seed) == (_place(trial), trial.seed))
        # What only one side has may be of another version of the code, and be the default.
        return any(not any(None not in pair for pair in _differing(result, one).values()) for one in same)

    mended = _mended(asked, settings, [some for some in candidates if some], result.method, mends)
    if mended:
        said = ", ".join(f"{name} {_shown(before)}, not {_shown(now)}" for name, (before, now) in differing.items())
        raise BoardError(_printable(f"{trial} was published with {said}: add {as_options(mended)}"))


def _printable(text: str) -> str:
    """A board comes from anybody: nothing in it is to steer a terminal."""
    return text if text.isprintable() else ascii(text)


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value)


def _numbers(loaded: LoadedSuite, trial: Trial) -> Iterator[tuple[int, int]]:
    """The places of a trial's task and method in the file's lists, where controls that it leaves out do not count."""
    task = [one.label for one in loaded.suite.tasks].index(trial.task.label)
    method = [one.label for one in loaded.suite.entries].index(trial.entry.label)
    controls = sum(one.method.control for one in loaded.suite.entries)
    yield from ((task, number) for number in range(method, max(method - controls, 0) - 1, -1))


def _as_settings(params: Mapping[str, Any], task: int, method: int) -> Iterator[str]:
    for name, value in params.items():
        part, _, rest = name.partition(".")
        if (place := {"task": f"tasks.{task}", "method": f"methods.{method}"}.get(part)) and rest:
            yield f"{place}.{rest}={_yaml(value)}"


def _yaml(value: Any) -> str:
    """A value as YAML; lists are JSON in params already."""
    if isinstance(value, str) and (value.startswith("[") or (_PLAIN.fullmatch(value) and not _is_json(value))):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_json(text: str) -> bool:
    try:
        json.loads(text.lower())
    except ValueError:
        return False
    return True


def _mended(
    asked: SuiteRequest,
    settings: Sequence[str],
    candidates: Iterable[Sequence[str]],
    method: str,
    mends: Callable[[LoadedSuite], bool],
) -> Sequence[str]:
    """The first of some additions to the settings with which the suite can be read, and is as it should be."""
    for some in candidates:
        try:
            again = asked.load(settings, method, some)
        except SuiteError:
            continue
        if mends(again):
            return some
    return ()


# --- trials that are not there


def _absent(asked: SuiteRequest, loaded: LoadedSuite, results: Sequence[Result], row: str) -> str:
    """Why the suite has none of these trials, and what to add where that is known."""
    from prunebench.leaderboard.boards.commands import plugins, settings

    first, seeds = results[0], sorted(result.seed for result in results)
    places = {_place(trial) for trial in loaded.trials}
    if _place_of(first) in places:
        text = f"the suite {loaded.suite.name!r} has none of the published seeds {seeds} of {row!r}"
    else:
        text = f"the suite {loaded.suite.name!r} has no row {row!r}"
    files = [file for file in plugins(first) if file not in asked.given.files and file.isprintable()]
    if files and first.method not in {place[1] for place in places}:
        return f"{text}: it was run with {shlex.join(word for file in files for word in ('--plugin', file))}; add that"
    methods = [entry.label for entry in loaded.suite.entries]
    own = [f"methods.{number}.sparsities=[{first.sparsity!r}]" for number in range(len(methods))]
    listed, sown = f"sparsities=[{first.sparsity!r}]", f"seeds={seeds}"
    candidates = [[sown], [listed], [listed, sown], *([one] for one in own), *([one, sown] for one in own)]

    def mends(again: LoadedSuite) -> bool:
        there = [trial for trial in again.trials if _place(trial) == _place_of(first)]
        return {trial.seed for trial in there} >= set(seeds)

    mended = _mended(asked, settings(first), candidates, first.method, mends)
    return f"{text}: add {as_options(mended)}" if mended else text


def as_options(settings: Iterable[str]) -> str:
    """The settings as one types them."""
    return shlex.join(word for one in settings for word in ("--set", one))
