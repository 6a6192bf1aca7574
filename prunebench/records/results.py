"""The result of a trial as plain values, which tracking sends to MLflow and the leaderboard reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Len

from prunebench.api.objectives import ACCURACY, Metric

Status = Literal["done", "failed", "skipped"]


UNKNOWN_DATA = "unprepared"
"""Used in keys instead of the fingerprint of data that this machine has not read."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one trial.

    A failed or skipped trial has a reason and no metrics.
    """

    trial: str
    """Content key of the trial, which is the same on any machine."""
    suite: str
    task: str
    """The task's label."""
    protocol: str
    """Hash of everything that rows must have in common to be ranked together: the fingerprint of the data, the model,
    the recipe but for its engine, the prunable layers, and the versions of the core, the model and the data set."""
    method: str
    """The method's label in the suite."""
    variant: str
    """Hash of the name, parameters, ablations and version of the method."""
    sparsity: float
    """The target sparsity; 0 for a control."""
    seed: int
    control: bool
    status: Status
    reason: str = ""
    params: dict[str, str | int | float | bool] = field(default_factory=dict)
    """The resolved configuration, flattened: `recipe.optimizer.lr`, `method.batches`, ..."""
    objective: Annotated[tuple[Metric, ...], Len(1)] = (ACCURACY,)
    """What the task's objective reports besides the loss, the primary metric first: which of the `metrics` these are,
    which direction is better, and how they are written. Results from before there were objectives are of accuracy."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The final figures: those of the objective by name, and METRICS, EARLY_STOP, DEPLOYED, THROUGHPUT, CUT, CHOICE,
    CALIBRATED, DENSITY, OUTPUT_ERROR and RUNTIME."""
    history: list[dict[str, float]] = field(default_factory=list)
    """The evaluations of the last training: `step`, `time` (Unix seconds), `train_loss`, then figures of the objective
    such as `test_loss`, `validation_loss` and `test_accuracy`."""
    layers: list[dict[str, Any]] = field(default_factory=list)
    """One dict for each prunable layer: `name`, `shape`, `total`, `kept`, `flops` (dense, one example)."""
    provenance: dict[str, str] = field(default_factory=dict)
    """Versions (`protocol.version`, `method.version`, those of the software), git commit, plugins, hashes of the source
    that made it (which may differ under one version), data fingerprint, machine, key of the final state.

    Entries `note.<topic>` are remarks on the figures, such as why a latency is not applicable on this machine. Entries
    that start with OPTION have the options of the command."""
    masks: Path | None = None
    """A safetensors file of bit-packed masks; None for a dense network."""
    started: float = 0.0
    finished: float = 0.0
    """Unix seconds, of the trial's own last stages (shared stages may be older)."""

    @property
    def primary(self) -> Metric:
        """The metric that methods are ranked by."""
        return self.objective[0]


METRICS = {
    "loss": "the objective's loss on the test set at the end",
    "sparsity": "share of the prunable weights that is exactly zero, counted from the weights",
    "parameters_prunable": "the denominator of sparsity",
    "parameters_kept": "prunable weights that are not zero",
    "parameters_total": "all parameters of the network, biases and norms included",
    "training_cost": "training FLOPs of the whole chain as a multiple of one dense training",
    "training_flops": "training and scoring FLOPs of the whole chain, as if it ran alone",
    "inference_flops": "FLOPs (2 per multiply-add) of one example, zeros skipped",
    "inference_flops_dense": "the same for the dense network",
    "inference_flops_prunable": "those of them that multiply by prunable weights",
    "steps": "optimizer steps of the whole chain",
    "examples": "training examples seen by the whole chain",
    "wall_seconds": "measured seconds of the whole chain, shared stages included in full",
    "processor_seconds": "measured processor seconds of the training steps of the whole chain: without evaluations, "
    "checkpoints, scoring and reading data sets, and without a GPU's; missing where part of the chain is older",
    "collapsed_layers": "prunable layers of which no weight is left",
}
"""Metrics of every finished trial besides those of its objective, with their units."""

EARLY_STOP = {
    "early_stop_step": "iteration of the lowest validation loss in the last training, the earliest of equals, as a "
    "position in the recipe",
}
"""Additional metrics of a trial with a validation split that ends with trained weights; and `early_stop_name(metric)`,
the objective's primary metric on the test set at that iteration, before anything is deployed.

Iterations are those at which the network is evaluated. The test set is not used to choose one.
"""


def early_stop_name(metric: Metric) -> str:
    """The name of the primary metric's value at the iteration of the lowest validation loss: `early_stop_accuracy`."""
    return f"early_stop_{metric.name}"


DEPLOYED = {
    "size_bytes": "size of the file of the deployed network, without zeros if that is smaller",
    "size_bytes_dense": "size of the file of the dense float32 network",
    "latency_ms": "median of the measured milliseconds of one pass of the deployed network",
    "latency_ms_iqr": "interquartile range of these times",
    "latency_ms_dense": "the same for the dense network; both are measured alternately",
    "latency_ms_dense_iqr": "interquartile range of these times",
}
"""Additional metrics of a trial that ends with Deploy; `loss` and the objective's are then the deployed network's.

If a latency is not applicable, it is absent, and `note.latency_ms` says why.
"""

RUNTIME = "runtime/"
"""Prefix of the metrics of a network in a runtime: `runtime/<label>/<figure>`, and for passes with so many
examples `runtime/<label>/<figure>/<batch>`. The loss and the metrics of the objective are among the figures, measured
there.
"""

