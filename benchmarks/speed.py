"""How fast it is, in ratios of one run: the harness, a whole suite, masked steps, two workers, kept memory, top-k,
starting, and recognizing what is finished.

    python benchmarks/speed.py                          everything, into benchmarks/results; three quarters of an hour
    python benchmarks/speed.py --only top-k --only start

What is compared runs in turns, A/B/A/B, on one thread, and the median of the turns' ratios counts. Ratios of processor
time stand beside those of wall time: on a machine with other work they alone mean something, and the report says so.
MNIST and CIFAR-10 are looked for under PRUNEBENCH_DATA, or --data.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from findings import LOCKED, Finding, Turn, compared, in_turns, report, row, timed
from torch import nn

from prunebench.api.layers import Layer
from prunebench.api.methods import Updater
from prunebench.api.tasks import Trial
from prunebench.api.times import step_of
from prunebench.data.augmentation import augment
from prunebench.data.prepared import Prepared, prepare
from prunebench.data.task_data import Data
from prunebench.execution.performing import perform
from prunebench.execution.processes.memory import keep_freed
from prunebench.plan.jobs import missing_jobs
from prunebench.plan.planning import make_plan, protocol, resolve
from prunebench.pruning.masks import keep_highest
from prunebench.records.environment import cores, machine
from prunebench.session import load_suite
from prunebench.store.entries import Store
from prunebench.training.loop import train
from prunebench.training.state import State, to_tensors
from prunebench.training.trial_context import TrialContext

CPU = torch.device("cpu")
ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
SUITE = """
name: speed
tasks:
  - {{dataset: {dataset}, model: {model}, recipe: {recipe}}}
methods: [random, {{name: rigl, interval: 3it, until: 100%}}]
sparsities: [0.8]
seeds: 1
"""
LENET = (
    "mnist",
    "lenet-300-100",
    "{steps: 4000, batch_size: 60, optimizer: {name: adam, lr: 1.2e-3}, validation: 5000, evaluate_every: 100it}",
)
RESNET = (
    "cifar10",
    "resnet20",
    "{steps: 30, batch_size: 128, optimizer: {name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 1e-4}, "
    "augmentation: [flip, crop], evaluate_every: end}",
)
STEPS = (*RESNET[:2], RESNET[2].replace("steps: 30", "steps: 1000"))


@dataclass(frozen=True)
class Place:
    """Where data is, and where there is room."""

    data: Path
    scratch: Path


def trial_of(setup: Sequence[str], method: str, place: Place) -> tuple[Trial, Prepared]:
    path = place.scratch / "speed.yaml"
    path.write_text(SUITE.format(dataset=setup[0], model=setup[1], recipe=setup[2]), "utf-8")
    (trial,) = (one for one in load_suite(path).trials if one.entry.label == method)
    return trial, prepare(trial.task.dataset, place.data, place.scratch)


def performed(trial: Trial, prepared: Prepared, store: Store | None = None, stages: int | None = None) -> State:
    """The state after a trial's first stages, by default all of them; written to a store."""
    context = TrialContext(trial, CPU, lambda: Data(trial.task, prepared, CPU))
    states: dict[str | None, State] = {None: None}  # type: ignore[dict-item]
    nodes = list(resolve(trial, protocol(trial.task, prepared.fingerprint)))[:stages]
    for node in nodes:
        states[node.key] = perform(node, states[node.parent], states.get(node.source), context)
    end = states[nodes[-1].key]
    if store is not None:
        files = {name: part for name, part in to_tensors(end).items() if part}
        store.write(nodes[-1].key, {"history": list(end.history)}, files)
    return end


