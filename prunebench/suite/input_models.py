"""The keys of a suite as dataclasses; names of components are looked up later."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, make_dataclass
from typing import Annotated, Any, ClassVar, Literal, Union

from annotated_types import Ge, Gt, Interval, Len, Predicate
from typing_extensions import Doc

from prunebench.api import stages
from prunebench.api.components import Component
from prunebench.api.executors import Resources
from prunebench.api.runtimes import Latency
from prunebench.messages.suggestions import shown

LABEL = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}"
"""Allowed labels; they become parts of file names."""

_CLOSED = {"extra": "forbid"}


def is_label(text: str) -> bool:
    """Returns True for a valid label, and raises ValueError with the reason otherwise."""
    if re.fullmatch(LABEL, text):
        return True
    raise ValueError(f"{shown(text)} is not a valid label: use at most 100 letters, digits and ._-, and no dot first")


Label = Annotated[str, Predicate(is_label)]
Sparsity = Annotated[float, Interval(gt=0, lt=1)]
Density = Annotated[float, Interval(gt=0, le=1)]
Seed = Annotated[int, Ge(0)]


@dataclass(frozen=True, kw_only=True)
class ComponentInput:
    """A data set, a model or an objective, with its parameters besides these keys; or only its name."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    name: str
    preset: Annotated[str, Doc("name of a set of parameter values; parameters in the mapping override it")] | None = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class TuneInput:
    """Values that are chosen on the validation split; the cost of all candidates is the row's."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    trials: Annotated[int, Ge(2), Doc("number of candidates at most, of which one is the entry as it is written")]
    space: Annotated[
        Mapping[str, Annotated[tuple[Any, ...], Len(1)]],
        Len(1),
        Doc("values of parameters of the method, and of the recipe: {lr: [1e-3, 3e-3], start: [0, 10%]}"),
    ]
    on: Annotated[Literal["validation"], Doc("what candidates are compared on")] = "validation"


@dataclass(frozen=True, kw_only=True)
class TicketInput:
    """Tickets of another task: the method finds them there, and this task trains them from step 0."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    task: Annotated[Label, Doc("the label of the task in which the tickets are found; it has no row of this entry")]
    weights: Annotated[
        bool, Doc("take the weights that the last training there began with too, not only the masks")
    ] = False


@dataclass(frozen=True, kw_only=True)
class EntryInput:
    """Keys of every method and pipeline."""

    sparsities: (
        Annotated[tuple[Sparsity, ...], Len(1), Doc("sparsities of this entry, instead of the suite's")] | None
    ) = None
    distillation: (
        Annotated[
            stages.Distillation,
            Doc("trainings imitate the dense network, from the first pruning on: {temperature: 2, weight: 0.5}"),
        ]
        | None
    ) = None
    tune: Annotated[TuneInput, Doc("choose parameters on the validation split")] | None = None
    recipe: (
        Annotated[
            Mapping[str, Any],
            Len(1),
            Doc("what this method trains by instead of the recipe's values: {epochs: 60, optimizer.lr: 0.05}"),
        ]
        | None
    ) = None
    ticket_of: Annotated[TicketInput, Doc("train tickets that are found in another task of the suite")] | None = None
    shuffle: Annotated[bool, Doc("ablation: the mask is shuffled within each layer")] = False
    reinitialize: Annotated[
        bool | Annotated[int, Ge(2)],
        Doc("ablation: the masked network gets new random weights; 2, 3, ... are further draws of them"),
    ] = False
    invert: Annotated[bool, Doc("ablation: the lowest scores are kept instead of the highest")] = False


@dataclass(frozen=True, kw_only=True)
class MethodInput(EntryInput, ComponentInput):
    """A method, with its parameters besides these keys; or only its name."""

    label: Annotated[Label, Doc("its name in results; by default the name of the method")] | None = None


@dataclass(frozen=True, kw_only=True)
class RuntimeInput(ComponentInput):
    """A runtime, with its parameters besides these keys; or only its name."""

    label: Annotated[Label, Doc("its name in results; NAME or NAME-PRECISION by default")] | None = None


@dataclass(frozen=True, kw_only=True)
class PipelineInput(EntryInput):
    """A list of stages instead of the name of a method."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    label: Annotated[Label, Doc("its name in results")]
    stages: Annotated[tuple[Any, ...], Len(1), Doc("the stages in their order, beginning with initialize")]


@dataclass(frozen=True, kw_only=True)
class TaskInput:
    """A data set, a model and a recipe, with which every method is run."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    dataset: Any
    model: Any
    recipe: Any
    label: Annotated[Label, Doc("its name in results; DATASET-MODEL by default")] | None = None
    objective: Annotated[Any, Doc("what is trained for; by default what fits the targets of the data")] = None
    prunable: Any = None
    weights: Annotated[Any, Doc("what every trial starts from: the path of a file, or a mapping")] = None


