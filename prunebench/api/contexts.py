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
    """The trial for which `Method.stages` yields a chain."""

    @property
    def sparsity(self) -> float:
        """Share of the prunable weights to remove."""

    @property
    def density(self) -> float:
        """Share of the prunable weights to keep: 1 - sparsity."""

    @property
    def seed(self) -> int:
        """Seed of all random draws of the trial."""

    @property
    def network(self) -> Network:
        """The task's dense network: its prunable layers and their FLOPs."""


class Scoring(Protocol):
    """The network at one point of a chain, training examples, and a random generator.

    The network is a copy, so a method may modify it. Pruned weights are zero in it. All tensors are on `device`. The
    gradient of a weight that the model has frozen is always 0.
    """

    @property
    def model(self) -> nn.Module:
        """The network."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The prunable layers, in order: `name`, `shape`, `size`."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input: (channels, height, width) of images."""

    def constant_inputs(self, value: float, count: int = 1, dtype: torch.dtype = ...) -> Any:
        """Inputs without data: all numbers have the same value; all tokens are number 0, as tokens have no size.

        Args:
            count: of examples.
            dtype: of numbers; float32 by default.
        """

    @property
    def masks(self) -> dict[str, torch.Tensor]:
        """By name, a bool tensor of the weight's shape: True where it is not pruned."""

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

    def batches(self, count: int, size: int, balanced: bool = False) -> Iterator[tuple[Any, torch.Tensor]]:
        """Yield mini-batches of training examples as (inputs, targets), without replacement and without augmentation.

        If there are fewer than count * size examples, the last batch is smaller. A last batch of one example is
        omitted, because BatchNorm cannot be trained on it, unless `size` is 1 or there is no other example.

        Args:
            count: number of mini-batches.
            size: examples in each; inputs as the network is given them, such as float32 of shape (size, channels,
                height, width).
            balanced: whether a batch has the same number of examples of each class, as far as `size` allows; ignored
                where targets are not classes.
        """

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The task's loss of a batch: a scalar, the mean over its examples; without label smoothing."""

    def mode(self, mode: Mode) -> AbstractContextManager[nn.Module]:
        """Context in which the model is in the given mode (BatchNorm, dropout); dropout is seeded."""

    def gradients(self, loss: torch.Tensor, **options: Any) -> dict[str, torch.Tensor]:
        """Return the dense gradient of a scalar with respect to each prunable weight, pruned positions included.

        It is 0 for a frozen weight and for a weight that the scalar does not depend on.

        Args:
            options: options of torch.autograd.grad, such as create_graph=True.
        """


class Training(Protocol):
    """A running training, which is passed to the hooks of an updater; they may modify it."""

    model: nn.Module
    network: Network
    clock: Clock
    step: int
    """The current step, counted from 0; in `after_step`, `step + 1` steps have been made."""
    seed: int
    """The trial's."""
    parameters: dict[str, nn.Parameter]
    """All parameters of the model by name."""
    device: torch.device
    masks: dict[str, torch.Tensor]
    """By name, a bool tensor of the weight's shape. Change masks only by `set_masks` or `keep_highest`."""
    memory: dict[str, torch.Tensor]
    """Tensors that the updater keeps from step to step; they are saved with the state."""
    optimizer: torch.optim.Optimizer
    trains_dense: bool
    """See `Updater.trains_dense`."""
    sparse_flops: Flops
    """Forward FLOPs of one example under the current masks. If `trains_dense` is set, this is a tensor on the
    device, so that no step has to wait for its value."""

    @property
    def dense_gradient_flops(self) -> Flops:
        """FLOPs of one example in a step that needs the gradient of every weight: 2 f_S + f_D.

        The forward pass and the gradients of the inputs go through the sparse weights (f_S each, `sparse_flops`); the
        gradients of the weights are dense (f_D, `network.flops`).
        """

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The prunable weights by name; after the backward pass, `weight.grad` is the dense gradient."""

    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator that is seeded by the trial, the step and `purpose`."""

    def step_of(self, time: str | int) -> int:
        """Return the optimizer step of a time such as `75%`."""

    def keep_highest(
        self,
        scores: Mapping[str, torch.Tensor],
        density: float,
        allocation: Allocation = "global",
        structure: Structure | None = None,
    ) -> None:
        """Set the masks to the round(density * N) weights with the highest scores; pruned weights can return.

        With a structure, N of every M weights are kept in each layer that it fits. The call does not wait for the
        device: whether all scores were finite is checked at the next evaluation.

        Raises:
            PrunebenchError: if scores of a layer are missing, have another shape, or are not finite.
            Diverged: if scores are not finite because the weights are not.
        """

    def set_masks(self, masks: Mapping[str, torch.Tensor]) -> None:
        """Replace the masks. Newly pruned weights are set to zero, and the optimizer state (such as momentum) of every
        weight that was pruned or grown is reset."""
