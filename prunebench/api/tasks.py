"""A validated suite: tasks, methods, sparsities, seeds, and the trials that they span.

The annotations are the schema: `prunebench.suite.reading` checks YAML against them, `prunebench schema` prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Interval, Len
from typing_extensions import Doc

from prunebench.api import times
from prunebench.api.components import Component, DataFacts, Dataset, Interface, Model
from prunebench.api.data_facts import facts_of
from prunebench.api.errors import DataError, PrunebenchError
from prunebench.api.executors import Resources
from prunebench.api.files import Weights, check_patterns
from prunebench.api.layers import Network
from prunebench.api.methods import Method
from prunebench.api.objectives import Classification, Metric, Objective
from prunebench.api.runtimes import Measure
from prunebench.api.stages import Distillation, TimedPass, Unit
from prunebench.api.versions import added_later

_CLOSED = {"extra": "forbid"}
Engine = Literal["dense", "sparse"]
"""What computes a training: with dense weights under masks, or with the kept weights only."""
Beta = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """`sgd`, `adam` and `adamw` are torch's; any other name is looked up in timm.optim.

    `DISTRIBUTION:module.Class` is a class of another installed distribution, such as `lion-pytorch:lion_pytorch.Lion`.
    Code that is not a file of that distribution is refused, and its version is part of the keys.

    Options that are left out have the optimizer's own defaults (timm's momentum is 0.9); options that it does not have
    are errors.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    name: Annotated[str, Doc("sgd, adam, adamw, a name of timm.optim, or DISTRIBUTION:module.Class")]
    lr: Annotated[float, Gt(0)]
    weight_decay: Annotated[float, Ge(0)] = 0.0
    momentum: Annotated[float, Interval(ge=0, lt=1)] | None = None
    nesterov: bool | None = None
    betas: Annotated[tuple[Beta, ...], Len(2, 3), Doc("adam and its variants: decay of the running means")] | None = (
        None
    )
    eps: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        if self.name == "sgd" and self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate as a function of the step; see `prunebench.training.recipes.learning_rate`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    name: Literal["constant", "multistep", "cosine", "linear", "one-cycle"] = "constant"
    warmup: Annotated[times.Time, Doc("linear warm-up until this time, such as 5ep")] = 0
    milestones: Annotated[tuple[times.Time, ...], Doc("multistep: times of the drops, such as [80ep, 120ep]")] = ()
    gamma: Annotated[float, Gt(0), Doc("multistep: the factor of each drop")] = 0.1
    peak: Annotated[times.Time, Doc("one-cycle: time of the full rate, such as 30%")] = added_later("30%")  # noqa: RUF009
    initial: Annotated[float, Interval(gt=0, le=1), Doc("one-cycle: the first rate, as a share of the full one")] = (
        added_later(0.04)
    )
    final: Annotated[float, Interval(gt=0, le=1), Doc("one-cycle: the last rate, as a share of the full one")] = (
        added_later(4e-6)
    )

    def __post_init__(self) -> None:
        for time in (self.warmup, self.peak, *self.milestones):
            times.parse(time)
        if self.name == "one-cycle" and times.parse(self.warmup)[1]:
            raise ValueError("the one-cycle schedule has no warmup: it rises until its peak")
        if self.name != "one-cycle" and (self.peak, self.initial, self.final) != ("30%", 0.04, 4e-6):
            raise ValueError("peak, initial and final belong to the one-cycle schedule")
        if (self.name == "multistep") != bool(self.milestones):
            raise ValueError("milestones belong to the multistep schedule, which needs at least one")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained: the same for every method of a task."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    optimizer: Optimizer
    batch_size: Annotated[int, Ge(1)]
    epochs: Annotated[int, Ge(1)] | None = None
    steps: Annotated[int, Ge(1), Doc("optimizer steps; give epochs or steps, not both")] | None = None
    schedule: Schedule = field(default_factory=Schedule)
    validation: Annotated[int, Ge(0), Doc("training examples held out for selection")] = 0
    evaluate_every: Annotated[times.Time, Doc("time between evaluations")] = "1ep"
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    augmentation: Annotated[
        tuple[Literal["flip", "crop", "resized-crop", "shift"], ...],
        Doc(
            "images: flip, mirrored half of the time; crop, shifted by up to 4 pixels; "
            "resized-crop, 8 to 100 % of the area, enlarged (ImageNet). "
            "text: shift, windows begin anywhere"
        ),
    ] = ()
    drop_last: Annotated[bool, Doc("omit the last batch of an epoch if it is smaller than batch_size")] = False
    clip_norm: Annotated[float, Gt(0), Doc("gradients are scaled down to this norm")] | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: Annotated[
        bool, Doc("channels-last memory format for convolutions: faster on GPUs, other last bits")
    ] = False
    compile: Annotated[bool, Doc("use torch.compile: about a minute to start, then faster on GPUs")] = False
    engine: Annotated[
        Literal["dense", "sparse", "auto"],
        Doc(
            "dense: masks on dense weights. sparse: training on the kept weights only, of fully connected layers, on "
            "the processor. auto: sparse where it is possible and was measured to be faster"
        ),
    ] = added_later("dense")
    validation_draw: Annotated[
        Literal["once", "seed"],
        Doc(
            "once: the same examples are held out for every seed. seed: each seed draws its own, so that intervals "
            "contain what the draw changes"
        ),
    ] = added_later("once")

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        relative, amount, unit = times.parse(self.evaluate_every)
        if relative or (not amount and unit != "end"):
            raise ValueError("evaluate_every is a time between evaluations, such as 1ep, 100it or end")

    def clock(self, train_examples: int) -> times.Clock:
        """Steps of an epoch and of the whole recipe, without the validation examples.

        A smaller last batch counts as a step, unless `drop_last` omits it.
        """
        whole, ragged = divmod(train_examples - self.validation, self.batch_size)
        per_epoch = whole if self.drop_last or not ragged else whole + 1
        return times.Clock(per_epoch, self.steps if self.steps is not None else (self.epochs or 0) * per_epoch)


