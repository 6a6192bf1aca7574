"""What training on the kept weights saves: steps of the sparse engine against masked dense ones, by sparsity.

    python benchmarks/sparse_engine.py                 everything, into benchmarks/results; about five minutes
    python benchmarks/sparse_engine.py --only digits --rounds 5

Both engines run in turns, A/B/A/B, in one process on one thread: the whole training loop with its data, and the step
alone. The median of the turns' ratios of processor time counts. `convolutions` measures whether a sparse kernel would
pay in ResNet-20. MNIST is looked for under PRUNEBENCH_DATA, or --data.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numba
import numpy as np
import torch
from findings import LOCKED, in_turns
from torch import nn

import prunebench
from prunebench.api import plugins
from prunebench.api.tasks import Entry, Optimizer, Recipe, Task, Trial
from prunebench.data.prepared import prepare
from prunebench.data.task_data import Data
from prunebench.execution.performing import FixedMasks
from prunebench.execution.processes.memory import keep_freed
from prunebench.network.description import describe
from prunebench.records.environment import commit, machine
from prunebench.training import compressed
from prunebench.training.kernels import FAST
from prunebench.training.loop import train
from prunebench.training.state import State, snapshot
from prunebench.training.trial_context import TrialContext, fresh_model

CPU = torch.device("cpu")
RESULTS = Path(__file__).parent / "results"
SPARSITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99)
STEPS = 40
"""Of a turn."""
SETUPS: dict[str, tuple[str, tuple[str, dict[str, Any]], int]] = {
    "lenet": ("mnist", ("lenet-300-100", {}), 60),
    "digits": ("digits", ("mlp", {"hidden": (300, 100)}), 64),
}
"""Data set, model and batch size of each network that is trained; Adam at 1.2e-3."""


@dataclass(frozen=True)
class Point:
    """A network at a sparsity: microseconds of a step, and ratios of dense to sparse."""

    network: str
    sparsity: float
    loop_dense: float
    loop_sparse: float
    loop: float
    """Of the whole loop, with the engine as it is."""
    step: float
    """Of forward pass, backward pass and optimizer alone, with every layer compressed."""


def context_of(name: str, data: Path, scratch: Path) -> TrialContext:
    dataset_name, (model_name, parameters), batch_size = SETUPS[name]
    registry = plugins.load((), frozenset(plugins.foreign_names()))
    dataset = registry.find("dataset", dataset_name)[0]()
    model, method = registry.find("model", model_name)[0](**parameters), registry.find("method", "static")[0]()
    recipe = Recipe(
        optimizer=Optimizer(name="adam", lr=1.2e-3), batch_size=batch_size, steps=100_000, evaluate_every="end"
    )
    task = Task(label=name, dataset=dataset, model=model, recipe=recipe)
    trial = Trial(
        suite="sparse", task=task, entry=Entry(label="static", method=method), sparsity=0.5, seed=0, describe=describe
    )
    prepared = prepare(dataset, data, scratch)
    return TrialContext(trial, CPU, lambda: Data(task, prepared, CPU))


def begun(context: TrialContext, sparsity: float) -> State:
    """New weights under random masks of one density."""
    draws = torch.Generator().manual_seed(1)
    values = snapshot(fresh_model(context.trial, "initialize"))
    masks = {layer.name: torch.rand(layer.shape, generator=draws) >= sparsity for layer in context.network.layers}
    values["parameters"] = {
        name: value * masks[name] if name in masks else value for name, value in values["parameters"].items()
    }
    return State(step=0, **values, masks=masks)


def looped(context: TrialContext, sparsity: float, engine: Any) -> Callable[[], object]:
    """A function that trains for another turn, and goes on where the last one ended."""
    states = [begun(context, sparsity)]

    def run() -> None:
        state = states.pop()
        states.append(train(context, state, state.step + STEPS, "training", FixedMasks(), True, engine=engine))

    return run


def stepping(context: TrialContext, sparsity: float, engine: Any) -> Callable[[], object]:
    """A function that makes the steps of a turn on one batch that is there already."""
    own = TrialContext(context.trial, CPU, context.load_data)
    state = begun(own, sparsity)
    if engine == "sparse":
        training: Any = compressed.CompressedTraining(own, state)
    else:
        training = compressed.TrainingContext(own, state)
    inputs, targets = context.data.batch(0, "training", 0)
    model = own.model.train()

    def run() -> None:
        with training.running():
            for _ in range(STEPS):
                training.begin_step(False)
                for parameter in training.optimizer.param_groups[0]["params"]:
                    parameter.grad = None
                nn.functional.cross_entropy(model(inputs), targets).backward()
                training.make_step(None)

    return run


def networks(name: str, options: Any, scratch: Path) -> Iterator[Point]:
    """Each sparsity of a network."""
    context = context_of(name, options.data, scratch)
    for sparsity in SPARSITIES:
        turns = in_turns(*(looped(context, sparsity, engine) for engine in ("dense", "sparse")), options.rounds)
        densest, compressed.DENSEST = compressed.DENSEST, 1.0
        try:
            steps = in_turns(*(stepping(context, sparsity, engine) for engine in ("dense", "sparse")), options.rounds)
        finally:
            compressed.DENSEST = densest
        yield Point(
            name,
            sparsity,
            *(1e6 / STEPS * median(pair[at].cpu for pair in turns) for at in (0, 1)),
            median(one.cpu / other.cpu for one, other in turns),
            median(one.cpu / other.cpu for one, other in steps),
        )


# --- convolutions: a kernel that is measured here and not built into the engine

LAYERS = ((3, 16, 32, 1), (16, 16, 32, 6), (32, 32, 16, 5), (64, 64, 8, 5))
"""Inputs, outputs, side and number of the 3x3 convolutions of stride 1 in ResNet-20: all but two."""
BATCH = 128
BLOCK = 2048
"""Places that are worked on at a time, so that all channels of a block stay in the cache."""


@numba.njit(fastmath=FAST)
def convolve(start: Any, channel: Any, shift: Any, value: Any, inputs: Any, outputs: Any) -> None:
    """Sums of shifted channels, weight by weight; images are padded, and channels lie one after the other."""
    places = outputs.shape[1]
    for first in range(0, places, BLOCK):
        size = min(BLOCK, places - first)
        for row in range(outputs.shape[0]):
            output = outputs[row, first : first + size]
            output[:] = 0
            at, end = start[row], start[row + 1]
            while at + 4 <= end:
                a, b, c, d = value[at], value[at + 1], value[at + 2], value[at + 3]
                p = inputs[channel[at], first + shift[at] :]
                q = inputs[channel[at + 1], first + shift[at + 1] :]
                r = inputs[channel[at + 2], first + shift[at + 2] :]
                s = inputs[channel[at + 3], first + shift[at + 3] :]
                for one in range(size):
                    output[one] += (a * p[one] + b * q[one]) + (c * r[one] + d * s[one])
                at += 4
            while at < end:
                a, p = value[at], inputs[channel[at], first + shift[at] :]
                for one in range(size):
                    output[one] += a * p[one]
                at += 1


@numba.njit(fastmath=FAST)
def correlate(start: Any, channel: Any, shift: Any, errors: Any, inputs: Any, found: Any) -> None:
    """The gradient of each kept weight: the product of an error and a shifted channel, summed over all places."""
    places = errors.shape[1]
    found[:] = 0
    for first in range(0, places, BLOCK):
        size = min(BLOCK, places - first)
        for row in range(errors.shape[0]):
            error = errors[row, first : first + size]
            for at in range(start[row], start[row + 1]):
                p, a = inputs[channel[at], first + shift[at] :], np.float32(0)
                for one in range(size):
                    a += error[one] * p[one]
                found[at] += a


def padded(images: torch.Tensor) -> torch.Tensor:
    """Images (examples, channels, side, side) as (channels, places), with a border of zeros and room at both ends."""
    examples, channels, side, _ = images.shape
    room = side + 3
    flat = torch.zeros(channels, room + examples * (side + 2) ** 2 + room)
    inner = flat[:, room:-room].view(channels, examples, side + 2, side + 2)
    inner[:, :, 1:-1, 1:-1] = images.transpose(0, 1)
    return flat


class SparseConvolution:
    """One layer: forward pass and both gradients by the kernels above, and by torch."""

    def __init__(self, inputs: int, outputs: int, side: int, sparsity: float) -> None:
        draws = torch.Generator().manual_seed(2)
        self.side, self.mask = side, torch.rand(outputs, inputs, 3, 3, generator=draws) >= sparsity
        self.weight = torch.randn(self.mask.shape, generator=draws) * self.mask
        self.images = torch.randn(BATCH, inputs, side, side, generator=draws)
        self.errors = torch.randn(BATCH, outputs, side, side, generator=draws)
        self.forward = self._stored(self.weight)
        self.backward = self._stored(self.weight.transpose(0, 1).flip(2, 3))
        self.ready = padded(self.images), padded(self.errors)

    def _stored(self, weight: torch.Tensor) -> tuple[Any, ...]:
        rows, channel, down, across = (weight != 0).nonzero(as_tuple=True)
        start = torch.bincount(rows, minlength=len(weight)).cumsum(0)
        # A place of the padded input that is one row and one column before the first inner place has shift 0.
        shift = down * (self.side + 2) + across
        whole = torch.cat([torch.zeros(1, dtype=torch.long), start])
        return (*(one.int().numpy() for one in (whole, channel, shift)), weight[weight != 0].numpy())

    def by_kernels(self, copies: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Outputs, gradient of the inputs and of the kept weights; with `copies` from and to torch's layout."""
        images, errors = (padded(self.images), padded(self.errors)) if copies else self.ready
        places = BATCH * (self.side + 2) ** 2
        outputs, of_inputs = torch.empty(len(errors), places), torch.empty(len(images), places)
        found = torch.empty(int(self.mask.sum()))
        convolve(*self.forward, images.numpy(), outputs.numpy())
        convolve(*self.backward, errors.numpy(), of_inputs.numpy())
        room = self.side + 3
        inner = errors[:, room:-room].numpy()
        correlate(*self.forward[:3], np.ascontiguousarray(inner), images.numpy(), found.numpy())
        return (self._unpadded(outputs), self._unpadded(of_inputs), found) if copies else (outputs, of_inputs, found)

    def _unpadded(self, flat: torch.Tensor) -> torch.Tensor:
        inner = flat.view(len(flat), BATCH, self.side + 2, self.side + 2)[:, :, 1:-1, 1:-1]
        return inner.transpose(0, 1).contiguous()

    def by_torch(self) -> tuple[torch.Tensor, ...]:
        """The same of all weights."""
        outputs = torch.nn.functional.conv2d(self.images, self.weight, padding=1)
        sizes = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False])
        of_inputs, of_weights, _ = torch.ops.aten.convolution_backward(
            self.errors, self.images, self.weight, None, *sizes
        )
        return outputs, of_inputs, of_weights