def by_hand(trial: Trial, prepared: Prepared) -> nn.Module:
    """The same steps, as one writes them for a single experiment: no masks, seeds, history or store."""
    recipe, dataset = trial.task.recipe, trial.task.dataset
    names = ("train_inputs", "train_labels", "test_inputs", "test_labels")
    arrays = [torch.from_numpy(np.load(prepared.folder / f"{name}.npy")) for name in names]
    inputs, labels, test_inputs, test_labels = arrays
    held_out = recipe.validation
    splits = [(inputs[:held_out], labels[:held_out])] if held_out else []
    splits.append((test_inputs, test_labels))
    inputs, labels = inputs[held_out:], labels[held_out:]
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (dataset.mean, dataset.std))
    facts = dataset.facts()
    net = trial.task.model.build(facts.shape, facts.classes)
    spec = recipe.optimizer
    if spec.name == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(net.parameters(), spec.lr, fused=True)
    else:
        optimizer = torch.optim.SGD(net.parameters(), spec.lr, spec.momentum, 0, spec.weight_decay, fused=True)
    interval = step_of(recipe.evaluate_every, trial.task.clock)
    generator, batches = torch.Generator(), iter(())
    for step in range(trial.task.clock.total):
        batch = next(batches, None)
        if batch is None:
            batches = iter(torch.randperm(len(labels)).split(recipe.batch_size))
            batch = next(batches)
        seen = augment(inputs[batch], recipe.augmentation, generator) if recipe.augmentation else inputs[batch]
        loss = nn.functional.cross_entropy(net((seen.float() - mean) / std), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % interval == 0:
            net.eval()
            for examples, truth in splits:
                evaluate(net, examples, truth, mean, std)
            net.train()
    return net


@torch.no_grad()
def evaluate(net: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, mean: Any, std: Any) -> tuple[float, float]:
    loss, correct = 0.0, 0
    for some, truth in zip(inputs.split(1000), labels.split(1000), strict=True):
        logits = net((some.float() - mean) / std)
        loss += nn.functional.cross_entropy(logits, truth, reduction="sum").item()
        correct += int((logits.argmax(1) == truth).sum())
    return loss / len(labels), correct / len(labels)


def harness(place: Place) -> Iterator[Finding]:
    """Training with masks, evaluation, history and store against a loop by hand."""
    store = Store.open(place.scratch / "store")
    for name, setup, rounds in (("LeNet-300-100 on MNIST", LENET, 5), ("ResNet-20 on CIFAR-10", RESNET, 3)):
        trial, prepared = trial_of(setup, "random", place)
        turns = in_turns(
            lambda trial=trial, prepared=prepared: performed(trial, prepared, store),  # type: ignore[misc]
            lambda trial=trial, prepared=prepared: by_hand(trial, prepared),  # type: ignore[misc]
            rounds,
        )
        yield compared(f"{name}: the harness with masks against a loop by hand", 1.10, turns)


class Stopwatch(Updater):
    """Notes when each step ends, and leaves the rest to another updater."""

    def __init__(self, inner: Updater) -> None:
        self._inner, self.ends = inner, list[tuple[float, float]]()

    def begin(self, training: Any) -> None:
        self._inner.begin(training)

    def after_backward(self, training: Any) -> bool:
        return self._inner.after_backward(training)

    def after_step(self, training: Any) -> None:
        self._inner.after_step(training)
        self.ends.append((time.perf_counter(), time.process_time()))

    def flops(self, training: Any) -> float:
        return self._inner.flops(training)

    def turns(self) -> list[Turn]:
        """The steps, but for the first."""
        return [Turn(after[0] - before[0], after[1] - before[1]) for before, after in zip(self.ends, self.ends[1:])]  # noqa: B905


def steps(place: Place) -> Iterator[Finding]:
    """A masked step, and RigL's, against others of ResNet-20."""
    trial, prepared = trial_of(STEPS, "random", place)
    moving, _ = trial_of(STEPS, "rigl", place)
    context = TrialContext(trial, CPU, lambda: Data(trial.task, prepared, CPU))
    dense, masked = performed(trial, prepared, stages=1), performed(trial, prepared, stages=2)
    rigl = performed(moving, prepared, stages=2)

    def five(state: State, inner: Updater) -> list[Turn]:
        watch = Stopwatch(inner)
        train(context, state, 6, "train", watch, True)
        return watch.turns()

    found: dict[str, list[Turn]] = {"dense": [], "masked": [], "rigl": [], "update": []}
    for turn in range(7):
        parts = five(dense, Updater()), five(masked, Updater()), five(rigl, moving.entry.method.updater(0.2))
        if turn:  # the first is for warming up
            found["dense"] += parts[0]
            found["masked"] += parts[1]
            found["update"].append(parts[2][2])  # the step at which three are made
            found["rigl"] += [*parts[2][:2], *parts[2][3:]]
    yield compared("ResNet-20: a masked step against a dense one", 1.05, pairs(found["masked"], found["dense"]))
    static, own, update = (
        Turn(median(one.wall for one in found[name]), median(one.cpu for one in found[name]))
        for name in ("masked", "rigl", "update")
    )
    ratio = [
        (99 * getattr(own, kind) + getattr(update, kind)) / (100 * getattr(static, kind)) for kind in ("wall", "cpu")
    ]
    yield Finding("ResNet-20: RigL's steps, one update in a hundred, against static ones", 1.05, ratio[:1], ratio[1])


def pairs(one: Sequence[Turn], other: Sequence[Turn]) -> list[tuple[Turn, Turn]]:
    return list(zip(one, other, strict=True))


def command(*arguments: str | Path, place: Place, **variables: str) -> Turn:
    """The time that a command of prunebench takes, by the script that users call, with all processes that it starts."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{place.scratch / 'mlflow.db'}", **variables}
    begun, used = time.perf_counter(), processor_seconds()
    subprocess.run(
        [Path(sys.executable).with_name("prunebench"), *map(str, arguments)],
        cwd=place.scratch,
        env=environment,
        check=True,
        capture_output=True,
    )
    return Turn(time.perf_counter() - begun, processor_seconds() - used)


def processor_seconds() -> float:
    """Processor time of the processes that this one has started and that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def suite(place: Place) -> Iterator[Finding]:
    """The digits suite by the command line against a script with the same number of steps, each on every core."""
    path = ROOT / "suites" / "digits.yaml"
    loaded, workers = load_suite(path), cores()
    prepared = prepare(loaded.trials[0].task.dataset, place.data, place.scratch)
    plan = make_plan(loaded.trials, {trial.task.label: prepared.fingerprint for trial in loaded.trials})
    steps = sum(node.steps for node in plan.nodes.values())
    jobs = len(missing_jobs(plan, lambda key: False, (planned.key for planned in plan.trials)))
    trainings = round(steps / loaded.trials[0].task.clock.total)
    turns = []
    for number in range(2):
        store = place.scratch / f"suite-{number}"
        run = command("run", path, "--store", store, "--output", store / "board", place=place)
        shares = [len(range(first, trainings, workers)) for first in range(workers)]
        begun, used = time.perf_counter(), processor_seconds()
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(_trainings_by_hand, shares, [place] * workers))
        turns.append((run, Turn(time.perf_counter() - begun, processor_seconds() - used)))
    yield compared(f"the digits suite, {trainings} trainings in {jobs} jobs, against a script by hand", 1.15, turns)
    extra = [max(0.0, run.cpu - hand.cpu) / jobs for run, hand in turns]
    yield Finding("processor time of a job beyond the script's", 0.15, extra, unit="s")