@dataclass(frozen=True, kw_only=True)
class Prunable:
    """Layers that a task excludes from pruning; sparsities do not count their weights."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    first: Annotated[bool, Doc("false: the first layer stays dense")] = True
    last: Annotated[bool, Doc("false: the last layer stays dense")] = True
    exclude: Annotated[tuple[str, ...], Doc("regular expressions of weight names that stay dense")] = ()

    def __post_init__(self) -> None:
        check_patterns(self.exclude)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A data set, a model, an objective and a recipe; each method of the suite is run on each task."""

    label: str
    dataset: Dataset
    model: Model
    recipe: Recipe
    prunable: Prunable = field(default_factory=Prunable)
    objective: Objective = added_later(Classification())  # noqa: RUF009
    weights: Weights | None = added_later(None)  # noqa: RUF009
    """What every trial starts from; None for random weights."""

    @property
    def facts(self) -> DataFacts:
        """What is known of the data before it is read. Raises DataError, see `prunebench.api.data_facts.facts_of`."""
        if isinstance(self._facts, DataError):
            raise self._facts.with_traceback(None)
        return self._facts

    @cached_property
    def _facts(self) -> DataFacts | DataError:
        try:
            return facts_of(self.dataset)
        except DataError as error:
            return error

    def with_facts(self, facts: DataFacts | DataError) -> Task:
        """This task, with facts that were determined elsewhere, or with the reason why there are none."""
        vars(self)["_facts"] = facts  # as the cached property would
        return self

    @property
    def has_all_weights(self) -> bool:
        """Whether the file that trials start from has all weights of the network, so that none are random."""
        return self.weights is not None and not self.weights.fresh

    @cached_property
    def clock(self) -> times.Clock:
        return self.recipe.clock(self.facts.train)

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """What the objective reports besides the loss, the primary metric first."""
        return tuple(self.objective.metrics(self.facts))

    @cached_property
    def interface(self) -> Interface:
        """What the network is given and what it returns."""
        return Interface(self.facts.every_input, tuple(self.objective.outputs(self.facts)))


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The choice of a method's parameters, and of values of the recipe, by what the validation split says of them.

    The values that are written are one candidate; the others are points of the space. Each has the seed of the trial.
    """

    trials: int
    """The number of candidates at most."""
    space: tuple[tuple[str, tuple[Any, ...]], ...]
    """The values of each parameter of the method, and of each value of the recipe, such as `recipe.optimizer.lr`."""
    on: Literal["validation"] = "validation"


@dataclass(frozen=True, kw_only=True)
class TicketSource:
    """The trials of an entry begin with tickets that the same method finds in another task of the suite."""

    task: Task
    """Where the tickets are found."""
    weights: bool = False
    """Whether their weights are taken too; otherwise only their masks."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry in the methods of a suite: a method with its parameters, and the ablations that apply to any method.

    `shuffle`, `reinitialize` and `invert` change the method's chain (see `prunebench.plan.ablations.ablated`), so an
    ablated method shares everything up to the change with the method itself.
    """

    label: str
    method: Method
    shuffle: bool = False
    reinitialize: bool | int = False
    """Whether the masked network gets new weights; a number from 2 on is that of another draw."""
    invert: bool = False
    distillation: Distillation | None = None
    """How trainings imitate the dense network, from its first pruning on."""
    tune: Tuning | None = added_later(None)  # noqa: RUF009
    """What is chosen on the validation split, for each trial by itself."""
    recipe: tuple[tuple[str, Any], ...] = added_later(())
    """Values that the trainings of this entry have instead of the recipe's, such as `recipe.epochs`."""
    ticket_of: TicketSource | None = added_later(None)  # noqa: RUF009
    """Whose tickets are trained; None for those of the task itself."""
    sparsities: tuple[float, ...] | None = None
    """Sparsities of this entry, instead of the suite's."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One task, method, sparsity and seed of a suite."""

    suite: str
    task: Task
    entry: Entry
    sparsity: float
    seed: int
    measure: Measure | None = added_later(None)  # noqa: RUF009
    """The runtimes in which the finished network is measured."""
    unit: Unit = added_later("weights")  # noqa: RUF009
    """What a cut leaves `density` of at most; see `prunebench.Cut`."""
    timed: TimedPass | None = added_later(None)  # noqa: RUF009
    """The pass that a cut by latency times."""
    describe: Callable[[Task], Network] | None = field(default=None, compare=False, repr=False)
    """Describes the network of a task; planning sets it, because suites are read without torch."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks whose data it needs: its own first, and that of the ticket that it begins with."""
        return (self.task,) if self.entry.ticket_of is None else (self.task, self.entry.ticket_of.task)

    @property
    def density(self) -> float:
        """Share of the prunable weights that is kept: 1 - sparsity, without rounding errors."""
        return round(1.0 - self.sparsity, 12)

    @property
    def network(self) -> Network:
        """The network of the task without its weights, for chains that depend on its layers; set by planning."""
        if self.describe is None:
            raise PrunebenchError(f"{self}: the network of a trial is available only after planning")
        return self.describe(self.task)

    def __str__(self) -> str:
        return f"{self.task.label}/{self.entry.label}/{self.sparsity:g}/{self.seed}"


