"""The weights that a forward pass multiplies by, their FLOPs, and whether pruned weights are zero there.

Every tensor is followed from the parameters on, by its storage: views, casts, products and concatenations of a weight
are still that weight. A multiplication (an operation that torch.utils.flop_counter has a formula for) is booked to the
weights in its operands, whichever module or function makes it, and as often as it is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Names = frozenset[str]

# fmt: off
ZERO_KEEPING = frozenset({
    "abs", "alias", "as_strided", "asin", "atan", "ceil", "clone", "complex", "conj", "constant_pad_nd", "detach",
    "diag_embed", "expand", "expm1", "flip", "floor", "gather", "imag", "index", "index_select", "lift_fresh",
    "masked_select", "native_dropout", "neg", "permute", "pixel_shuffle", "pixel_unshuffle", "real", "relu",
    "repeat", "resolve_conj", "resolve_neg", "roll", "round", "select", "sgn", "sign", "sin", "sinh", "slice",
    "split", "split_with_sizes", "sqrt", "squeeze", "t", "take", "tan", "tanh", "transpose", "tril", "triu",
    "trunc", "unbind", "unfold", "unsqueeze", "view", "view_as_complex", "view_as_real", "_conj", "_reshape_alias",
    "_to", "_unsafe_view",
})
# fmt: on
"""Functions of one tensor that are 0 where it is 0, or only move, pick or repeat its elements."""
PRODUCTS = frozenset({"mul", "_weight_norm_interface"})
"""0 where any of the arguments is."""
QUOTIENTS = frozenset({"div", "true_divide", "floor_divide", "fmod", "remainder"})
JOINING = frozenset({"cat", "stack"})
BY_MATRIX = frozenset({"mm", "addmm", "convolution"})
"""How layers multiply; attention does it in batches of matrices."""
OPERANDS = {"addmm": (1, 2), "baddbmm": (1, 2)}
"""Places of the tensors that an operation multiplies, where they are not its first two."""


@dataclass(frozen=True)
class Part:
    """Some elements of a tensor, and the weights that they come from."""

    size: int
    zeros: Names = frozenset()
    """The weights whose zeros are zeros here."""
    mixed: Names = frozenset()
    """The weights of which that is not known."""
    generated: bool = False
    """Whether a multiplication made it: then it is a weight only where it meets what depends on the input."""

    @property
    def names(self) -> Names:
        return self.zeros | self.mixed


@dataclass(frozen=True)
class Value:
    """Where a tensor comes from: parts are concatenated, and nothing at all is a constant."""

    parts: tuple[Part, ...] = ()
    follows_input: bool = False

    @property
    def zeros(self) -> Names:
        return frozenset[str]().union(*(part.zeros for part in self.parts))

    @property
    def names(self) -> Names:
        return _names(self.parts)


CONSTANT = Value()


@dataclass(frozen=True)
class Transformed:
    """An operand of a multiplication that was computed from weights in a way that may fill zeros."""

    names: Names
    size: int
    zeros: int
    """Counted in it; 0 where there are no values."""


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows parameters through what runs inside.

    Args:
        parameters: by name.
        inputs: what the network is given.
        prunable: names of the parameters that a multiplication is booked to where there are others in it as well, such
            as a scale.
    """

    def __init__(
        self, parameters: Mapping[str, torch.Tensor], inputs: Sequence[torch.Tensor], prunable: Collection[str]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: dict[str, float] = defaultdict(float)
        """By parameter."""
        self.total = 0.0
        self.used: set[str] = set()
        """Parameters that any operation read."""
        self.transformed: list[Transformed] = []
        """Operands in which zeros of prunable weights may be filled."""
        self._prunable = frozenset(prunable)
        self._weights = {name: parameters[name] for name in prunable}
        self._values: dict[int, Value] = {}
        self._storages: list[Any] = []  # kept, so that no other one gets the address of one of them
        for name, parameter in parameters.items():
            self._set(parameter, Value((Part(parameter.numel(), frozenset({name})),)))
        for tensor in inputs:
            self._set(tensor, Value(follows_input=True))

    @property
    def suspects(self) -> Names:
        """Prunable weights whose zeros may have been filled: where they were multiplied, or in the weight itself."""
        overwritten = (name for name, weight in self._weights.items() if name not in self._of(weight).zeros)
        return frozenset(overwritten).union(*(one.names for one in self.transformed))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not isinstance(func, torch._ops.OpOverload):
            return func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is None and func is not torch.ops.prim.device.default:
            with self:  # as torch.utils.flop_counter.FlopCounterMode does it
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        call = _Call(func, args, kwargs, [(tensor, self._of(tensor)) for tensor in _tensors((args, kwargs))])
        out = func(*args, **kwargs)
        flops = formula(*args, **kwargs, out_val=out) if formula else None
        self.total += flops or 0
        if call.reads:
            self.used.update(*(value.names for _, value in call.tensors))
            if flops is not None:
                self._book(flops, call)
            self._follow(call, out)
        return out

    def _follow(self, call: _Call, out: Any) -> None:
        """Note where the results come from; a view has its storage's value already."""
        known, written = {_address(tensor) for tensor, _ in call.tensors}, set(map(_address, call.written()))
        for result in (*_tensors(out), *call.written()):
            if _address(result) not in known or _address(result) in written:
                self._set(result, call.result(result))

    def _of(self, tensor: torch.Tensor) -> Value:
        return self._values.get(_address(tensor), CONSTANT)

    def _set(self, tensor: torch.Tensor, value: Value) -> None:
        address = _address(tensor)
        if address and (value != CONSTANT or address in self._values):
            if address not in self._values:
                self._storages.append(tensor.untyped_storage())
            self._values[address] = value

    def _book(self, flops: float, call: _Call) -> None:
        """Share out the FLOPs of a multiplication: evenly among operands with prunable weights, in each by size."""
        operands = [(tensor, call.weights_in(self._of(tensor))) for tensor in call.operands()]
        operands = [(tensor, parts) for tensor, parts in operands if _names(parts)]
        chosen = [pair for pair in operands if self._prunable & _names(pair[1])] or operands
        for tensor, parts in chosen:
            self._note_transformed(tensor, parts)
            size = sum(part.size for part in parts) or 1  # of a layer without inputs, which has no FLOPs
            for part in parts:
                names = self._prunable & part.names or part.names
                for name in names:
                    self.flops[name] += flops / len(chosen) * part.size / size / len(names)

    def _note_transformed(self, operand: torch.Tensor, parts: Sequence[Part]) -> None:
        if any(self._prunable & part.mixed for part in parts):
            zeros = 0 if operand.is_meta else int((operand == 0).sum())
            self.transformed.append(Transformed(self._prunable & _names(parts), operand.numel(), zeros))


@dataclass(frozen=True)
class _Call:
    """An operation, and the tensors that it was given."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: Sequence[tuple[torch.Tensor, Value]]

    @property
    def name(self) -> str:
        name: str = self.func._overloadpacket.__name__
        return name.rstrip("_") if self.func._schema.is_mutable else name

    @property
    def reads(self) -> bool:
        """Whether values go in that are followed, and not shapes alone."""
        return any(value != CONSTANT for _, value in self.tensors) and not self.name.endswith("_like")

    @property
    def follows_input(self) -> bool:
        return any(value.follows_input for _, value in self.tensors)

    @property
    def multiplies(self) -> bool:
        return self.func._overloadpacket in flop_registry

    def written(self) -> list[torch.Tensor]:
        """What the operation changes in place."""
        arguments = self.func._schema.arguments
        values = {argument.name: value for argument, value in zip(arguments, self.args, strict=False)} | self.kwargs
        changed = [one.name for one in arguments if one.alias_info is not None and one.alias_info.is_write]
        return list(_tensors([values.get(name) for name in changed]))

    def operands(self) -> list[torch.Tensor]:
        """What a multiplication multiplies."""
        places = (0, 1, 2) if "scaled_dot_product" in self.name else OPERANDS.get(self.name, (0, 1))
        return [self.args[place] for place in places]

    def weights_in(self, value: Value) -> tuple[Part, ...]:
        """The parts of an operand; what was generated is a weight only where an input is multiplied as in a layer."""
        if self.follows_input and self.name in BY_MATRIX:
            return value.parts
        return tuple(Part(part.size) if part.generated else part for part in value.parts)

    def result(self, result: torch.Tensor) -> Value:
        """Where a result comes from."""
        tracked = [value for _, value in self.tensors if value.parts]
        first = self.tensors[0][1]
        moved = self.name.removesuffix("_copy") in ZERO_KEEPING and len(tracked) == 1 and first.parts
        if moved and (first.follows_input or not self.follows_input):
            return first
        if self.follows_input:
            return Value(self._modulated(result), follows_input=True)
        if self.multiplies:
            return Value(self._generated(result))
        if self.name == "copy":
            return Value(_overwritten(result, first, tracked[-1]))
        if self.name in JOINING:
            return Value(tuple(part for one, value in self.tensors for part in value.parts or (Part(one.numel()),)))
        return Value((self._joined(result.numel(), self.tensors),)) if tracked else CONSTANT

    def _modulated(self, result: torch.Tensor) -> tuple[Part, ...]:
        """A weight that is scaled by the input is a weight still; an input that is scaled by a weight is none."""
        whole = any(tensor.numel() == result.numel() and value.parts for tensor, value in self.tensors)
        return (self._joined(result.numel(), self.tensors),) if whole and self.name in PRODUCTS | QUOTIENTS else ()

    def _generated(self, result: torch.Tensor) -> tuple[Part, ...]:
        """A weight that is turned into one of the same size by a matrix; of another size it is something new."""
        same = [(tensor, value) for tensor, value in self.tensors if tensor.numel() == result.numel()]
        part = self._joined(result.numel(), same)
        return (replace(part, generated=True),) if part.names else ()

    def _joined(self, size: int, tensors: Sequence[tuple[torch.Tensor, Value]]) -> Part:
        values = [value for _, value in tensors]
        names = _names([part for value in values for part in value.parts])
        zeros: Names = frozenset()
        if self.name in PRODUCTS:
            zeros = zeros.union(*(value.zeros for value in values))
        elif self.name in QUOTIENTS:
            zeros = values[0].zeros
        return Part(size, zeros, names - zeros, any(part.generated for value in values for part in value.parts))


def _overwritten(target: torch.Tensor, before: Value, source: Value) -> tuple[Part, ...]:
    """The parts of a storage of which some elements are now those of a weight."""
    size = target.untyped_storage().nbytes() // target.itemsize
    if target.numel() == size:
        return source.parts
    parts = (*(part for part in before.parts if part.names), *source.parts)
    return (*parts, Part(max(0, size - sum(part.size for part in parts))))


def _names(parts: Sequence[Part]) -> Names:
    return frozenset[str]().union(*(part.names for part in parts))


def _address(tensor: torch.Tensor) -> int:
    """Of the tensor's storage; 0 where it has none, as sparse ones."""
    try:
        address: int = tensor.untyped_storage()._cdata
        return address
    except (NotImplementedError, RuntimeError):
        return 0


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))
