"""From a suite to its leaderboard: what `prunebench run` does, as functions to be called from Python.

suite = prunebench.load_suite("suites/digits.yaml")
outcome = prunebench.run_suite(suite)
outcome.frame            # the leaderboard, a pandas DataFrame
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from prunebench import registry as plugins
from prunebench.components import Method
from prunebench.data import Prepared, find, prepare
from prunebench.environment import data_folder, environment
from prunebench.errors import CorruptEntry, PrunebenchError, StoreError, TrackingError
from prunebench.execution.claims import running
from prunebench.execution.jobs import missing_jobs
from prunebench.execution.outcomes import stored_result
from prunebench.execution.progress import lost
from prunebench.execution.run import DEFAULT, Event, Options, Walk, named_executor
from prunebench.executors import CHECKPOINT_EVERY, Executor, chosen
from prunebench.identity import digest
from prunebench.network import Network, describe
from prunebench.networks import Networks
from prunebench.plan import Plan, make_plan
from prunebench.registry import Registry
from prunebench.results import ASKED, Result
from prunebench.store import Store
from prunebench.suite.narrowing import narrow, unlisted
from prunebench.suite.reading import from_plain, read_suite, to_plain
from prunebench.suite.values import Suite, Task, Trial
from prunebench.tracking import Publisher, contents
from prunebench.tracking import digest as digest_of

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.leaderboard import Asked

STORE = Path(".prunebench")
UNSENT = "unsent"
"""The folder of a store with a note for each run whose results were not all sent."""
NETWORKS = "networks"
"""The folder of a store with the descriptions of networks."""
BOARDS = "boards"
"""The folder of a store with a note for each folder that a board was written to."""


@dataclass(frozen=True)
class Loaded:
    """A suite with the plugins that it was read with, and the trials that are meant."""

    suite: Suite
    trials: tuple[Trial, ...]
    registry: Registry
    files: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)
    """What a command needs to ask for these trials again, for the provenance of their results."""

    @property
    def asked(self) -> list[Asked]:
        """What a leaderboard of these trials is to show."""
        return [(trial.task.label, trial.entry.label, trial.sparsity, trial.seed) for trial in self.trials]


def load_suite(
    source: str | os.PathLike[str],
    *,
    settings: Sequence[str] = (),
    only: Sequence[str] = (),
    plugin_files: Iterable[str | os.PathLike[str]] = (),
    blocked: Iterable[str] = (),
) -> Loaded:
    """Read and check a suite.

    Args:
        source: of the YAML.
        settings: changes such as `seeds=1`.
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
    return Loaded(suite, trials, registry, files, names, _origin(source, settings, given, names))


def _origin(
    source: str | os.PathLike[str],
    settings: Sequence[str],
    given: Sequence[str | os.PathLike[str]],
    blocked: Sequence[str],
) -> dict[str, str]:
    lists = {"settings": settings, "plugins": [_as_typed(file) for file in given], "blocked": blocked}
    said = {ASKED + name: json.dumps(list(values)) for name, values in lists.items() if values}
    return {ASKED + "file": _as_typed(source), **said}


def _as_typed(file: str | os.PathLike[str]) -> str:
    """A relative path as it is; of an absolute one the name alone, as the rest is a machine's own affair."""
    path = PurePath(file)
    return path.name if path.is_absolute() else path.as_posix()


def _with_loose_methods(suite: Suite, only: Sequence[str], registry: Registry, files: Sequence[str]) -> Suite:
    """The suite with the methods of loose files that `--only` asks for, so that a method is tried in any suite."""
    origins = registry.origins.items()
    loose = [cls.name for cls, plugin in origins if issubclass(cls, Method) and plugin.file in files]
    if not (names := unlisted(suite, only, loose)):
        return suite
    plain = to_plain(suite)
    return from_plain({**plain, "methods": [*plain["methods"], *names]}, registry)


def plan_suite(
    loaded: Loaded, prepared: Mapping[str, Prepared], described: Callable[[Task], Network] = describe
) -> Plan:
    """The plan of a suite's trials, for the data that is prepared."""
    return make_plan(loaded.trials, {label: data.fingerprint for label, data in prepared.items()}, described)


