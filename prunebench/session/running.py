"""Running a suite: what the store lacks is made, every trial is tracked, and the leaderboard written."""

from __future__ import annotations

import logging
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.api.errors import BoardError, TrackingError
from prunebench.api.executors import Executor, chosen
from prunebench.api.runtimes import Measure, Runtime
from prunebench.api.tasks import Task
from prunebench.data.prepared import Prepared
from prunebench.execution.measuring.runtimes import check_installed
from prunebench.execution.open_trials import Event, TaskData
from prunebench.execution.scheduler import Scheduler, SchedulerOptions, named_executor
from prunebench.network.cache import NetworkCache
from prunebench.plan.idle_trainings import idle_trainings
from prunebench.plan.planning import Plan
from prunebench.records.environment import data_folder, describe_environment
from prunebench.records.files import unwritable
from prunebench.records.keys import digest
from prunebench.records.results import Result
from prunebench.session.finished import board_source, finished
from prunebench.session.loading import LoadedSuite, plan_suite, with_origin
from prunebench.session.outbox import pending
from prunebench.session.preparing import prepare_data, prepared_of
from prunebench.session.receipts import Finished
from prunebench.session.run_options import RunOptions
from prunebench.store.entries import Store
from prunebench.store.locks import Work, lock
from prunebench.tracking import Publisher, check_address, contents

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.leaderboard import RequestedRow

REPORTED = "reported.csv"
"""In the folder of a board, the numbers of others that it shows."""
_log = logging.getLogger(__name__)

NETWORKS = "networks"
"""The folder of a store with the descriptions of networks."""
BOARDS = "boards"
"""The folder of a store with a note for each folder that a board was written to."""


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
    """Trials that the budget left no time for, or that were left when the run was stopped."""
    next: str = ""
    """What is known of the shortest job that is left, for people."""

    @property
    def ok(self) -> bool:
        return not self.counts["failed"] and not self.untracked and not self.open


def run_suite(
    loaded: LoadedSuite,
    options: RunOptions | None = None,
    *,
    watch: Callable[[Scheduler], Callable[[Event], None]] | None = None,
    on_finished: Callable[[Finished], None] | None = None,
    **changes: Any,
) -> Outcome:
    """Run what the store lacks, track every trial in MLflow, and make the leaderboard.

    `run_suite(suite, workers=2)` is short for `run_suite(suite, RunOptions(workers=2))`.

    Args:
        options: how to run; see `prunebench.RunOptions`.
        watch: called with the scheduler before it starts; returns what is called with each trial that ends.
        on_finished: called with all that the run depended on if it leaves nothing to do, to write a receipt of it.
        changes: options by their names, which override those of `options`.

    Raises:
        DataError: when no task's data is there. Where only some tasks lack theirs, their trials fail.
        StoreError: when the store cannot be written to.
        TrackingError: when the database that results go to is a file, and cannot be used or made.
        BoardError: when the leaderboard cannot be written to its folder.
    """
    options = replace(options or RunOptions(), **changes)
    check_address()
    _check_output(options.output)
    deadline = None if options.budget is None else time.monotonic() + options.budget
    store = Store.open(options.store)
    found = prepare_data(loaded, options.data, store)
    executor, networks = _executor(loaded, options), NetworkCache(store.root / NETWORKS)
    if not all(map(networks.has, loaded.suite.tasks)):  # a task that was never planned here was never run here
        executor.prepare()
    plan = plan_suite(loaded, found.prepared, networks.of)
    data = TaskData(found.prepared, found.failed, _preparer(loaded, options, store))
    scheduler = Scheduler(plan, store, loaded.registry, data, _scheduler_options(loaded, options, executor, deadline))
    if options.measure_again:
        forget_measurements(plan, store)
    if scheduler.has_work:
        check_installed(runtimes_of(loaded))
        for idle in idle_trainings(plan):
            _log.warning("%s", idle)
        executor.prepare()
    on_event = watch(scheduler) if watch else lambda event: None
    with pending(loaded, found.prepared, plan, store) as note:
        board = _board(options.output, store)
        outcome = _run_and_publish(scheduler, loaded, note, board, on_event)
    if on_finished is not None and outcome.ok and board is not None:
        root, places = data_folder(options.data), (board.folder, board.note)
        if left := finished(loaded, scheduler, outcome.results, found.prepared, root, places, note.name):
            on_finished(left)
    return outcome


def runtimes_of(loaded: LoadedSuite) -> set[Runtime]:
    """The runtimes that the trials of a suite are measured in, and in which its targets are."""
    found = {entry.runtime for trial in loaded.trials if trial.measure for entry in trial.measure.runtimes}
    return found | {trial.timed.runtime for trial in loaded.trials if trial.timed}  # type: ignore[misc]


