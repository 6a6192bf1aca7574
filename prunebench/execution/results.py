"""From entries of the store to results of trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Le
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from prunebench.api.errors import CorruptEntry, DataError
from prunebench.api.methods import Method
from prunebench.api.objectives import ACCURACY, Metric
from prunebench.api.registry import Registry
from prunebench.api.tasks import Task, Trial
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.execution.key_inputs import components, flattened, inputs_of, sources
from prunebench.execution.measuring.throughput import reported
from prunebench.messages.durations import LATEST
from prunebench.network.description import describe
from prunebench.plan.planning import PlannedTrial
from prunebench.plan.tuning import words
from prunebench.records.keys import digest
from prunebench.records.results import (
    AS_GIVEN,
    DENSITY,
    FAMILY,
    IMPORTED,
    OF_ENGINE,
    OF_PROTOCOL,
    OUTPUT_ERROR,
    OWN_RECIPE,
    TICKET_OF,
    TUNED,
    Result,
    Status,
    early_stop_name,
    without_weights,
)
from prunebench.records.sources import declared_version, source_files
from prunebench.store.entries import Record, Store
from prunebench.suite.reading import trial_to_plain
from prunebench.training.cost import Cost, dense_training_flops

Date = Annotated[float, Ge(0), Le(LATEST)]
Count = Annotated[int, Ge(0), Le(2**53)]
PERMUTED = "kernels for it need the weights and the inputs of each layer in the permuted order"


class _Layer(TypedDict):
    name: str
    kept: Count
    total: Annotated[Count, Ge(1)]


class _Cost(TypedDict):
    wall_seconds: float
    processor_seconds: NotRequired[float | None]
    steps: Count


class _State(TypedDict):
    history: list[dict[str, float]]
    cost: _Cost


class _Figures(TypedDict):
    """The fields of a record that a result is made of. A store may be copied from anybody, with checksums that fit."""

    figures: dict[str, float]
    notes: dict[str, str]
    layers: list[_Layer]
    inference_flops: float
    parameters_left: NotRequired[Count]
    started: Date
    finished: Date
    environment: dict[str, str]
    state: _State


_FIGURES = TypeAdapter(_Figures)


def result_of(planned: PlannedTrial, store: Store, registry: Registry, fingerprint: str) -> Result:
    """The result of a trial whose last state is in the store. Raises MissingEntry or CorruptEntry."""
    record = store.verified(planned.key)
    try:
        _FIGURES.validate_python(record, strict=True)
        return _of_record(planned, record, store, registry, fingerprint)
    except (ValidationError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        what = "; ".join(str(error).split("\n")[1:3]) if isinstance(error, ValidationError) else repr(error)
        raise CorruptEntry(f"{store.folder(planned.key)} holds no result of a trial: {what}") from error


def _of_record(planned: PlannedTrial, record: Record, store: Store, registry: Registry, fingerprint: str) -> Result:
    return _result(
        planned,
        registry,
        fingerprint,
        status="done",
        metrics=_metrics(planned, record),
        history=record["state"]["history"],
        layers=record["layers"],
        masks=store.masks(planned.key, record),
        started=record["started"],
        finished=record["finished"],
        inputs=record.get("inputs"),
        environment=record["environment"] | _notes(record),
    )


def _notes(record: Record) -> dict[str, str]:
    """Remarks on the figures: those of the machine, and which layers have no score."""
    notes = {f"note.{topic}": text for topic, text in record["notes"].items()}
    unscored = record["state"]["choice"]["unscored"]
    whole = [f"{name} ({reason})" for name, reason in record["state"].get("left_out", {}).items()]
    notes |= {"note.unscored_layers": ", ".join(unscored)} if unscored else {}
    notes |= {"note.whole_channels": "; ".join(whole)} if whole else {}
    return notes | _tuned(record["state"].get("tuned", {}))


def _tuned(choice: Mapping[str, Any]) -> dict[str, str]:
    """The values that a tuned trial has; nothing for another."""
    if not choice:
        return {}
    names = list(choice["scores"])
    return {TUNED: f"{names[choice['chosen']]} (best of {len(names)})"}


def stored_result(
    planned: PlannedTrial,
    store: Store,
    registry: Registry,
    fingerprint: str | None,
    failures: Mapping[str, Record],
) -> Result | None:
    """What a store says of a trial, done, failed or skipped; None for one that has no outcome yet.

    Args:
        fingerprint: None for data that is not known, and with it no key.
        failures: by the keys of what failed, or waits for what did.
    """
    if fingerprint is None:
        return None
    if planned.skipped:
        return unfinished(planned, "skipped", planned.skipped, registry, fingerprint, 0.0)
    if planned.failed:
        return unfinished(planned, "failed", planned.failed, registry, fingerprint, 0.0)
    if store.has(planned.key):
        return result_of(planned, store, registry, fingerprint)
    if (failure := failures.get(planned.key)) is None:
        return None
    return unfinished(planned, "failed", str(failure["reason"]), registry, fingerprint, float(failure["time"]))


def unfinished(
    planned: PlannedTrial, status: Status, reason: str, registry: Registry, fingerprint: str, now: float
) -> Result:
    """The result of a trial that failed or was skipped."""
    return _result(planned, registry, fingerprint, status=status, reason=reason, started=now, finished=now)


def _result(
    planned: PlannedTrial,
    registry: Registry,
    fingerprint: str,
    environment: Mapping[str, str] | None = None,
    inputs: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Result:
    trial = planned.trial
    return Result(
        trial=planned.identity,
        suite=trial.suite,
        task=trial.task.label,
        protocol=planned.protocol,
        method=trial.entry.label,
        variant=variant(planned),
        sparsity=trial.sparsity,
        seed=trial.seed,
        control=trial.entry.method.control,
        params=flattened(trial_to_plain(trial)),
        objective=_objective(trial.task),
        provenance={
            "key": planned.chain[-1] if planned.chain else "",
            "data": fingerprint,
            FAMILY: _family(trial),
            **_start(trial.task),
            **_given(trial),
            **_imported(trial),
            **({OWN_RECIPE: words(dict(trial.entry.recipe))} if trial.entry.recipe else {}),
            **_ticket_of(trial),
            **({OF_ENGINE: planned.engine} if planned.engine == "sparse" else {}),
            **({"note.permuted": f"{planned.permuted}: {PERMUTED}"} if planned.permuted else {}),
            **_origins(planned, registry, fingerprint, inputs or {}),
            **(environment or {}),
        },
        **fields,
    )


def _objective(task: Task) -> tuple[Metric, ...]:
    """The metrics of the task's objective; those of the default one for a task that fails because of its facts."""
    try:
        return task.metrics
    except DataError:
        return (ACCURACY,)


