"""How a suite of thousands of trials goes: the time that each costs besides its work, and the memory of the driver.

    python benchmarks/load.py                    5,000 trials, into benchmarks/results
    python benchmarks/load.py --trials 300 --output /tmp/load

A trial is one step of a network of 4 hidden units on the digits, so nearly all of it is what the benchmark suite
itself costs: planning, workers, the store, MLflow in an SQLite file, and the leaderboard.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

SPARSITIES = 49
SUITE = """
name: load
tasks:
  - label: load
    dataset: digits
    model: {{name: mlp, hidden: [4]}}
    recipe: {{steps: 1, batch_size: 32, optimizer: {{name: sgd, lr: 0.1}}}}
methods: [random]
sparsities: {sparsities}
seeds: {seeds}
"""
MARKS = (1000, 2500, 5000)
PACKAGES = ("torch", "mlflow", "pandas", "SQLAlchemy")


class Clocks:
    """Seconds that were spent in functions, and how often they were called; nothing else of them changes."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - begun
            self.calls[name] += 1

    def around(self, owner: Any, attribute: str, name: str) -> None:
        """Time every call of `owner.attribute`."""
        function: Callable[..., Any] = getattr(owner, attribute)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.on(name):
                return function(*arguments, **named)

        setattr(owner, attribute, timed)


def megabytes_now() -> float:
    """Memory of this process that is in use."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * resource.getpagesize() / 2**20


def megabytes_at_most() -> float:
    """The most memory that this process ever used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_used() -> dict[str, float]:
    return {"now": megabytes_now(), "peak": megabytes_at_most()}


