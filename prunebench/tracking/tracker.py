"""Results in MLflow: one run a trial, written once however often it is published, and read back as the same values."""

from __future__ import annotations

import gc
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from prunebench.api.errors import TrackingError, Unavailable
from prunebench.messages.redaction import redacted
from prunebench.records.results import Result
from prunebench.tracking.addresses import URI_VARIABLE, artifact_folder, artifact_location, sqlite_file, tracking_uri
from prunebench.tracking.connection import connect, lockable, locked, translated
from prunebench.tracking.records import (
    BELOW,
    PARENT,
    PARENT_STATUS,
    PROVENANCE,
    STATUSES,
    TAG,
    Published,
    Record,
    digest,
    milliseconds,
    name_of,
    parent_tags,
    published_of,
    record_of,
    result_of,
)
from prunebench.tracking.retrying import Insistent, insisted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Kept = TypeVar("Kept")

EXPERIMENT = "prunebench/"
"""What the name of an experiment starts with; the suite's name follows."""
_METRICS_A_BATCH, _VALUES_A_BATCH = 800, 50
_PAGE = 200
"""Runs a request: more would take a server longer than we wait for one, and memory that is not given back."""
_WRITER = TAG + "writer"
_READERS_PATIENCE = 10.0
_DOUBLES = 50
"""The most runs of one trial that are looked at; they come of publishing it at the same time in different places."""