def check(layer: SparseConvolution) -> None:
    """Raise an AssertionError where the kernels and torch differ."""
    ours, theirs = layer.by_kernels(True), layer.by_torch()
    for one, other in zip(ours, (*theirs[:2], theirs[2][layer.mask]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2)


@dataclass(frozen=True)
class Convolutions:
    """All stride-1 convolutions of ResNet-20 at a sparsity: milliseconds of a batch, and ratios of torch's time."""

    sparsity: float
    torch_ms: float
    kernel: float
    """With the kernels alone."""
    with_copies: float
    """With the copies from and to the layout of the rest of the network."""
    step: float
    """Of a whole training step if these convolutions were replaced, with their copies: computed from the times."""


def whole_step() -> Callable[[], object]:
    """A function that makes a dense step of ResNet-20 on random images."""
    registry = plugins.load((), frozenset(plugins.foreign_names()))
    model = registry.find("model", "resnet20")[0]().build((3, 32, 32), 10).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, fused=True)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))

    def run() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return run


def processor_time(run: Callable[[], object]) -> float:
    before = time.process_time()
    run()
    return time.process_time() - before


def convolutions(rounds: int) -> Iterator[Convolutions]:
    step = whole_step()
    step()
    for sparsity in (0.9, 0.95, 0.98, 0.99):
        layers = [(SparseConvolution(*shape, sparsity), count) for *shape, count in LAYERS]
        times = np.zeros((4, rounds))
        for layer, _ in layers:
            check(layer)
        for turn in range(rounds):
            times[3, turn] = processor_time(step)
            for layer, count in layers:
                runs = (layer.by_torch, lambda one=layer: one.by_kernels(False), lambda one=layer: one.by_kernels(True))
                times[:3, turn] += [count * processor_time(run) for run in runs]
        dense, alone, copied, whole = times
        ratios = (median(ratio) for ratio in (dense / alone, dense / copied, whole / (whole - dense + copied)))
        yield Convolutions(sparsity, 1e3 * median(dense), *ratios)


