"""What a CUDA device does for this project, in one command of at most nine minutes.

    python benchmarks/gpu.py                      everything, into benchmarks/results
    python benchmarks/gpu.py --only bits --only steps
    python benchmarks/gpu.py --device cpu --quick --minutes 1     tries the script itself, on the processor

It runs the tests marked `gpu`, compares the bits of two runs, measures steps with masks and updates, bfloat16, several
stages on one GPU, and 2:4 kernels, and trains ResNet-20 for as long as is left. Each section is measured by itself:
what fails is reported with its reason, and the others go on. The report is written after each section, as Markdown and
as JSON. CIFAR-10 is looked for under PRUNEBENCH_DATA, or --data; without it random images are trained on.

Exit codes: 0 if the report was written, 3 on a machine without a CUDA device.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import prunebench
from prunebench.api import plugins
from prunebench.api.methods import Method, Updater
from prunebench.api.tasks import Entry, Optimizer, Recipe, Task, Trial
from prunebench.data.prepared import prepare
from prunebench.data.task_data import Data
from prunebench.execution.measuring.throughput import watched
from prunebench.execution.performing import FixedMasks
from prunebench.network.description import describe
from prunebench.records.environment import commit, machine
from prunebench.training.arithmetic import repeatable
from prunebench.training.loop import train
from prunebench.training.state import State, snapshot
from prunebench.training.trial_context import TrialContext, fresh_model

NO_GPU = 3
"""Exit code of a machine without a CUDA device."""
ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
Table = tuple[Sequence[str], Sequence[Sequence[object]]]
"""Headings, and rows."""


class Images(prunebench.Dataset):
    """Random images, where there is no CIFAR-10."""

    name = "images"
    mean = (127.0,) * 3
    std = (70.0,) * 3
    train: int = 5000
    test: int = 1000

    def facts(self) -> prunebench.DataFacts:
        return prunebench.DataFacts(shape=(3, 32, 32), classes=10, train=self.train, test=self.test)

    def load(self, root: Path | None) -> prunebench.Arrays:
        numbers = np.random.default_rng(0)
        inputs = numbers.integers(0, 256, (self.train + self.test, 3, 32, 32), dtype=np.uint8)
        labels = numbers.integers(0, 10, self.train + self.test)
        return prunebench.Arrays(inputs[: self.train], labels[: self.train], inputs[self.train :], labels[self.train :])


@dataclass(frozen=True)
class Setting:
    """Where a section works, and how long it may take."""

    device: torch.device
    data: Path
    scratch: Path
    quick: bool
    """Whether sizes are so small that a processor can do it."""
    deadline: float
    """By `time.monotonic`."""

    @property
    def left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    @property
    def batch_size(self) -> int:
        return 16 if self.quick else 128

    @property
    def steps(self) -> int:
        return 3 if self.quick else 60


@dataclass(frozen=True)
class Section:
    """What a section found, or why it found nothing."""

    name: str
    seconds: float
    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    failed: str = ""


Found = tuple[Mapping[str, Any], Sequence[Table]]
"""Figures for the JSON file, and tables for the page."""


# --- what trainings need


def task_of(setting: Setting, random_images: bool = True, **recipe: Any) -> Task:
    registry = plugins.load((), frozenset(plugins.foreign_names()))
    size = {"train": 64, "test": 32} if setting.quick else {}
    dataset: Any = Images(**size) if random_images else registry.find("dataset", "cifar10")[0]()
    optimizer = Optimizer(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4)
    said = {"optimizer": optimizer, "batch_size": setting.batch_size, "steps": 100_000, "evaluate_every": "end"}
    model = registry.find("model", "resnet20")[0]()
    return Task(label="gpu", dataset=dataset, model=model, recipe=Recipe(**{**said, **recipe}))


def context_of(setting: Setting, task: Task) -> TrialContext:
    method = plugins.load((), frozenset(plugins.foreign_names())).find("method", "static")[0]()
    entry = Entry(label="static", method=method)
    trial = Trial(suite="gpu", task=task, entry=entry, sparsity=0.9, seed=0, describe=describe)
    prepared = prepare(task.dataset, setting.data, setting.scratch)
    return TrialContext(trial, setting.device, lambda: Data(task, prepared, setting.device))


def begun(context: TrialContext, density: float | None) -> State:
    """New weights, under random masks of a density if there is one."""
    draws = torch.Generator().manual_seed(1)
    values = snapshot(fresh_model(context.trial, "initialize"))
    layers = context.network.layers if density is not None else ()
    masks = {layer.name: torch.rand(layer.shape, generator=draws) < density for layer in layers}
    values["parameters"] |= {name: values["parameters"][name] * mask for name, mask in masks.items()}
    return State(step=0, **values, masks=masks)


def milliseconds(setting: Setting, context: TrialContext, state: State, updater: Updater) -> float:
    """Of one step: the median of five turns, after one that is not counted."""
    times = []
    for turn in range(6):
        synchronize(setting.device)
        before = time.perf_counter()
        with repeatable(setting.device):
            state = train(context, state, state.step + setting.steps, "training", updater, turn == 0)
        synchronize(setting.device)
        times.append(time.perf_counter() - before)
    return 1e3 * median(times[1:]) / setting.steps


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def digest(state: State) -> str:
    """A hash of all bits of a state's tensors."""
    found = hashlib.sha256()
    for part in (state.parameters, state.buffers, state.masks, state.optimizer):
        for name, value in sorted(part.items()):
            found.update(name.encode() + value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


# --- the sections


def device(setting: Setting) -> Found:
    """The device and its software."""
    figures: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "device": str(setting.device)}
    if setting.device.type == "cuda":
        properties = torch.cuda.get_device_properties(setting.device)
        figures |= {
            "name": properties.name,
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "cudnn": torch.backends.cudnn.version(),
        }
    return figures, [(("device", ""), [(name, value) for name, value in figures.items() if value is not None])]