class Tracker:
    """A connection that publishes results.

    However many publish a suite at the same time, a trial has one run when all of them are through: those who share
    a database look and write one after the other, those who share a server withdraw the doubles that they made.

    Args:
        patience: seconds for which each call is made again while a server fails.
        writer: a name for those who must not publish a trial at the same time; a run that one of them left, because
            the server's answer was lost, is withdrawn.

    Raises:
        TrackingError: from the constructor and every method, within seconds, when MLflow cannot be reached.
    """

    def __init__(self, uri: str | None = None, *, patience: float = 0.0, writer: str = "") -> None:
        self.uri = tracking_uri(uri)
        self._writer, self._patience = writer or uuid4().hex, patience
        self._experiments: dict[str, str] = {}
        self._parents: dict[str, str] = {}
        self._known: dict[str, dict[str, Published]] = {}
        with translated(self.uri):
            self._client: Any = connect(self.uri)
        if patience:
            self._client = Insistent(self._client, self.uri, patience)

    def published(self, suite: str) -> dict[str, Published]:
        """Every published trial of a suite by its key, in one look; `publish` then asks no more for those."""
        with translated(self.uri):
            runs = _runs(self._client, [self._experiment(suite)])
            self._known[suite] = _best(runs, published_of)
        return dict(self._known[suite])

    def check(self) -> None:
        """Whether MLflow answers at all."""
        with translated(self.uri):
            self._client.search_experiments(max_results=1)

    def publish(self, result: Result) -> str:
        """Write a result as a run, or complete or renew the run of the same trial.

        Returns:
            the run's id. Publishing a result twice writes nothing the second time.
        """
        known = self._known.get(result.suite, {})
        if result.trial in known and known[result.trial].stands_against(result):
            return known[result.trial].run_id
        with translated(self.uri):
            published = self._written(result)
        if result.suite in self._known:
            self._known[result.suite][result.trial] = published
        return published.run_id

    def _written(self, result: Result) -> Published:
        parent, experiment = self._parent(result.suite), self._experiment(result.suite)
        record = self._signed(record_of(result).below(parent))
        with locked(self.uri):  # finding nothing and creating a run are one step for whoever shares the file
            run = self._find(experiment, result.trial)
            if run is not None and published_of(run).stands_against(result):
                return published_of(run)
            run_id = self._opened(run, record, experiment, result)
        self._log(run_id, record)
        if record.data:
            with locked(self.uri):  # MLflow looks for the same input and adds it in two steps
                self._client.log_inputs(run_id, record.data)
        self._attach(run_id, record, result.masks)
        end = milliseconds(result.finished or time.time())
        self._client.set_terminated(run_id, STATUSES[result.status], end)
        if not lockable(self.uri):
            self._withdraw_doubles(experiment, result.trial)
        return Published(run_id, result.status, digest(result), result.finished, complete=True)

    def _signed(self, record: Record) -> Record:
        """With the writer's name, where the answer to a run's creation can be lost, and it be made once more."""
        return record if lockable(self.uri) else replace(record, tags=record.tags | {_WRITER: self._writer})

    def _withdraw_doubles(self, experiment: str, trial: str) -> None:
        """Leave one of a trial's complete runs: whoever completes the last of them sees them all."""
        runs = self._runs_of(experiment, trial)
        best = max(runs, key=_precedence, default=None)
        for run in runs:
            ours = run.data.tags.get(_WRITER) == self._writer
            if run is not best and (ours or published_of(run).complete):
                self._client.delete_run(run.info.run_id)

    def _experiment(self, suite: str) -> str:
        if suite not in self._experiments:
            self._experiments[suite] = _experiment(self._client, self.uri, EXPERIMENT + suite)
        return self._experiments[suite]

    def _parent(self, suite: str) -> str:
        """The id of the run that the trials of a suite are below; it is made where it is missing.

        Runs of this kind that were made at the same time in different places become one: the oldest stays, and takes
        over the trials of the others.
        """
        if suite not in self._parents:
            experiment = self._experiment(suite)
            with locked(self.uri):
                parents = self._parents_of(experiment)
                if not parents:
                    tags = parent_tags(suite) | ({} if lockable(self.uri) else {_WRITER: self._writer})
                    self._client.create_run(experiment, milliseconds(time.time()), tags, suite)
                    parents = self._parents_of(experiment)
                kept, *doubles = parents
                if kept.info.status != PARENT_STATUS:
                    self._client.set_terminated(kept.info.run_id, PARENT_STATUS)
                for double in doubles:
                    self._replace_parent(experiment, double, kept)
            self._parents[suite] = str(kept.info.run_id)
        return self._parents[suite]

    def _parents_of(self, experiment: str) -> list[Run]:
        """The oldest first."""
        found = self._client.search_runs([experiment], f"tags.{PARENT} = 'true'", max_results=_DOUBLES)
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def _replace_parent(self, experiment: str, double: Run, kept: Run) -> None:
        below = f"tags.`{BELOW}` = '{double.info.run_id}'"
        for run in _pages(
            lambda token: self._client.search_runs([experiment], below, max_results=_PAGE, page_token=token)
        ):
            self._client.set_tag(run.info.run_id, BELOW, kept.info.run_id)
        self._client.delete_run(double.info.run_id)

    def _find(self, experiment: str, trial: str) -> Run | None:
        return max(self._runs_of(experiment, trial), key=_precedence, default=None)

    def _runs_of(self, experiment: str, trial: str) -> list[Run]:
        return list(self._client.search_runs([experiment], f"tags.{TAG}trial = '{trial}'", max_results=_DOUBLES))

    def _opened(self, run: Run | None, record: Record, experiment: str, result: Result) -> str:
        """A run that is open for this record: the one there is, or a new one where that one says otherwise."""
        if result.masks is not None and not result.masks.is_file():
            raise TrackingError(f"{name_of(result)}: there are no masks at {result.masks}")
        if run is not None and record.extends(run):
            self._reopen(run, record)
            return str(run.info.run_id)
        if run is not None:  # MLflow can neither change a param nor forget a metric
            self._client.delete_run(run.info.run_id)
        start = milliseconds(result.started or time.time())
        return str(self._client.create_run(experiment, start, record.tags, name_of(result)).info.run_id)

    def _reopen(self, run: Run, record: Record) -> None:
        self._client.update_run(run.info.run_id, status="RUNNING")
        for tag in sorted(set(run.data.tags) - set(record.tags)):
            if tag.startswith((TAG, PROVENANCE)):
                self._client.delete_tag(run.info.run_id, tag)
        for tag, value in record.tags.items():
            if run.data.tags.get(tag) != value:
                self._client.set_tag(run.info.run_id, tag, value)

    def _log(self, run_id: str, record: Record) -> None:
        from mlflow.entities import Param

        params = [Param(key, value) for key, value in record.params.items()]
        metrics = record.metrics
        while params or metrics:
            self._client.log_batch(run_id, metrics[:_METRICS_A_BATCH], params[:_VALUES_A_BATCH])
            metrics, params = metrics[_METRICS_A_BATCH:], params[_VALUES_A_BATCH:]

    def _attach(self, run_id: str, record: Record, masks: Path | None) -> None:
        if not record.files and masks is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in record.files.items():
                Path(folder, name).write_text(json.dumps(content, indent=1, default=float) + "\n", "utf-8")
            if masks is not None:
                shutil.copyfile(masks, Path(folder, "masks.safetensors"))
            insisted(lambda: self._upload(run_id, Path(folder)), self._patience)

    def _upload(self, run_id: str, folder: Path) -> None:
        """Send files, and see that they are there: MLflow takes the page of a gateway for an answer."""
        self._client.log_artifacts(run_id, str(folder))
        if lockable(self.uri):
            return
        there = {file.path: file.file_size for file in self._client.list_artifacts(run_id)}
        for file in folder.iterdir():
            if there.get(file.name, -1) not in (None, file.stat().st_size):
                raise Unavailable(f"MLflow at {redacted(self.uri)}: {file.name} of run {run_id} has not arrived")