def _start(task: Task) -> dict[str, str]:
    """The name and the hash of the file that the task's trials start from; the path is this machine's own."""
    if task.weights is None:
        return {}
    return {"weights.file": Path(task.weights.file.path).name, "weights.sha256": task.weights.file.sha256}


def _given(trial: Trial) -> dict[str, str]:
    """The file of a network that is not trained here."""
    weights = trial.task.weights if trial.entry.method.as_given else None
    return {} if weights is None else {AS_GIVEN: Path(weights.file.path).name}


def _family(trial: Trial) -> str:
    """The family of the method; of a pipeline that of the first of its methods that has one."""
    families = [part.family for _, part in components(trial) if isinstance(part, Method)]
    return next((family for family in families if family != Method.family), Method.family)


def _imported(trial: Trial) -> dict[str, str]:
    """Where the masks were made, if that was not in the suite."""
    source = trial.entry.method.imported_from
    return {IMPORTED: source} if source else {}


def _ticket_of(trial: Trial) -> dict[str, str]:
    """The task whose ticket the trial began with."""
    transfer = trial.entry.ticket_of
    return {} if transfer is None else {TICKET_OF: transfer.task.label + ", with its weights" * transfer.weights}


def variant(planned: PlannedTrial) -> str:
    """Hash of what the method is: its name, parameters, ablations and version, but not its label."""
    entry = planned.trial.entry
    distillation = [] if entry.distillation is None else [entry.distillation]
    tuning = [] if entry.tune is None else [entry.tune]
    recipe = [entry.recipe] if entry.recipe else []
    transfer = [] if entry.ticket_of is None else [replace(entry.ticket_of.task, label=""), entry.ticket_of.weights]
    others = (*distillation, *tuning, *recipe, *transfer)
    return digest(entry.method, entry.shuffle, entry.reinitialize, entry.invert, *others)


