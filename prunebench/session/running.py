"""Running a suite: what the store lacks is made, every trial is tracked, and the leaderboard written."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.api.environment import data_folder, environment
from prunebench.api.errors import BoardError, TrackingError
from prunebench.api.executors import CHECKPOINT_EVERY, Executor, chosen
from prunebench.api.files import unwritable
from prunebench.api.identity import digest
from prunebench.api.results import Result
from prunebench.api.tasks import Task
from prunebench.data.prepared import Prepared
from prunebench.execution.scheduler import DEFAULT, Event, Options, Scheduler, named_executor
from prunebench.network.cache import NetworkCache
from prunebench.session.loading import STORE, LoadedSuite, asked_for, plan_suite
from prunebench.session.outbox import noted
from prunebench.session.preparing import prepare_data, prepared_of
from prunebench.store.entries import Store
from prunebench.tracking import Publisher, check_address, contents
from prunebench.tracking import digest as digest_of

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.leaderboard import RequestedRow

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
    """Trials that the budget left no time for."""
    next: str = ""
    """What is known of the shortest job that is left, for people."""

    @property
    def ok(self) -> bool:
        return not self.counts["failed"] and not self.untracked and not self.open


def run_suite(
    loaded: LoadedSuite,
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
    watch: Callable[[Scheduler], Callable[[Event], None]] | None = None,
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
        budget: seconds after which the run stops; nothing begins that by the estimates would not end by then, but for
            what takes longer than all of it and goes on from its checkpoint in the next run.
        output: the folder that the leaderboard is written to.
        watch: is given the walk when it begins, and returns what is called with each trial's end.

    Raises:
        DataError: when no task's data is there. Where only some tasks lack theirs, their trials fail.
        StoreError: when the store cannot be written to.
        TrackingError: when the database that results go to is a file, and cannot be used or made.
        BoardError: when the leaderboard cannot be written to its folder.
    """
    check_address()
    if output is not None and (reason := unwritable(output)):
        raise BoardError(f"the leaderboard cannot be written to {output}: {reason}; name another folder with --output")
    deadline = None if budget is None else time.monotonic() + budget
    opened = Store.open(store)
    found = prepare_data(loaded, data, opened)

    def prepared_again(task: Task) -> Prepared:
        return prepared_of(task.dataset, data_folder(data), opened.data, loaded.registry)

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
    plan = plan_suite(loaded, found.prepared, NetworkCache(opened.root / NETWORKS).of)
    walk = Scheduler(plan, opened, loaded.registry, found.prepared, options, found.failed, prepared_again)
    board = None if output is None else Board(output, opened.root / BOARDS / f"{digest(str(output.resolve()))}.json")
    with noted(loaded, found.prepared, plan, opened) as note:
        return _carried_out(walk, loaded, note, board, watch(walk) if watch else lambda event: None)


def _carried_out(
    walk: Scheduler, loaded: LoadedSuite, note: Path, board: Board | None, on_event: Callable[[Event], None]
) -> Outcome:
    """Follow a walk, track what it brings, and make the leaderboard; the note goes once all results are sent."""
    # Where most likely nothing has changed, MLflow is not even imported before that is known.
    publisher = Publisher(loaded.suite.name, begun=not (board and board.note.exists() and walk.settled))
    counts, results = _followed(walk, loaded, publisher, on_event)
    frame = _standing(loaded, results, board) if board and counts["cached"] == len(results) else None
    untracked = "" if frame is not None else publisher.close()
    if not untracked:
        note.unlink(missing_ok=True)
    if frame is None and not untracked:
        try:
            frame = _made(loaded, results, board)
        except TrackingError as error:  # it went away at the very end
            untracked = str(error)
    return Outcome(counts, frame, untracked, tuple(results), len(walk.left), walk.outlook)


def _followed(
    walk: Scheduler, loaded: LoadedSuite, publisher: Publisher, on_event: Callable[[Event], None]
) -> tuple[Counter[str], list[Result]]:
    """Follow a walk to its end, and hand what it brings to the publisher."""
    counts, results = Counter[str](), list[Result]()
    try:
        for event in walk.events():
            event = replace(event, result=asked_for(event.result, loaded.origin))
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


def _standing(loaded: LoadedSuite, results: Sequence[Result], board: Board) -> pd.DataFrame | None:
    """The rows of the board that is there, if MLflow has these results, and says and gives what it did before."""
    source = _source(loaded, results) if board.note.exists() else None
    if source is None:
        return None
    from prunebench.leaderboard.boards.cache import standing

    return standing(board.note, source, board.folder)


def _made(loaded: LoadedSuite, results: Sequence[Result], board: Board | None) -> pd.DataFrame:
    """Make the leaderboard; what it was made from is noted if MLflow said the same before and after."""
    if board is None:
        return make_leaderboard(loaded.suite.name, loaded.asked)
    from prunebench.leaderboard import publish
    from prunebench.leaderboard.boards.cache import note_down

    source = _source(loaded, results)
    made = publish(loaded.suite.name, loaded.asked, board.folder)
    for complaint in made.complaints:
        warnings.warn(complaint, stacklevel=3)
    if source is not None and not made.complaints and source == _source(loaded, results):
        note_down(board.note, source, board.folder, made.files, made.frame)
    return made.frame


def _source(loaded: LoadedSuite, results: Sequence[Result]) -> str | None:
    """Stands for all that a board is made from once these results are sent; None where that cannot be told."""
    said = contents(loaded.suite.name)
    if said is None or any(result.status != "done" for result in results):
        return None
    sent = sorted((result.trial, digest_of(result)) for result in results)
    return digest("board", loaded.suite.name, sorted(loaded.asked), sent, said)


def make_leaderboard(
    suite: str | None, asked: Iterable[RequestedRow] | None = None, output: Path | None = None
) -> pd.DataFrame:
    """The leaderboard of what MLflow has of a suite (or of all of them), also written to `output` if that is given.

    Args:
        asked: the cells it is to show; by default all that there are.
    """
    from prunebench.leaderboard import load_leaderboard

    return load_leaderboard(suite, asked=asked, output=output)
