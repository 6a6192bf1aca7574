"""What the forkserver has imported, a worker need not."""

import subprocess
import sys

CODE = """
import sys, threading
import prunebench.execution.processes.preload
from prunebench.api import plugins
from prunebench.network.description import describe
from prunebench.api.tasks import Optimizer, Recipe, Task

loaded = plugins.load()
dataset, model = loaded.find("dataset", "digits")[0](), loaded.find("model", "mlp")[0](hidden=(4,))
recipe = Recipe(optimizer=Optimizer(name="adam", lr=0.1), batch_size=8, epochs=1)
before = set(sys.modules)
describe(Task(label="digits", dataset=dataset, model=model, recipe=recipe))
print(len(set(sys.modules) - before), threading.active_count())
"""


def test_counting_flops_imports_next_to_nothing_in_a_worker_and_no_thread_was_started():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    modules, threads = map(int, done.stdout.split())
    assert modules < 10
    assert threads == 1