# --- the report


def crossing(points: Sequence[Point]) -> str:
    """From which of the sparsities on the sparse engine is faster, with the engine as it is."""
    found = [
        point.sparsity for point in points if all(one.loop > 1 for one in points if one.sparsity >= point.sparsity)
    ]
    return f"from {100 * min(found):g} % on" if found else "at none of these sparsities"


def page(points: Sequence[Point], convolved: Sequence[Convolutions], load: float) -> str:
    said = f"a load of {load:.1f} before this began" + (": **the machine was busy**" if load > LOCKED else "")
    lines = [
        "# Training on the kept weights",
        "",
        f"{machine()}; prunebench {prunebench.__version__} {commit()}, torch {torch.__version__}, numba "
        f"{numba.__version__}; one thread, processor time, medians of turns; {said}.",
        "",
        "Written by `python benchmarks/sparse_engine.py`. A ratio says how many times faster the sparse engine is than "
        "masks on dense weights. *Loop* is the training loop with its data, as a run has it. *Step* is the forward "
        "pass, the backward pass and the optimizer alone, with every layer compressed, whatever its density.",
    ]
    for name in dict.fromkeys(point.network for point in points):
        own = [point for point in points if point.network == name]
        dataset, (model, _), batch_size = SETUPS[name]
        lines += ["", f"## {model} on {dataset}, batches of {batch_size}, Adam", ""]
        lines += [f"The loop is faster {crossing(own)}.", ""]
        lines += ["| sparsity | dense µs | sparse µs | loop | step |", "|---|---|---|---|---|"]
        lines += [
            f"| {100 * one.sparsity:g} % | {one.loop_dense:.0f} | {one.loop_sparse:.0f} | {one.loop:.2f} | "
            f"{one.step:.2f} |"
            for one in own
        ]
    if convolved:
        lines += [
            "",
            f"## Convolutions of ResNet-20, batches of {BATCH}",
            "",
            "The 17 convolutions of stride 1: forward pass and both gradients of all, by a kernel that adds shifted "
            "channels weight by weight, against torch's dense ones. The kernel is part of this benchmark only. The "
            "last column is computed: how much faster a whole training step would be with it.",
            "",
            "| sparsity | torch, dense | kernels alone | with copies from and to torch's layout | whole step |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {100 * one.sparsity:g} % | {one.torch_ms:.0f} ms | {one.kernel:.2f} | {one.with_copies:.2f} | "
            f"{one.step:.2f} |"
            for one in convolved
        ]
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = (*SETUPS, "convolutions")
    parser.add_argument("--only", action="append", choices=parts, help="only this; may be given more than once")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each measurement")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("PRUNEBENCH_DATA", "data")), help="the folder of data sets"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder of the report")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed()
    load, points, convolved = os.getloadavg()[0], [], []
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"sparse-{re.sub(r'[^a-z0-9]+', '-', machine().lower()).strip('-')}.md"
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.only or parts:
            found: Iterator[Any] = (
                convolutions(options.rounds) if name == "convolutions" else networks(name, options, Path(scratch))
            )
            for one in found:
                (convolved if name == "convolutions" else points).append(one)
                print(json.dumps(vars(one)), flush=True)
    path.write_text(page(points, convolved, load), "utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
