"""Stages: small frozen values that describe one operation on a state.

A method turns a trial into a chain of stages. A stage does nothing by itself; `prunebench.execution` performs it.
Times in a stage are written as in `prunebench.api.times`: `0`, `500it`, `2ep`, `5%`, `end`, `+5ep`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Interval
from typing_extensions import Doc

from prunebench.api import times
from prunebench.api.components import Component
from prunebench.api.errors import Unreachable
from prunebench.api.files import File, Weights
from prunebench.api.layers import Layer
from prunebench.api.versions import added_later

Allocation = Literal["global", "uniform", "er", "erk"]
"""How a density is distributed over the layers; see `prunebench.pruning.allocation`."""

Share = Annotated[float, Interval(gt=0, le=1)]
Shares = tuple[tuple[str, Share], ...]
"""An explicit allocation, as (layer, share) pairs: each layer keeps share ** x of its weights, with the same x for all
layers, chosen so that the density is exact. Layers that are not named stay dense.

If the shares are densities that add up to the requested density, x is 1. If they are the shares that one pruning round
keeps (0.8, and 0.9 of the last layer), x is the number of rounds, which need not be a whole number.
"""


LayerAllocation = Literal["uniform", "er", "erk"]
"""How a density is distributed over layers that are pruned one after the other, without scores of all of them."""


@dataclass(frozen=True)
class Outliers:
    """OWL: blocks of a network with more outliers keep more of their weights (Yin et al. 2024, arXiv:2310.05175).

    An outlier is a weight with a score of Wanda, |weight| * norm of its input, above `multiple` times the mean of its
    block. The block with most of them has a density of `2 * spread` above that of the block with fewest, the others lie
    between in proportion, and the mean over all weights is the requested density. `spread` is scaled down where a block
    would keep less than nothing or more than all.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    multiple: Annotated[float, Gt(0), Doc("a score above this many times its block's mean is an outlier")] = 5.0
    spread: Annotated[float, Interval(ge=0, lt=1), Doc("half of the distance between the extreme densities")] = 0.08


@dataclass(frozen=True)
class Structure:
    """N:M sparsity: `n` of every `m` weights are kept, in groups of consecutive input channels.

    A group is `m` weights of one output and, in a convolution, of one place of the kernel: along dimension 1, and in a
    transposed convolution along dimension 0. A layer in which the number of inputs of an output is not divisible by `m`
    (a stem of three channels, a depthwise convolution) is not pruned.

    With `permuted` the channels of a group need not be consecutive: each layer is N:M after a permutation of its input
    channels. Kernels for N:M need the weights and the inputs in that order. Only `PruneLayerwise` finds permutations.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    n: Annotated[int, Ge(1)]
    m: Annotated[int, Ge(1)]
    permuted: bool = added_later(False)

    def __post_init__(self) -> None:
        if self.n > self.m:
            raise ValueError(f"{self} keeps more than all weights: n must be at most m")

    def __str__(self) -> str:
        return f"{self.n}:{self.m}" + " of permuted channels" * self.permuted

    @property
    def density(self) -> float:
        """The share of weights that is kept in a layer that the structure fits."""
        return self.n / self.m

    def fits(self, layer: Layer) -> bool:
        """Whether the weights of a layer can be divided into groups of m."""
        return layer.inputs % self.m == 0

    def kept(self, layers: Iterable[Layer]) -> int:
        """Number of weights of dense layers that are kept; layers that the structure does not fit keep all weights."""
        return sum(layer.size * self.n // self.m if self.fits(layer) else layer.size for layer in layers)

    def check(self, density: float, layers: Sequence[Layer]) -> None:
        """Raise Unreachable if the density is not n/m, or if too many weights are in layers that it does not fit.

        At most a twentieth of the weights may be in such layers.
        """
        size = sum(layer.size for layer in layers)
        if abs(density - self.density) > 1e-4:
            raise Unreachable(f"{self} has a sparsity of {1 - self.density:g} and no other")
        if size > 1.05 * sum(layer.size for layer in layers if self.fits(layer)):
            reached = 1 - self.kept(layers) / size
            misfits = ", ".join(layer.name for layer in layers if not self.fits(layer))
            raise Unreachable(
                f"{self} has a sparsity of {reached:.4g} here and no other: the input channels of {misfits} are not "
                f"divisible by {self.m}"
            )


class Stage:
    """Base class of the stages of a chain."""

    calls: ClassVar[str] = ""
    """The function that the stage calls of the method in its `by`; empty for stages without one."""


@dataclass(frozen=True)
class Initialize(Stage):
    """Begin with the weights that the task starts from. Starts at step 0, without masks and without cost.

    By default these are drawn from the seed of the trial; a task can name a file.

    Args:
        weights: a file to start from instead: a path, or a mapping as `weights` of a task.
    """

    weights: Weights | File | None = added_later(None)  # noqa: RUF009

    def __post_init__(self) -> None:
        if isinstance(self.weights, File):
            object.__setattr__(self, "weights", Weights(file=self.weights))

    @property
    def start(self) -> Weights | None:
        """The file to start from, with what it may leave out."""
        return self.weights if isinstance(self.weights, Weights) else None


@dataclass(frozen=True)
class Distillation:
    """Knowledge distillation: a training also imitates the dense network (Hinton et al. 2015, arXiv:1503.02531).

    The teacher is the network of the same chain before anything was pruned, in evaluation mode. The loss is
    (1 - weight) * loss + weight * imitation, with the imitation that the objective defines: for classification
    temperature² * KL(teacher, network) of the softmax of outputs / temperature. The passes of the teacher are part of
    the training cost.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    temperature: Annotated[float, Gt(0), Doc("what outputs are divided by, so that their small values count")] = 2.0
    weight: Annotated[float, Interval(gt=0, le=1), Doc("share of the imitation in the loss")] = 0.5


