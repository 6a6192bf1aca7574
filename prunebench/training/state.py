"""The state between two stages of a chain, and its form on disk: safetensors, nothing pickled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, TypedDict

import torch
from torch import nn

from prunebench.network import cuts
from prunebench.network.cuts import NOTHING, NetworkCut
from prunebench.pruning.choices import Choice
from prunebench.pruning.masks import Masks, pack, unpack
from prunebench.training.cost import Cost

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class State:
    """A network at one point of a chain. Tensors are on the CPU; a state is never changed in place."""

    step: int
    """How many steps of the recipe have been made: the position in the learning-rate schedule and the data order."""
    parameters: Tensors
    buffers: Tensors
    masks: Masks
    """Of the layers that are pruned; a layer without a mask is dense."""
    optimizer: Tensors = field(default_factory=dict)
    """`<kind>/<parameter>`, such as `exp_avg/1.weight`; empty before the first step."""
    cost: Cost = field(default_factory=Cost)
    memory: Tensors = field(default_factory=dict)
    """`training.memory` of the updater whose training made this state."""
    trajectory: str = ""
    """Key of that training; another one begins with empty memory."""
    history: tuple[dict[str, float], ...] = ()
    """Evaluations since training last began or was rewound."""
    loss_sum: float = 0.0
    """Sum of the training losses since the last evaluation, so that a training in pieces reports the same losses."""
    loss_steps: int = 0
    """How many losses are in it."""
    unbooked: Cost = field(default_factory=Cost)
    """Cost so far of a training that has not ended. It is added to `cost` once, at the end, so that interrupted and
    uninterrupted trainings have equal sums."""

    cut: NetworkCut = NOTHING
    """What is left of the network. Parameters, buffers, masks and the optimizer's tensors are those of what is left."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Why channels stayed whole when the network was cut, by the weights that compute them."""
    choice: Choice = field(default_factory=Choice)
    """How well scores decided in the prunings of the chain."""
    tuned: dict[str, Any] = field(default_factory=dict)
    """Of a state that was chosen among candidates: `chosen`, its number from 0, and `scores`, the validation figure of
    each by what it changes."""
    layer_errors: dict[str, float] = field(default_factory=dict)
    """Relative output error of each layer that was last pruned or reconstructed by its inputs, right after that."""

    def changed(self, **changes: Any) -> State:
        return replace(self, **changes)

    def kept(self) -> dict[str, int]:
        """Weights that are left and not exactly zero, in each masked or cut tensor: counted, not copied from a
        request. Those of low-rank factors count as weights of the layer that they are beside."""
        kept = self.nonzero()
        return kept | {
            name: kept.get(name, self.parameters[name].numel()) + sum(self._nonzero(factor) for factor in factors)
            for name, factors in self.cut.factors.items()
        }

    def nonzero(self) -> dict[str, int]:
        """The same without low-rank factors."""
        left = {name: self.parameters[name].numel() for name in self.cut.names & self.parameters.keys()}
        return left | {name: self._nonzero(name) for name in self.masks}

    def _nonzero(self, name: str) -> int:
        return int(torch.count_nonzero(self.parameters[name]))

    def narrowed(self, cut: NetworkCut) -> State:
        """The state of what a cut leaves of the network, which is nothing that is gone from it already.

        An optimizer with tensors of other shapes than its weights is reset.
        """
        inner = cut.within(self.cut)
        return self.changed(
            parameters={name: inner.of(name, value) for name, value in self.parameters.items()},
            buffers={name: inner.of(name, value) for name, value in self.buffers.items()},
            masks={name: inner.of(name, mask) for name, mask in self.masks.items()},
            optimizer=_narrowed_optimizer(self, inner),
            cut=cut,
        )

    def whole(self) -> State:
        """The same as a state of the whole network: what is cut away is zero, and pruned by masks.

        Without low-rank factors, which the whole network has no place for.
        """
        if not self.cut:
            return self
        factors = {name for pair in self.cut.factors.values() for name in pair}
        ones = {name: torch.ones_like(value, dtype=torch.bool) for name, value in self.parameters.items()}
        return self.changed(
            parameters={
                name: self.cut.whole(name, value) for name, value in self.parameters.items() if name not in factors
            },
            buffers={name: self.cut.whole(name, value) for name, value in self.buffers.items()},
            masks={
                name: self.cut.whole(name, self.masks.get(name, ones[name]))
                for name in ones.keys() & (self.cut.names | self.masks.keys())
            },
            optimizer={},
            cut=NOTHING,
        )


def _narrowed_optimizer(state: State, cut: NetworkCut) -> Tensors:
    found: Tensors = {}
    for key, value in state.optimizer.items():
        name = key.partition("/")[2]
        if name in cut.names and value.shape == state.parameters[name].shape:
            value = cut.of(name, value)
        elif name in cut.names and value.dim():
            return {}
        found[key] = value
    return found