@dataclass(frozen=True, kw_only=True)
class ReductionsInput:
    """How many times smaller the methods that remove channels and heads make the network.

    4 leaves at most a quarter, and its rows stand beside those at a sparsity of 0.75.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    by: Annotated[
        stages.Unit,
        Doc(
            "what becomes less: prunable weights, all parameters, multiplications (macs), output channels, or latency, "
            "which is measured"
        ),
    ]
    of: Annotated[tuple[Annotated[float, Gt(1)], ...], Len(1), Doc("the factors, such as [2, 4, 8]")]
    runtime: Annotated[Any, Doc("where the latency is measured; by default in torch")] = None
    batch_size: Annotated[int, Ge(1), Doc("examples in a timed pass")] = 1
    threads: Annotated[int, Ge(1), Doc("threads of a timed pass")] = 1


@dataclass(frozen=True, kw_only=True)
class SuiteInput:
    """A grid of each task with each method at each sparsity and seed, and the dense control."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CLOSED

    name: Annotated[Label, Doc("name of the suite in results")]
    tasks: Annotated[tuple[Any, ...], Len(1)]
    methods: Annotated[tuple[Any, ...], Len(1)]
    sparsities: Annotated[tuple[Sparsity, ...], Len(1), Doc("shares of the prunable weights that are removed")]
    seeds: Annotated[
        Annotated[int, Interval(ge=1, le=10_000)] | Annotated[tuple[Seed, ...], Len(1)],
        Doc("how many seeds, counted from 0; or a list of them"),
    ]
    description: str = ""
    resources: Resources = field(default_factory=Resources)
    runtimes: Annotated[tuple[Any, ...], Doc("runtimes that every finished network is measured in")] = ()
    latency: Annotated[Latency, Doc("how the latencies of the runtimes are measured")] | None = None
    profiles: Annotated[
        Mapping[Label, Mapping[str, Any]],
        Doc("versions of the suite: for each name the changes, from paths as in --set to values"),
    ] = field(default_factory=dict)
    profile: Annotated[str, Doc("the profile that is used unless --profile names another")] | None = None
    reductions: Annotated[
        ReductionsInput | None, Doc("targets of the methods that remove channels and heads, instead of the sparsities")
    ] = None


COMPONENT_KEYS = tuple(one.name for one in fields(ComponentInput))
METHOD_KEYS = tuple(one.name for one in fields(MethodInput))
RUNTIME_KEYS = tuple(one.name for one in fields(RuntimeInput))
ABLATIONS = ("shuffle", "reinitialize", "invert")

OF_SUITE = ("timed",)
"""Fields of stages that are given for the whole suite, by its `reductions`."""
TARGET = "target"
"""As `density` of a stage: the density of the trial."""


def stage_classes() -> Mapping[str, type[stages.Stage]]:
    """All stages by their names in a suite: those of the classes in lower case, words joined by underscores."""
    found = [one for one in vars(stages).values() if inspect.isclass(one) and issubclass(one, stages.Stage)]
    return {stage_name(cls): cls for cls in found if cls is not stages.Stage}


def stage_name(cls: type[stages.Stage]) -> str:
    return re.sub("(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


@functools.cache
def stage_input(name: str) -> type[Any]:
    """The keys of a stage: its fields, with a method as in a list of methods, and TARGET as a possible density."""
    cls: Any = stage_classes()[name]
    hints = _hints(cls)
    keys = [
        (one.name, _as_key(one.name, hints[one.name]), _default(one)) for one in fields(cls) if one.name not in OF_SUITE
    ]
    namespace = {"__pydantic_config__": _CLOSED, "__doc__": cls.__doc__}
    return make_dataclass(cls.__name__, keys, frozen=True, kw_only=True, namespace=namespace)


@functools.cache
def method_keys(name: str) -> Mapping[str, bool]:
    """The fields of a stage that are methods, and whether they are optional."""
    alternatives = {key: _alternatives(hint) for key, hint in _hints(stage_classes()[name]).items()}
    return {key: types.NoneType in found for key, found in alternatives.items() if _names_component(found)}


def _hints(cls: type[stages.Stage]) -> Mapping[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _names_component(alternatives: Iterable[Any]) -> bool:
    return any(inspect.isclass(one) and issubclass(one, Component) for one in alternatives)


def _as_key(name: str, hint: Any) -> Any:
    if _names_component(_alternatives(hint)):
        return Any
    if name == "density":
        rest = [one for one in _alternatives(hint) if one is not float]
        return Union[Density, Literal["target"], *rest]
    return hint


def _default(declared: Field[Any]) -> Any:
    if declared.name == "density" and declared.default is MISSING:
        return field(default=TARGET)
    if declared.default_factory is not MISSING:
        return field(default_factory=declared.default_factory)
    return field() if declared.default is MISSING else field(default=declared.default)
