"""status, why and cache as a person types them."""

import json
import os
import re
import shutil
import signal
import time

import pytest
import torch

from prunebench import session
from prunebench.execution import worker
from prunebench.store import locks as claims
from prunebench.store.entries import Store
from tests import runs
from tests.execution import filling

SUITE = """
name: small
tasks:
  - label: small
    dataset: digits
    model: {name: mlp, hidden: [8]}
    recipe: {epochs: 1, batch_size: 200, optimizer: {name: sgd, lr: 0.1}}
methods: [{name: mine, finetune: 2it}]
sparsities: [0.5]
seeds: 1
"""
PLUGIN = '''
import prunebench


class Mine(prunebench.Method):
    """The largest stay."""

    name = "mine"
    finetune: str = "1it"

    def scores(self, scoring):
        return {name: weight.abs() for name, weight in scoring.weights.items()}

    def stages(self, trial):
        yield prunebench.Initialize()
        yield prunebench.Train()
        yield prunebench.Prune(by=self, density=trial.density)
        yield prunebench.Train(f"+{self.finetune}")


@prunebench.hookimpl
def register_methods():
    return [Mine]
'''
NAME = "small/mine/0.5/0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a small suite was done with a plugin file."""
    folder = tmp_path_factory.mktemp("watching")
    (folder / "small.yaml").write_text(SUITE)
    (folder / "mine.py").write_text(PLUGIN)
    suite = session.load_suite(folder / "small.yaml", plugin_files=[folder / "mine.py"])
    filling.perform(suite, Store.open(folder / ".prunebench"))
    return folder


@pytest.fixture
def say(folder, prunebench, monkeypatch):
    """What a command prints, which is never wider than a terminal."""
    monkeypatch.chdir(folder)

    def call(*arguments, plugin="mine.py", code=0, width=80):
        done = prunebench(*arguments, "--plugin", plugin)
        assert done.exit_code == code, done.output
        assert width is None or max(map(len, done.stdout.splitlines())) <= width
        return done.stdout

    return call


@pytest.fixture
def copy(folder, say, tmp_path, monkeypatch):
    """Another folder like that one, for a test that damages what is in it."""
    own = tmp_path / "copy"
    shutil.copytree(folder, own)
    monkeypatch.chdir(own)
    return own


def test_status_shows_a_suite_that_is_done(say):
    printed = say("status", "small.yaml")
    assert re.search(r"^trials +2: 2 done$", printed, re.MULTILINE)
    assert "0 running, 0 waiting" in printed
    assert "nothing is left" in printed


def test_status_tells_a_job_in_a_line_and_where_it_is_in_another(say, folder):
    change = "methods.0.finetune=3it"
    suite = session.load_suite(folder / "small.yaml", settings=[change], plugin_files=[folder / "mine.py"])
    store = Store.open(folder / ".prunebench")
    plan = session.plan_suite(suite, session.prepared_already(suite, None, store.root))
    node = plan.nodes[plan.trials[-1].key]
    held = claims.lock(store, node.key, worker._work(node))
    with held:
        printed = say("status", "small.yaml", "--set", change)
    title, work, place = printed.splitlines()[-3:]
    assert (title, work) == ("running", f"  {NAME}: train from step {node.start} to {node.start + 3}")
    assert place.endswith(f", at step {node.start}")
    assert f"process {os.getpid()}" in place


def test_why_knows_what_is_stored_and_what_changed(say, folder):
    assert f"{NAME}: in the store" in say("why", "small.yaml", NAME)
    changed = say("why", "small.yaml", NAME, "--set", "methods.0.finetune=3it")
    assert "method.finetune: 2it → 3it" in changed
    assert "prune to density 0.5 by mine" in changed


def test_why_names_the_file_of_a_method_whose_code_changed(say, folder, tmp_path):
    other = tmp_path / "mine.py"
    other.write_text(PLUGIN.replace("weight.abs()", "weight.abs() + 1"))
    printed = say("why", "small.yaml", NAME, plugin=other)
    assert "the code of the method, mine.py" in printed
    assert "to run" in printed
    (tmp_path / "again").mkdir()
    same = tmp_path / "again" / "mine.py"
    same.write_text(PLUGIN.replace("The largest stay", "A docstring is no code"))
    assert f"{NAME}: in the store" in say("why", "small.yaml", NAME, plugin=same)


