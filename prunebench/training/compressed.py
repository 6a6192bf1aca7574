"""A training on the kept weights only: `engine: sparse`.

Of a layer that is pruned, only the kept weights are stored, multiplied, differentiated and given to the optimizer, as
one vector in the order of the mask. Everything else of the network is computed as always. The state between two
trainings has the dense form that every engine reads: what this engine adds is undone without a change of any bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from prunebench.api.errors import PrunebenchError
from prunebench.network.compressible import draws_at_random
from prunebench.pruning.masks import Masks
from prunebench.training import kernels
from prunebench.training.optimizer_state import optimizer_tensors, restore_optimizer
from prunebench.training.state import State, Tensors
from prunebench.training.training_context import TrainingContext
from prunebench.training.trial_context import TrialContext

DENSEST = 0.2
"""The largest density of a layer that is compressed; a denser one is trained under its mask, which is then faster.

`benchmarks/sparse_engine.py` measures it.
"""


Array = np.ndarray[Any, np.dtype[Any]]
Stored = tuple[Array, Array, Array]
"""`start`, `column` and `order` of a matrix, as `prunebench.training.kernels` explains them."""


@dataclass(frozen=True)
class Positions:
    """Where the kept weights of a matrix are, in the order of its rows."""

    shape: tuple[int, int]
    """(rows, columns): outputs and inputs of the layer."""
    flat: torch.Tensor
    """Index of each kept weight in the flattened matrix, int64."""
    by_row: Stored
    by_column: Stored
    """Of the transposed matrix."""

    @classmethod
    def of(cls, mask: torch.Tensor) -> Positions:
        """Those of a mask of a linear layer's weight, bool of shape (outputs, inputs), on the CPU."""
        rows, columns = mask.nonzero(as_tuple=True)
        order = columns.argsort(stable=True)
        return cls(
            shape=(mask.shape[0], mask.shape[1]),
            flat=mask.flatten().nonzero().flatten(),
            by_row=_stored(mask.sum(1), columns, torch.arange(len(columns))),
            by_column=_stored(mask.sum(0), rows[order], order),
        )

    def gathered(self, matrix: torch.Tensor) -> torch.Tensor:
        """The kept ones of a matrix, as a vector."""
        return matrix.reshape(-1)[self.flat]

    def scattered(self, values: torch.Tensor) -> torch.Tensor:
        """The matrix of a vector, 0 where nothing is kept."""
        matrix = torch.zeros(self.shape, dtype=values.dtype)
        matrix.view(-1)[self.flat] = values
        return matrix


def _stored(counts: torch.Tensor, columns: torch.Tensor, order: torch.Tensor) -> Stored:
    start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return start.int().numpy(), columns.int().numpy(), order.int().numpy()