def read_results(
    uri: str | None = None, suite: str | None = None, *, with_history: bool = False, with_layers: bool = False
) -> list[Result]:
    """Every result that was published completely, of one suite or of all; one a trial, in a fixed order.

    Args:
        uri: as in `tracking_uri`.
        with_history: read the curves too: one request a curve.
        with_layers: read the layers too: one file a run.

    Masks stay where they are: `masks` is None in what is read.
    """
    uri = tracking_uri(uri)
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise TrackingError(f"no results at {uri}: run a suite first, or name the place by {URI_VARIABLE}")
    with translated(uri):
        client: Any = Insistent(connect(uri), uri, _READERS_PATIENCE)

        def result(run: Run) -> Result | None:
            return result_of(client, run, with_history, with_layers) if published_of(run).complete else None

        results: list[Result] = []
        with _without_collection():
            for experiment in _experiments(client, suite):
                results += filter(None, _best(_runs(client, [experiment]), result).values())
    return sorted(results, key=lambda result: (result.suite, name_of(result), result.trial))


@contextmanager
def _without_collection() -> Iterator[None]:
    """Context without garbage collection.

    MLflow makes a hundred objects of each run, none of which is in a cycle, and to look for cycles among them takes as
    long as to read them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of an experiment, which is made, or brought back, where it is missing."""
    with locked(uri):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(client.create_experiment(name, artifact_location=_location(uri, name)))
            except Exception:
                experiment = client.get_experiment_by_name(name)  # another process may have created it meanwhile
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _location(uri: str, name: str) -> str | None:
    """Beside the database, by absolute path: MLflow's default is relative to the reader's directory."""
    folder = artifact_folder(uri, name)
    return None if folder is None else artifact_location(folder)


def _experiments(client: MlflowClient, suite: str | None) -> list[str]:
    if suite is not None:
        experiment = client.get_experiment_by_name(EXPERIMENT + suite)
        return [] if experiment is None or experiment.lifecycle_stage == "deleted" else [experiment.experiment_id]
    pages = _pages(
        lambda token: client.search_experiments(filter_string=f"name LIKE '{EXPERIMENT}%'", page_token=token)
    )
    return [experiment.experiment_id for experiment in pages]


def _runs(client: MlflowClient, experiments: list[str]) -> Iterator[Run]:
    return _pages(lambda token: client.search_runs(experiments, max_results=_PAGE, page_token=token))


def _pages(page: Any) -> Iterator[Any]:
    token = None
    while True:
        items = page(token)
        yield from items
        token = items.token
        if not token:
            return


def _best(runs: Iterable[Run], kept: Callable[[Run], Kept]) -> dict[str, Kept]:
    """What is kept of one run a trial; where there are two by accident, always the same one counts.

    The runs themselves, ten times as large as a result, are let go as they are read.
    """
    found: dict[str, tuple[tuple[Any, ...], Kept]] = {}
    for run in runs:
        trial, precedence = run.data.tags.get(TAG + "trial"), _precedence(run)
        if trial is not None and (trial not in found or precedence > found[trial][0]):
            found[trial] = precedence, kept(run)
    return {trial: what for trial, (_, what) in found.items()}


def _precedence(run: Run) -> tuple[Any, ...]:
    published = published_of(run)
    return (published.complete, *published.rank, run.info.run_id)
