"""A result as an MLflow run, and back: tags, params, metrics and files, by MLflow's names and within its limits."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Annotated, Any, cast

from annotated_types import Len

from prunebench.api.errors import TrackingError
from prunebench.api.objectives import Metric as ObjectiveMetric
from prunebench.messages.durations import is_date, rounded
from prunebench.messages.redaction import redacted, redacted_all
from prunebench.records.files import read_json
from prunebench.records.results import OPTION, Result, Status

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

Scalar = str | int | float | bool

TAG, PROVENANCE, CURVE = "prunebench.", "provenance.", "curve/"
STATUSES = {"done": "FINISHED", "failed": "FAILED", "skipped": "KILLED"}
"""A run gets its MLflow status last, so one whose status is not its tag's was only half written."""
PARENT, BELOW, NOTE = TAG + "parent", "mlflow.parentRunId", "mlflow.note.content"
"""Tags: of the run that the trials of a suite are below; of a trial, the id of that run; a text that MLflow shows."""
PARENT_STATUS = "FINISHED"
_PARAM_LIMIT, _TAG_LIMIT, _DIGEST_LIMIT = 6000, 8000, 36
_LARGEST = sys.float_info.max


def digest(result: Result) -> str:
    """Hash of everything that a run says of a result, but for how it was asked for: equal for equal results, in any
    process, so that asking otherwise renews nothing."""
    plain = {part.name: getattr(result, part.name) for part in fields(result)}
    made_with = {key: value for key, value in result.provenance.items() if not key.startswith(OPTION)}
    plain |= {"masks": result.masks is not None, "provenance": made_with}
    text = json.dumps(plain, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    """What json cannot write: metrics, and numbers that are not Python's own."""
    return asdict(value) if isinstance(value, ObjectiveMetric) else float(value)


@dataclass(frozen=True)
class Published:
    """What MLflow has of a trial."""

    run_id: str
    status: str
    content: str
    """`digest` of the result that was published."""
    finished: float
    complete: bool
    """False for a run whose writer was stopped half-way."""

    def stands_against(self, result: Result) -> bool:
        """Whether publishing `result` changes nothing: it is there, or a newer or better outcome of its work is."""
        return self.complete and (self.content == digest(result) or self.rank > _rank(result))

    @property
    def rank(self) -> tuple[bool, float]:
        return (self.status == "done", self.finished)


def _rank(result: Result) -> tuple[bool, float]:
    """A done trial stands against a failed one of the same work, then the newest counts."""
    return (result.status == "done", result.finished)


def published_of(run: Run) -> Published:
    """What a run says of the trial that it is of."""
    tags = run.data.tags
    status = tags.get(TAG + "status", "")
    finished = _date(tags.get(TAG + "finished", "0"))
    return Published(
        run_id=run.info.run_id,
        status=status,
        content=tags.get(TAG + "content", ""),
        finished=finished or 0.0,
        complete=run.info.status == STATUSES.get(status) and finished is not None,
    )


def _date(text: str) -> float | None:
    """Unix seconds; None for anything else."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if is_date(found) else None


@dataclass(frozen=True)
class Record:
    """What a run is to say, in MLflow's terms."""

    tags: dict[str, str]
    params: dict[str, str]
    metrics: list[Metric]
    files: dict[str, Any] = field(default_factory=dict)
    data: list[DatasetInput] = field(default_factory=list)

    def below(self, parent: str) -> Record:
        """The record of a run that MLflow shows below another one."""
        return replace(self, tags=self.tags | {BELOW: parent})

    def extends(self, run: Run) -> bool:
        """Whether adding to the run makes it this record: no param, and no metric of another outcome, is in the way."""
        same = run.data.tags.get(TAG + "content") == self.tags[TAG + "content"]
        return run.data.params.items() <= self.params.items() and (same or not run.data.metrics)


def record_of(result: Result) -> Record:
    """A result in MLflow's terms, nothing of it lost to MLflow's limits; secrets that its texts quote are hidden."""
    long: dict[str, str] = {}
    facts = {TAG + key: value for key, value in _facts(result).items() if value != ""}
    provenance = {PROVENANCE + _key(key): redacted(str(value)) for key, value in result.provenance.items()}
    tags = _fitting(facts | provenance, _TAG_LIMIT, long)
    params = _fitting(
        {_key(key): encoded(redacted_all(value)) for key, value in result.params.items()}, _PARAM_LIMIT, long
    )
    files: dict[str, Any] = {"layers.json": result.layers} if result.layers else {}
    shown = {"mlflow.source.name": "prunebench", NOTE: _note(result)}
    return Record(tags | shown, params, _metrics(result), files | _unless_empty(long), _data(result))


def parent_tags(suite: str) -> dict[str, str]:
    """The tags of the run that the trials of a suite are below."""
    note = f"The trials of the suite `{suite}` are below this run; `prunebench leaderboard {suite}` shows them."
    return {PARENT: "true", TAG + "suite": suite, "mlflow.source.name": "prunebench", NOTE: note}


def _note(result: Result) -> str:
    """When a trial ran and for how long, for people: MLflow shows this text on the page of a run."""
    begun, ended = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}" for at in (result.started, result.finished))
    took = rounded(max(0.0, result.finished - result.started))
    return f"{result.status}: from {begun} to {ended} UTC, {took}" if result.finished else result.status


