"""Base classes of pruning methods: `Method`, and `Updater` for masks that change during a training.

A method with such masks yields `Train(by=self)` in its chain and returns an `Updater` from `Method.updater`, whose
hooks the training loop calls. Whatever the updater needs from step to step belongs into `training.memory`, which is
saved and restored with the state, so that a training can be interrupted at any step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge
from typing_extensions import Doc

from prunebench.api import stages, times
from prunebench.api.components import Component
from prunebench.api.contexts import CalibratedLayer, Scoring, Training, Trial
from prunebench.api.errors import PluginError
from prunebench.api.layers import Flops, Network
from prunebench.api.stages import CutAllocation, GroupKind, LayerAllocation, Outliers, Structure
from prunebench.api.versions import added_later

if TYPE_CHECKING:
    import torch
    from torch import nn


class Updater:
    """Base class of objects that change the masks during a training; by default the masks are static.

    Override the hooks that a method needs. The training loop calls them in this order::

        begin                     once; in a training that continues after an interruption, `restore_dense` instead
        for each step:
            needs_dense_gradient  say whether this step needs the gradients of pruned weights
            apply_masks           put the sparse weights in place
            forward, backward     compute the dense gradient of each weight
            restore_dense         undo apply_masks
            flops                 return the cost of this step, under its masks
            after_backward        use or change the gradients; return True to skip the optimizer's step
            optimizer             mask and clip the gradients, update the weights, set pruned weights to zero
            after_step            change the masks; `training.step + 1` steps have been made
            if an evaluation or a checkpoint is due:
                apply_masks
                evaluate
                restore_dense
        apply_masks               once, for the weights that the next stage starts with
    """

    trains_dense: ClassVar[bool] = False
    """Whether the optimizer trains dense weights (or scores), which `restore_dense` restores.

    Masks are then applied before each pass instead of enforced after each step. A later stage starts from the masked
    weights with a new optimizer.
    """

    keeps_masks: ClassVar[bool] = False
    """Whether the masks never change, as where a penalty is added to gradients: a training by it prunes nothing, and
    a network without masks is dense after it, so that others can be distilled from it."""

    def begin(self, training: Training) -> None:
        """Called once before the first step, to make the first masks or to initialize `training.memory`."""

    def needs_dense_gradient(self, training: Training) -> bool:
        """Return whether the step that is about to be made needs the gradients of pruned weights.

        Methods that override this can be trained by `engine: sparse`, which computes gradients of kept weights only
        where it may. Override it only in an updater that neither changes gradients nor uses `training.optimizer`. It
        may read and change `training.weights`, and change the masks, at any step.
        """
        return True

    def apply_masks(self, training: Training) -> None:
        """Called before each forward pass, evaluation and snapshot.

        A method whose optimizer trains something other than the sparse weights (the dense weights of a straight-through
        estimator, the scores of learned masks) keeps it in the weights between steps, and replaces it by the sparse
        weights here.
        """

    def restore_dense(self, training: Training) -> None:
        """Undo `apply_masks`. Called after the backward pass, with the gradients of the masked weights, and after an
        evaluation."""

    def after_backward(self, training: Training) -> bool:
        """Called when `weight.grad` of each weight has its dense gradient, of the shape of the weight.

        Return True to skip the step of the optimizer. `training.step` steps have been made before this one.
        """
        return False

    def after_step(self, training: Training) -> None:
        """Called after the step of the optimizer, when pruned weights are zero again; change the masks here.

        `training.step` is the step just made, counted from 0, so that `training.step + 1` steps have been made.
        """

    def flops(self, training: Training) -> Flops:
        """Return the forward and backward FLOPs of one example in this step. Called before the masks change.

        By default 3 * f_S, without multiplications by zero. `training.dense_gradient_flops` is the cost of a step that
        needs the gradient of every weight. Return a number or a scalar tensor: `training.sparse_flops` is a tensor if
        `trains_dense` is set, and reading its value would make each step wait for the GPU.
        """
        return 3 * training.sparse_flops


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")


def _float32() -> torch.dtype:
    import torch

    return torch.float32


@dataclass(frozen=True)
class Deployed:
    """A network that `Method.deploy` converted."""

    model: nn.Module
    """The converted network, in evaluation mode and on `device`."""
    device: torch.device = field(default_factory=_cpu)
    dtype: torch.dtype = field(default_factory=_float32)
    """Type of the inputs. The latency of the dense network is measured with the same type."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Remarks by topic. A remark on `latency_ms` says why the latency is not applicable; it is then not measured."""