def forget_measurements(plan: Plan, store: Store) -> None:
    """Discard what was measured in runtimes, except for what another run is measuring now."""
    for key, node in plan.nodes.items():
        if isinstance(node.stage, Measure) and store.has(key):
            held = lock(store, key, Work(str(node.trial), "forgotten, to be measured again", 0, 0))
            if held is not None:
                with held:
                    store.discard(key)


def _check_output(output: Path | None) -> None:
    if output is not None and (reason := unwritable(output)):
        raise BoardError(f"the leaderboard cannot be written to {output}: {reason}; name another folder with --output")
    if output is not None and (output / REPORTED).exists():  # so that what is wrong with it is said at once
        from prunebench.leaderboard.reported import in_folder

        in_folder(output)


def _preparer(loaded: LoadedSuite, options: RunOptions, store: Store) -> Callable[[Task], Prepared]:
    """Prepares the data of a task again."""
    return lambda task: prepared_of(task.dataset, data_folder(options.data), store.data, loaded.registry)


def _executor(loaded: LoadedSuite, options: RunOptions) -> Executor:
    executor = options.executor
    return named_executor(loaded.registry, executor) if isinstance(executor, str) else executor


def _scheduler_options(
    loaded: LoadedSuite, options: RunOptions, executor: Executor, deadline: float | None
) -> SchedulerOptions:
    return SchedulerOptions(
        executor=executor,
        workers=options.workers,
        threads=options.threads,
        device=options.device,
        resources=chosen(loaded.suite.resources, {"num_cpus": options.num_cpus, "num_gpus": options.num_gpus}),
        plugins=loaded.files,
        blocked=loaded.blocked,
        retry_failed=options.retry_failed,
        timeout=options.timeout,
        checkpoint_every=options.checkpoint_every,
        deadline=deadline,
        stop=options.stop,
        environment=describe_environment(options.threads),
    )


def _board(output: Path | None, store: Store) -> Board | None:
    return None if output is None else Board(output, store.root / BOARDS / f"{digest(str(output.resolve()))}.json")


def _run_and_publish(
    scheduler: Scheduler, loaded: LoadedSuite, note: Path, board: Board | None, on_event: Callable[[Event], None]
) -> Outcome:
    """Run, track each result, and make the leaderboard; the note is removed once all results are sent."""
    # Where most likely nothing has changed, MLflow is not even imported before that is known.
    publisher = Publisher(loaded.suite.name, begun=not (board and board.note.exists() and scheduler.is_complete))
    counts, results = _run_and_track(scheduler, loaded, publisher, on_event)
    frame = _unchanged_rows(loaded, results, board) if board and counts["cached"] == len(results) else None
    untracked = "" if frame is not None else publisher.close()
    if not untracked:
        note.unlink(missing_ok=True)
    if frame is None and not untracked:
        try:
            frame = _publish(loaded, results, board)
        except TrackingError as error:  # it went away at the very end
            untracked = str(error)
    return Outcome(counts, frame, untracked, tuple(results), len(scheduler.open_trials), scheduler.outlook)


def _run_and_track(
    scheduler: Scheduler, loaded: LoadedSuite, publisher: Publisher, on_event: Callable[[Event], None]
) -> tuple[Counter[str], list[Result]]:
    """Run to the end, and hand each result to the publisher."""
    counts, results = Counter[str](), list[Result]()
    try:
        for event in scheduler.events():
            event = replace(event, result=with_origin(event.result, loaded.origin))
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


def _unchanged_rows(loaded: LoadedSuite, results: Sequence[Result], board: Board) -> pd.DataFrame | None:
    """The rows of the board that is there, if MLflow has these results, and says and gives what it did before."""
    source = board_source(loaded, results, contents(loaded.suite.name)) if board.note.exists() else None
    if source is None:
        return None
    from prunebench.leaderboard.boards.cache import standing

    return standing(board.note, source, board.folder)


def _publish(loaded: LoadedSuite, results: Sequence[Result], board: Board | None) -> pd.DataFrame:
    """Make the leaderboard; what it was made from is noted if MLflow said the same before and after."""
    if board is None:
        return make_leaderboard(loaded.suite.name, loaded.asked)
    from prunebench.leaderboard.boards.cache import note_down
    from prunebench.leaderboard.publishing import publish

    source = board_source(loaded, results, contents(loaded.suite.name))
    published = publish(loaded.suite.name, loaded.asked, board.folder)
    for complaint in published.complaints:
        warnings.warn(complaint, stacklevel=3)
    if (
        source is not None
        and not published.complaints
        and source == board_source(loaded, results, contents(loaded.suite.name))
    ):
        note_down(board.note, source, board.folder, published.files, published.frame)
    return published.frame


def make_leaderboard(
    suite: str | None, asked: Iterable[RequestedRow] | None = None, output: Path | None = None
) -> pd.DataFrame:
    """The leaderboard of what MLflow has of a suite (or of all of them), also written to `output` if that is given.

    Args:
        asked: the cells it is to show; by default all that there are.
    """
    from prunebench.leaderboard import load_leaderboard

    return load_leaderboard(suite, asked=asked, output=output)