IN_RUNTIME = {
    "size_bytes": "size of the files that are shipped",
    "size_bytes_dense": "the same for the dense float32 network",
    "peak_memory_bytes": "the most resident memory of a process that only runs the network, in passes of the smallest "
    "batch size, above what it has before it reads the network, without pages of files; where the system tells",
    "peak_memory_bytes_dense": "the same for the dense float32 network in this runtime",
    "difference": "largest difference of an output from torch's, on up to 256 test examples",
    "difference_relative": "the same, relative to the largest of torch's outputs",
    "threads": "threads of a pass",
    "exportable": "1 if `prunebench export --runtime` writes its files",
    "eight_bit": "1 if the runtime itself runs the network in 8-bit integers",
    "latency_ms": "median of the measured milliseconds of a pass",
    "latency_ms_iqr": "interquartile range of these times",
    "latency_ms_dense": "the same for the dense float32 network in this runtime; all are measured alternately",
    "latency_ms_dense_iqr": "interquartile range of these times",
    "latency_ms_int8": "the same for the dense network in 8-bit integers, as a control",
    "latency_ms_int8_iqr": "interquartile range of these times",
}
"""Figures of a network in a runtime, and remarks: `note.runtime/<label>` says why there are no figures,
`note.runtime/<label>/zeros` that zeros are multiplied like other numbers, `note.runtime/<label>/kernels` what the
runtime says of its program, and `note.runtime/<label>/load` that other processes used the machine while it was timed.
"""

THROUGHPUT = {
    "examples_per_second": "training examples a second in the trial's last training, evaluations included",
    "gpu_utilization": "share of that time in which the GPU was busy, if its driver reports it",
}
"""Additional metrics of a trial that ends with trained weights: they depend on the machine, not only on the method."""

UNITS = {
    "parameters": "all parameters",
    "macs": "the multiplications",
    "channels": "the output channels",
    "latency": "the measured latency",
}
"""What the target of a trial can be a share of, beside the prunable weights, in words; see `prunebench.Unit`."""

CUT = {
    "parameters_left": "all parameters that are neither cut away nor zero because they are pruned",
}
"""Additional metrics of a trial whose network was cut."""

CHOICE = {
    "zero_scores": "weights that could be kept and whose score was exactly 0, at the pruning with the largest share",
    "zero_share": "their share of the weights that could be kept",
    "tied_weights": "kept weights whose score was that of a weight which was not kept, at the pruning with the largest "
    "share",
    "tied_share": "their share of the kept weights",
    "unscored_layers": "prunable layers in which every score was 0 at a pruning",
    "unscored_share": "share of the prunable weights that is in them",
}
"""Additional metrics of a trial whose masks are chosen by scores; among equal scores, their order decides."""

CALIBRATED = {
    "output_error": "squared error of a layer's outputs on held-out calibration examples, relative to its squared "
    "outputs, when it was last pruned or reconstructed by its inputs; the mean over the layers",
}
"""Additional metrics of a trial whose layers were pruned or reconstructed by their inputs."""

OUTPUT_ERROR = "output_error/"
"""Prefix of the metrics for that error in each prunable layer."""

NAMED = 5
"""Layers that a sentence names at most."""
TIES_MATTER = 0.01
"""The share of kept weights from which ties among scores are reported."""


def undecided(metrics: Mapping[str, float]) -> str:
    """A sentence on layers without scores and on ties; empty if they do not matter.

    A layer without a score matters, and so do ties among at least 1 % of the kept weights.
    """
    layers, tied = int(metrics.get("unscored_layers", 0)), metrics.get("tied_share", 0.0)
    parts = []
    if layers:
        count = "1 layer has" if layers == 1 else f"{layers} layers have"
        parts.append(f"{count} no score ({_percent(metrics.get('unscored_share', 0.0))} of the weights)")
    if tied >= TIES_MATTER:
        parts.append(f"{_percent(tied)} of the kept weights were chosen by their order, among equal scores")
    return ", and ".join(parts)


def without_weights(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of layers without a single weight, but for those of blocks that were removed on purpose."""
    return [str(layer["name"]) for layer in layers if layer["kept"] == 0 and not layer.get("removed")]


def collapsed(layers: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on layers without a single weight; empty if there are none."""
    empty = without_weights(layers)
    more = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
    return f"no weight is left in {', '.join(empty[:NAMED])}{more}" if empty else ""


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


DENSITY = "density/"
"""Prefix of the metrics for the share of weights kept in each prunable layer."""

OF_PROTOCOL = "protocol.version"
"""Name of the protocol version in a provenance; results from before versions were introduced lack it."""

IMPORTED = "method.imported"
"""Name of the source of masks that were made elsewhere, in the provenance of results with such masks."""

AS_GIVEN = "method.as_given"
"""Entry of a provenance of the network in a task's file of weights, without training: the name of the file."""
TUNED = "method.tuned"
"""Entry of a provenance with the values that were chosen on the validation split, and among how many candidates."""

FAMILY = "method.family"
"""Entry of a provenance with the family of the method; results from before there were families lack it."""

OWN_RECIPE = "method.recipe"
"""Entry of a provenance with the values that the entry trained by instead of those of the task's recipe."""

TICKET_OF = "method.ticket_of"
"""Entry of a provenance with the task whose ticket the trial began with."""

OF_ENGINE = "engine"
"""Name of the engine in a provenance; results of the dense engine lack it."""

OPTION = "suite."
"""Prefix of entries of a provenance with the options of the command: `file` as it was typed, `settings`, `plugins` and
`blocked` as JSON, and `profile` with what it sets. They do not identify a result, since other options can lead to the
same trial.
"""
PROFILE = "profile"
"""Name of a suite's profile among these options, and the path of the setting that selects one: `profile=quick`."""