def _metrics(planned: PlannedTrial, record: Record) -> dict[str, float]:
    network, cost = planned.network or describe(planned.trial.task), Cost.stored(record["state"]["cost"])
    kept = sum(layer["kept"] for layer in record["layers"])
    figures = {key.removeprefix("test_"): value for key, value in record["figures"].items()}
    return {
        **figures,
        "sparsity": 1 - kept / network.size,
        "parameters_prunable": network.size,
        "parameters_kept": kept,
        "parameters_total": network.parameters,
        "training_cost": cost.flops / dense_training_flops(planned.trial.task, network),
        "training_flops": cost.flops,
        "inference_flops": record["inference_flops"],
        "inference_flops_dense": network.flops,
        "inference_flops_prunable": network.prunable_flops,
        "steps": cost.steps,
        "examples": cost.examples,
        "wall_seconds": cost.wall_seconds,
        **({} if cost.processor_seconds is None else {"processor_seconds": cost.processor_seconds}),
        "collapsed_layers": len(without_weights(record["layers"])),
        **early_stop(record["state"]["history"], planned.trial.task.metrics[0]),
        **_choice(record),
        **_output_errors(record),
        **reported(record),
        **({"parameters_left": record["parameters_left"]} if "parameters_left" in record else {}),
        **{DENSITY + layer["name"]: layer["kept"] / layer["total"] for layer in record["layers"]},
    }


def early_stop(history: Sequence[Mapping[str, float]], metric: Metric) -> dict[str, float]:
    """Where the validation loss of a training was lowest, and the metric on the test set there; nothing without a
    validation."""
    points = [point for point in history if "validation_loss" in point]
    if not points:
        return {}
    best = min(points, key=lambda point: (point["validation_loss"], point["step"]))
    return {"early_stop_step": best["step"], early_stop_name(metric): best[f"test_{metric.name}"]}


def _output_errors(record: Record) -> dict[str, float]:
    """The metrics of CALIBRATED and OUTPUT_ERROR; nothing where no layer was pruned by its inputs."""
    errors: Mapping[str, float] = record["state"].get("layer_errors", {})
    if not errors:
        return {}
    return {"output_error": fmean(errors.values()), **{OUTPUT_ERROR + name: error for name, error in errors.items()}}


def _choice(record: Record) -> dict[str, float]:
    """The metrics of CHOICE; nothing where no mask was chosen by scores."""
    choice, sizes = record["state"]["choice"], {layer["name"]: layer["total"] for layer in record["layers"]}
    if not choice["candidates"]:
        return {}
    return {
        "zero_scores": choice["zero"],
        "zero_share": choice["zero"] / choice["candidates"],
        "tied_weights": choice["tied"],
        "tied_share": choice["tied"] / max(1, choice["kept"]),
        "unscored_layers": len(choice["unscored"]),
        "unscored_share": sum(sizes.get(name, 0) for name in choice["unscored"]) / sum(sizes.values()),
    }


def _origins(planned: PlannedTrial, registry: Registry, fingerprint: str, made: Mapping[str, Any]) -> dict[str, str]:
    """What the trial's result was made with: versions, plugins, and the hashes of their source.

    Args:
        made: the inputs that the trial's last state was made from, as far as they were written down. Its versions are
            those of now; its source may be another.
    """
    hashes = _sources(planned.trial, fingerprint, made)
    found = {OF_PROTOCOL: str(PROTOCOL_VERSION), "core.source": hashes["core"]}
    for kind, component in components(planned.trial):
        plugin = registry.origins.get(type(component))
        if plugin is not None:
            found[f"{kind}.plugin"] = f"{plugin.distribution or 'file'} {plugin.version or plugin.name}"
        if (version := declared_version(type(component))) is not None:
            found[f"{kind}.version"] = str(version)
        found[f"{kind}.source"] = hashes.get(kind, hashes["core"])
    return found


def _sources(trial: Trial, fingerprint: str, made: Mapping[str, Any]) -> dict[str, str]:
    """The hashes of the sources that a state was made with; of now, where that was not written down.

    A state may have been made for another trial that ends with it too: by a pipeline, say, that is a method's chain.
    """
    found = sources(made)
    if made.get("method.name") != trial.entry.method.name:
        found.pop("method", None)
    with_files = {"core", *(kind for kind, component in components(trial) if source_files(type(component)))}
    return found if with_files <= found.keys() else sources(inputs_of(trial, fingerprint)) | found
