"""What the receipt of a finished run is made of (see `prunebench.session.receipts`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from prunebench.api.files import File
from prunebench.data.prepared import Prepared, stamped
from prunebench.execution.key_inputs import components
from prunebench.execution.scheduler import Scheduler
from prunebench.leaderboard.boards.cache import current_files
from prunebench.records.keys import digest
from prunebench.records.results import Result
from prunebench.records.sources import source_files
from prunebench.session.loading import LoadedSuite
from prunebench.session.receipts import Finished, joint
from prunebench.tracking import contents
from prunebench.tracking import digest as digest_of


def board_source(loaded: LoadedSuite, results: Sequence[Result], tracked: str | None) -> str | None:
    """Stands for all that a board is made from once these results are sent; None where that cannot be told.

    Args:
        tracked: what MLflow has, as `prunebench.tracking.contents` says.
    """
    if tracked is None or any(result.status != "done" for result in results):
        return None
    sent = sorted((result.trial, digest_of(result)) for result in results)
    return digest("board", loaded.suite.name, sorted(loaded.asked), sent, tracked)


def finished(
    loaded: LoadedSuite,
    scheduler: Scheduler,
    results: Sequence[Result],
    data: Mapping[str, Prepared],
    root: Path | None,
    board: tuple[Path, Path],
    note: str,
) -> Finished | None:
    """All that a run depended on, if it left nothing to do; None in any doubt.

    Args:
        data: of the tasks, by their labels.
        root: the folder of data sets.
        board: the folder of the leaderboard, and the note of what was written there.
        note: the name of the run's note in the outbox.
    """
    trials, (folder, manifest) = scheduler.plan.trials, board
    keys = sorted({one.key for one in trials if one.chain})
    if len(results) != len(trials) or keys != sorted(scheduler.stamps):
        return None
    tracked = contents(loaded.suite.name)
    source = board_source(loaded, results, tracked)
    # What MLflow and the board have is taken down first, and then found to be what the run has left there.
    files = None if source is None else current_files(manifest, source, folder)
    stamps = [stamped(task.dataset, root, scheduler.store.data, data[task.label]) for task in loaded.tasks.values()]
    if tracked is None or files is None or None in stamps:
        return None
    return Finished(
        suite=loaded.suite.name,
        trials=len(trials),
        stages=len(scheduler.plan.nodes),
        warnings=scheduler.warnings,
        keys=tuple(keys),
        states=joint(scheduler.stamps[key] for key in keys),
        data=tuple(one[0] for one in stamps if one),
        data_stamp=joint(one[1] for one in stamps if one),
        sources=tuple(sorted(_sources(loaded))),
        tracked=tracked,
        board=files,
        folder=str(folder),
        note=note,
    )


def _sources(loaded: LoadedSuite) -> Iterator[str]:
    """The files of the components of a suite, and those that their parameters name."""
    distinct = {(id(trial.task), id(trial.entry)): trial for trial in loaded.trials}
    for trial in distinct.values():
        yield from (str(file.location.resolve()) for file in _files_in([trial.task, trial.entry]))
        for _, component in components(trial):
            yield from map(str, source_files(type(component)))


def _files_in(value: Any) -> Iterator[File]:
    """The files among the parameters of a value, at any depth."""
    if isinstance(value, File):
        yield value
        return
    parts: Iterable[Any] = ()
    if is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, one.name) for one in fields(value)]
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, (list, tuple)):
        parts = value
    for part in parts:
        yield from _files_in(part)