@dataclass(frozen=True)
class Train(Stage):
    """Train with the recipe of the task, from the current step on.

    Args:
        until: time at which to stop; after the end of the recipe the learning rate keeps its last value (fine-tuning).
        stream: name of the random stream of data order, augmentation and dropout; another name gives other draws.
        by: method whose `updater` changes the masks during the training; None for fixed masks.
        density: share of all prunable weights that this method keeps at the end, if it makes its masks itself.
        distillation: imitate the network before it was pruned.
    """

    calls = "updater"

    until: times.Moment = "end"
    stream: str = "train"
    by: Component | None = None
    density: float | None = None
    distillation: Distillation | None = added_later(None)  # noqa: RUF009


@dataclass(frozen=True)
class Prune(Stage):
    """Keep the round(density * N) weights with the highest scores; ties are broken by index.

    Args:
        by: method whose `scores` rank the weights. Pruned weights stay pruned.
        density: share of all prunable weights that are kept.
        allocation: how this number is distributed over the layers: the name of a rule, or `Shares`.
        rounds: number of rounds, with new scores before each; the density decreases geometrically.
        invert: keep the lowest scores instead (an ablation that shows whether the scores matter).
        structure: keep N of every M weights in each layer that it fits; `allocation` is then ignored.
    """

    calls = "scores"

    by: Component
    density: float
    allocation: Allocation | Shares = "global"
    rounds: Annotated[int, Ge(1)] = 1
    invert: bool = False
    structure: Structure | None = None

    def __post_init__(self) -> None:
        if self.structure is not None and self.structure.permuted:
            raise ValueError("`permuted` belongs to methods that prune layer by layer: no others permute channels")


@dataclass(frozen=True)
class PruneLayerwise(Stage):
    """Prune a dense, trained network block by block, each layer on the inputs that reach it.

    The blocks are visited in the order in which the network runs them. The layers of a block are pruned on the inputs
    that they get while the block is still dense and all earlier blocks are pruned. Inputs are those of some training
    examples, without augmentation, in evaluation mode. Layers are linear layers and two-dimensional convolutions; each
    group of a grouped convolution is pruned by itself.

    Args:
        by: the method whose `prune_layer` returns the mask and the weights of a layer.
        density: share of all prunable weights that is kept afterwards; exactly round(density * N) of them.
        allocation: how that number is distributed over the layers: the name of a rule, or `Outliers`.
        structure: keep N of every M weights in each layer that this fits; `allocation` is then ignored.
        examples: number of calibration examples, drawn from the training examples by the trial's seed.
        reconstruct: replace the kept weights of each layer by the least-squares solution for the mask, see
            `Reconstruct`.
    """

    calls = "prune_layer"

    by: Component
    density: float
    allocation: LayerAllocation | Outliers = "uniform"
    structure: Structure | None = None
    examples: Annotated[int, Ge(1)] = 128
    reconstruct: bool = False


