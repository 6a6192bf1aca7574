"""From a state to an entry of a store, and back; what comes back is checked against the network that it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NotRequired

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from prunebench.api.errors import CorruptEntry, CutError, PrunebenchError
from prunebench.network import cuts
from prunebench.network.cuts import NetworkCut
from prunebench.network.modules import called
from prunebench.network.profiles import Specification, specifications
from prunebench.store.entries import Entries
from prunebench.training.state import State, from_tensors
from prunebench.training.trial_context import Outline, TrialContext

OWN_KIND = ("sgd", "adam", "adamw")
"""Optimizers that remember tensors of their parameters' shapes only."""


class _Costs(TypedDict):
    training_flops: float
    scoring_flops: float
    steps: int
    examples: int
    wall_seconds: float
    processor_seconds: NotRequired[float | None]
    """Missing in entries from before it was measured."""


class _Choices(TypedDict):
    zero: int
    candidates: int
    tied: int
    kept: int
    unscored: list[str]


class _Rest(TypedDict):
    """What of a state is no tensor."""

    step: int
    trajectory: str
    cost: _Costs
    history: list[dict[str, float]]
    loss_sum: float
    loss_steps: int
    unbooked: NotRequired[_Costs]
    choice: _Choices
    layer_errors: NotRequired[dict[str, float]]
    left_out: NotRequired[dict[str, str]]


class _Written(TypedDict):
    """The fields of a record that a state is made of."""

    shapes: dict[str, list[int]]
    state: _Rest


_RECORD = TypeAdapter(_Written)


def rest_of(state: State) -> dict[str, Any]:
    """What of a state is no tensor, for a record."""
    return {
        "step": state.step,
        "trajectory": state.trajectory,
        "cost": asdict(state.cost),
        "history": list(state.history),
        "loss_sum": state.loss_sum,
        "loss_steps": state.loss_steps,
        "choice": {**asdict(state.choice), "unscored": list(state.choice.unscored)},
        **({"layer_errors": state.layer_errors} if state.layer_errors else {}),
        **({"left_out": state.left_out} if state.left_out else {}),
        **({"tuned": state.tuned} if state.tuned else {}),
    }


def shapes_of(state: State) -> dict[str, list[int]]:
    """The shape of each mask as it is stored, for a record."""
    return {name: list(state.cut.whole(name, mask).shape) for name, mask in state.masks.items()}


def read_state(entries: Entries, key: str, context: TrialContext) -> State:
    """The state of an entry.

    Raises:
        MissingEntry: when there is none.
        CorruptEntry: when its bytes are not those that were written, or are no state of the context's network.
    """
    record = entries.record(key)
    tensors = entries.tensors(key, record)
    try:
        _RECORD.validate_python(record, strict=True)
        _check_shapes(record["shapes"], context)
        _check_cut(cuts.from_tensors(tensors.get("cut", {})), context)
        state = from_tensors(tensors, record["shapes"], record["state"])
        _check(state, context)
    except (ValidationError, CutError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CorruptEntry(f"{entries.folder(key)} holds no state of this network: {_first_line(error)}") from error
    return state


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"record.json: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


def _check_shapes(shapes: Mapping[str, list[int]], context: TrialContext) -> None:
    layers = {layer.name: list(layer.shape) for layer in context.network.layers}
    for name, shape in shapes.items():
        if layers.get(name) != shape:
            raise ValueError(f"a mask of {name!r} of shape {shape}")


def _check_cut(cut: NetworkCut, context: TrialContext) -> None:
    """Raise CutError for a cut that is not one of the network, or that leaves nothing which runs."""
    if not cut:
        return
    context.model_at(cut)
    try:
        context.network_at(cut)
    except Exception as error:  # of the model's code, for which the shapes do not fit
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CutError(f"what its cut leaves of the network does not run: {reason}") from error


def check_lasting(state: State, context: TrialContext) -> None:
    """Raise PrunebenchError for a state that could not be read again, as the model's code changes its own network."""
    try:
        _check_outline(state, context.outline_at(state.cut))
    except ValueError as error:
        raise PrunebenchError(
            f"model {called(context.trial.task.model)!r} does not have the same parameters and buffers whenever it is "
            f"built, and after each pass: {error}"
        ) from None


def _check_outline(state: State, expected: Outline) -> None:
    _check_alike("parameters", specifications(state.parameters.items()), expected.parameters)
    _check_alike("buffers", specifications(state.buffers.items()), expected.buffers)


def _check(state: State, context: TrialContext) -> None:
    outline = context.outline_at(state.cut)
    parameters = outline.parameters
    _check_outline(state, outline)
    exact = context.trial.task.recipe.optimizer.name in OWN_KIND
    for key, value in state.optimizer.items():
        name = key.partition("/")[2]
        if name and name not in parameters:
            raise ValueError(f"the optimizer's {key!r}")
        real = value.is_floating_point() or value.is_complex()
        if exact and value.dim() and (tuple(value.shape) != parameters[name][0] or not real):
            raise ValueError(f"the optimizer's {key!r} is {_spoken((tuple(value.shape), value.dtype))}")


def _check_alike(what: str, found: Mapping[str, Specification], expected: Mapping[str, Specification]) -> None:
    if found.keys() != expected.keys():
        odd = ", ".join(sorted(found.keys() ^ expected.keys()))
        raise ValueError(f"its {what} are not those of the network: {odd}")
    for name, value in expected.items():
        if found[name] != value:
            raise ValueError(f"{name!r} is {_spoken(found[name])}, and should be {_spoken(value)}")


def _spoken(value: Specification) -> str:
    shape, dtype = value
    return f"{str(dtype).removeprefix('torch.')} of shape {shape}"
