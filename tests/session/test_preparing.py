"""Data sets that fail: their tasks fail with the reason, the others go on, and the next run tries again."""

import json
import re
import textwrap

import pytest
from click.testing import CliRunner

from prunebench import session
from prunebench.api.errors import DataError
from prunebench.cli import main
from prunebench.session.preparing import data_failures, prepare_data
from prunebench.store.entries import Store

PLUGIN = """
import os, sys, time
import numpy as np
import prunebench

def arrays():
    numbers = np.random.default_rng(0)
    inputs, labels = numbers.integers(0, 256, (30, 1, 4, 4)).astype(np.uint8), numbers.integers(0, 3, 30)
    return [inputs[:20], labels[:20], inputs[20:], labels[20:]]

def odd(): raise type("Odd", (BaseException,), {})("strange")
def wrong(part, change):
    made = arrays()
    made[part] = change(made[part])
    return prunebench.Arrays(*made)

WAYS = {
    "": lambda: prunebench.Arrays(*arrays()),
    "exit": lambda: sys.exit("enough"),
    "exit-0": lambda: sys.exit(0),
    "os-exit": lambda: os._exit(0),
    "killed": lambda: os.kill(os.getpid(), 9),
    "raise": lambda: {}["nothing"],
    "odd": odd,
    "nothing": lambda: None,
    "list": arrays,
    "lists": lambda: wrong(0, lambda inputs: inputs.tolist()),
    "float": lambda: wrong(0, lambda inputs: inputs / 255),
    "nan": lambda: wrong(2, lambda inputs: inputs * np.float32("nan")),
    "int32": lambda: wrong(1, lambda labels: labels.astype(np.int32)),
    "high": lambda: wrong(1, lambda labels: labels + 1),
    "low": lambda: wrong(3, lambda labels: labels - 1),
    "short": lambda: wrong(1, lambda labels: labels[1:]),
    "flat": lambda: wrong(0, lambda inputs: inputs[:, 0]),
    "empty": lambda: wrong(2, lambda inputs: inputs[:0]),
    "no-test": lambda: prunebench.Arrays(*arrays()[:2], *(part[:0] for part in arrays()[2:])),
    "no-train": lambda: prunebench.Arrays(*(part[:0] for part in arrays()[:2]), *arrays()[2:]),
}

def facts(**changes):
    return prunebench.DataFacts(**{"shape": (1, 4, 4), "classes": 3, "train": 20, "test": 10, **changes})

FACTS = {
    "facts-raise": lambda: {}["nothing"],
    "facts-exit": lambda: sys.exit("enough"),
    "facts-odd": odd,
    "facts-os-exit": lambda: os._exit(0),
    "facts-crash": lambda: os.kill(os.getpid(), 15),
    "facts-slow": lambda: time.sleep(600),
    "facts-nothing": lambda: None,
    "facts-tuple": lambda: ((1, 4, 4), 3, 20, 10),
    "facts-no-shape": lambda: facts(shape=None),
    "facts-flat": lambda: facts(shape=(16,)),
    "facts-word": lambda: facts(shape=(1, "4", 4)),
    "facts-zero": lambda: facts(shape=(1, 0, 4)),
    "facts-no-class": lambda: facts(classes=0),
    "facts-half": lambda: facts(train=20.5),
    "facts-unknown": lambda: facts(test=None),
    "facts-no-test": lambda: facts(test=0),
    "facts-no-train": lambda: facts(train=-1),
}

class Moody(prunebench.Dataset):
    name = "moody"
    mean = (128.0,)
    std = (64.0,)
    how: str = ""

    def facts(self):
        if self.how in FACTS:
            return FACTS[self.how]()
        train, test = 0 if self.how == "no-train" else 20, 0 if self.how == "no-test" else 10
        return prunebench.DataFacts(shape=(1, 4, 4), classes=3, train=train, test=test)

    def load(self, root):
        if self.how == "moody":
            return WAYS[(root / "mood.txt").read_text()]()
        if self.how == "missing":
            raise prunebench.api.errors.DataError("it is not there; looked for\\n    everywhere")
        return WAYS[self.how]()

    def signature(self, root):
        return {"signature": lambda: 1 / 0, "no-signature": lambda: None}.get(self.how, str)()

class Wide(Moody):
    name = "wide"
    mean = (1.0, 2.0)

class Still(Moody):
    name = "still"
    std = (0.0,)

class Undefined(Moody):
    name = "undefined"
    mean = (float("nan"),)

class Single(Moody):
    name = "single"
    std = 64.0

class Wordy(Moody):
    name = "wordy"

    @property
    def mean(self):
        return {}["mean"]

@prunebench.hookimpl
def register_datasets():
    return [Moody, Wide, Still, Undefined, Single, Wordy]
"""
INPUTS = r"train_inputs is .*, and should be uint8 of shape \(20, 1, 4, 4\)"
REASONS = {
    "exit": r"`load` raised SystemExit: enough \(mood\.py:\d+\)",
    "exit-0": r"`load` raised SystemExit: 0 \(mood\.py:\d+\)",
    "os-exit": "its process ended with exit code 0",
    "killed": "its process ended with signal 9",
    "raise": r"`load` raised KeyError: 'nothing' \(mood\.py:\d+\)",
    "odd": r"`load` raised Odd: strange \(mood\.py:\d+\)",
    "nothing": r"`load` must return prunebench\.Arrays, and returned None",
    "list": r"`load` must return prunebench\.Arrays, and returned a list",
    "lists": INPUTS,
    "float": INPUTS,
    "nan": r"test_inputs is float32 of shape .*, and should be uint8",
    "int32": r"train_labels is int32 of shape \(20,\), and should be int64",
    "high": r"train_labels are not all in 0\.\.2",
    "low": r"test_labels are not all in 0\.\.2",
    "short": r"train_labels is int64 of shape \(19,\), and should be int64 of shape \(20,\)",
    "flat": INPUTS,
    "empty": r"test_inputs is uint8 of shape \(0, 1, 4, 4\), and should be uint8 of shape \(10, 1, 4, 4\)",
    "no-test": "its test set is empty",
    "no-train": "its train set is empty",
    "facts-raise": r"`facts` raised KeyError: 'nothing' \(mood\.py:\d+\)",
    "facts-exit": r"`facts` raised SystemExit: enough \(mood\.py:\d+\)",
    "facts-odd": r"`facts` raised Odd: strange \(mood\.py:\d+\)",
    "facts-os-exit": "`facts`: its process ended with exit code 0",
    "facts-crash": "`facts`: its process ended with signal 15",
    "facts-slow": "`facts`: it took longer than 1 s",
    "facts-nothing": r"`facts` must return prunebench\.DataFacts, and returned None",
    "facts-tuple": r"`facts` must return prunebench\.DataFacts, and returned \(\(1, 4, 4\), 3, 20, 10\)",
    "facts-no-shape": r"its facts are DataFacts\(shape=None, .*\): sizes and shapes must be whole numbers",
    "facts-flat": r"its facts are .*: the shape is \(channels, height, width\), all numbers above 0",
    "facts-word": r"its facts are .*: sizes and shapes must be whole numbers",
    "facts-zero": r"its facts are .*: the shape is \(channels, height, width\), all numbers above 0",
    "facts-no-class": r"its facts are .*: the number of classes must be above 0",
    "facts-half": r"its facts are .*: sizes and shapes must be whole numbers",
    "facts-unknown": r"its facts are .*: sizes and shapes must be whole numbers",
    "facts-no-test": "its test set is empty",
    "facts-no-train": "its train set is empty",
    "signature": r"`signature` raised ZeroDivisionError: .* \(mood\.py:\d+\)",
    "no-signature": "`signature` must return text, and returned None",
}


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Writes a suite with a task for each of these data sets, labelled by `how`, and loads it."""
    monkeypatch.setattr("prunebench.suite.reading.PATIENCE", 1.0)
    (tmp_path / "mood.py").write_text(textwrap.dedent(PLUGIN), "utf-8")

    def write(*hows, name="moody"):
        recipe = {"steps": 1, "batch_size": 10, "optimizer": {"name": "sgd", "lr": 0.1}}
        tasks = [
            {
                "label": how or "fine",
                "dataset": {"name": name, "how": how},
                "model": {"name": "mlp", "hidden": [4]},
                "recipe": recipe,
            }
            for how in hows
        ]
        plain = {"name": "moods", "tasks": tasks, "methods": ["random"], "sparsities": [0.5], "seeds": 1}
        (tmp_path / "suite.yaml").write_text(json.dumps(plain), "utf-8")
        return session.load_suite(tmp_path / "suite.yaml", plugin_files=[tmp_path / "mood.py"])

    return write


class AnyMatch(str):
    """Equal to each text that matches this pattern."""

    __slots__ = ()

    def __eq__(self, other):
        return re.match(self, other) is not None

    __hash__ = str.__hash__


def test_what_a_data_set_does_fails_its_own_task_with_the_reason(suite, tmp_path):
    store = Store.open(tmp_path / "store")
    loaded = suite("", *REASONS)
    found = prepare_data(loaded, None, store)
    assert found.prepared.keys() == {"fine"}
    assert found.failed.keys() == REASONS.keys()
    for how, reason in REASONS.items():
        assert re.match(f"data set 'moody': {reason}", found.failed[how]), found.failed[how]
    assert {how: kept["reason"] for how, kept in data_failures(loaded, found.prepared, store).items()} == found.failed


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wide", r"`mean` is \(1\.0, 2\.0\), and should be one finite number for each of 1 channels"),
        ("still", r"`std` is \(0\.0,\), and should be above 0"),
        ("undefined", r"`mean` is \(nan,\), and should be one finite number for each of 1 channels"),
        ("single", r"`std` is 64\.0, and should be one finite number for each of 1 channels"),
        ("wordy", r"`mean` raised KeyError: 'mean' \(mood\.py:\d+\)"),
    ],
)
def test_a_normalization_that_does_not_fit_is_refused(suite, tmp_path, name, reason):
    found = prepare_data(suite("", name=name), None, Store.open(tmp_path / "store"))
    assert re.fullmatch(f"data set '{name}': {reason}", found.failed["fine"])


def test_planning_fails_the_trials_of_a_data_set_without_usable_facts(suite, tmp_path):
    loaded = suite("", *(how for how in REASONS if how.startswith("facts-")), "no-test")
    plan = session.plan_suite(loaded, {})
    failed = {str(one.trial): one.failed for one in plan.trials if one.trial.task.label != "fine"}
    assert failed == {
        f"{how}/{trial}/0": AnyMatch(f"data set 'moody': {REASONS[how]}")
        for how in {one.trial.task.label for one in plan.trials} - {"fine"}
        for trial in ("dense/0", "random/0.5")
    }
    assert all(one.chain and not one.failed for one in plan.trials if one.trial.task.label == "fine")
    assert {node.trial.task.label for node in plan.nodes.values()} == {"fine"}


def test_data_that_no_task_has_ends_the_run_before_it_begins(suite, tmp_path):
    store = Store.open(tmp_path / "store")
    with pytest.raises(DataError, match="it is not there; looked for\n    everywhere"):
        prepare_data(suite("missing"), None, store)
    found = prepare_data(suite("missing", ""), None, store)
    assert found.failed == {"missing": "it is not there; looked for everywhere"}


def test_a_failed_task_lets_the_others_go_on_and_the_next_run_tries_it_again(suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suite("", "moody")
    options = ["suite.yaml", "--plugin", "mood.py", "--data", "."]

    def called(command, *more):
        return CliRunner().invoke(main, [command, *options, *more], catch_exceptions=False)

    (tmp_path / "mood.txt").write_text("os-exit")
    first = called("run")
    assert first.exit_code == 1
    assert "4 trials: 2 done, 0 cached, 2 failed, 0 skipped" in first.output
    reason = "data set 'moody': its process ended with exit code 0"
    assert reason in (tmp_path / "results" / "moods" / "README.md").read_text()

    status = json.loads(called("status", "--json").output)
    assert (status["done"], status["left"]) == (2, 0)
    assert status["failed"] == {f"moody/{trial}/0": reason for trial in ("dense/0", "random/0.5")}
    assert "the data of moody could not be read; every run tries again" in called("status").output
    assert called("plan").exit_code == 0
    why = called("why", "moody/random/0.5/0")
    assert "failed: its data could not be read; each run tries again" in why.output
    assert reason in why.output

    (tmp_path / "mood.txt").write_text("")
    second = called("run")
    assert second.exit_code == 0
    assert "4 trials: 2 done, 2 cached, 0 failed, 0 skipped" in second.output
    page = (tmp_path / "results" / "moods" / "README.md").read_text()
    assert reason not in page
    assert "unprepared" not in page
    assert json.loads(called("status", "--json").output)["failed"] == {}
    assert "in the store; a run reuses it" in called("why", "moody/random/0.5/0").output


def test_facts_that_fail_are_a_failed_task_in_every_command_and_the_other_task_is_run(suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suite("", "facts-exit", "facts-no-test")
    options = ["suite.yaml", "--plugin", "mood.py"]

    def called(command, *more):
        return CliRunner().invoke(main, [command, *options, *more], catch_exceptions=False)

    exits, no_test = r"data set 'moody': `facts` raised SystemExit: enough (mood.py:", "data set 'moody': its test set"
    before = called("plan")
    assert before.exit_code == 0
    assert f"fail: 2 trials, such as facts-exit/dense/0/0: {exits}" in before.output
    estimated = json.loads(called("plan", "--json").output)
    assert (estimated["trials"], [len(one) for one in estimated["failed"].values()]) == (6, [2, 2])
    status = json.loads(called("status", "--json").output)
    assert (len(status["failed"]), status["done"], status["left"]) == (4, 0, 2)
    assert "the data of fine was not read here yet" in called("status").output
    why = called("why", "facts-exit/random/0.5/0")
    assert "fails in every run" in why.output
    assert exits in why.output

    run = called("run")
    assert run.exit_code == 1
    assert "6 trials: 2 done, 0 cached, 4 failed, 0 skipped" in run.output
    page = (tmp_path / "results" / "moods" / "README.md").read_text()
    assert "raised SystemExit: enough (mood.py:" in page
    assert no_test in page

    status = json.loads(called("status", "--json").output)
    assert (len(status["failed"]), status["done"], status["left"]) == (4, 2, 0)
    assert json.loads(called("why", "facts-no-test/random/0.5/0", "--json").output)["kind"] == "broken"
    again = called("run")
    assert again.exit_code == 1
    assert "6 trials: 0 done, 2 cached, 4 failed, 0 skipped" in again.output
    assert called("sync").exit_code == 0
    for command in ("inspect", "export"):
        assert exits in called(command, "facts-exit/random/0.5/0").output

    collecting = called("cache", "--collect", "--yes")  # what the failed tasks need of the store is not known
    assert collecting.exit_code == 2
    assert exits in collecting.output
    assert "6 trials: 0 done, 2 cached" in called("run").output


def test_a_suite_whose_data_sets_are_all_broken_has_failed_rows(suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suite("facts-nothing")
    run = CliRunner().invoke(main, ["run", "suite.yaml", "--plugin", "mood.py"], catch_exceptions=False)
    assert run.exit_code == 1
    assert "2 trials: 0 done, 0 cached, 2 failed, 0 skipped" in run.output