def to_tensors(state: State) -> dict[str, Tensors]:
    """The state's tensors by file: `weights`, `optimizer`, `memory`, `masks` and `cut`.

    Masks are those of the whole network, in which everything that is cut away is pruned.

    A tensor that is zero wherever its weight is pruned is written as its kept values only: at 98 % sparsity a
    fiftieth of the size, and only the sign of zeros is lost.
    """
    weights = {f"parameter/{name}": value for name, value in state.parameters.items()}
    weights |= {f"buffer/{name}": value for name, value in state.buffers.items()}
    return {
        "weights": dict(_packed(name, value, state.masks) for name, value in weights.items()),
        "optimizer": dict(_packed(name, value, state.masks) for name, value in state.optimizer.items()),
        "memory": {name: value.contiguous() for name, value in state.memory.items()},
        "masks": {name: pack(state.cut.whole(name, mask)) for name, mask in state.masks.items()},
        "cut": cuts.to_tensors(state.cut),
    }


def from_tensors(files: dict[str, Tensors], shapes: dict[str, list[int]], rest: dict[str, Any]) -> State:
    """The state that `to_tensors` was given.

    Args:
        shapes: of each masked weight.
        rest: the fields that are not tensors: `step`, `trajectory`, `cost`, `history`, `loss_sum`, `loss_steps`;
            `layer_errors`, `left_out` and `tuned` where there are any, and `unbooked` of a training that is not done.

    The cut must be one of the network; see `cuts.cut_out`.

    Raises ValueError, KeyError or TypeError for anything that `to_tensors` does not make.
    """
    cut = cuts.from_tensors(files.get("cut", {}))
    masks = {name: cut.of(name, _unpacked_mask(name, files["masks"][name], shape)) for name, shape in shapes.items()}
    weights = dict(_unpacked(name, value, masks) for name, value in files["weights"].items())
    return State(
        step=rest["step"],
        parameters=under("parameter/", weights),
        buffers=under("buffer/", weights),
        masks=masks,
        optimizer=dict(_unpacked(name, value, masks) for name, value in files.get("optimizer", {}).items()),
        memory={name: value.clone() for name, value in files.get("memory", {}).items()},
        trajectory=rest["trajectory"],
        cost=Cost.stored(rest["cost"]),
        history=tuple(rest["history"]),
        loss_sum=rest["loss_sum"],
        loss_steps=rest["loss_steps"],
        unbooked=Cost.stored(rest["unbooked"]) if "unbooked" in rest else Cost(),
        choice=_choice(rest.get("choice", {})),
        layer_errors=dict(rest.get("layer_errors", {})),
        cut=cut,
        left_out=dict(rest.get("left_out", {})),
        tuned=dict(rest.get("tuned", {})),
    )


def _choice(plain: dict[str, Any]) -> Choice:
    return Choice(**{**plain, "unscored": tuple(plain.get("unscored", ()))})


def _unpacked_mask(name: str, bits: torch.Tensor, shape: list[int]) -> torch.Tensor:
    if bits.dtype != torch.uint8 or bits.shape != ((prod(shape) + 7) // 8,):
        raise ValueError(f"the mask of {name!r} is not one bit for each weight of shape {shape}")
    return unpack(bits, shape)


def under(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


_KEPT = "#kept"
"""Ends the name of a tensor that is written as its kept values only."""


def _packed(name: str, value: torch.Tensor, masks: Masks) -> tuple[str, torch.Tensor]:
    mask = masks.get(name.partition("/")[2])
    if mask is None or value.shape != mask.shape or bool(torch.count_nonzero(value[~mask])):
        return name, value.contiguous()
    return name + _KEPT, value[mask].contiguous()


def _unpacked(name: str, value: torch.Tensor, masks: Masks) -> tuple[str, torch.Tensor]:
    if not name.endswith(_KEPT):
        # A copy: memory-mapped tensors may lie at addresses at which vectorized code adds up otherwise.
        return name, value.clone()
    name = name.removesuffix(_KEPT)
    mask = masks[name.partition("/")[2]]
    if value.shape != (int(mask.sum()),):
        raise ValueError(f"{name!r} has not one value for each weight that is kept")
    whole = torch.zeros(mask.shape, dtype=value.dtype)
    whole[mask] = value
    return name, whole


@torch.no_grad()
def load(model: nn.Module, state: State) -> dict[str, nn.Parameter]:
    """Put a state's values into a model; returns its parameters by name."""
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    for name, value in state.parameters.items():
        parameters[name].copy_(value)
    for name, value in state.buffers.items():
        buffers[name].copy_(value)
    return parameters


class Snapshot(TypedDict):
    """The two fields of a state that a model holds."""

    parameters: Tensors
    buffers: Tensors


def snapshot(model: nn.Module) -> Snapshot:
    """A model's values, copied to the CPU."""
    return {
        "parameters": {name: value.detach().cpu().clone() for name, value in model.named_parameters()},
        "buffers": {name: value.detach().cpu().clone() for name, value in model.named_buffers()},
    }