def tests(setting: Setting) -> Found:
    """The tests that are marked `gpu`."""
    folder = os.environ.get("PRUNEBENCH_GPU_TESTS", str(ROOT / "tests"))
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu", "-p", "no:cacheprovider", folder]
    limit = max(1.0, min(setting.left, 240.0))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    figures = {"exit_code": done.returncode, "counts": counts, "failures": failures}
    return figures, [(("tests marked gpu", ""), [*counts.items(), *(("", line) for line in failures)])]


def bits(setting: Setting) -> Found:
    """Whether two runs of the same training end with the same bits."""
    rows = []
    for name, recipe in (
        ("float32", {}),
        ("channels last", {"channels_last": True}),
        ("bfloat16", {"precision": "bfloat16"}),
        ("augmented", {"augmentation": ("flip", "crop")}),
    ):
        ends = []
        for _ in range(2):
            context = context_of(setting, task_of(setting, **recipe))
            with repeatable(setting.device):
                state = train(context, begun(context, 0.1), setting.steps, "training", FixedMasks(), True)
            ends.append(digest(state))
        rows.append((name, *ends, "yes" if len(set(ends)) == 1 else "**no**"))
    figures = {name: {"hashes": ends, "equal": ends[0] == ends[1]} for name, *ends, _ in rows}
    return figures, [(("training", "first run", "second run", "same bits"), rows)]


def steps(setting: Setting) -> Found:
    """A dense step, a masked one, and one in which RigL or SET moves connections."""
    context = context_of(setting, task_of(setting))
    registry = plugins.load((), frozenset(plugins.foreign_names()))

    def moving(name: str) -> Updater:
        method: Method = registry.find("method", name)[0](interval="2it", until="end")
        return method.updater(0.1)

    cases: list[tuple[str, float | None, Updater]] = [
        ("dense", None, FixedMasks()),
        ("masked, 90 %", 0.1, FixedMasks()),
        ("RigL, masks updated every other step", 0.1, moving("rigl")),
        ("SET, masks updated every other step", 0.1, moving("set")),
    ]
    figures = {
        name: milliseconds(setting, context, begun(context, density), updater) for name, density, updater in cases
    }
    dense = figures["dense"]
    rows = [(name, f"{value:.2f}", f"{value / dense:.2f}") for name, value in figures.items()]
    return figures, [((f"step of ResNet-20, batches of {setting.batch_size}", "ms", "of a dense step"), rows)]


