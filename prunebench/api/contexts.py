"""The contexts that are passed to a method: `Trial`, `Scoring`, and the `Training` of its updater.

These are the interfaces that a method is written against; `prunebench.pruning.scoring` and
`prunebench.training.training_context` implement them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from prunebench.api.layers import Flops, Group, Layer, Network
from prunebench.api.stages import Allocation, Structure, TimedPass, Unit
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
    def unit(self) -> Unit:
        """What `density` is a share of in a `Cut`: the prunable weights, or the unit of the suite's `reductions`."""

    @property
    def timed(self) -> TimedPass | None:
        """The pass whose latency a `Cut` reduces, where `unit` is `latency`."""

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
    def keep(self) -> int:
        """How many weights are kept after the pruning that scores are for; 0 where nothing is pruned."""

    @property
    def seed(self) -> int:
        """The trial's."""

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The prunable weights by name."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """All parameters by name, biases and norms included."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """The channels and heads that can be removed, for `Method.channel_scores`; empty otherwise."""

    @property
    def memory(self) -> dict[str, torch.Tensor]:
        """What `Method.scores` keeps for the `Method.compensate` of the same pruning; empty before."""

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

        For `Method.channel_scores` it is that of every parameter of the network. It is 0 for a frozen weight and for a
        weight that the scalar does not depend on.

        Args:
            options: options of torch.autograd.grad, such as create_graph=True.
        """


class CalibratedLayer(Protocol):
    """A layer that `Method.prune_layer` prunes: its weight as a matrix, and what is known of its inputs.

    Of a convolution the inputs of an output are its channels at each place of the kernel, place after place, so that
    the M inputs of an N:M group are next to each other. Each group of a grouped convolution is a separate layer.
    Every tensor is float64 and on the device of the network. They must not be changed in place.
    """

    @property
    def name(self) -> str:
        """The name of the weight, such as `fc1.weight`."""

    @property
    def weight(self) -> torch.Tensor:
        """The dense weight, of shape (outputs, inputs)."""

    @property
    def moments(self) -> torch.Tensor:
        """Second moments of the inputs, of shape (inputs, inputs): the mean of x xᵀ over all calibration tokens.

        A token is one input vector: one of an example in a linear layer, one for each place of the output in a
        convolution. d M dᵀ is the mean squared error of an output to whose row of the weight d is added.
        """

    @property
    def means(self) -> torch.Tensor:
        """The mean of each input over all tokens, of shape (inputs,)."""

    @property
    def norms(self) -> torch.Tensor:
        """The root of the mean square of each input, of shape (inputs,); 0 for an input that is never used."""

    @property
    def tokens(self) -> int:
        """The number of input vectors that were seen."""

    @property
    def keep(self) -> int:
        """The number of weights to keep."""

    @property
    def structure(self) -> Structure | None:
        """N of every M consecutive inputs of each output are to be kept; None for no structure.

        If it is `permuted`, the inputs are in the permuted order.
        """

    @property
    def channels(self) -> int:
        """The number of input channels: of a linear layer, or of this group of a convolution."""

    def keep_highest(self, scores: torch.Tensor, by_row: bool = False, keep: int | None = None) -> torch.Tensor:
        """The mask that keeps exactly `keep` weights, those with the highest scores; the first among equals.

        With a structure they are the N highest of each group.

        Args:
            scores: finite, of shape (outputs, inputs).
            by_row: compare only the weights of the same output. Where `keep` is not divisible by the number of outputs,
                those whose next score is the highest keep one more.
            keep: another number of weights, without a structure; such as low-rank factors leave of `keep`.

        Raises:
            PrunebenchError: for scores of another shape, or that are not all finite.
        """

    def damped(self, damping: float, moments: torch.Tensor | None = None) -> torch.Tensor:
        """Second moments that can be inverted: `damping` times the mean of the diagonal is added to the diagonal.

        Args:
            moments: a matrix of the same shape, such as scaled moments; by default `moments`. Of zeros it is the
                identity.
        """

    def reconstructed(self, mask: torch.Tensor, damping: float = 0.01) -> torch.Tensor:
        """The weights under a mask whose outputs are nearest to those of the dense weight, by damped least squares.

        Args:
            mask: bool, of shape (outputs, inputs).
            damping: added to the diagonal of `moments`, relative to its mean.
        """


class Training(Protocol):
    """A running training, which is passed to the hooks of an updater; they may modify it."""

    network: Network
    clock: Clock
    step: int
    """The current step, counted from 0; in `after_step`, `step + 1` steps have been made."""
    seed: int
    """The trial's."""
    batch_size: int
    """Examples in a step of the recipe."""
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
    def model(self) -> nn.Module:
        """The network."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """All parameters of the model by name."""

    @property
    def dense_gradient_flops(self) -> Flops:
        """FLOPs of one example in a step that needs the gradient of every weight: 2 f_S + f_D.

        The forward pass and the gradients of the inputs go through the sparse weights (f_S each, `sparse_flops`); the
        gradients of the weights are dense (f_D, `network.flops`).
        """

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The prunable weights by name; after the backward pass, `weight.grad` is the dense gradient.

        Under `engine: sparse` it is that only in steps for which `Updater.needs_dense_gradient` returned True, and 0 at
        pruned weights in all others. Read this anew in each hook: the weights are up to date when they are read.
        """

    @property
    def groups(self) -> tuple[Group, ...]:
        """The channels and heads of the network that could be removed, for penalties that prepare a `Cut`.

        Their parts are looked up in `parameters`, and gradients by the same names. Finding them takes seconds, once for
        each training.
        """

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
