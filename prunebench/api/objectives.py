"""What a network is trained for: `Objective`, the base class of objectives, and `Metric`, what an objective reports.

An objective has a loss, and metrics that add up over examples. The core asks it for both and knows no metric by name:
evaluations, early stopping, tables and plots take words, direction and scale from the objective's primary metric.
`Classification` is the objective of a task that names none and whose targets are classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isnan
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge
from typing_extensions import Doc

from prunebench.api.components import Component, DataFacts

if TYPE_CHECKING:
    import torch

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of a network, and how it is read: which direction is better, and how it is written.

    Values are stored as they are computed; only what is shown is multiplied by `factor`.
    """

    name: str
    """Its name in results: lower-case letters, digits and underscores, such as `bits_per_byte`."""
    label: str
    """Its name in tables and on axes, such as `accuracy`; lower case, without the unit."""
    direction: Direction
    """Whether `higher` or `lower` values are better."""
    unit: str = ""
    """Written behind a value, such as `%`."""
    factor: float = 1.0
    """What a stored value is multiplied by to be shown: 100 for a share that is shown as a percentage."""
    decimals: int = 2
    """How many decimals a shown value has."""
    scale: Literal["linear", "log"] = "linear"
    """The axis that values are plotted on."""
    best: float | None = None
    """The best possible value, as stored; the distance to it is the error. None if there is none."""
    chance: float | None = None
    """The value of a network that has learnt nothing, as stored; None if it is not known."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"{self.name!r} is not the name of a metric: use lower-case letters, digits and _")
        if not 0 <= self.decimals <= 12 or not isfinite(self.factor) or self.factor <= 0:
            raise ValueError(f"metric {self.name!r} needs 0 to 12 decimals and a factor above 0")

    @property
    def sign(self) -> int:
        """1 where higher values are better, -1 where lower ones are: `sign * difference` is an improvement."""
        return 1 if self.direction == "higher" else -1

    def shown(self, value: float) -> str:
        """A value as it is written: `97.98 %`."""
        return f"{self.factor * value:.{self.decimals}f} {self.unit}".rstrip()

    def is_better(self, value: float, other: float) -> bool:
        """Whether a value is better than another one; nothing is better or worse than a value that is not a number."""
        return self.sign * (value - other) > 0

    def best_of(self, values: Sequence[float]) -> float:
        """The best of some values, without those that are not numbers. Raises ValueError if there is none."""
        return self.sign * max(self.sign * value for value in values if not isnan(value))


class Objective(Component):
    """Base class of what a network is trained for. Override `outputs`, `metrics`, `loss` and `sums`.

    In the order of the calls: `check`, `outputs` and `metrics` while a suite is planned, without any data; `fitted`
    when the data is opened; `loss` at each training step; `sums` for each batch of an evaluation, and `values` at its
    end.
    """

    targets: ClassVar[tuple[str, ...]] = ()
    """The kinds of targets that it is for, as `DataFacts.targets` names them."""
    default_for: ClassVar[tuple[str, ...]] = ()
    """The kinds of targets for which a task takes this objective when the suite names none."""

    def check(self, facts: DataFacts) -> None:
        """Raise ValueError, with the reason, for data that the objective is not for.

        By default whatever targets are not among `targets`.
        """
        if facts.targets not in self.targets:
            raise ValueError(
                f"objective {self.name!r} is for targets that are {' or '.join(self.targets)}, and those of the data "
                f"are {facts.targets}"
            )

    def outputs(self, facts: DataFacts) -> tuple[int, ...]:
        """Return the shape of a network's output for one example, without the batch: (classes,) for logits."""
        raise NotImplementedError

    def metrics(self, facts: DataFacts) -> Sequence[Metric]:
        """Return what `values` reports besides the loss; the first one is the primary metric.

        Methods are ranked by the primary metric of the test set; tables, intervals, tests and plots are about it.
        """
        raise NotImplementedError

    def fitted(self, targets: torch.Tensor) -> Objective:
        """Return the objective for data with these training targets; by default itself.

        Called once each time that data is opened. For what depends on the training targets, such as their scale or the
        share of each class; the object that is returned needs the methods below only, and is in no key.

        Args:
            targets: of all training examples, validation excluded, on the CPU.
        """
        return self

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss to train on: a scalar, the mean over the batch.

        Args:
            outputs: of the network, of shape (N, *outputs).
            targets: of the batch, of shape (N, *target shape), on the same device.
        """
        raise NotImplementedError

    def smoothed_loss(self, outputs: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Return the loss with the `label_smoothing` of a recipe, from 0 to below 1.

        By default there is none: a recipe with label smoothing is then an error.
        """
        raise NotImplementedError

    @property
    def smooths(self) -> bool:
        """Whether it has label smoothing."""
        return type(self).smoothed_loss is not Objective.smoothed_loss

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return sums over the examples of one batch of an evaluation, as tensors on the device, mostly scalars.

        The sums of all batches are added in float64 and passed to `values`: what a batch weighs is what it holds, also
        a last one that is smaller.

        Args:
            outputs: as in `loss`, in float32, without gradients.
            targets: as in `loss`.
        """
        raise NotImplementedError

    def values(self, sums: Mapping[str, torch.Tensor], examples: int) -> Mapping[str, float]:
        """Return the values of an evaluation: `loss`, and every metric by its name.

        By default each sum divided by the number of examples.

        Args:
            sums: those of `sums`, added over all batches; float64, on the CPU.
            examples: their number.
        """
        return {name: float(value) / examples for name, value in sums.items()}


ACCURACY = Metric(name="accuracy", label="accuracy", direction="higher", unit="%", factor=100.0, decimals=2, best=1.0)
"""Also the primary metric of results from before there were objectives."""
TOP5 = Metric(
    name="accuracy_top5", label="top-5 accuracy", direction="higher", unit="%", factor=100.0, decimals=2, best=1.0
)


class Classification(Objective):
    """One class for each example: cross-entropy of the logits; accuracy, and top-5 accuracy where classes are many.

    Part of the core, with the version of its protocol: results from before there were objectives are of this one.
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

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        from torch.nn.functional import cross_entropy

        found = {
            "loss": cross_entropy(outputs, targets, reduction="sum"),
            "accuracy": (outputs.argmax(1) == targets).sum(),
        }
        if outputs.shape[1] >= self.top5_from:
            found["accuracy_top5"] = (outputs.topk(5).indices == targets[:, None]).sum()
        return found
