"""What is told of a method that fails in a run: its name, what is wrong, and the author's own line."""

import re
import textwrap

import pytest

from prunebench import session
from prunebench.data.prepared import prepare
from prunebench.execution.open_trials import TaskData
from prunebench.execution.scheduler import Scheduler, SchedulerOptions
from prunebench.store.entries import Store
from tests import runs

METHOD = '''
    import torch
    import prunebench

    class Mine(prunebench.Method):
        """Fails."""

        name = "mine"

        def scores(self, scoring):
            {scores}

        def updater(self, density):
            return None

        def stages(self, trial):
            {stages}

    @prunebench.hookimpl
    def register_methods():
        return [Mine]
'''
CHAIN = "return [prunebench.Initialize(), prunebench.Prune(by=self, density=trial.density)]"


@pytest.fixture
def failure(tmp_path):
    """Runs a suite of a method with this code; gives the reason of its only row, and the store."""

    def run(scores="return None", stages=CHAIN):
        plugin = tmp_path / "mine.py"
        plugin.write_text(textwrap.dedent(METHOD).format(scores=scores, stages=stages), "utf-8")
        text = runs.SUITE.split("methods:")[0] + "methods: [mine]\nsparsities: [0.5]\nseeds: 1\n"
        loaded = session.load_suite(runs.write_suite(tmp_path, text), plugin_files=[plugin], only=["method=mine"])
        loaded = [trial for trial in loaded.trials if not trial.entry.method.control], loaded
        return walked(*loaded, tmp_path / "store")

    return run


def walked(trials, loaded, folder):
    store = Store.open(folder)
    prepared = {trial.task.label: prepare(trial.task.dataset, None, store.data) for trial in trials}
    plan = session.plan_suite(session.LoadedSuite(loaded.suite, tuple(trials), loaded.registry, loaded.files), prepared)
    options = SchedulerOptions(workers=1, plugins=loaded.files)
    (event,) = Scheduler(plan, store, loaded.registry, TaskData(prepared), options).events()
    return event.result.reason, store.failure(event.planned.key)


def test_an_exception_is_told_with_the_file_and_the_line(failure):
    reason, record = failure("raise ValueError('no luck')")
    assert reason == "ValueError: no luck (mine.py:11)"
    assert record["lines"] == ["mine.py:11, in scores: raise ValueError('no luck')"]
    assert "Traceback" in record["traceback"]


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ("return None", "scores of method 'mine' must return a dict of tensors by the names of the weights"),
        ("return {'1.weight': 1.0}", "scores of method 'mine' must return tensors, and returned 1.0 for '1.weight'"),
        ("return {}", "method 'mine': the scores lack '1.weight'"),
        (
            "return {name: weight.abs() / 0 * 0 for name, weight in scoring.weights.items()}",
            "method 'mine': the scores of '1.weight' are not all finite",
        ),
        (
            "return {name: weight.abs().sum(1) for name, weight in scoring.weights.items()}",
            "method 'mine': the scores of '1.weight' have shape (12,), not (12, 64)",
        ),
    ],
)
def test_wrong_scores_are_told_with_the_method(failure, scores, words):
    assert failure(scores)[0].startswith(words)


def test_what_is_no_updater_is_told_with_the_method(failure):
    reason, _ = failure(stages="return [prunebench.Initialize(), prunebench.Train(by=self)]")
    assert reason == "updater of method 'mine' must return a prunebench.Updater, and returned None"


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ("return None", "tiny/mine/0.5/0: stages of method 'mine' must yield stages, and returned None"),
        (
            "return ['prune']",
            "tiny/mine/0.5/0: a chain is made of stages, such as prunebench.Train(), and not of 'prune'",
        ),
        ("raise KeyError('x')", r"tiny/mine/0.5/0: stages of method 'mine' raised KeyError: 'x' (mine.py:17)"),
    ],
)
def test_a_chain_that_cannot_be_planned_is_told_before_anything_runs(failure, stages, words):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        failure(stages=stages)
    assert str(caught.value) == words


MODEL = '''
    import itertools
    import torch
    from torch import nn
    import prunebench

    built = itertools.count()

    class Net(prunebench.Model):
        """Not the same each time."""

        name = "net"

        def build(self, shape, classes):
            {build}

    @prunebench.hookimpl
    def register_models():
        return [Net]
'''
COUNTED = """
            width = 8 + next(built)
            return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, classes))
"""
CHANGED = """
            net = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
            net.register_buffer("seen", torch.zeros(1))
            net.passes = 0
            net.register_forward_pre_hook(self.passed)
            return net

        def passed(self, net, inputs):
            net.passes += 1
            if net.passes == 4:
                net.seen = torch.zeros(2)
"""


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (
            COUNTED.strip(),
            r"'1\.weight' is float32 of shape \(\d+, 64\), and should be float32 of shape \(\d+, 64\)",
        ),
        (CHANGED.strip(), r"'seen' is float32 of shape \(2,\), and should be float32 of shape \(1,\)"),
    ],
    ids=["each time that it is built", "in a later pass"],
)
def test_a_network_that_is_another_one_each_time_is_the_failure_of_its_model(tmp_path, build, reason):
    plugin = tmp_path / "net.py"
    plugin.write_text(textwrap.dedent(MODEL.format(build=build)), "utf-8")
    text = runs.SUITE.split("methods:")[0].replace("{name: mlp, hidden: [12]}", "net")
    text += "methods: [random]\nsparsities: [0.5]\nseeds: 1\n"
    loaded = session.load_suite(runs.write_suite(tmp_path, text), plugin_files=[plugin])
    found, _ = walked([trial for trial in loaded.trials if not trial.entry.method.control], loaded, tmp_path / "store")
    told = "model 'net' does not have the same parameters and buffers whenever it is built, and after each pass: "
    assert re.fullmatch(told + reason, found), found
