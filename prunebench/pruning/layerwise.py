"""Pruning block by block: each layer on the inputs that reach it when all blocks before it are pruned.

For each block the network runs once on the calibration examples, up to then pruned, in evaluation mode; hooks add up
the second moments of the inputs of the block's layers. Inputs are not kept: in memory there are one batch of examples
and, for each layer of the one block, two matrices of float64, of the squared number of its inputs: one of the
calibration examples, and one of the held-out examples that its output error is measured on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from prunebench.api.errors import PrunebenchError
from prunebench.api.layers import Layer, Network
from prunebench.api.stages import LayerAllocation, Outliers, Structure
from prunebench.data import seeds
from prunebench.data.inputs import Inputs
from prunebench.data.task_data import Data
from prunebench.pruning.allocation import allotted, kept_counts, total_kept
from prunebench.pruning.blocks import Block, in_order
from prunebench.pruning.layer_context import LayerContext
from prunebench.pruning.low_rank import add_factors, factor_names
from prunebench.pruning.masks import Masks
from prunebench.pruning.moments import Moments, as_matrix, as_weight, gathered, layers_of
from prunebench.pruning.solutions import Factors, Solver, checked, reconstructed

HELD_OUT = 128
"""Held-out calibration examples; at most a quarter of the training examples."""
BATCH = 32
"""Examples in a pass."""


@dataclass(frozen=True)
class _Task:
    """One group of a layer that is to be changed."""

    weight: torch.Tensor
    """The dense one."""
    keep: int
    solver: Solver
    structure: Structure | None = None


@dataclass(frozen=True)
class Calibration:
    """Training examples on which layers are calibrated, and others on which their output error is measured."""

    data: Data
    examples: torch.Tensor
    """Places of the calibration examples in the training split."""
    held_out: torch.Tensor
    """Places of the held-out ones: the same for each number of calibration examples."""

    @classmethod
    def drawn(cls, data: Data, seed: int, examples: int) -> Calibration:
        """Drawn by the trial's seed from the training examples, validation excluded; the same for every method.

        Where there are not as many, they are all but the held-out ones; a single example is both.
        """
        order = torch.randperm(len(data.train), generator=seeds.generator(seed, "calibration"))
        held_out = max(min(HELD_OUT, len(order) // 4), 1)
        return cls(data, order[: max(len(order) - held_out, 1)][:examples], order[len(order) - held_out :])

    def inputs(self, places: torch.Tensor) -> Iterator[Inputs]:
        """The inputs of some examples in batches, neither shuffled nor augmented."""
        for chosen in torch.split(places, BATCH):
            inputs, _ = self.data.examples(self.data.train, chosen.to(self.data.train.targets.device))
            yield inputs


@dataclass
class Calibrated:
    """What became of a network, layer by layer."""

    masks: Masks = field(default_factory=dict)
    """Of the layers that were visited."""
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    """Of the layers that were changed."""
    ranks: dict[str, int] = field(default_factory=dict)
    """Of the low-rank factors beside some layers."""
    factors: dict[str, torch.Tensor] = field(default_factory=dict)
    """The parameters of these factors."""
    errors: dict[str, float] = field(default_factory=dict)
    """Squared error of the outputs of each layer on the held-out examples, relative to its squared outputs."""
    flops: float = 0.0


class Calibrator:
    """A network whose layers are changed block by block.

    Args:
        model: in evaluation mode; its weights are changed.
        network: names the layers, and counts the FLOPs of the passes.
        blocks: their weights, in any order.
    """

    def __init__(self, model: nn.Module, network: Network, blocks: Sequence[Block], calibration: Calibration) -> None:
        self.model, self.network, self.calibration = model, network, calibration
        self.found = Calibrated()
        self._layers = {layer.name: layer for layer in network.layers}
        self._modules = {name: layers_of(model, name) for name in self._layers}
        self.blocks = in_order(blocks, self._order())

    def counts(self, density: float, allocation: LayerAllocation | Outliers) -> dict[str, int]:
        """How many weights each layer keeps."""
        if isinstance(allocation, Outliers):
            return _by_outliers(self._outlier_shares(allocation.multiple), self.network.layers, density, allocation)
        return kept_counts(self.network.layers, density, allocation)

    def prune(self, solver: Solver, keep: Mapping[str, int], structure: Structure | None = None) -> Calibrated:
        """Prune the layers of each block, and the blocks one after the other.

        Args:
            solver: is called for each group of each layer; a layer that the structure does not fit stays dense.
            keep: how many weights a layer keeps, without a structure.
        """

        def tasks(name: str) -> list[_Task]:
            layer, weight = self._layers[name], self.model.get_parameter(name)
            if structure is not None and not structure.fits(layer):
                self.found.masks[name] = torch.ones(weight.shape, dtype=torch.bool)
                self.found.errors[name] = 0.0
                return []
            parts = as_matrix(weight.double(), self._modules[name][0])
            counts = _shared_out(keep[name] if structure is None else structure.kept([layer]), len(parts))
            return [_Task(part, count, solver, structure) for part, count in zip(parts, counts, strict=True)]

        return self._solve(tasks)

    def reconstruct(self, masks: Masks, dense: Mapping[str, torch.Tensor], damping: float) -> Calibrated:
        """Solve for the kept weights of each layer by least squares, block by block.

        Args:
            masks: of the layers that are pruned; other layers stay as they are.
            dense: the weights whose outputs are aimed at, by name.
        """

        def tasks(name: str) -> list[_Task]:
            if name not in masks:
                return []
            module, device = self._modules[name][0], self.model.get_parameter(name).device
            parts = as_matrix(dense[name].to(device, torch.float64), module)
            kept = as_matrix(masks[name].to(device), module)
            solvers = [partial(reconstructed, mask=mask, damping=damping) for mask in kept]
            counts = [int(mask.sum()) for mask in kept]
            return [_Task(*one) for one in zip(parts, counts, solvers, strict=True)]

        return self._solve(tasks)

    @torch.no_grad()
    def _solve(self, tasks: Callable[[str], list[_Task]]) -> Calibrated:
        for block in self.blocks:
            found = {name: some for name in block if (some := tasks(name))}
            if found:
                self._solve_block(found)
        return self.found

    def _solve_block(self, tasks: Mapping[str, list[_Task]]) -> None:
        """Change the layers of a block. A function, so that their moments are gone when those of the next are made."""
        moments = self._run([*tasks], self.calibration.examples)
        held_out = self._run([*tasks], self.calibration.held_out, counted=False)  # no cost of the method
        for name, some in tasks.items():
            self._change(name, some, moments[name], held_out[name])

    def _change(self, name: str, tasks: Sequence[_Task], moments: Moments, held_out: Moments) -> None:
        module, weight = self._modules[name][0], self.model.get_parameter(name)
        solutions, error, size = [], 0.0, 0.0
        groups = zip(tasks, moments.second, moments.means, held_out.second, strict=True)
        for task, second, means, measured in groups:
            places = len(means) // self._layers[name].inputs
            layer = LayerContext(name, task.weight, second, means, moments.tokens, task.keep, task.structure, places)
            solution = checked(layer, task.solver(layer)).rounded(weight.dtype)  # as it will be used
            self.found.flops += solution.flops
            solutions.append(solution)
            error += layer.error(solution.matrix, measured)
            size += layer.error(torch.zeros_like(solution.weight), measured)
        weight.copy_(as_weight(torch.stack([one.weight for one in solutions]), module))
        self.found.masks[name] = as_weight(torch.stack([one.mask for one in solutions]), module).cpu()
        self.found.weights[name] = weight.detach().cpu().clone()
        self.found.errors[name] = error / size if size else 0.0
        self._add_factors(name, [one.factors for one in solutions if one.factors is not None])

    def _add_factors(self, name: str, groups: Sequence[Factors]) -> None:
        """Add the factors of a layer's groups to the network; their ranks are filled up with zeros to be the same."""
        rank = max((len(inner) for _, inner in groups), default=0)
        if not rank:
            return
        add_factors(self.model, name, rank)
        inner = torch.stack([pad(one, (0, 0, 0, rank - len(one))) for _, one in groups])
        outer = torch.stack([pad(one, (0, rank - one.shape[1])) for one, _ in groups])
        for factor, matrix in zip(factor_names(name), (inner, outer), strict=True):
            layer: Any = self.model.get_submodule(factor.rpartition(".")[0])
            layer.weight.copy_(as_weight(matrix, layer))
            self.found.factors[factor] = layer.weight.detach().cpu().clone()
        self.found.ranks[name] = rank

    @torch.no_grad()
    def _run(
        self, names: Sequence[str], places: torch.Tensor, counted: bool = True, diagonal: bool = False
    ) -> dict[str, Moments]:
        """The moments of the inputs of some layers over some examples."""
        with gathered({name: self._modules[name] for name in names}, diagonal) as moments:
            for inputs in self.calibration.inputs(places):
                self.model(inputs)
        if counted:
            self.found.flops += len(places) * float(self.network.flops_at(self._kept()))
        if unseen := [name for name in names if not moments[name].tokens and self._layers[name].used]:
            raise PrunebenchError(
                f"the network runs without calling the layer of {unseen[0]!r}, so that its inputs are not known: leave "
                "it out with `prunable: {exclude: [...]}` of the task"
            )
        return moments

    def _kept(self) -> dict[str, int]:
        ranks = self.found.ranks
        return {
            name: int(mask.sum()) + sum(self.found.factors[one].numel() for one in factor_names(name) if name in ranks)
            for name, mask in self.found.masks.items()
        }

    @torch.no_grad()
    def _order(self) -> dict[str, int]:
        """The place of each layer in the order in which they run, from a pass of one example."""
        ran: dict[str, None] = {}

        def noting(name: str) -> Callable[..., None]:
            return lambda *_: ran.setdefault(name)

        handles = [
            module.register_forward_pre_hook(noting(name))
            for name, modules in self._modules.items()
            for module in modules
        ]
        try:
            self.model(next(self.calibration.inputs(self.calibration.examples[:1])))
        finally:
            for handle in handles:
                handle.remove()
        return {name: place for place, name in enumerate([*ran, *(one for one in self._modules if one not in ran)])}

    def _outlier_shares(self, multiple: float) -> dict[str, float]:
        """For each layer the share of outliers among the scores of its block, in the dense network."""
        norms = self._run([*self._layers], self.calibration.examples, diagonal=True)
        shares: dict[str, float] = {}
        for block in self.blocks:
            scores = torch.cat([self._scores(name, norms[name]) for name in block])
            share = float((scores > multiple * scores.mean()).double().mean())
            shares |= dict.fromkeys(block, share)
        return shares

    def _scores(self, name: str, squares: Moments) -> torch.Tensor:
        """Wanda's scores of a layer."""
        matrix = as_matrix(self.model.get_parameter(name).detach().double(), self._modules[name][0])
        return (matrix.abs() * squares.second.sqrt()[:, None]).flatten()


def _by_outliers(
    shares: Mapping[str, float], layers: Sequence[Layer], density: float, rule: Outliers
) -> dict[str, int]:
    """Whole numbers of weights that add up to round(density * N), more of them where there are more outliers."""
    size, low, high = sum(layer.size for layer in layers), min(shares.values()), max(shares.values())
    scale = 2 * rule.spread / (high - low) if high > low else 0.0
    raised = {name: scale * (share - low) for name, share in shares.items()}
    mean = sum(raised[layer.name] * layer.size for layer in layers) / size
    above = {name: value - mean for name, value in raised.items()}
    room = [(1 - density if value > 0 else density) / abs(value) for value in above.values() if value]
    factor = min([1.0, *room])
    densities = {name: density + factor * value for name, value in above.items()}
    return allotted(layers, densities, total_kept(size, density))


def _shared_out(count: int, parts: int) -> list[int]:
    """A count in whole numbers that differ by 1 at most, the larger ones first."""
    each, more = divmod(count, parts)
    return [each + 1] * more + [each] * (parts - more)