@dataclass(frozen=True)
class Change:
    """What a profile changes in a suite."""

    path: str
    before: tuple[Any, ...]
    """The values before: none if there was none, several if the path is that of all items of a list."""
    after: Any


@dataclass(frozen=True, kw_only=True)
class Reductions:
    """How many times smaller the methods that remove channels and heads make the network.

    4 leaves at most a quarter, and its rows stand beside those at a sparsity of 0.75.
    """

    by: Unit
    of: tuple[float, ...]
    timed: TimedPass | None = None
    """The pass whose latency becomes less, where `by` is the latency."""

    @property
    def sparsities(self) -> tuple[float, ...]:
        """The shares that are removed at least."""
        return tuple(round(1 - 1 / factor, 6) for factor in self.of)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A grid of each task with each method at each sparsity and seed, and the dense control."""

    name: Annotated[str, Len(1)]
    tasks: tuple[Task, ...]
    entries: tuple[Entry, ...]
    sparsities: tuple[float, ...]
    seeds: tuple[int, ...]
    description: str = ""
    resources: Resources = field(default_factory=Resources)
    """Resources of each running stage; they are not part of keys."""
    measure: Measure | None = None
    """The runtimes in which every finished network is measured."""
    profile: str = ""
    """The name of the selected profile."""
    changes: tuple[Change, ...] = ()
    """What the profile changed."""
    reductions: Reductions | None = None
    """Targets of the methods that remove channels and heads, instead of the sparsities."""

    def sparsities_of(self, entry: Entry) -> tuple[float, ...]:
        """The targets of an entry; controls have one, 0."""
        if entry.method.control:
            return (0.0,)
        common = self.reductions.sparsities if self.reductions and entry.method.structured else self.sparsities
        return entry.sparsities or common

    def unit_of(self, entry: Entry) -> Unit:
        """What the targets of an entry are shares of."""
        return self.reductions.by if self.reductions and entry.method.structured else "weights"

    def trials(self) -> Iterator[Trial]:
        """Yield the trials in a fixed order; controls have one sparsity, 0.

        A network as it is given is a trial of the tasks only whose file has all weights; a ticket of one task, of all
        others.
        """
        for task in self.tasks:
            for entry in self.entries:
                if entry.method.as_given and not task.has_all_weights:
                    continue
                if entry.ticket_of is not None and entry.ticket_of.task.label == task.label:
                    continue  # its own tickets are those of the same entry without `ticket_of`
                own = replace(entry, sparsities=None)  # a trial does not depend on the other sparsities
                unit = self.unit_of(entry)
                for sparsity in self.sparsities_of(entry):
                    for seed in self.seeds:
                        yield Trial(
                            suite=self.name,
                            task=task,
                            entry=own,
                            sparsity=sparsity,
                            seed=seed,
                            unit=unit,
                            timed=self.reductions.timed if self.reductions else None,
                            measure=self.measure,
                        )


def parameters(component: Component) -> Mapping[str, Any]:
    """A component's parameters by name, in the order in which they are declared."""
    return {one.name: getattr(component, one.name) for one in fields(component)}