def _data(result: Result) -> list[DatasetInput]:
    """The data set of the task, identified by the fingerprint of its content; nothing if that is not known."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name, fingerprint = result.params.get("task.dataset.name"), result.provenance.get("data", "")
    if not name or not fingerprint:
        return []
    about = {key: value for key, value in result.params.items() if key.startswith("task.dataset.")}
    found = Dataset(
        str(name), fingerprint[:_DIGEST_LIMIT], "prunebench", json.dumps(redacted_all(about), sort_keys=True)
    )
    return [DatasetInput(found, [InputTag("mlflow.data.context", "training")])]


def _unless_empty(long: dict[str, str]) -> dict[str, Any]:
    return {"long-values.json": long} if long else {}


def _facts(result: Result) -> dict[str, str]:
    """A result's scalar fields as tags; `trial` and `content` make publishing idempotent."""
    return {
        "trial": result.trial,
        "content": digest(result),
        "suite": result.suite,
        "task": result.task,
        "protocol": result.protocol,
        "method": result.method,
        "variant": result.variant,
        "target_sparsity": repr(float(result.sparsity)),
        "seed": str(result.seed),
        "control": encoded(result.control),
        "status": result.status,
        "reason": redacted(result.reason),
        "objective": json.dumps([asdict(metric) for metric in result.objective]),
        "started": repr(float(result.started)),
        "finished": repr(float(result.finished)),
    }


def _metrics(result: Result) -> list[Metric]:
    """The final figures at step 0, and the curves at the steps and times at which they were recorded."""
    from mlflow.entities import Metric

    finished = milliseconds(result.finished)
    metrics = [Metric(_key(key), float(value), finished, 0) for key, value in result.metrics.items()]
    for entry in result.history:
        step, moment = int(entry["step"]), milliseconds(entry["time"])
        figures = ((key, value) for key, value in entry.items() if key not in ("step", "time"))
        metrics += [Metric(CURVE + _key(key), float(value), moment, step) for key, value in figures]
    return metrics


def _fitting(values: Mapping[str, str], limit: int, long: dict[str, str]) -> dict[str, str]:
    """`values`, those over MLflow's limit cut with a note; their whole text goes to `long`."""
    fitting = {}
    for key, value in values.items():
        if len(value) > limit:
            long[key] = value
            note = f" ... [{len(value)} characters, all of them in long-values.json]"
            value = value[: limit - len(note)] + note
        fitting[key] = value
    return fitting


def _key(name: str) -> str:
    """A name that MLflow accepts."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def name_of(result: Result) -> str:
    """What the run is called in MLflow's pages."""
    return f"{result.task}/{result.method}/{result.sparsity:g}/{result.seed}"