def test_cache_collects_nothing_that_the_suite_needs_and_nothing_without_being_told(say, folder):
    states = set(folder.glob(".prunebench/states/*/*"))
    assert "the suites need all entries" in say("cache", "--collect", "small.yaml", "--yes")
    dry = say("cache", "--collect", "small.yaml", "--set", "methods.0.finetune=3it")
    assert "small/mine" in dry
    assert "nothing was deleted" in dry
    assert set(folder.glob(".prunebench/states/*/*")) == states
    assert json.loads(say("cache", "--json", "small.yaml"))["needed"]["states"]["entries"] == len(states)


def test_cache_check_says_what_is_damaged_discards_it_and_exits_with_1(say, copy):
    assert "all states, checkpoints and data sets are intact" in say("cache", "--check")
    weights = next(iter(copy.glob(".prunebench/states/*/*/weights.safetensors")))
    weights.write_bytes(weights.read_bytes()[:-1])
    assert weights.parent.name in say("cache", "--check", code=1, width=None)
    assert not weights.parent.exists()
    assert "all states, checkpoints and data sets are intact" in say("cache", "--check")


def test_cache_check_discards_a_damaged_checkpoint_and_keeps_the_others(say, copy):
    kept = Store.open(copy / ".prunebench").checkpoints("a" * 32)
    for step in ("000000000003", "000000000004"):
        kept.write(step, {"node": "a" * 32}, {"weights": {"w": torch.zeros(4)}})
    assert "all states, checkpoints and data sets are intact" in say("cache", "--check")
    (kept.folder("000000000003") / "record.json").unlink()
    found = json.loads(say("cache", "--check", "--json", code=1, width=None))
    assert [(one["kind"], one["name"]) for one in found["damaged"]] == [("checkpoints", f"{'a' * 32}/000000000003")]
    assert [path.name for path in kept.root.iterdir()] == ["000000000004"]


@pytest.mark.slow
def test_status_sees_a_run_from_another_terminal_and_a_run_that_was_killed(tmp_path):
    (tmp_path / "small.yaml").write_text(SUITE.replace("epochs: 1", "epochs: 50000"))
    (tmp_path / "mine.py").write_text(PLUGIN)
    arguments = ("small.yaml", "--plugin", "mine.py")
    running = runs.begin("run", *arguments, cwd=tmp_path)
    try:
        while not list(tmp_path.glob(".prunebench/running/*.json")):
            assert running.poll() is None
            time.sleep(0.1)
        found = json.loads(runs.prunebench("status", *arguments, "--json", cwd=tmp_path).stdout)
        [mark] = found["running"]
        assert mark["trial"].startswith("small/")
        assert running.poll() is None
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    for _ in range(50):
        found = json.loads(runs.prunebench("status", *arguments, "--json", cwd=tmp_path).stdout)
        if not found["running"]:
            break
    assert [one["key"] for one in found["dead"]] == [mark["key"]]


@pytest.fixture
def old(tmp_path, monkeypatch, prunebench):
    """A folder with a suite, and a store that has its results from before there were versions; gives what is said."""
    suite = filling.loaded(tmp_path)
    store = Store.open(tmp_path / ".prunebench")
    filling.fill_old(store, suite)
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        done = prunebench(*arguments)
        assert done.exit_code == code, done.output
        return done.output

    return call


OLDER = "results of an older protocol than 1, which are not used"


def test_an_old_store_is_said_to_be_of_an_older_protocol_by_each_command_that_meets_it(old):
    for arguments in (("status", "tiny.yaml"), ("cache",), ("sync", "tiny.yaml")):
        assert OLDER in old(*arguments), arguments
    said = " ".join(old("why", "tiny.yaml", "tiny/imp/0.7/0").split())
    assert "the protocol is version 1, the stored result is of an older one that says no version" in said


def test_what_is_of_an_older_protocol_is_listed_and_removed_when_told(old):
    listed = old("cache", "--older")
    assert "these are of an older protocol, and no run reads them:" in listed
    assert "states of tiny/imp" in listed
    assert "nothing was deleted: --yes deletes them" in listed
    assert "deleted:" in old("cache", "--older", "--yes")
    assert old("cache", "--older") == "no results are of an older protocol\n"
    assert "older" not in old("status", "tiny.yaml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--older", "--check"), "--check cannot be combined"),
        (("--older", "--collect", "tiny.yaml"), "--collect and --older cannot be combined"),
        (("--yes",), "--yes needs --collect or --older"),
    ],
)
def test_options_of_cache_that_do_not_go_together_are_refused(old, arguments, words):
    assert words in old("cache", *arguments, code=2)
