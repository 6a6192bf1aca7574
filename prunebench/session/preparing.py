"""Prepares the data of a suite's tasks before anything runs; a data set that fails fails only its own tasks."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from prunebench.api.components import Dataset
from prunebench.api.errors import BrokenDataset, DataError
from prunebench.api.registry import Registry
from prunebench.data.prepared import Prepared, prepare
from prunebench.isolation.calls import NoAnswer, call_in_child
from prunebench.records.environment import data_folder
from prunebench.records.keys import digest
from prunebench.session.loading import LoadedSuite
from prunebench.store.entries import Record, Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The data of some tasks, by their labels."""

    prepared: Mapping[str, Prepared]
    failed: Mapping[str, str]
    """Why there is none for a task, in one line."""


def prepare_data(loaded: LoadedSuite, data: Path | None, store: Store) -> Data:
    """Prepare the data of every task. Reasons of failures are kept in the store until the data can be read.

    Raises:
        DataError: when no task has its data, because it is missing or damaged.
        StoreError: when a reason cannot be written.
    """
    tasks = loaded.tasks
    prepared: dict[str, Prepared] = {}
    errors: dict[str, DataError] = {}
    for label, task in tasks.items():
        try:
            task.facts  # noqa: B018 (a data set that cannot be planned need not be read)
            prepared[label] = prepared_of(task.dataset, data_folder(data), store.data, loaded.registry)
            store.forget_failure(_key(task.dataset))
        except DataError as error:
            errors[label] = error
    if errors and not prepared and not any(isinstance(one, BrokenDataset) for one in errors.values()):
        raise DataError("\n".join(dict.fromkeys(map(str, errors.values()))))
    reasons = {label: " ".join(str(one).split()) for label, one in errors.items()}
    for label, reason in reasons.items():
        _log.error("task %s fails: %s", label, reason)
        store.write_failure(_key(tasks[label].dataset), {"reason": reason, "time": time.time()})
    return Data(prepared, reasons)


def data_failures(loaded: LoadedSuite, prepared: Mapping[str, Prepared], store: Store) -> dict[str, Record]:
    """The failures in the store of tasks whose data could not be prepared when last tried, by label."""
    tasks = loaded.tasks.items()
    found = {label: store.failure(_key(task.dataset)) for label, task in tasks if label not in prepared}
    return {label: failure for label, failure in found.items() if failure is not None}


def _key(dataset: Dataset) -> str:
    return digest("data", dataset)


def prepared_of(dataset: Dataset, root: Path | None, cache: Path, registry: Registry) -> Prepared:
    """The data set; code of other distributions and of loose files runs in a child process."""
    if not registry.is_foreign(type(dataset)):
        return prepare(dataset, root, cache)

    def prepared() -> Prepared:
        torch.set_num_threads(1)  # threads of OpenMP do not survive a fork
        return prepare(dataset, root, cache)

    try:
        return call_in_child(prepared)
    except NoAnswer as reason:
        raise BrokenDataset(f"data set {dataset.name!r}: {reason}") from None
