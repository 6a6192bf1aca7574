"""Threads and processes that a plugin leaves in the process of a command: it ends all the same, and so do they."""

import json

import pytest

from tests import runs
from tests.leftovers import marked

PLUGIN = '''
import os, signal, subprocess, threading, time
import numpy as np
import torch
import prunebench

KEPT = []

def leave(what):
    if what == "thread":
        threading.Thread(target=time.sleep, args=(3600,)).start()
    if what == "child":
        subprocess.Popen(["sh", "-c", "trap '' TERM HUP; sleep MARK & sleep MARK"])
    if what == "daemon" and not os.fork():
        os.setsid()
        if not os.fork():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.closerange(0, 100)
            os.execvp("sleep", ["sleep", "MARK"])
        os._exit(0)
    if what == "loader":
        data = torch.utils.data.TensorDataset(torch.zeros(8, 1))
        loader = torch.utils.data.DataLoader(data, num_workers=1, persistent_workers=True)
        KEPT.append((loader, list(loader)))

class Leaving(prunebench.Dataset):
    """Noise."""

    name = "leaving"
    mean = std = (64.0,)

    def facts(self):
        for what in ("thread", "child", "daemon"):
            leave(what)
        return prunebench.DataFacts(shape=(1, 4, 4), classes=3, train=40, test=20)

    def load(self, root):
        for what in ("thread", "child", "daemon", "loader"):
            leave(what)
        numbers = np.random.default_rng(0)
        parts = [(numbers.integers(0, 256, (size, 1, 4, 4)), numbers.integers(0, 3, size)) for size in (40, 20)]
        return prunebench.Arrays(*(part.astype(kind) for two in parts for part, kind in zip(two, (np.uint8, np.int64))))

class Left(prunebench.Updater):
    def __init__(self, what):
        self.what = what

    def after_step(self, training):
        if training.step in (2, 5):
            leave(self.what)

class Leaver(prunebench.Method):
    """Random masks."""

    name = "leaver"
    what: str

    def stages(self, trial):
        leave(self.what)
        yield prunebench.Initialize()
        yield prunebench.Prune(by=self, density=trial.density)
        yield prunebench.Train(by=self)

    def scores(self, scoring):
        return {name: torch.rand(weight.shape, generator=scoring.generator) for name, weight in scoring.weights.items()}

    def updater(self, density):
        return Left(self.what)

@prunebench.hookimpl
def register_methods():
    return [Leaver]

@prunebench.hookimpl
def register_datasets():
    return [Leaving]
'''


@pytest.mark.skipif("sys.platform != 'linux'", reason="looks at processes by /proc")
def test_a_run_ends_and_nothing_outlives_it_whatever_a_plugin_leaves(tmp_path, mark):
    (tmp_path / "leaver.py").write_text(PLUGIN.replace("MARK", mark), "utf-8")
    recipe = {"steps": 8, "batch_size": 8, "optimizer": {"name": "sgd", "lr": 0.1}}
    task = {"label": "t", "dataset": "leaving", "model": {"name": "mlp", "hidden": [8]}, "recipe": recipe}
    methods = [{"name": "leaver", "label": what, "what": what} for what in ("thread", "child", "daemon", "loader")]
    plain = {"name": "left", "tasks": [task], "methods": methods, "sparsities": [0.5], "seeds": 1}
    (tmp_path / "suite.yaml").write_text(json.dumps(plain), "utf-8")
    done = runs.prunebench("run", "suite.yaml", "--plugin", "leaver.py", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert "5 trials: 5 done, 0 cached, 0 failed, 0 skipped" in done.stdout
    assert marked(mark) == []