def prepared_already(loaded: Loaded, data: Path | None, store: Path) -> dict[str, Prepared]:
    """The data sets that this machine has decoded before, by task; touches no data."""
    tasks = {trial.task.label: trial.task for trial in loaded.trials}
    found = {label: find(task.dataset, data_folder(data), store / "data") for label, task in tasks.items()}
    return {label: prepared for label, prepared in found.items() if prepared is not None}


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    counts: Counter[str]
    """Trials by how they ended: done, cached, failed, skipped."""
    frame: pd.DataFrame | None
    """The leaderboard's rows; None when MLflow could not be read."""
    untracked: str = ""
    """Why results did not reach MLflow; they are in the store, and go there with the next run."""
    results: tuple[Result, ...] = field(default=(), repr=False)
    open: int = 0
    """Trials that the budget left no time for."""
    next: str = ""
    """What is known of the shortest job that is left, for people."""

    @property
    def ok(self) -> bool:
        return not self.counts["failed"] and not self.untracked and not self.open


def run_suite(
    loaded: Loaded,
    *,
    store: Path = STORE,
    data: Path | None = None,
    executor: str | Executor = DEFAULT,
    workers: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    retry_failed: bool = False,
    timeout: float | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    budget: float | None = None,
    output: Path | None = None,
    watch: Callable[[Walk], Callable[[Event], None]] | None = None,
) -> Outcome:
    """Run what the store lacks, track every trial in MLflow, and make the leaderboard.

    Args:
        store: where states and data are kept.
        data: the folder of data sets; PRUNEBENCH_DATA by default.
        executor: where stages run: its name, or one with parameters.
        workers: processes at a time; by default as many as the executor has room for, on this machine one a core.
        threads: of each; the bits of a result depend on it, so leave it at 1 where they matter.
        device: `cpu` or `cuda`.
        num_cpus: of one running stage, for executors that count them; before what the suite says.
        num_gpus: likewise.
        retry_failed: try again what failed in an earlier run.
        timeout: seconds after which a job is killed; its trials have then failed.
        checkpoint_every: seconds between two checkpoints of a training; 0 for none.
        budget: seconds after which the run stops; nothing begins that by the estimates would not end by then.
        output: the folder that the leaderboard is written to.
        watch: is given the walk when it begins, and returns what is called with each trial's end.

    Raises:
        DataError: when a data set is not there.
        StoreError: when the store cannot be written to.
    """
    deadline = None if budget is None else time.monotonic() + budget
    opened = Store.open(store)
    tasks = {trial.task.label: trial.task for trial in loaded.trials}
    prepared = {label: prepare(task.dataset, data_folder(data), opened.data) for label, task in tasks.items()}
    options = Options(
        executor=named_executor(loaded.registry, executor) if isinstance(executor, str) else executor,
        workers=workers,
        threads=threads,
        device=device,
        resources=chosen(loaded.suite.resources, {"num_cpus": num_cpus, "num_gpus": num_gpus}),
        plugins=loaded.files,
        blocked=loaded.blocked,
        retry_failed=retry_failed,
        timeout=timeout,
        checkpoint_every=checkpoint_every,
        deadline=deadline,
        environment=environment(threads),
    )
    plan = plan_suite(loaded, prepared, Networks(opened.root / NETWORKS).of)
    walk = Walk(plan, opened, loaded.registry, prepared, options)
    board = None if output is None else Board(output, opened.root / BOARDS / f"{digest(str(output.resolve()))}.json")
    # Where most likely nothing has changed, MLflow is not even imported before that is known.
    publisher = Publisher(loaded.suite.name, begun=not (board and board.note.exists() and walk.settled))
    with _noted(loaded, prepared, plan, opened) as note:
        counts, results = _followed(walk, loaded, publisher, watch(walk) if watch else lambda event: None)
        frame = _standing(loaded, results, board) if board and counts["cached"] == len(results) else None
        untracked = "" if frame is not None else publisher.close()
        if not untracked:
            note.unlink(missing_ok=True)
    if not untracked:
        try:
            frame = _made(loaded, results, board) if frame is None else frame
        except TrackingError as error:  # it went away at the very end
            untracked = str(error)
    return Outcome(counts, frame, untracked, tuple(results), len(walk.left), walk.outlook)