def precision(setting: Setting) -> Found:
    """Steps in bfloat16 and in channels-last format."""
    figures = {}
    for name, recipe in (
        ("float32", {}),
        ("bfloat16", {"precision": "bfloat16"}),
        ("channels last", {"channels_last": True}),
        ("bfloat16, channels last", {"precision": "bfloat16", "channels_last": True}),
    ):
        context = context_of(setting, task_of(setting, **recipe))
        figures[name] = milliseconds(setting, context, begun(context, 0.1), FixedMasks())
    rows = [(name, f"{value:.2f}", f"{figures['float32'] / value:.2f}") for name, value in figures.items()]
    return figures, [(("masked step", "ms", "times faster than float32"), rows)]


def slots(setting: Setting) -> Found:
    """Trainings in separate processes that share the device."""
    rows, figures = [], {}
    for count in (1, 2) if setting.quick else (1, 2, 4, 8):
        if setting.left < 30 and not setting.quick:
            break
        command = [sys.executable, __file__, "--worker", "--device", str(setting.device), "--data", str(setting.data)]
        command += ["--quick"] * setting.quick
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        try:
            rates = [json.loads(worker.communicate(timeout=max(10.0, setting.left))[0]) for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        figures[str(count)] = sum(rates)
        rows.append((count, f"{sum(rates):.1f}", f"{sum(rates) / figures['1']:.2f}"))
    return figures, [(("trainings on the device", "steps a second, all together", "of one alone"), rows)]


def work(setting: Setting) -> None:
    """What each process of `slots` does: prints its steps a second, over ten turns."""
    context = context_of(setting, task_of(setting))
    state = begun(context, 0.1)
    for turn in range(2 if setting.quick else 11):
        if turn == 1:
            synchronize(setting.device)
            before = time.perf_counter()
        state = train(context, state, state.step + setting.steps, "training", FixedMasks(), turn == 0)
    synchronize(setting.device)
    made = setting.steps * (1 if setting.quick else 10)
    print(made / (time.perf_counter() - before))


def two_of_four(setting: Setting) -> Found:
    """Products with matrices of which two of four weights are kept, by torch's 2:4 kernels."""
    from torch.sparse import to_sparse_semi_structured

    figures, rows = {}, []
    for size in (256,) if setting.quick else (1024, 2048, 4096, 8192):
        dense = torch.randn(size, size, dtype=torch.float16, device=setting.device)
        dense *= torch.tensor([1, 1, 0, 0], dtype=torch.float16, device=setting.device).repeat(size, size // 4)
        sparse = to_sparse_semi_structured(dense)
        inputs = torch.randn(size, size, dtype=torch.float16, device=setting.device)
        times = [repeated(setting, lambda one=one, x=inputs: torch.mm(one, x)) for one in (dense, sparse)]
        figures[str(size)] = {"dense_ms": times[0], "sparse_ms": times[1]}
        rows.append((size, f"{times[0]:.3f}", f"{times[1]:.3f}", f"{times[0] / times[1]:.2f}"))
    return figures, [(("size, float16", "dense ms", "2:4 ms", "times faster"), rows)]


def repeated(setting: Setting, run: Callable[[], object], times: int = 20) -> float:
    """Milliseconds of one call, the median of five turns."""
    found = []
    for _ in range(6):
        synchronize(setting.device)
        before = time.perf_counter()
        for _ in range(times):
            run()
        synchronize(setting.device)
        found.append(1e3 * (time.perf_counter() - before) / times)
    return median(found[1:])


def resnet(setting: Setting) -> Found:
    """ResNet-20 under a mask of 90 %, for as long as is left: examples a second, utilization, accuracy."""
    try:
        task = task_of(setting, setting.quick, augmentation=("flip", "crop"))
        context = context_of(setting, task)
        context.data  # noqa: B018 (here it is found out whether there is any)
    except prunebench.PrunebenchError:
        context = context_of(setting, task_of(setting, augmentation=("flip", "crop")))
    per_epoch = context.trial.task.clock.steps_per_epoch
    state, before = begun(context, 0.1), time.perf_counter()
    slowest = 0.0
    with watched(setting.device) as samples, repeatable(setting.device):
        while setting.left > 5 + 2 * slowest and state.step < (2 if setting.quick else 160) * per_epoch:
            turn = time.perf_counter()
            state = train(context, state, state.step + per_epoch, "training", FixedMasks(), state.step == 0)
            slowest = max(slowest, time.perf_counter() - turn)
        seconds = time.perf_counter() - before
    if not state.step:
        raise TimeoutError("no time was left for one epoch")
    from prunebench.execution.performing import final_figures

    figures = {
        "data": context.trial.task.dataset.name,
        "epochs": state.step / per_epoch,
        "seconds": seconds,
        "examples_per_second": state.cost.examples / seconds,
        "utilization": sum(samples) / len(samples) / 100 if samples else None,
        **final_figures(state, context),
    }
    rows = [(name, f"{value:.4g}" if isinstance(value, float) else value) for name, value in figures.items()]
    return figures, [(("ResNet-20, 90 % sparse", ""), [line for line in rows if line[1] is not None])]


SECTIONS: Mapping[str, Callable[[Setting], Found]] = {
    "device": device,
    "bits": bits,
    "steps": steps,
    "precision": precision,
    "2:4": two_of_four,
    "tests": tests,
    "slots": slots,
    "resnet": resnet,
}
"""In their order; the last one uses what time is left."""


# --- the report


def measured(names: Sequence[str], setting: Setting) -> Iterator[Section]:
    """Each section; one that fails has its reason, and one that comes too late is not begun."""
    for name in names:
        before = time.monotonic()
        if not setting.left:
            yield Section(name, 0.0, failed="no time was left for it")
            continue
        try:
            figures, tables = SECTIONS[name](setting)
            yield Section(name, time.monotonic() - before, figures, tables)
        except (Exception, SystemExit) as error:  # whatever the device, torch or a missing package raises
            print(traceback.format_exc(), file=sys.stderr, flush=True)
            reason = " ".join(str(error).split())[:500]
            yield Section(name, time.monotonic() - before, failed=f"{type(error).__name__}: {reason}")


def page(sections: Sequence[Section]) -> str:
    lines = [
        "# On a GPU",
        "",
        f"{machine()}; prunebench {prunebench.__version__} {commit()}, torch {torch.__version__}. Written by "
        "`python benchmarks/gpu.py`.",
    ]
    for section in sections:
        about = (SECTIONS[section.name].__doc__ or "").strip()
        lines += ["", f"## {section.name}", "", f"{about} ({section.seconds:.0f} s)"]
        if section.failed:
            lines += ["", f"Not measured: {section.failed}"]
        for headings, rows in section.tables:
            lines += ["", "| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
            lines += ["| " + " | ".join(str(value).replace("|", "\\|") for value in row) + " |" for row in rows]
    return "\n".join([*lines, ""])


def write(sections: Sequence[Section], folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plain = {one.name: {"seconds": one.seconds, "failed": one.failed, "figures": one.figures} for one in sections}
    about = {"machine": machine(), "commit": commit(), "torch": torch.__version__}
    (folder / f"{name}.json").write_text(json.dumps({**about, "sections": plain}, indent=1) + "\n", "utf-8")
    (folder / f"{name}.md").write_text(page(sections), "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=SECTIONS, help="only this; may be given more than once")
    parser.add_argument("--device", default="cuda", help="another device, to try the script")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--minutes", type=float, default=8.5, help="time for everything; 8.5 by default")
    data = Path(os.environ.get("PRUNEBENCH_DATA", "data"))
    parser.add_argument("--data", type=Path, default=data, help="the folder of data sets")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder of the report")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a CUDA device, and torch finds none on this machine.", file=sys.stderr)
        return NO_GPU
    with tempfile.TemporaryDirectory() as scratch:
        deadline = time.monotonic() + 60 * options.minutes
        setting = Setting(device, options.data.resolve(), Path(scratch), options.quick, deadline)
        if options.worker:
            work(setting)
            return 0
        sections: list[Section] = []
        name = "gpu" if device.type == "cuda" else f"gpu-{device.type}"
        for section in measured(options.only or list(SECTIONS), setting):
            sections.append(section)
            print(f"{section.name}: {section.failed or 'measured'}, {section.seconds:.1f} s", flush=True)
            write(sections, options.output, name)
    print(options.output / f"{name}.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