class _Product(torch.autograd.Function):
    """x Wᵀ + b for the kept weights of W; inputs and outputs of shape (examples, features), as those of nn.Linear."""

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None, at: Positions
    ) -> torch.Tensor:
        rows = at.shape[0]
        features = inputs.detach().t().contiguous()
        outputs = torch.empty(rows, len(inputs))
        offset = torch.zeros(rows) if bias is None else bias.detach()
        kernels.multiply(*at.by_row, values.detach().numpy(), features.numpy(), offset.numpy(), outputs.numpy())
        ctx.save_for_backward(features, values)
        ctx.at = at
        return outputs.t()  # of the next layer the features, without a copy

    @staticmethod
    def backward(ctx: Any, errors: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        at: Positions = ctx.at
        features, values = ctx.saved_tensors
        needs_inputs, needs_values, needs_bias, _ = ctx.needs_input_grad
        rows, columns = at.shape
        errors = errors.t().contiguous()
        of_inputs = of_values = of_bias = None
        if needs_inputs:
            of_inputs = torch.empty(columns, errors.shape[1])
            nothing = np.zeros(columns, np.float32)
            kernels.multiply(*at.by_column, values.detach().numpy(), errors.numpy(), nothing, of_inputs.numpy())
            of_inputs = of_inputs.t()
        if needs_values or needs_bias:
            of_values, of_bias = torch.empty(len(values)), torch.empty(rows)
            kernels.gradients(*at.by_row, errors.numpy(), features.numpy(), of_values.numpy(), of_bias.numpy())
        return of_inputs, of_values if needs_values else None, of_bias if needs_bias else None, None


def product(
    inputs: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None, positions: Positions
) -> torch.Tensor:
    """What a linear layer gives whose weight is 0 but for `values` at `positions`.

    Args:
        inputs: float32, of shape (..., inputs).
        values: float32, one for each position.
        bias: of shape (outputs,), or None.

    Returns: of shape (..., outputs); its memory is laid out by features.
    """
    flat = inputs if inputs.dim() == 2 else inputs.reshape(-1, positions.shape[1])
    found: torch.Tensor = _Product.apply(flat, values, bias, positions)
    return found if inputs.dim() == 2 else found.reshape(*inputs.shape[:-1], positions.shape[0])


class CompressedLayer:
    """The kept weights of one layer, which its modules multiply by instead of their own weight while it is `used`.

    Args:
        weight: the dense weight.
        modules: linear layers that have it.
        before: called before each forward pass.
        by_example: whether outputs are laid out by examples, as those of nn.Linear are, which takes a copy.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        mask: torch.Tensor,
        modules: Iterable[nn.Module],
        before: Callable[[], None],
        by_example: bool = False,
    ) -> None:
        self.weight, self.positions = weight, Positions.of(mask)
        self._modules, self._before, self._by_example = tuple(modules), before, by_example
        kept = self.positions.gathered(weight.detach())
        self.values = nn.Parameter(kept, requires_grad=weight.requires_grad)

    def use(self, used: bool) -> None:
        for module in self._modules:
            vars(module).pop("forward", None)
            if used:
                vars(module)["forward"] = self._forward_of(module)

    def _forward_of(self, module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        def forward(input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the name that nn.Linear has)
            self._before()
            found = product(input, self.values, module.bias, self.positions)  # type: ignore[arg-type]
            return found.contiguous() if self._by_example else found

        return forward

    @torch.no_grad()
    def write(self) -> None:
        """Write the values, and their gradient if there is one, to the dense weight."""
        self.weight.copy_(self.positions.scattered(self.values))
        gradient = self.values.grad
        self.weight.grad = None if gradient is None else self.positions.scattered(gradient)

    @torch.no_grad()
    def read(self) -> None:
        """Read the values, and their gradient if there is one, from the dense weight."""
        self.values.copy_(self.positions.gathered(self.weight))
        gradient = self.weight.grad
        self.values.grad = None if gradient is None else self.positions.gathered(gradient)


class CompressedTraining(TrainingContext):
    """A running training on the kept weights.

    The values are either in the compressed layers or in the dense weights: whatever reads the other moves them there
    first. `parameters`, `weights` and `model`, which an updater reads, move them to the dense weights.
    """

    def __init__(self, context: TrialContext, state: State) -> None:
        """Raises PrunebenchError on a GPU."""
        if context.device.type != "cpu":
            raise PrunebenchError(
                f"`engine: sparse` trains on the processor only, and this is {context.device}: run it with "
                "`--device cpu`, or set `engine: dense` in the recipe"
            )
        task = context.trial.task
        self._draws = draws_at_random(task.model, task.interface)
        """Whether the network draws random numbers for its layers' outputs: they must be those of the dense engine."""
        self._layers: dict[str, CompressedLayer] = {}
        self._dense = True
        """Whether the values are in the dense weights."""
        self._used = False
        """Whether a forward pass goes through the compressed layers."""
        super().__init__(context, state)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context in which steps are made, by one thread: torch's own sums depend on the number of threads."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
            self._to_dense()
        finally:
            self._use_layers(False)
            torch.set_num_threads(threads)

    def begin_step(self, dense_gradient: bool) -> None:
        if dense_gradient:
            self._to_dense()
        else:
            self._to_layers()
        self._use_layers(not dense_gradient)
        for layer in self._layers.values():
            layer.weight.grad = layer.values.grad = None

    def _use_layers(self, used: bool) -> None:
        if used != self._used:
            for layer in self._layers.values():
                layer.use(used)
        self._used = used

    def _to_dense(self) -> None:
        if not self._dense:
            for layer in self._layers.values():
                layer.write()
        self._dense = True

    def _to_layers(self) -> None:
        if self._dense:
            for layer in self._layers.values():
                layer.read()
        self._dense = False

    @property
    def model(self) -> nn.Module:
        self._to_dense()
        return self._model

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        self._to_dense()
        return self._parameters

    def set_masks(self, masks: Mapping[str, torch.Tensor]) -> None:
        before, weights = self.masks, self.parameters
        remembered = self._optimizer_tensors()
        self.masks = dict(masks)
        with torch.no_grad():
            for name, mask in self.masks.items():
                weights[name].mul_(mask)
                stayed = mask & before[name] if name in before else mask
                for key, value in remembered.items():
                    if key.partition("/")[2] == name and value.shape == mask.shape:
                        value.mul_(stayed)
        self._start_optimizer(remembered)
        self._count()

    def make_step(self, clip_norm: float | None) -> None:
        self._to_layers()
        self._use_layers(True)
        super().make_step(clip_norm)

    def _start_optimizer(self, tensors: Tensors) -> None:
        """Compress the layers by their masks, and make an optimizer for what is left.

        A training that goes on from a stored state comes through here with the same tensors as one whose masks have
        changed: both go on with the same bits.
        """
        used = self._used
        self._use_layers(False)
        self._layers = {name: self._compressed(name) for name, mask in self.masks.items() if _is_sparse(mask)}
        self._use_layers(used)
        self.optimizer = self._new_optimizer(self._kept_parameters())
        restore_optimizer(self.optimizer, self._kept_parameters(), self._compact(tensors))

    def _compressed(self, name: str) -> CompressedLayer:
        weight = self._parameters[name]
        modules = [one for one in self._model.modules() if _has(one, weight)]
        return CompressedLayer(weight, self.masks[name], modules, self._to_layers, self._draws)

    def _kept_parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by the names of the dense parameters."""
        return self._parameters | {name: layer.values for name, layer in self._layers.items()}

    def _compact(self, tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for key, value in tensors.items():
            layer = self._layers.get(key.partition("/")[2])
            whole = layer is not None and value.shape == layer.weight.shape
            found[key] = layer.positions.gathered(value) if layer and whole else value
        return found

    def _optimizer_tensors(self) -> Tensors:
        found = optimizer_tensors(self.optimizer, self._kept_parameters())
        for key, value in found.items():
            layer = self._layers.get(key.partition("/")[2])
            if layer is not None and value.shape == layer.values.shape:
                found[key] = layer.positions.scattered(value)
        return found

    def _enforced(self) -> Masks:
        return {name: mask for name, mask in self.masks.items() if name not in self._layers}

    def _trained(self) -> Iterable[nn.Parameter]:
        return self._kept_parameters().values()


def _is_sparse(mask: torch.Tensor) -> bool:
    return int(mask.sum()) <= DENSEST * mask.numel()


def _has(module: nn.Module, weight: nn.Parameter) -> bool:
    return any(one is weight for one in module._parameters.values())