def milliseconds(seconds: float) -> int:
    """A time as MLflow keeps it."""
    return round(seconds * 1000)


def encoded(value: Scalar) -> str:
    """A param as text: plain where that reads back as itself, otherwise JSON (the text 17 is `"17"`)."""
    if isinstance(value, str) and value and decoded(value) == value:
        return value
    return json.dumps(value)


@lru_cache(maxsize=10_000)
def decoded(text: str) -> Scalar:
    """The param that `encoded` wrote."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (str, int, float)) else text


def result_of(client: MlflowClient, run: Run, with_history: bool, with_layers: bool) -> Result:
    """The result that a run was made of; its curves and layers are asked for only if they are wanted.

    What thousands of results say in the same words is kept once.

    Raises TrackingError for a run that was not written by `record_of`: others may write to the same MLflow.
    """
    try:
        return _result_of(client, run, with_history, with_layers)
    except ValueError as error:
        raise TrackingError(f"run {run.info.run_id} is not a result as prunebench writes it: {error}") from None


def _result_of(client: MlflowClient, run: Run, with_history: bool, with_layers: bool) -> Result:
    tags = run.data.tags
    text = defaultdict(str, {key.removeprefix(TAG): tags[key] for key in tags if key.startswith(TAG)})
    return Result(
        trial=text["trial"],
        suite=text["suite"],
        task=text["task"],
        protocol=text["protocol"],
        method=text["method"],
        variant=text["variant"],
        sparsity=_share(text["target_sparsity"]),
        seed=int(text["seed"]),
        control=text["control"] == "true",
        status=cast(Status, text["status"]),
        reason=text["reason"],
        **_objective(text["objective"]),
        params={intern(key): decoded(value) for key, value in run.data.params.items()},
        metrics={intern(key): _number(value) for key, value in run.data.metrics.items() if not key.startswith(CURVE)},
        history=_history(client, run) if with_history else [],
        layers=_layers(client, run) if with_layers else [],
        provenance={
            intern(key.removeprefix(PROVENANCE)): intern(tags[key])
            for key in sorted(tags)
            if key.startswith(PROVENANCE)
        },
        started=_date(text["started"]) or 0.0,
        finished=_date(text["finished"]) or 0.0,
    )


_Metrics = Annotated[tuple[ObjectiveMetric, ...], Len(1)]


@cache
def _objective(text: str) -> dict[str, Any]:
    """The metrics of a result's objective; nothing for a result from before there were objectives.

    Raises ValueError for anything but the JSON of metrics.
    """
    from pydantic import TypeAdapter  # which the run of a finished suite does without

    return {"objective": TypeAdapter(_Metrics).validate_json(text, strict=True)} if text else {}


def _share(text: str) -> float:
    found = float(text)
    if not 0 <= found <= 1:
        raise ValueError(f"a sparsity of {text!r}")
    return found


def _history(client: MlflowClient, run: Run) -> list[dict[str, float]]:
    entries: dict[tuple[int, int], dict[str, float]] = {}
    for key in sorted(key for key in run.data.metrics if key.startswith(CURVE)):
        for point in client.get_metric_history(run.info.run_id, key):
            entry = {"step": point.step, "time": point.timestamp / 1000}
            at = entries.setdefault((point.step, point.timestamp), entry)
            at[key.removeprefix(CURVE)] = _number(point.value)
    return [entries[at] for at in sorted(entries)]


def _layers(client: MlflowClient, run: Run) -> list[dict[str, Any]]:
    if not any(file.path == "layers.json" for file in client.list_artifacts(run.info.run_id)):
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(run.info.run_id, "layers.json", folder)
        layers = read_json(Path(path))
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise ValueError("its layers.json is not a list of layers")
    return layers


def _number(value: float) -> float:
    """MLflow stores infinity as the largest number."""
    return float("inf") * value if abs(value) >= _LARGEST else value