def _trainings_by_hand(number: int, place: Place) -> None:
    """Train the dense network of the digits suite so many times, one after the other."""
    torch.set_num_threads(1)
    trial = load_suite(ROOT / "suites" / "digits.yaml").trials[0]
    prepared = prepare(trial.task.dataset, place.data, place.scratch)
    for _ in range(number):
        by_hand(trial, prepared)


def workers(place: Place) -> Iterator[Finding]:
    """Two workers against one, on eight trainings of the mnist-lenet suite at 12,000 of its 50,000 iterations.

    What a run takes once (to start, to publish) weighs four times as much as in the suite itself.
    """
    suite = ROOT / "suites" / "mnist-lenet.yaml"
    settings = ("--set", "tasks.recipe.steps=12000", "--set", "seeds=4")
    ratios = []
    for turn in range(2):
        took = {}
        for number in (1, 2):
            store = place.scratch / f"store-{turn}-{number}"
            prepare(load_suite(suite).suite.tasks[0].dataset, place.data, store / "data")
            only = ("--only", "method=random,sparsity=0.789275852968")
            how = (*only, "--store", store, "--data", place.data, "--output", store / "board")
            took[number] = command("run", suite, *settings, *how, "--workers", str(number), place=place)
        ratios.append(took[1].wall / took[2].wall)
    yield Finding("mnist-lenet: two workers are faster than one by", 1.8, ratios, least=True)


def memory(place: Place) -> Iterator[Finding]:
    """Workers keep the memory that a step frees; a process by itself gives it back to the system."""
    turns = [(trained(place, kept=True), trained(place, kept=False)) for _ in range(3)]
    times = [(kept[0], given_back[0]) for kept, given_back in turns]
    yield compared("ResNet-20: a worker, which keeps freed memory, against a process that does not", 1.0, times)
    peaks = [kept[1] / given_back[1] for kept, given_back in turns]
    yield Finding("its peak memory beside the other's", 1.5, peaks)


def trained(place: Place, kept: bool) -> tuple[Turn, float]:
    """The time that a training takes in a new process, and its peak memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_trained, place, kept).result()


def _trained(place: Place, kept: bool) -> tuple[Turn, float]:
    torch.set_num_threads(1)
    if kept and not keep_freed():
        raise SystemExit("memory cannot be kept here: another C library, or settings of the environment")
    trial, prepared = trial_of(RESNET, "random", place)
    return timed(lambda: performed(trial, prepared)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


SIZE, LAYERS = 500_000, 50
MEMORY = """
import torch
from pathlib import Path
from prunebench.pruning.masks import keep_highest
from prunebench.api.layers import Layer

def kilobytes(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))