def suite_of(trials: int, folder: Path) -> Path:
    """A suite of so many trials, or a few less."""
    path = folder / "load.yaml"
    sparsities = [round(0.5 + 0.01 * index, 2) for index in range(SPARSITIES)]
    path.write_text(SUITE.format(sparsities=sparsities, seeds=max(1, trials // (SPARSITIES + 1))), "utf-8")
    return path


def measure(trials: int, folder: Path, workers: int | None) -> dict[str, Any]:
    """Run the suite in this process, then once more with everything in the store."""
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    begun = time.perf_counter()
    from prunebench import session, tracking
    from prunebench.data.prepared import prepare
    from prunebench.leaderboard import publishing
    from prunebench.session import running

    imported = time.perf_counter() - begun
    clocks = Clocks()
    clocks.around(running, "plan_suite", "plan")
    clocks.around(tracking.Tracker, "publish", "publish")
    clocks.around(publishing, "read_results", "read")
    clocks.around(publishing, "write", "write")
    clocks.around(publishing, "publish", "leaderboard")
    clocks.around(running.Publisher, "close", "drain")

    loaded = session.load_suite(suite_of(trials, folder))
    prepare(loaded.trials[0].task.dataset, None, folder / ".prunebench/data")
    memory: dict[str, dict[str, float]] = {"0": memory_used()}
    moments: list[float] = []

    def watch(_: object) -> Callable[[object], None]:
        def on_event(_: object) -> None:
            moments.append(time.perf_counter())
            if len(moments) in MARKS or len(moments) == len(loaded.trials):
                memory[str(len(moments))] = memory_used()

        return on_event

    before, own = time.perf_counter(), time.process_time()
    outcome = session.run_suite(loaded, output=folder / "board", workers=workers, watch=watch)
    first, own = time.perf_counter() - before, time.process_time() - own
    memory["the end"] = memory_used()
    assert outcome.ok, outcome
    seconds, calls = dict(clocks.seconds), dict(clocks.calls)
    before = time.perf_counter()
    again = session.run_suite(loaded, output=folder / "again", workers=workers)
    second = time.perf_counter() - before
    memory["run again"] = memory_used()
    assert again.counts["cached"] == len(loaded.trials), again.counts

    return {
        "trials": len(loaded.trials),
        "jobs": sum(1 for _ in (folder / ".prunebench/states").glob("*/*/record.json")),
        "import_s": imported,
        "run_s": first,
        "again_s": second,
        "driver_cpu_s": own,
        "seconds": seconds,
        "calls": calls,
        "work_s": _work(folder / ".prunebench"),
        "memory_mb": memory,
        "store_mb": _megabytes(folder / ".prunebench"),
        "mlflow_mb": _megabytes(folder / "mlruns") + sum(p.stat().st_size for p in folder.glob("mlflow.db*")) / 2**20,
    }


def _work(store: Path) -> float:
    """Seconds that the workers were at work, all together, from their orders to their entries in the store."""
    records = (json.loads(path.read_bytes()) for path in store.glob("states/*/*/record.json"))
    return float(sum(record["finished"] - record["started"] for record in records))


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def machine() -> dict[str, str]:
    """What the figures were measured on and with."""
    from prunebench.records.environment import machine as described

    versions = {package: version(package) for package in PACKAGES}
    return {"machine": described(), "python": platform.python_version(), **versions}


def page(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    trials, seconds = found["trials"], found["seconds"]

    def each(value: float) -> str:
        return f"{1000 * value / trials:.1f}"

    parts = [
        ("planning", seconds["plan"], "the tree of all trials, before anything runs"),
        ("worker", found["work_s"], "in the workers: data, network, one step, evaluation, the entry in the store"),
        ("driver", found["driver_cpu_s"], "processor time of the driver, publishing and leaderboard included"),
        ("publishing", seconds["publish"], "one MLflow run with its artifacts, from a thread beside the run"),
        ("draining", seconds["drain"], "what publishing took longer than the last worker"),
        ("reading", seconds["read"], "the results, back from MLflow"),
        ("leaderboard", seconds["write"], "its pages, plots and data"),
    ]
    lines = [
        "# Load",
        "",
        f"{trials:,} trials, one step of a tiny network each, with {found['workers']} workers: "
        f"{found['run_s']:.0f} s, **{trials / found['run_s']:.1f} trials a second**, "
        f"{each(found['run_s'])} ms each. Run again with everything in the store: {found['again_s']:.1f} s, "
        f"{each(found['again_s'])} ms each.",
        "",
        "| | ms a trial | |",
        "| --- | ---: | --- |",
        *(f"| {name} | {each(value)} | {what} |" for name, value, what in parts),
        "",
        "Parts that run at the same time are counted in full, and all that waits for a processor counts as used.",
        "",
        "| memory of the driver after | MB now | MB at most |",
        "| --- | ---: | ---: |",
        *(f"| {_after(name)} | {mb['now']:.0f} | {mb['peak']:.0f} |" for name, mb in found["memory_mb"].items()),
        "",
        f"On disk: {found['store_mb']:.0f} MB in the store, {found['mlflow_mb']:.0f} MB in MLflow.",
        "",
        f"Measured {found['date']} on {found['machine']['machine']}; Python {found['machine']['python']}, "
        + ", ".join(f"{package} {found['machine'][package]}" for package in PACKAGES)
        + f". Load average before {found['load_before']:.1f}, after {found['load_after']:.1f}"
        + (": other work shared the processors, so the times are upper bounds." if found["shared"] else "."),
        "",
        "Written by `python benchmarks/load.py`.",
    ]
    return "\n".join(lines) + "\n"


def _after(name: str) -> str:
    return (
        f"{int(name):,} trials"
        if name.isdigit()
        else {"the end": "the leaderboard", "run again": "the second run"}[name]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000, help="a multiple of 50")
    parser.add_argument("--workers", type=int, help="by default one a core")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        (asked.inside / "found.json").write_text(
            json.dumps(measure(asked.trials, asked.inside, asked.workers)), "utf-8"
        )
        return
    with tempfile.TemporaryDirectory(prefix="prunebench-load-") as name:  # a new process: its memory is measured
        load_before = os.getloadavg()[0]
        workers = asked.workers or len(os.sched_getaffinity(0))
        inside = [__file__, "--trials", str(asked.trials), "--workers", str(workers), "--inside", name]
        subprocess.run([sys.executable, *inside], check=True)
        found = json.loads(Path(name, "found.json").read_text("utf-8"))
    found |= {"workers": workers, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
    found |= {"load_before": load_before, "load_after": os.getloadavg()[0]}
    found["shared"] = load_before > 0.5
    asked.output.mkdir(parents=True, exist_ok=True)
    (asked.output / "load.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    (asked.output / "load.md").write_text(page(found), "utf-8")
    print(page(found))


if __name__ == "__main__":
    main()
