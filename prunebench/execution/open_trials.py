"""The trials of a run: which are open, and the results of those that have come to their end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prunebench.api.errors import CorruptEntry, DataError, StoreError
from prunebench.api.registry import Registry
from prunebench.api.tasks import Task, Trial
from prunebench.data.prepared import Prepared
from prunebench.execution.results import result_of, unfinished
from prunebench.plan.planning import UNKNOWN_DATA, Plan, PlannedTrial
from prunebench.records.results import Result, Status, collapsed, undecided
from prunebench.store.entries import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """A trial that came to its end, in the order in which they do."""

    planned: PlannedTrial
    result: Result
    cached: bool


class TaskData:
    """The prepared data of a run's tasks, by their labels.

    Args:
        prepared: the data that is there.
        missing: why a task has no data; its trials fail for that reason.
        prepare: prepares a task's data again, where what was prepared is damaged.
    """

    def __init__(
        self,
        prepared: Mapping[str, Prepared],
        missing: Mapping[str, str] = MappingProxyType({}),
        prepare: Callable[[Task], Prepared] | None = None,
    ) -> None:
        self._prepared, self._missing, self._prepare = dict(prepared), missing, prepare

    def of(self, task: Task) -> Prepared:
        return self._prepared[task.label]

    def fingerprint(self, task: Task) -> str:
        prepared = self._prepared.get(task.label)
        return prepared.fingerprint if prepared else UNKNOWN_DATA

    def why_missing(self, trial: Trial) -> str:
        """Why a task that a trial needs has no data; nothing where all have."""
        return next((self._missing[task.label] for task in trial.tasks if task.label in self._missing), "")

    def verify(self, task: Task) -> None:
        """Verify a task's data, and prepare it again if it is damaged. Raises DataError for other data than before."""
        if self._prepare is None:
            return
        again = self._prepare(task)
        if again.fingerprint != self.fingerprint(task):
            raise DataError(f"the data set of {task.label} was changed while the run was on: run again")
        self._prepared[task.label] = again


class OpenTrials:
    """The trials of a plan that have no result yet, by the keys of their last states."""

    def __init__(self, plan: Plan, store: Store, registry: Registry, data: TaskData) -> None:
        self._plan, self._store, self._registry, self._data = plan, store, registry, data
        self._open: dict[str, list[PlannedTrial]] = {}
        self.stamps: dict[str, str] = {}
        """Of each last state that became a result, `Store.stamp` before it was read."""
        self.warnings: dict[tuple[str, str], str] = {}
        """What was reported of undecided choices, by task and method."""

    def __iter__(self) -> Iterator[PlannedTrial]:
        return (planned for trials in self._open.values() for planned in trials)

    def is_open(self, key: str) -> bool:
        """Whether a trial waits for this state."""
        return key in self._open

    @property
    def keys(self) -> list[str]:
        """The states that a run has to make for these trials."""
        return list(self._open)

    def open(self) -> Iterator[Event]:
        """Open the trials of the plan; yields those that need no work."""
        for planned in self._plan.trials:
            if (result := self._known(planned)) is not None:
                yield Event(planned, result, cached=result.status == "done")
            else:
                self._open.setdefault(planned.key, []).append(planned)

    def close(self, key: str) -> Iterator[Event]:
        """The trials that end with a state which is in the store now; they stay open where it cannot be read."""
        for planned in self._open.pop(key, []):
            if (result := self._result(planned)) is not None:
                yield Event(planned, result, cached=False)
            else:
                self._open.setdefault(key, []).append(planned)

    def fail(self, key: str, reason: str) -> Iterator[Event]:
        """The trials that end with a state which could not be made."""
        for planned in self._open.pop(key, []):
            yield Event(planned, self._unfinished(planned, "failed", reason), cached=False)

    def _known(self, planned: PlannedTrial) -> Result | None:
        """The result of a trial that needs no work."""
        if planned.skipped:
            return self._unfinished(planned, "skipped", planned.skipped)
        if reason := planned.failed or self._data.why_missing(planned.trial):
            return self._unfinished(planned, "failed", reason)
        return self._result(planned) if self._store.has(planned.key) else None

    def _result(self, planned: PlannedTrial) -> Result | None:
        """The result of a trial from its last state; None, and a warning, if that is damaged."""
        fingerprint = self._data.fingerprint(planned.trial.task)
        stamp = self._store.stamp(planned.key)
        try:
            result = result_of(planned, self._store, self._registry, fingerprint)
        except StoreError as error:
            _log.warning("%s: %s; it is computed again", planned.trial, error)
            if isinstance(error, CorruptEntry):
                self._store.discard(planned.key)
            return None
        self.stamps[planned.key] = stamp
        self._warn(planned, result)
        return result

    def _unfinished(self, planned: PlannedTrial, status: Status, reason: str) -> Result:
        fingerprint = self._data.fingerprint(planned.trial.task)
        return unfinished(planned, status, reason, self._registry, fingerprint, time.time())

    def _warn(self, planned: PlannedTrial, result: Result) -> None:
        """Warn once for each task and method whose scores left something undecided, or that left a layer empty."""
        remarks, row = (undecided(result.metrics), collapsed(result.layers)), (result.task, result.method)
        warning = "; ".join(filter(None, remarks))
        if warning and row not in self.warnings:
            self.warnings[row] = f"{planned.trial}: {warning}"
            _log.warning("%s", self.warnings[row])