layers = [Layer(str(number), (500, 1000), 0.0) for number in range(50)]
scores = {one.name: torch.rand(one.shape) for one in layers}
masks = {one.name: torch.ones(one.shape, dtype=torch.bool) for one in layers}
few = Layer("w", (9, 9), 0.0)
keep_highest({"w": torch.rand(9, 9)}, {"w": torch.ones(9, 9, dtype=torch.bool)}, [few], 0.5, "global")
Path("/proc/self/clear_refs").write_text("5")  # the highest so far may have been higher than what is used now
before = kilobytes("VmRSS")
keep_highest(scores, masks, layers, 0.2, "global")
print((kilobytes("VmHWM") - before) * 1024 / (25e6 * 4))
"""


def top_k(place: Place) -> Iterator[Finding]:
    """The exact masks of 25 million weights against the bare search for the threshold."""
    layers = [Layer(str(number), (500, 1000), 0.0) for number in range(LAYERS)]
    scores = {one.name: torch.rand(one.shape) for one in layers}
    masks = {one.name: torch.ones(one.shape, dtype=torch.bool) for one in layers}
    flat = torch.cat([one.flatten() for one in scores.values()])
    kept = SIZE * LAYERS // 5
    for name, bare in (
        ("torch.kthvalue", lambda: torch.kthvalue(flat, len(flat) - kept + 1)),
        ("torch.topk", lambda: torch.topk(flat, kept)),
    ):
        turns = in_turns(lambda: keep_highest(scores, masks, layers, 0.2, "global"), bare, 5)
        yield compared(f"exact global top-k of 25 million weights, masks and all, against {name} alone", 1.5, turns)
    code = [sys.executable, "-c", MEMORY]
    grown = [float(subprocess.run(code, check=True, capture_output=True, text=True).stdout) for _ in range(3)]
    yield Finding("its memory beside the scores, against theirs", 2.0, grown)


def start(place: Place) -> Iterator[Finding]:
    """How long one waits before anything happens."""
    code = "import sys, prunebench; print(len({'torch', 'mlflow', 'pandas'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    yield Finding("of torch, mlflow and pandas `import prunebench` loads", 0, [float(loaded)], unit="")
    yield seconds("`prunebench --help`", 0.3, [command("--help", place=place) for _ in range(7)])
    path = place.scratch / "ten-thousand.yaml"
    text = SUITE.format(
        dataset="digits", model="mlp", recipe="{epochs: 2, batch_size: 64, optimizer: {name: sgd, lr: 1}}"
    )
    text = re.sub(r"methods.*", "methods: [random]", text)
    sparsities = [round(0.001 + 0.0098 * number, 4) for number in range(100)]
    path.write_text(text.replace("[0.8]", json.dumps(sparsities)).replace("seeds: 1", "seeds: 100"), "utf-8")
    planned = [command("plan", path, "--store", place.scratch / "plans", place=place) for _ in range(3)]
    yield seconds("`prunebench plan` of 10,000 trials", 5, planned)


def finished(place: Place) -> Iterator[Finding]:
    """The same command once more, when there is nothing left to do."""
    path, store = ROOT / "suites" / "digits.yaml", place.scratch / "finished"
    run = ("run", path, "--store", store, "--output", store / "board")
    for name, variables in (
        ("`prunebench run` of the finished digits suite", {}),
        ("the same without bytecode", {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(store / "none")}),
    ):
        command(*run, place=place, **variables)
        yield seconds(name, 1, [command(*run, place=place, **variables) for _ in range(5)])
    receipts = sorted((store / "receipts").iterdir())
    for receipt in receipts:
        receipt.unlink()
    yield seconds("the same without a receipt, which reads all again", 5, [command(*run, place=place)])


def seconds(name: str, most: float, turns: Sequence[Turn]) -> Finding:
    """Seconds that something may take at most; processor time beside them."""
    return Finding(name, most, [turn.wall for turn in turns], median(turn.cpu for turn in turns), unit="s")


BENCHMARKS: dict[str, Callable[[Place], Iterator[Finding]]] = {
    "harness": harness,
    "suite": suite,
    "steps": steps,
    "memory": memory,
    "top-k": top_k,
    "workers": workers,
    "start": start,
    "finished": finished,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="only this; may be given more than once")
    parser.add_argument("--data", type=Path, default=os.environ.get("PRUNEBENCH_DATA"), help="the folder of data sets")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder of the report")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load, missed, rows = os.getloadavg()[0], 0, []
    busy = load > LOCKED
    options.output.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", machine().lower()).strip("-")
    part = "-".join(["", *options.only]) if options.only else ""
    path = options.output / f"speed-{slug}{part}.md"
    with tempfile.TemporaryDirectory() as scratch:
        place = Place(Path(options.data or "data").resolve(), Path(scratch))
        for name in options.only or BENCHMARKS:
            for finding in BENCHMARKS[name](place):
                rows.append(row(finding))
                missed += not finding.kept
                print(rows[-1], flush=True)
                path.write_text(report(rows, load, busy), "utf-8")
    print(f"{path}: {missed} of {len(rows)} promises missed{', on a busy machine' if busy else ''}; {cores()} cores")
    return 1 if missed and not busy else 0


if __name__ == "__main__":
    sys.exit(main())
