"""Results as rows: one a method and target sparsity of a task, over its seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from prunebench.api.objectives import Metric
from prunebench.leaderboard.boards.commands import row_command
from prunebench.leaderboard.cells import (
    Cell,
    Reference,
    cells_of,
    identical_methods,
    of_metric,
    ratio_of,
    reference_of,
)
from prunebench.leaderboard.families import OTHER, family_of
from prunebench.leaderboard.metrics import Objective, as_text, margin, metric_of, objective_of
from prunebench.leaderboard.reported import STATUS, rows_of
from prunebench.leaderboard.runtime_figures import in_runtimes, is_remark
from prunebench.leaderboard.selection import RequestedRow, Selection, grouped, select
from prunebench.leaderboard.statistics import (
    CONFIDENCE,
    Difference,
    Place,
    deviation,
    is_at_chance,
    mean,
    places,
    verdict,
)
from prunebench.records.results import (
    AS_GIVEN,
    DEPLOYED,
    IMPORTED,
    OF_ENGINE,
    OWN_RECIPE,
    TICKET_OF,
    TIES_MATTER,
    TUNED,
    UNITS,
    Result,
    early_stop_name,
)

COLUMNS = {
    "task": "label of the task: data set, model and recipe",
    "method": "label of the method in the suite",
    "target_sparsity": "the sparsity that was asked for; 0 for the dense network",
    "target_unit": "what the target is a share of, where it is not the prunable weights: parameters, macs, channels or "
    "latency, of which at least the target is removed",
    "sparsity": "share of the prunable weights that is exactly zero, counted from the weights after training; mean",
    "n": "number of seeds that are done; all figures of the row are over these",
    "metric": "name of the task's primary metric, such as accuracy",
    "metric_mean": "the primary metric on the test set at the end of training (a percentage as a share); mean",
    "metric_std": "its sample standard deviation (n - 1); empty for one seed",
    "training_cost": "FLOPs of everything that the method needed, relative to one dense training; mean",
    "wall_seconds": "measured seconds of the whole chain, stages shared with other trials counted in full; mean",
    "processor_seconds": "measured processor seconds of the training steps of the whole chain, without evaluations and "
    "scoring; mean; only where it is measured",
    "engine": "sparse, if trainings on kept weights only are part of it; only where there are such rows",
    "status": "done, or why not: incomplete (2 of 3), failed, skipped, missing",
    "difference": "the metric minus that of the dense network; mean over the seeds that both have",
    "difference_low": f"lower end of the {CONFIDENCE:.0%} confidence interval of the difference",
    "difference_high": "upper end of that interval",
    "interval": "what interval that is: welch, of two independent means; or paired, of the differences of each seed, "
    "where the seeds of the task's rows correlate with those of the dense network so much that it is narrower",
    "pairs": "number of seeds that the difference is over",
    "tier": "among the methods at this sparsity, sorted by mean; a new tier starts at the first method that differs "
    "significantly from the best of the current one; 1 is the best",
    "told_apart": "whether the row itself differs significantly from the best of the tier above; if not, it is "
    "below by its mean alone; empty in the first tier",
    "against_best": "beside the method with the best mean at this sparsity: best; equivalent, if it does not differ "
    "significantly and is shown to be at most one point (or 1 %) behind; undecided, if these seeds cannot tell; worse, "
    "if it differs significantly; empty where nothing is claimed, as where every method is at chance",
    "identical": "all methods with exactly the same results, where there are several: the same metrics and densities "
    "of layers at each seed and sparsity",
    "training_flops": "training and scoring FLOPs of the whole chain, as if it ran alone; mean",
    "examples": "training examples seen by the whole chain; mean",
    "inference_flops": "FLOPs (2 per multiply-add) of one example, zeros skipped: theory, not a measurement; mean",
    "speedup": "dense inference FLOPs / inference FLOPs: theory, not a measurement; mean",
    "compression": "prunable weights / those that are kept; mean",
    "parameters_kept": "prunable weights that are not zero; mean",
    "parameters_left": "all parameters that are neither cut away nor pruned, of networks from which channels were "
    "removed; mean",
    "parameters_prunable": "the prunable weights: the denominator of sparsity",
    "collapsed_layers": "prunable layers without a single weight left; the most of any seed",
    "unscored_share": "share of the prunable weights in layers whose scores were all 0 at a pruning, so that the order "
    "of the weights decides there; the largest of any seed; only where it is above 0",
    "tied_share": "share of the kept weights that were chosen among equal scores, by their order, at a pruning; the "
    f"largest of any seed; only where it is {TIES_MATTER:.0%} or more",
    "reason": "why seeds are not done",
    "early_stop_step": "iteration of the lowest validation loss of the last training; mean",
    "early_stop_step_std": "its sample standard deviation",
    "early_stop_metric": "the primary metric on the test set at that iteration; mean",
    "early_stop_metric_std": "its sample standard deviation",
    "early_stop_step_difference": "early_stop_step minus that of the dense network; mean",
    "early_stop_step_difference_low": f"lower end of its {CONFIDENCE:.0%} confidence interval, of either kind",
    "early_stop_step_difference_high": "upper end of that interval",
    "early_stop_metric_difference": "early_stop_metric minus that of the dense network; mean",
    "early_stop_metric_difference_low": f"lower end of its {CONFIDENCE:.0%} confidence interval, of either kind",
    "early_stop_metric_difference_high": "upper end of that interval",
    "ticket": "ticket, not or undecided: whether early stopping is shown to come no later and to be no worse "
    "than in the dense network; empty without a validation split or with too few seeds",
    "size_bytes": "bytes of the deployed network's file; mean",
    "size_bytes_dense": "bytes of the dense network's file; mean",
    "latency_ms": "measured milliseconds of one pass of the deployed network, a median; mean over seeds",
    "latency_ms_iqr": "interquartile range of its passes; mean over seeds",
    "latency_ms_dense": "the same for the dense network; both are measured alternately",
    "latency_ms_dense_iqr": "interquartile range of its passes; mean over seeds",
    "latency_ratio": "measured dense latency / deployed latency of the same seed; mean",
    "latency_ratio_std": "its sample standard deviation",
    "latency_note": "why a deployed network has no latency here",
    "machine": "what it was measured on",
    "command": "the command that does the row's work again, with the dense network that it is compared with",
    "export_command": "the command that writes the network of its first seed to files, to which `--runtime NAME` is "
    "added; only where runtimes were measured",
    "family": "family of the method, by which plots are coloured",
    "control": "whether this is the dense network that the others are compared with",
    "as_given": "the file of weights that this dense network is, without training here; others are not compared with "
    "it",
    "seeds": "number of seeds that were asked for",
    "suite": "name of the suite",
    "objective": "the task's metrics as JSON, the primary one first: direction, unit, factor and decimals as shown",
    "protocol": "hash of what the rows of a table share: data fingerprint, model, recipe, prunable layers, code",
    "variant": "hash of what the method is: parameters, ablations, source",
    "tuned": "the values that were chosen on the validation split, by the seeds that chose them, and among how many "
    "candidates, whose cost is in training_cost",
    "own_recipe": "the values that it was trained by instead of those of the task's recipe",
    "ticket_of": "the task in which its ticket was found, and whether its weights were taken too",
    "made_elsewhere": "source of masks that were made elsewhere, at a cost that is not in training_cost; or of a row "
    "that was reported and not measured here, whose status is `reported`",
}
"""What a row says, and what it means."""

OPTIONAL = (
    "as_given",
    "tuned",
    "own_recipe",
    "ticket_of",
    "target_unit",
    "parameters_left",
    "unscored_share",
    "tied_share",
    "made_elsewhere",
    "processor_seconds",
    "engine",
    "export_command",
)
"""Columns that a table has only if one of its rows has something there."""

_TEXTS = (
    "task",
    "method",
    "family",
    "status",
    "reason",
    "suite",
    "protocol",
    "variant",
    "ticket",
    "latency_note",
    "machine",
    "command",
    "export_command",
    "against_best",
    "identical",
    "interval",
    "metric",
    "objective",
    "made_elsewhere",
    "engine",
    "target_unit",
    "as_given",
    "tuned",
    "own_recipe",
    "ticket_of",
)
_WHOLE = ("n", "pairs", "tier", "collapsed_layers", "parameters_prunable", "seeds")


def rows(results: Iterable[Result], expected: Iterable[RequestedRow] | None = None) -> pd.DataFrame:
    """The leaderboard of these results, with the columns of COLUMNS.

    Args:
        results: of any number of machines and runs; of one suite if `expected` is given.
        expected: what a suite asks for, as (task label, method label, target sparsity, seed); results that it does
            not ask for are left out, and what it misses is shown. By default each method is expected to have every
            seed that any method of its task has.
    """
    return table(select(results, expected))


def table(selection: Selection) -> pd.DataFrame:
    """One row a method and sparsity: by task, the dense network first, by sparsity, the best first."""
    cells = cells_of(selection)
    identical = identical_methods(cells)
    tasks = grouped(selection.results, lambda result: (result.suite, result.task))
    objectives = {(cell.suite, cell.task): objective_of(tasks.get((cell.suite, cell.task), [])) for cell in cells}
    ranks = _ranks(cells, identical, objectives)
    references = {task: reference_of(task, cells, objective[0]) for task, objective in objectives.items()}
    found = [
        _row(cell, references[cell.suite, cell.task], ranks.get(cell.place), objectives[cell.suite, cell.task])
        | {"identical": ", ".join(identical.get((cell.suite, cell.task, cell.method), ()))}
        for cell in cells
    ]
    found += rows_of(selection.reported, objectives)
    found.sort(key=_order)
    return framed(found)


def framed(found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the columns of COLUMNS, then other metrics of the tasks; the inverse of `records`."""
    columns = [
        name for name in COLUMNS if name not in OPTIONAL or any(row.get(name) not in (None, "") for row in found)
    ]
    columns += sorted({name for row in found for name in row} - set(COLUMNS))
    frame = pd.DataFrame(found, columns=columns)
    return frame.astype({name: _dtype(name) for name in columns})


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain values, ready for JSON: None for what is empty or not finite."""
    return [
        {str(key): _plain(value) for key, value in row.items()}
        for row in frame.astype(object).to_dict(orient="records")
    ]


def _ranks(
    cells: Sequence[Cell],
    identical: Mapping[tuple[str, str, str], tuple[str, ...]],
    objectives: Mapping[tuple[str, str], Objective],
) -> dict[tuple[str, str, str, float], Place]:
    """Tiers among the complete methods of one task and sparsity; methods with the same results are one."""
    fields: dict[tuple[str, str, float], dict[str, Cell]] = defaultdict(dict)
    for cell in cells:
        if cell.complete and not cell.control:
            fields[cell.suite, cell.task, cell.sparsity][cell.method] = cell
    found: dict[tuple[str, str, str, float], Place] = {}
    for (suite, task, _), some in fields.items():
        first = {label: identical.get((suite, task, label), (label,))[0] for label in some}
        ranked = _places({label: some[label] for label in set(first.values())}, objectives[suite, task][0])
        found |= {cell.place: ranked[first[label]] for label, cell in some.items() if first[label] in ranked}
    return found


def _places(cells: Mapping[str, Cell], metric: Metric) -> dict[str, Place]:
    values = {label: found for label, cell in cells.items() if (found := cell.by_seed(metric.name))}
    if not values:
        return {}
    if metric.chance is not None and metric.best is not None:
        chance, ideal = metric.chance, metric.best
        if all(is_at_chance(some, metric.sign, chance, ideal) for some in values.values()):
            return {label: Place(None, None, "chance") for label in values}
    best = metric.best_of([fmean(some.values()) for some in values.values()])
    return places(values, metric.sign, margin(metric, best))


def _row(cell: Cell, reference: Reference, place: Place | None, objective: Objective) -> dict[str, Any]:
    newest = max(cell.results.values(), key=lambda result: result.finished, default=None)
    metric = objective[0]
    values = list(cell.by_seed(metric.name).values())
    return {
        "suite": cell.suite,
        "task": cell.task,
        "protocol": newest.protocol if newest else "",
        "method": cell.method,
        "family": family_of(newest) if newest else OTHER,
        "variant": newest.variant if newest else "",
        "control": cell.control,
        "as_given": cell.said_of_any(AS_GIVEN) or None,
        "target_sparsity": cell.sparsity,
        "target_unit": unit_of(newest.params) if newest else None,
        "n": len(cell.done),
        "seeds": len(cell.seeds),
        "metric": metric.name,
        "objective": as_text(objective),
        "metric_mean": mean(values),
        "metric_std": deviation(values),
        "tier": place.tier if place else None,
        "told_apart": place.told_apart if place else None,
        "against_best": place.against_best if place else "",
        "status": cell.status,
        "reason": cell.reason,
        "machine": cell.said("machine"),
        "tuned": cell.said(TUNED) or None,
        "own_recipe": cell.said(OWN_RECIPE) or None,
        "ticket_of": cell.said(TICKET_OF) or None,
        "made_elsewhere": cell.said(IMPORTED) or None,
        "engine": cell.said(OF_ENGINE),
        "command": row_command(list(cell.results.values())) if newest else "",
        **_compared(cell, reference, metric),
        **_stopped_early(cell, reference, metric),
        **_figures(cell),
        **_deployed(cell),
        **in_runtimes(cell),
        **_other_metrics(cell, objective),
    }


def unit_of(params: Mapping[str, Any]) -> str | None:
    """What the target of a trial is a share of; None where it is the prunable weights."""
    unit = params.get("unit")
    return str(unit) if unit in UNITS else None


def _compared(cell: Cell, reference: Reference, metric: Metric) -> dict[str, Any]:
    found = reference.difference(cell, metric.name)
    if found is None:
        return {"pairs": 0, "interval": ""}
    kind = "paired" if metric.name in reference.paired else "welch"
    return {"pairs": found.pairs, "interval": kind if found.low is not None else "", **_interval("difference", found)}


def _interval(name: str, found: Difference | None) -> dict[str, float | None]:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high} if found else {}


def _stopped_early(cell: Cell, reference: Reference, metric: Metric) -> dict[str, Any]:
    names = {"early_stop_step": "early_stop_step", "early_stop_metric": early_stop_name(metric)}
    steps, quality = (reference.difference(cell, name) for name in names.values())
    figures: dict[str, Any] = {"ticket": verdict(steps, quality, metric.sign) or ""}
    for (column, name), found in zip(names.items(), (steps, quality), strict=True):
        figures |= {**_spread(cell, name, column), **_interval(f"{column}_difference", found)}
    return figures


def _spread(cell: Cell, metric: str, column: str) -> dict[str, float | None]:
    values = list(cell.by_seed(metric).values())
    return {column: mean(values), f"{column}_std": deviation(values)}


def _deployed(cell: Cell) -> dict[str, Any]:
    """What was measured of a network as it is delivered, beside the dense one."""
    ratios = [ratio_of("latency_ms_dense", "latency_ms")(result.metrics) for result in cell.done]
    known = [ratio for ratio in ratios if ratio is not None]
    return {
        **{name: cell.mean(of_metric(name)) for name in DEPLOYED},
        "latency_ratio": mean(known),
        "latency_ratio_std": deviation(known),
        "latency_note": cell.said("note.latency_ms"),
    }


def _figures(cell: Cell) -> dict[str, float | None]:
    means = (
        "sparsity",
        "training_cost",
        "wall_seconds",
        "training_flops",
        "examples",
        "inference_flops",
        "parameters_kept",
    )
    return {
        **{name: cell.mean(of_metric(name)) for name in means},
        "speedup": cell.mean(ratio_of("inference_flops_dense", "inference_flops")),
        "compression": cell.mean(ratio_of("parameters_prunable", "parameters_kept")),
        "processor_seconds": cell.mean(of_metric("processor_seconds")),
        "parameters_left": cell.mean(of_metric("parameters_left")),
        "parameters_prunable": cell.largest("parameters_prunable"),
        "collapsed_layers": cell.largest("collapsed_layers"),
        "unscored_share": _from(cell.largest("unscored_share"), math.ulp(0.0)),
        "tied_share": _from(cell.largest("tied_share"), TIES_MATTER),
    }


def _other_metrics(cell: Cell, objective: Objective) -> dict[str, float | None]:
    others = [metric.name for metric in objective[1:] if metric.name not in COLUMNS]
    return {column: value for name in others for column, value in _spread(cell, name, name).items()}


def _from(value: float | None, least: float) -> float | None:
    """The value where it matters."""
    return value if value is not None and value >= least else None


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    value: float | None = row["metric_mean"]
    place = (row["suite"], row["task"], not row["control"], bool(row.get("as_given")), row["target_sparsity"])
    return (*place, row["status"] == STATUS, value is None, -metric_of(row).sign * (value or 0.0), row["method"])


def _dtype(name: str) -> str:
    if name in _TEXTS or is_remark(name):
        return "str"
    if name == "told_apart":
        return "boolean"
    return "bool" if name == "control" else "Int64" if name in _WHOLE else "float64"


def _plain(value: Any) -> Any:
    if pd.isna(value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