@dataclass(frozen=True)
class Reconstruct(Stage):
    """Change the kept weights of each layer so that its outputs are those of the last state that was not pruned.

    By damped least squares, under the present masks: block by block as in `PruneLayerwise`, on the inputs that reach a
    layer when the blocks before it are reconstructed.

    Args:
        examples: number of calibration examples; the same as those of a `PruneLayerwise` of as many.
        damping: added to the diagonal of the inputs' second moments, relative to the mean of that diagonal; it keeps
            weights on unused inputs where they are.
    """

    examples: Annotated[int, Ge(1)] = 128
    damping: Annotated[float, Gt(0)] = 0.01


PRUNING = (Prune, PruneLayerwise)
"""The stages that choose masks."""


Unit = Literal["weights", "parameters", "macs", "channels", "latency"]
"""What a cut leaves a share of; see `Cut`."""
CutAllocation = Literal["global", "uniform"]
"""Which channels are compared: those of the whole network, or those of the same group."""
GroupKind = Literal["heads", "columns", "channels"]
"""What a group consists of: heads of attention; columns, the hidden units between fully connected layers, as in the MLP
of a transformer; or channels of convolutions."""


@dataclass(frozen=True)
class TimedPass:
    """The pass whose latency a cut reduces.

    Args:
        runtime: the `prunebench.Runtime` that the network runs in.
        batch_size: examples in a pass.
        threads: threads of a pass.
    """

    runtime: Component
    batch_size: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Cut(Stage):
    """Remove the channels and attention heads with the lowest scores; the network is smaller afterwards.

    A channel is removed from all layers that it belongs to: see `prunebench.Group`. As few are removed as leave no more
    than the target. Each group keeps one channel, and the outputs of the network stay. Channels over which LayerNorm or
    GroupNorm normalizes stay too, as the others would compute something else without them.

    Later densities and sparsities are shares of the whole network: of its weights, what is cut away is pruned.

    Args:
        by: the method whose `channel_scores` rank the channels.
        density: share of the whole network's `unit` that is left at most.
        unit: `weights` that are prunable, all `parameters`, multiplications of an example (`macs`), output `channels`
            of the prunable layers, or the `latency` of a pass.
        allocation: `global` compares all channels, `uniform` removes the same share of each group.
        align: groups keep a multiple of so many channels, as kernels like it; heads are not aligned.
        exclude: regular expressions of weights whose outputs stay whole.
        groups: the kinds of groups from which something is removed; by default all of them.
        invert: remove the highest scores instead (an ablation that shows whether the scores matter).
        timed: the pass that `latency` is of. Networks of several widths are timed alternately with the dense network in
            the same runtime, on the machine that performs the stage: another one may keep another number of channels.
    """

    calls = "channel_scores"

    by: Component
    density: float
    unit: Unit = "weights"
    allocation: CutAllocation = "global"
    align: Annotated[int, Ge(1)] = 1
    exclude: tuple[str, ...] = ()
    invert: bool = False
    groups: tuple[GroupKind, ...] = added_later(())
    timed: TimedPass | None = added_later(None)  # noqa: RUF009


@dataclass(frozen=True)
class Shuffle(Stage):
    """Move the mask of each layer to random positions (the random-mask control).

    The weights there get their values from the last state that was not pruned.
    """


@dataclass(frozen=True)
class Rewind(Stage):
    """Return to an earlier step of the chain; the masks and the cost so far are kept.

    Args:
        to: step to return to, at which a training of the chain stopped.
        weights: restore weights and BatchNorm statistics; otherwise only the step, and so the learning rate, is reset.
        optimizer: restore the state of the optimizer (momentum) too. Otherwise it is reset if the weights are restored,
            and kept if they are not.
    """

    to: times.Time = 0
    weights: bool = True
    optimizer: bool = False


@dataclass(frozen=True)
class Reinitialize(Stage):
    """Draw new weights under the same masks and return to step 0 (the random-reinitialization control).

    Args:
        draw: the number of the draw, counted from 1; each has other weights.
    """

    draw: int = added_later(1)


@dataclass(frozen=True)
class Deploy(Stage):
    """Measure the network as it would be deployed. The state is not changed.

    The loss and the metrics of the trial are then those of the deployed network. Its size on disk and its latency are
    recorded next to those of the dense float32 network.

    Args:
        by: method whose `deploy` converts the network, for example to 8-bit integers; None for the float32 network,
            whose zeros are omitted from the file and multiplied like other numbers.
        batch: number of examples in a pass whose latency is measured.
    """

    calls = "deploy"

    by: Component | None = None
    batch: Annotated[int, Ge(1)] = 1
