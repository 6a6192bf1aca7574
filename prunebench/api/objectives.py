"""Objectives, which define the loss of a task and the metrics that are reported: `Objective` and `Metric`.

An objective has a loss, and metrics that add up over examples. The core does not know any metric by name: evaluations,
early stopping, tables and plots use the name, direction and scale of the primary metric of the objective.
`Classification` is the default objective if the targets are classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isnan
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge
from typing_extensions import Doc

from prunebench.api.components import Component, DataFacts
from prunebench.api.layers import Network

if TYPE_CHECKING:
    import torch
    from torch import nn

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure that an objective reports, with its direction and format.

    Values are stored as they are computed, and multiplied by `factor` where they are shown.
    """

    name: str
    """Name in results: lower-case letters, digits and underscores, such as `bits_per_byte`."""
    label: str
    """Name in tables and on axes, such as `accuracy`; lower case, without the unit."""
    direction: Direction
    """Whether `higher` or `lower` values are better."""
    unit: str = ""
    """Unit of shown values, such as `%`."""
    factor: float = 1.0
    """Factor from stored to shown values: 100 for a share that is shown as a percentage."""
    decimals: int = 2
    """Number of decimals of shown values."""
    scale: Literal["linear", "log"] = "linear"
    """Scale of the axis in plots."""
    best: float | None = None
    """The best possible stored value, from which errors are measured; None if there is none."""
    chance: float | None = None
    """The stored value of a network that has learnt nothing; None if it is not known."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"{self.name!r} is not the name of a metric: use lower-case letters, digits and _")
        if not 0 <= self.decimals <= 12 or not isfinite(self.factor) or self.factor <= 0:
            raise ValueError(f"metric {self.name!r} needs 0 to 12 decimals and a factor above 0")

    @property
    def sign(self) -> int:
        """1 if higher values are better, -1 if lower values are: `sign * difference` is the improvement."""
        return 1 if self.direction == "higher" else -1

    def shown(self, value: float) -> str:
        """Return a value, an error or a difference of values with its unit: `97.98 %`."""
        return f"{self.factor * value:.{self.decimals}f} {self.unit}".rstrip()

    def is_better(self, value: float, other: float) -> bool:
        """Return whether a value is better than another one; False if one of them is NaN."""
        return self.sign * (value - other) > 0

    def error(self, value: float) -> float:
        """A value as an error, of which less is better: 1 - accuracy, and an error or a perplexity as it is."""
        return value if self.direction == "lower" else (self.best or 0.0) - value

    def best_of(self, values: Sequence[float]) -> float:
        """Return the best value, ignoring NaN. Raises ValueError if there is none."""
        return self.sign * max(self.sign * value for value in values if not isnan(value))


class Objective(Component):
    """Base class of objectives. Override `outputs`, `metrics`, `loss` and `sums`.

    `check`, `outputs` and `metrics` are called while a suite is planned, without data; `fitted` when the data is
    opened; `loss` at each training step; `sums` for each batch of an evaluation, and `values` at its end.
    """

    targets: ClassVar[tuple[str, ...]] = ()
    """The kinds of targets that it supports; see `DataFacts.targets`."""
    default_for: ClassVar[tuple[str, ...]] = ()
    """The kinds of targets for which it is the default objective."""

    def check(self, facts: DataFacts) -> None:
        """Raise ValueError, with the reason, if the objective does not support the data.

        By default it checks that the kind of targets is in `targets`.
        """
        if facts.targets not in self.targets:
            raise ValueError(
                f"objective {self.name!r} is for targets that are {' or '.join(self.targets)}, and those of the data "
                f"are {facts.targets}"
            )

    def outputs(self, facts: DataFacts) -> tuple[int, ...]:
        """Return the shape of the output of a network for one example: (classes,) for logits."""
        raise NotImplementedError

    def metrics(self, facts: DataFacts) -> Sequence[Metric]:
        """Return the metrics that `values` reports besides the loss; the first one is the primary metric.

        Methods are ranked by the primary metric on the test set, and tables, intervals, tests and plots show it.
        """
        raise NotImplementedError

    def fitted(self, targets: torch.Tensor) -> Objective:
        """Return the objective for data with these training targets; returns itself by default.

        Called each time that data is opened. Override it if the objective depends on the training targets, for example
        on their scale or on the share of each class. The returned object needs only the methods below, and is not part
        of keys.

        Args:
            targets: targets of all training examples without those for validation, on the CPU.
        """
        return self

    def exported(self) -> Mapping[str, object]:
        """Return what those must know who use an exported network without this package, as values for JSON.

        Called on what `fitted` returned, if the objective overrides that: the scale of the outputs, for example.
        """
        return {}

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss to train on: a scalar, the mean over the batch.

        Args:
            outputs: output of the network, of shape (N, *outputs).
            targets: targets of the batch, of shape (N, *target shape), on the same device.
        """
        raise NotImplementedError

    def batch_loss(self, model: nn.Module, inputs: Any, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of a training step, with its forward passes; by default `loss` of the outputs of `model`.

        Override it for an own training step: several passes, outputs that only training needs, another term in the
        loss. Masks, gradients, the optimizer, precision, randomness and resuming stay those of the harness. Label
        smoothing and distillation are then not supported.

        Args:
            model: the network in training mode, with its sparse weights.
            inputs: the inputs of the batch as the network is given them.
            targets: as in `loss`.
        """
        return self.loss(model(inputs), targets)

    def batch_flops(self, network: Network) -> float:
        """Return the FLOPs of one example in `batch_loss` besides one forward and one backward pass; 0 by default.

        They are part of the cost of each step, and of that of the dense training which costs are relative to.
        """
        return 0.0

    @property
    def has_own_step(self) -> bool:
        """Whether the objective brings its own training step."""
        return type(self).batch_loss is not Objective.batch_loss

    def distilled_loss(self, outputs: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return how far the outputs are from those of a teacher, for distillation: a scalar, the mean over the batch.

        By default it is not supported, and distillation is an error.

        Args:
            outputs: output of the network, of shape (N, *outputs), in float32.
            teacher: that of the teacher, without gradients.
            temperature: what logits are divided by; multiply the result by its square, which keeps gradients on the
                scale of those of `loss`.
        """
        raise NotImplementedError

    @property
    def distils(self) -> bool:
        """Whether the objective supports distillation."""
        return type(self).distilled_loss is not Objective.distilled_loss and not self.has_own_step

    def smoothed_loss(self, outputs: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Return the loss with the `label_smoothing` of a recipe, from 0 to below 1.

        By default it is not supported, and a recipe with label smoothing is an error.
        """
        raise NotImplementedError

    @property
    def smooths(self) -> bool:
        """Whether the objective supports label smoothing."""
        return type(self).smoothed_loss is not Objective.smoothed_loss and not self.has_own_step

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return sums over the examples of one batch of an evaluation, as tensors on the device, mostly scalars.

        The sums of all batches are added in float64 and passed to `values`, so that each example has the same weight,
        also in a smaller last batch.

        Args:
            outputs: as in `loss`, in float32, without gradients.
            targets: as in `loss`.
        """
        raise NotImplementedError

    def values(self, sums: Mapping[str, torch.Tensor], examples: int) -> Mapping[str, float]:
        """Return the values of an evaluation: `loss`, and every metric by its name.

        By default each sum is divided by the number of examples.

        Args:
            sums: the results of `sums`, added over all batches; float64, on the CPU.
            examples: number of examples.
        """
        return {name: float(value) / examples for name, value in sums.items()}


ACCURACY = Metric(name="accuracy", label="accuracy", direction="higher", unit="%", factor=100.0, decimals=2, best=1.0)
"""Accuracy, also the primary metric of results from before objectives were introduced."""
TOP5 = Metric(
    name="accuracy_top5", label="top-5 accuracy", direction="higher", unit="%", factor=100.0, decimals=2, best=1.0
)


def softmax_divergence(outputs: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """temperature² * KL(softmax(teacher / temperature), softmax(outputs / temperature)), the mean over the rows."""
    from torch.nn.functional import kl_div, log_softmax

    ours, theirs = (log_softmax(logits / temperature, dim=-1) for logits in (outputs, teacher))
    return kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


class Classification(Objective):
    """One class for each example: cross-entropy of the logits; accuracy, and top-5 accuracy for many classes.

    It is part of the core and has the protocol version. Results from before objectives were introduced belong to it.
    """

    name = "classification"
    targets = ("classes",)
    default_for = ("classes",)

    top5_from: Annotated[int, Ge(6), Doc("number of classes from which on top-5 accuracy is measured too")] = 100

    def outputs(self, facts: DataFacts) -> tuple[int, ...]:
        return (facts.classes,)

    def metrics(self, facts: DataFacts) -> Sequence[Metric]:
        accuracy = replace(ACCURACY, chance=1 / facts.classes)
        top5 = replace(TOP5, chance=5 / facts.classes)
        return [accuracy, top5] if facts.classes >= self.top5_from else [accuracy]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.smoothed_loss(outputs, targets, 0.0)

    def smoothed_loss(self, outputs: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, targets, label_smoothing=smoothing)

    def distilled_loss(self, outputs: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
        return softmax_divergence(outputs, teacher, temperature)

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        from torch.nn.functional import cross_entropy

        found = {
            "loss": cross_entropy(outputs, targets, reduction="sum"),
            "accuracy": (outputs.argmax(1) == targets).sum(),
        }
        if outputs.shape[1] >= self.top5_from:
            found["accuracy_top5"] = (outputs.topk(5).indices == targets[:, None]).sum()
        return found
