"""The contexts that are passed to a method: `Trial`, `Scoring`, and the `Training` of its updater.

These are the interfaces that a method is written against; `prunebench.pruning.scoring` and
`prunebench.training.training_context` implement them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from prunebench.api.layers import Flops, Layer, Network
from prunebench.api.stages import Allocation, Structure
from prunebench.api.times import Clock

if TYPE_CHECKING:
    import torch
    from torch import nn

Mode = Literal["train", "eval"]


class Trial(Protocol):
    """The trial that a method makes a chain of stages for."""

    @property
    def sparsity(self) -> float:
        """The share of the prunable weights to remove."""

    @property
    def density(self) -> float:
        """The share of the prunable weights to keep: 1 - sparsity."""

    @property
    def seed(self) -> int:
        """The seed that everything in the trial is drawn from."""

    @property
    def network(self) -> Network:
        """The task's dense network: its prunable layers and their FLOPs."""


class Scoring(Protocol):
    """The network at one point of a trial, data to look at, and the method's own randomness.

    The network is a copy: changes that a method makes to it are lost afterwards. Pruned weights are zero in it. Every
    tensor is on `device`. The gradient of a weight that the model has frozen is 0, however it is taken.
    """

    @property
    def model(self) -> nn.Module:
        """The network."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The prunable layers, in order: `name`, `shape`, `size`."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""

    @property
    def masks(self) -> dict[str, torch.Tensor]:
        """Bool, of each weight's shape: True where it is not pruned yet."""

    @property
    def seed(self) -> int:
        """The trial's."""

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The prunable weights by name."""

    @property
    def device(self) -> torch.device:
        """The device of the network and of every tensor."""

    @property
    def generator(self) -> torch.Generator:
        """A CPU generator that depends on the trial's seed and the method's name alone; the same at each access."""

    def batches(self, count: int, size: int, balanced: bool = False) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Training examples, drawn without replacement and not augmented, as (inputs, labels).

        Where there are fewer than count * size examples, the last batch is smaller. One of a single example is left
        out, because BatchNorm cannot be trained on it, unless `size` is 1 or there is no other example.

        Args:
            count: of mini-batches.
            size: examples in each; float32 inputs of shape (size, channels, height, width).
            balanced: the same number of every class in a batch (as near as `size` allows).
        """

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The task's loss of a batch: a scalar, the mean over its examples; without label smoothing."""

    def mode(self, mode: Mode) -> AbstractContextManager[nn.Module]:
        """The model with BatchNorm (and dropout) in the given mode; dropout is seeded."""

    def gradients(self, loss: torch.Tensor, **options: Any) -> dict[str, torch.Tensor]:
        """The gradient of a scalar with respect to each prunable weight, dense: pruned weights have one too.

        It is 0 for a frozen weight, and for a weight that the scalar does not depend on.

        Args:
            options: of torch.autograd.grad, such as create_graph=True.
        """


class Training(Protocol):
    """A training while it runs: what is passed to the hooks of an updater, which may change it."""

    model: nn.Module
    network: Network
    clock: Clock
    step: int
    """The step that is being made, counted from 0: in `after_step` `step + 1` steps have been made."""
    seed: int
    """The trial's."""
    parameters: dict[str, nn.Parameter]
    """All parameters of the model by name."""
    device: torch.device
    masks: dict[str, torch.Tensor]
    """Bool, of each masked weight's shape. Change them with `set_masks` only."""
    memory: dict[str, torch.Tensor]
    """Tensors that the updater keeps from step to step; saved with the state."""
    optimizer: torch.optim.Optimizer
    trains_dense: bool
    """Whether the optimizer works on dense weights (or scores): masks are then applied, not enforced."""
    sparse_flops: Flops
    """Forward FLOPs of one example under the present masks. A tensor on the device, for which no step waits, if
    `trains_dense`."""

    @property
    def dense_gradient_flops(self) -> Flops:
        """FLOPs of one example in a step that needs the gradient of every weight: 2 f_S + f_D.

        The forward pass and the gradients of the inputs go through the sparse weights (f_S each, `sparse_flops`); the
        gradients of the weights are dense (f_D, `network.flops`).
        """

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The prunable weights by name; after the backward pass with their dense gradient."""

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator of this step's own."""

    def step_of(self, time: str | int) -> int:
        """The optimizer step that a time such as `75%` names."""

    def keep_highest(
        self,
        scores: Mapping[str, torch.Tensor],
        density: float,
        allocation: Allocation = "global",
        structure: Structure | None = None,
    ) -> None:
        """Make the masks keep exactly round(density * N) weights: the highest of `scores`, pruned ones among them.

        With a structure they keep N of every M, as far as it fits. No step waits for an accelerator here; whether all
        scores were finite is checked at the next evaluation.

        Raises:
            PrunebenchError: for scores that lack a layer, have another shape, or are not all finite.
            Diverged: likewise, if the weights are not finite either.
        """

    def set_masks(self, masks: Mapping[str, torch.Tensor]) -> None:
        """Replace the masks. Newly pruned weights become zero; so does the optimizer's memory of every weight that
        changed sides, so that a grown weight starts from nothing."""