def _followed(
    walk: Walk, loaded: Loaded, publisher: Publisher, on_event: Callable[[Event], None]
) -> tuple[Counter[str], list[Result]]:
    """Follow a walk to its end, and hand what it brings to the publisher."""
    counts, results = Counter[str](), list[Result]()
    try:
        for event in walk.events():
            event = replace(event, result=_asked_for(event.result, loaded.origin))
            counts["cached" if event.cached else event.result.status] += 1
            results.append(event.result)
            publisher.put(event.result)
            if not event.cached:
                publisher.begin()
            on_event(event)
    except BaseException:
        publisher.abandon()
        raise
    return counts, results


@dataclass(frozen=True)
class Board:
    """A folder that the leaderboard is written to, and the note of what was written there."""

    folder: Path
    note: Path


def _standing(loaded: Loaded, results: Sequence[Result], board: Board) -> pd.DataFrame | None:
    """The rows of the board that is there, if MLflow has these results, and says and gives what it did before."""
    source = _source(loaded, results) if board.note.exists() else None
    if source is None:
        return None
    from prunebench.leaderboard.standing import standing

    return standing(board.note, source, board.folder)


def _made(loaded: Loaded, results: Sequence[Result], board: Board | None) -> pd.DataFrame:
    """Make the leaderboard; what it was made from is noted if MLflow said the same before and after."""
    if board is None:
        return make_leaderboard(loaded.suite.name, loaded.asked)
    from prunebench.leaderboard import publish
    from prunebench.leaderboard.standing import note_down

    source = _source(loaded, results)
    made = publish(loaded.suite.name, loaded.asked, board.folder)
    for complaint in made.complaints:
        warnings.warn(complaint, stacklevel=3)
    if source is not None and not made.complaints and source == _source(loaded, results):
        note_down(board.note, source, board.folder, made.files, made.frame)
    return made.frame


def _source(loaded: Loaded, results: Sequence[Result]) -> str | None:
    """Stands for all that a board is made from once these results are sent; None where that cannot be told."""
    said = contents(loaded.suite.name)
    if said is None or any(result.status != "done" for result in results):
        return None
    sent = sorted((result.trial, digest_of(result)) for result in results)
    return digest("board", loaded.suite.name, sorted(loaded.asked), sent, said)


def _asked_for(result: Result, origin: Mapping[str, str]) -> Result:
    return replace(result, provenance={**result.provenance, **origin})


@contextmanager
def _noted(loaded: Loaded, prepared: Mapping[str, Prepared], plan: Plan, store: Store) -> Iterator[Path]:
    """Write down what a run is about to send; the note goes when all has been sent, and `sync_all` reads it.

    A lock beside it says that the run is on.
    """
    note = {
        "suite": to_plain(loaded.suite),
        "trials": [str(trial) for trial in loaded.trials],
        "keys": {str(one.trial): one.key for one in plan.trials if one.chain},
        "prints": {label: data.fingerprint for label, data in prepared.items()},
        "files": loaded.files,
        "blocked": loaded.blocked,
        "origin": dict(loaded.origin),
    }
    path = store.root / UNSENT / f"{digest(note)}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(note), "utf-8")
        aside.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    lock = _lock_of(path)
    with suppress(Timeout, OSError):  # the same run is on a second time
        lock.acquire(timeout=0)
    try:
        yield path
    finally:
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def _lock_of(note: Path) -> FileLock:
    return FileLock(note.with_suffix(".lock"))


@dataclass(frozen=True)
class Sent:
    """What sending the results of a suite came to; counts of trials."""

    suite: str
    """Its name; the note's file where that cannot be read."""
    sent: int = 0
    there: int = 0
    """Those that MLflow had already."""
    open: int = 0
    """Those that have no result yet."""
    damaged: int = 0
    """Those whose entry in the store is damaged; a run makes it again."""
    outdated: int = 0
    """Those whose result was made by other code or plugins than are here now; a run makes it again."""
    unread: str = ""
    """Why nothing is known of them."""
    waiting: bool = False
    """Whether more is expected of a run that is on."""