class Method(Component):
    """Base class of a pruning method. Most methods only override `scores`; override `stages` for another chain."""

    control: ClassVar[bool] = False
    """Whether this is the unpruned network that all other methods are compared with."""
    as_given: ClassVar[bool] = False
    """Whether this control is the network in a task's file of weights, without training: it stands beside the network
    that is compared with, in tasks whose file has all weights."""
    family: ClassVar[str] = "other"
    """What kind of method it is, by which plots are coloured: at initialization, rewinding, during training, learned
    masks, after training, layer by layer, structured, random pruning, or other. It is in no key."""
    structured: ClassVar[bool] = False
    """Whether it removes channels or heads: its targets are then the `reductions` of a suite, where it has any."""
    whole_blocks: ClassVar[bool] = False
    """Whether `channel_scores` ranks whole blocks, which a `Cut` by this method removes instead of channels."""
    low_rank: ClassVar[bool] = False
    """Whether `prune_layer` returns low-rank factors too, which are beside the weight from then on. Trainings with
    fixed masks may follow, and nothing that prunes or takes back weights."""
    ignores_learning_rate: ClassVar[bool] = False
    """Whether its updater does not use the learning rate of the recipe."""
    exempt: ClassVar[Mapping[str, str]] = {}
    """Checks of `prunebench check` that do not apply to the method, each with the reason that a report shows."""

    @property
    def imported_from(self) -> str:
        """Where the masks were made, if not in the suite: a URL and commit, for example. Rows are marked with it."""
        return ""

    def scores(self, scoring: Scoring) -> dict[str, torch.Tensor]:
        """Return a score for each weight; the weights with the highest scores are kept.

        Args:
            scoring: the network at this point of the chain (`scoring.weights`, `.gradients()`, `.generator`, ...).

        Returns:
            a finite tensor of the weight's shape for every name in `scoring.weights`. Pruned weights stay pruned,
            whatever their scores are.
        """
        raise NotImplementedError(f"method {self.name!r} has no scores")

    def compensate(self, scoring: Scoring, masks: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Return new values of the weights that are kept, which make up for those that are removed.

        Called after `scores` and the choice of the masks, in each round of a pruning. By default no weight changes.

        Args:
            scoring: the context that `scores` was passed; `scoring.memory` is what it kept there, and `scoring.weights`
                are the weights as they were scored.
            masks: by name, a bool tensor of the weight's shape: True where the weight is kept.

        Returns:
            by name, finite tensors of the shapes of the weights. What is removed becomes zero whatever they say; a
            weight that is not named keeps its values.
        """
        return {}

    def channel_scores(self, scoring: Scoring) -> dict[str, torch.Tensor]:
        """Return a score for each channel of each group, for `Cut(by=self)` in the chain; the highest are kept.

        Where `whole_blocks` is set, a group is a list of blocks, and each of its `blocks` has a score.

        Args:
            scoring: the network at this point of the chain; `scoring.groups` are the groups, whose parts are looked up
                in `scoring.parameters`, or in gradients by the same names.

        Returns:
            by the name of the group, a finite tensor of shape (group.size,).
        """
        raise NotImplementedError(f"method {self.name!r} has no channel_scores")

    def scoring_flops(self, network: Network, density: float) -> float:
        """Return the FLOPs of one `scores` or `channel_scores` call, which count as training cost; 0 if the network is
        not run.

        Args:
            network: the layers and the forward FLOPs for one example; of what is left if channels were removed.
            density: share of the weights that are kept before the call.
        """
        return 0.0

    def prune_layer(self, layer: CalibratedLayer) -> tuple[torch.Tensor, ...]:
        """Prune one layer, for `PruneLayerwise(by=self)` in the chain; called for each layer, without gradients.

        Args:
            layer: its dense weight, the second moments of its inputs, and the number of weights to keep.

        Returns:
            the mask, bool, with exactly `layer.keep` True values, and the new weight, finite, both of the shape of
            `layer.weight`. What the mask prunes becomes zero whatever the weight says.

            A method with `low_rank` returns two more: factors of shapes (outputs, rank) and (rank, inputs), finite,
            whose product is added to the weight. Their numbers count as kept weights: without a structure the mask
            keeps `layer.keep` less rank * (outputs + inputs). The network multiplies by one after the other.
        """
        raise NotImplementedError(f"method {self.name!r} has no prune_layer")

    def layer_scores(self, layer: CalibratedLayer) -> torch.Tensor:
        """Return what the weights of a layer are worth, by which channels are permuted for N:M sparsity.

        Called before `prune_layer` if the structure is `permuted`. By default these are the scores of Wanda.

        Returns:
            a finite tensor without negative numbers, of the shape of `layer.weight`.
        """
        return layer.weight.abs() * layer.norms

    def layer_flops(self, outputs: int, inputs: int, tokens: int) -> float:
        """Floating-point operations of `prune_layer` and of the moments that it reads, for the cost ledger.

        The passes that gather the inputs are counted by the harness.

        Args:
            outputs, inputs: the shape of the layer's weight.
            tokens: the number of input vectors in its moments. `moments` cost 2 * tokens * inputs², `norms` and
                `means` next to nothing.
        """
        return 0.0

    def updater(self, density: float | None) -> Updater:
        """Return a new updater for a training, for `Train(by=self, density=density)` in the chain."""
        raise NotImplementedError(f"method {self.name!r} has no updater")

    def deploy(self, scoring: Scoring) -> Deployed:
        """Convert the network for deployment, for `Deploy(by=self)` in the chain. Use only kernels that exist.

        Args:
            scoring: the network at this point of the chain, in evaluation mode; it may be modified.
        """
        raise NotImplementedError(f"method {self.name!r} deploys nothing")

    def stages(self, trial: Trial) -> Iterator[stages.Stage]:
        """Yield the stages of a trial; by default the network is pruned by `scores` at initialization, then trained."""
        yield stages.Initialize()
        yield stages.Prune(by=self, density=trial.density)
        yield stages.Train()


class LayerwiseMethod(Method):
    """Base class of methods that prune a trained network layer by layer. Override `prune_layer`.

    The network is trained by the whole recipe, pruned block by block on a few training examples, and fine-tuned if
    `finetune` says so.
    """

    family: ClassVar[str] = "layer by layer"

    examples: Annotated[int, Ge(1), Doc("calibration examples, drawn from the training examples")] = 128
    allocation: Annotated[
        LayerAllocation | Outliers,
        Doc("how the kept weights are shared out among the layers; {multiple: 5, spread: 0.08} is OWL"),
    ] = "uniform"
    structure: Annotated[
        Structure | None, Doc("N:M sparsity, such as {n: 2, m: 4}; layers that it does not fit stay dense")
    ] = None
    reconstruct: Annotated[bool, Doc("replace the kept weights by the least-squares solution for the mask")] = False
    finetune: Annotated[times.Time, Doc("fine-tune for so long at the last learning rate, such as 10ep")] = 0

    def stages(self, trial: Trial) -> Iterator[stages.Stage]:
        yield stages.Initialize()
        yield stages.Train()
        yield stages.PruneLayerwise(
            by=self,
            density=trial.density,
            allocation=self.allocation,
            structure=self.structure,
            examples=self.examples,
            reconstruct=self.reconstruct,
        )
        yield stages.Train(until=f"+{self.finetune}")


class StructuredMethod(Method):
    """Base class of methods that remove channels and attention heads. Override `channel_scores`.

    The network is trained by the whole recipe. Then each round removes channels and fine-tunes what is left, or trains
    it again from `rewind_to` to the end of the recipe.
    """

    family: ClassVar[str] = "structured"
    structured: ClassVar[bool] = True

    allocation: Annotated[
        CutAllocation, Doc("global compares the channels of all layers, uniform removes the same share of each group")
    ] = "global"
    rounds: Annotated[int, Ge(1), Doc("cut and fine-tune this often, to the target by equal factors")] = 1
    finetune: Annotated[times.Time, Doc("length of each fine-tuning, such as 10ep; 0 for none")] = "25%"
    rewind_to: Annotated[
        times.Time | None,
        Doc("instead of fine-tuning at the last learning rate, set it back to that of this time, and train to the end"),
    ] = added_later(None)
    align: Annotated[int, Ge(1), Doc("keep a multiple of so many channels in each group")] = 1
    exclude: Annotated[tuple[str, ...], Doc("regular expressions of weights whose outputs stay whole")] = ()
    groups: Annotated[
        tuple[GroupKind, ...],
        Doc(
            "remove these alone: heads of attention, columns (hidden units of fully connected layers), channels of "
            "convolutions"
        ),
    ] = added_later(())

    def __post_init__(self) -> None:
        if self.rewind_to is not None and self.finetune != type(self).finetune:
            raise ValueError("has `finetune` and `rewind_to`, after which it trains to the end of the recipe: give one")

    def _recovery(self) -> Iterator[stages.Stage]:
        """What follows each cut."""
        if self.rewind_to is None:
            yield stages.Train(until=f"+{self.finetune}")
        else:
            yield stages.Rewind(to=self.rewind_to, weights=False)
            yield stages.Train()

    def stages(self, trial: Trial) -> Iterator[stages.Stage]:
        yield stages.Initialize()
        if self.rewind_to is not None:
            yield stages.Train(until=self.rewind_to)
        yield stages.Train()
        for done in range(1, self.rounds + 1):
            yield stages.Cut(
                by=self,
                density=trial.density ** (done / self.rounds),
                unit=trial.unit,
                timed=trial.timed,
                allocation=self.allocation,
                align=self.align,
                exclude=self.exclude,
                groups=self.groups,
            )
            yield from self._recovery()


def method_of(stage: stages.Stage) -> Method | None:
    """The method in `by` of a stage, if it has one. Raises PluginError if that is not a `Method`."""
    by = getattr(stage, "by", None)
    if by is not None and not isinstance(by, Method):
        raise PluginError(f"`by` of {type(stage).__name__} must be a prunebench.Method, and is {by!r}")
    return by
