"""What networks are trained for: classification, several labels, regression, and language modelling."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from typing_extensions import Doc

import prunebench
from prunebench.api.objectives import softmax_divergence

BYTES = 256
"""The vocabulary of text whose tokens are bytes."""


class LanguageModelling(prunebench.Objective):
    """The next token at each position: cross-entropy; perplexity, and bits per byte where tokens are bytes.

    Every position counts the same, also in a shorter last batch.
    """

    name = "language-modelling"
    version = 1
    targets = ("tokens",)
    default_for = ("tokens",)

    def outputs(self, facts: prunebench.DataFacts) -> tuple[int, ...]:
        return (*facts.target_shape, facts.every_input[0].vocabulary)

    def metrics(self, facts: prunebench.DataFacts) -> Sequence[prunebench.Metric]:
        vocabulary = facts.every_input[0].vocabulary
        perplexity = prunebench.Metric(
            name="perplexity",
            label="perplexity",
            direction="lower",
            decimals=3,
            scale="log",
            best=1.0,
            chance=float(vocabulary),
        )
        bits = prunebench.Metric(
            name="bits_per_byte", label="bits per byte", direction="lower", decimals=3, best=0.0, chance=8.0
        )
        return [perplexity, bits] if vocabulary == BYTES else [perplexity]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.smoothed_loss(outputs, targets, 0.0)

    def smoothed_loss(self, outputs: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
        return cross_entropy(outputs.flatten(0, -2), targets.flatten(), label_smoothing=smoothing)

    def distilled_loss(self, outputs: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
        return softmax_divergence(outputs.flatten(0, -2), teacher.flatten(0, -2), temperature)

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        lost = cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
        return {"loss": lost.double().sum(), "tokens": torch.tensor(targets.numel())}

    def values(self, sums: Mapping[str, torch.Tensor], examples: int) -> Mapping[str, float]:
        loss = float(sums["loss"] / sums["tokens"])
        perplexity = math.exp(loss) if loss < math.log(1e300) else math.inf
        return {"loss": loss, "perplexity": perplexity, "bits_per_byte": loss / math.log(2)}


class Regression(prunebench.Objective):
    """Numbers: mean squared error; its root, RMSE, in the units of the targets, and R².

    R² is the mean over the numbers of a target of 1 - (squared errors) / (squared deviations from the test mean).
    """

    name = "regression"
    version = 1
    targets = ("numbers",)
    default_for = ("numbers",)

    standardize: Annotated[
        bool, Doc("train on targets with mean 0 and standard deviation 1 over the training examples")
    ] = True

    def outputs(self, facts: prunebench.DataFacts) -> tuple[int, ...]:
        return facts.target_shape or (1,)

    def metrics(self, facts: prunebench.DataFacts) -> Sequence[prunebench.Metric]:
        error = prunebench.Metric(name="rmse", label="RMSE", direction="lower", decimals=3, scale="log", best=0.0)
        share = prunebench.Metric(name="r2", label="R²", direction="higher", decimals=3, best=1.0, chance=0.0)
        return [error, share]

    def fitted(self, targets: torch.Tensor) -> prunebench.Objective:
        if not self.standardize:
            return _Scaled(mean=torch.tensor(0.0), deviation=torch.tensor(1.0))
        targets = targets.double()
        deviation = targets.std(0, correction=0)
        return _Scaled(mean=targets.mean(0), deviation=torch.where(deviation > 0, deviation, 1.0))

    def distilled_loss(self, outputs: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
        """The mean squared difference; numbers have no temperature."""
        return (outputs - teacher).square().mean()


class _Scaled(Regression):
    """Regression of targets with a mean and a deviation: outputs are (targets - mean) / deviation."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def exported(self) -> Mapping[str, object]:
        moments = {"target_mean": self.mean.tolist(), "target_std": self.deviation.tolist()}
        return {"output": "(target - target_mean) / target_std", **moments}

    def _scaled(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Targets on the scale of the outputs, and of their shape."""
        mean, deviation = (value.to(targets.device) for value in (self.mean, self.deviation))
        return ((targets.double() - mean) / deviation).reshape(outputs.shape)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - self._scaled(outputs, targets).to(outputs.dtype)).square().mean()

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        scaled = self._scaled(outputs, targets)
        errors = (outputs.double() - scaled).square()
        deviation = self.deviation.to(targets.device).expand(targets.shape[1:]).reshape(outputs.shape[1:])
        return {
            "loss": errors.flatten(1).mean(1).sum(),
            "errors": errors.sum(0) * deviation.square(),
            "total": scaled.sum(0) * deviation,
            "squares": (scaled * deviation).square().sum(0),
        }

    def values(self, sums: Mapping[str, torch.Tensor], examples: int) -> Mapping[str, float]:
        errors = sums["errors"]
        spread = sums["squares"] - sums["total"].square() / examples
        explained = torch.where(spread > 0, 1 - errors / spread, torch.where(errors > 0, 0.0, 1.0))
        return {
            "loss": float(sums["loss"]) / examples,
            "rmse": math.sqrt(float(errors.mean()) / examples),
            "r2": float(explained.mean()),
        }


class MultiLabel(prunebench.Objective):
    """Any number of labels: binary cross-entropy; F1 over all labels together (micro), and how often all are right.

    A label is predicted where its logit is above 0. F1 is 0 where no label is predicted right.
    """

    name = "multi-label"
    version = 1
    targets = ("labels",)
    default_for = ("labels",)

    def outputs(self, facts: prunebench.DataFacts) -> tuple[int, ...]:
        return (facts.classes,)

    def metrics(self, facts: prunebench.DataFacts) -> Sequence[prunebench.Metric]:
        f1 = prunebench.Metric(name="f1", label="F1 (micro)", direction="higher", unit="%", factor=100.0, best=1.0)
        exact = prunebench.Metric(
            name="exact_match", label="exact match", direction="higher", unit="%", factor=100.0, best=1.0
        )
        return [f1, exact]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return binary_cross_entropy_with_logits(outputs, targets)

    def distilled_loss(self, outputs: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
        """temperature² times the divergence of the probabilities of each label, the mean over the labels."""
        wanted = torch.sigmoid(teacher / temperature)
        ours, theirs = (binary_cross_entropy_with_logits(logits / temperature, wanted) for logits in (outputs, teacher))
        return (ours - theirs) * temperature**2

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        lost = binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        predicted, true = outputs > 0, targets > 0
        return {
            "loss": lost.mean(1).sum(),
            "both": (predicted & true).sum(),
            "either": predicted.sum() + true.sum(),
            "exact_match": (predicted == true).all(1).sum(),
        }

    def values(self, sums: Mapping[str, torch.Tensor], examples: int) -> Mapping[str, float]:
        f1 = 2 * float(sums["both"]) / max(1.0, float(sums["either"]))
        means = {name: float(sums[name]) / examples for name in ("loss", "exact_match")}
        return {**means, "f1": f1}


@prunebench.hookimpl
def register_objectives() -> list[type[prunebench.Objective]]:
    return [prunebench.Classification, LanguageModelling, MultiLabel, Regression]