def sync_suite(loaded: Loaded, *, store: Path = STORE, data: Path | None = None) -> Sent:
    """Send what the store has of a suite's results to MLflow, and run nothing; what is there is not sent again.

    Raises:
        TrackingError: when MLflow cannot be reached.
    """
    known = prepared_already(loaded, data, store)
    return _sent(loaded, {label: found.fingerprint for label, found in known.items()}, Store(store.resolve()))


def sync_all(store: Path = STORE) -> Iterator[Sent]:
    """The same for every suite whose last run in this store did not send all of its results.

    What cannot be sent then is not waited for any more, unless the run is still on: only another run can make it, and
    sends it.

    Raises:
        TrackingError: when MLflow cannot be reached.
        StoreError: for a note that cannot be taken away.
    """
    opened = Store(store.resolve())
    for path in sorted((opened.root / UNSENT).glob("*.json")):
        lock = _lock_of(path)
        try:
            with lock.acquire(timeout=0):
                sent = _sent_of(path, opened)
                path.unlink(missing_ok=True)
                Path(lock.lock_file).unlink(missing_ok=True)
        except Timeout:
            sent = replace(_sent_of(path, opened), waiting=True)
        except OSError as error:
            raise StoreError(f"cannot take {path} away: {error.strerror or error}") from error
        yield sent


def _sent_of(path: Path, store: Store) -> Sent:
    """Send what a note is about. What it is called, when it cannot be read, is all that is known of it."""
    try:
        note = json.loads(path.read_text("utf-8"))
        name, prints, keys = str(note["suite"]["name"]), dict(note["prints"]), dict(note.get("keys", {}))
        loaded = _remembered(note)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Sent(str(path), unread=f"it is no note of a run: {error!r}")
    except PrunebenchError as error:
        return Sent(name, unread=str(error))
    return _sent(loaded, prints, store, keys)


def _remembered(note: Mapping[str, Any]) -> Loaded:
    files, blocked = tuple(note["files"]), tuple(note["blocked"])
    registry = plugins.load(files, frozenset(blocked))
    suite, names = from_plain(note["suite"], registry), set(note["trials"])
    trials = tuple(trial for trial in suite.trials() if str(trial) in names)
    return Loaded(suite, trials, registry, files, blocked, note["origin"])


def _sent(
    loaded: Loaded, prints: Mapping[str, str], store: Store, keys: Mapping[str, str] = MappingProxyType({})
) -> Sent:
    """Send what the store has of some trials.

    Args:
        keys: of the trials' last states when they were run, by name.
    """
    from prunebench.tracking import Tracker

    plan = make_plan(loaded.trials, prints)
    jobs = missing_jobs(plan, store, (one.key for one in plan.trials if one.chain))
    failures = lost(store, jobs, {work.key for work in running(store)})
    tracker, name, counts = Tracker(), loaded.suite.name, Counter[str]()
    published = tracker.published(name)
    for planned in plan.trials:
        try:
            result = stored_result(planned, store, loaded.registry, prints.get(planned.trial.task.label), failures)
        except CorruptEntry:
            counts["damaged"] += 1
            continue
        if result is None:
            before = keys.get(str(planned.trial))
            made = bool(before and planned.chain and before != planned.key and store.has(before))
            counts["outdated" if made else "open"] += 1
            continue
        result = _asked_for(result, loaded.origin)
        there = result.trial in published and published[result.trial].stands_against(result)
        counts["there" if there else "sent"] += 1
        tracker.publish(result)
    return Sent(name, counts["sent"], counts["there"], counts["open"], counts["damaged"], counts["outdated"])


def make_leaderboard(
    suite: str | None, asked: Iterable[Asked] | None = None, output: Path | None = None
) -> pd.DataFrame:
    """The leaderboard of what MLflow has of a suite (or of all of them), also written to `output` if that is given.

    Args:
        asked: the cells it is to show; by default all that there are.
    """
    from prunebench.leaderboard import leaderboard

    return leaderboard(suite, asked=asked, output=output)
