"""Whole runs of a tiny suite, for the tests of execution, session and command line."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests import forked

OWN = ("MLFLOW_", "PRUNEBENCH_")
TIMEOUT = 300
SUITE = """
name: tiny
tasks:
  - label: tiny
    dataset: digits
    model: {name: mlp, hidden: [12]}
    recipe: {epochs: 2, batch_size: 100, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
methods:
  - random
  - {name: imp, rewind_to: 3it}
  - {name: imp, label: imp-shuffle, rewind_to: 3it, shuffle: true}
  - {name: magnitude, finetune: 1ep}
sparsities: [0.5, 0.7]
seeds: 2
"""

METHOD = '''
import os
import signal
from pathlib import Path

import torch
import prunebench


class Mine(prunebench.Method):
    """A method for tests of what goes wrong."""

    name = "mine"
    marks: str

    def scores(self, scoring):
        mark = Path(self.marks, f"seed-{scoring.seed}")
        mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
        trouble(scoring.seed, mark.read_text())
        return {name: weight.abs() for name, weight in scoring.weights.items()}


def trouble(seed, tries):
    """TROUBLE"""


@prunebench.hookimpl
def register_methods():
    return [Mine]
'''


def with_trouble(folder: Path, code: str) -> Path:
    """A plugin file whose method runs `code` (with `seed` and `tries`) before it scores."""
    path = folder / "mine.py"
    path.write_text(METHOD.replace('    """TROUBLE"""', "    " + code.replace("\n", "\n    ")), "utf-8")
    return path


def write_suite(folder: Path, text: str = SUITE) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(text, "utf-8")
    return path


def states(store: Path) -> dict[str, dict[str, str]]:
    """The checksum of every file of every state, and what of its record must be the same in any run."""
    found = {}
    for record in sorted(store.glob("states/*/*/record.json")):
        content = json.loads(record.read_text("utf-8"))
        cost = {key: value for key, value in content["state"]["cost"].items() if not key.endswith("_seconds")}
        history = [{**point, "time": 0} for point in content["state"]["history"]]
        figures = json.dumps([cost, history, content["figures"], content["layers"]])
        sums = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in record.parent.glob("*.safetensors")
        }
        found[content["key"]] = {**sums, "figures": figures}
    return found


def command(*arguments: str | Path, **variables: str) -> list[str]:
    return [sys.executable, "-m", "prunebench", *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, without what would lead a run elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OWN)} | variables


def prunebench(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, forked from one that has imported everything where that can be."""
    if not all(name.startswith((*OWN, "PYTHONPATH")) for name in variables):  # others may change how Python starts
        return started(*arguments, cwd=cwd, **variables)
    running = begin(*arguments, cwd=cwd, **variables)
    try:
        return subprocess.CompletedProcess([*arguments], running.wait(TIMEOUT), *running.communicate())
    finally:
        running.kill()


def begin(*arguments: str | Path, cwd: Path, script: str = "", **variables: str) -> forked.Running:
    """The same, while it runs; a script is run instead, as `python -c` does."""
    return forked.server().begin([*map(str, arguments)], cwd, environment(**variables), script)


def started(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person does: Python is started for it."""
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(**variables), capture_output=True, text=True, timeout=TIMEOUT
    )
