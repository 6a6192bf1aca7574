"""run, plan and leaderboard as a person types them."""

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from prunebench.store import locks as claims
from prunebench.store.entries import Store
from prunebench.tracking import read_results
from tests import runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the tiny suite was run for one seed, by a Python that was started for it."""
    folder = tmp_path_factory.mktemp("cli")
    runs.write_suite(folder)
    done = runs.started("run", "tiny.yaml", "--set", "seeds=1", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout, "utf-8")
    (folder / "stderr").write_text(done.stderr, "utf-8")
    return folder


def test_a_run_ends_by_printing_its_table(folder):
    printed = (folder / "stdout").read_text("utf-8")
    assert "Dense network" in printed
    assert "imp-shuffle" in printed
    assert "9 trials: 9 done, 0 cached, 0 failed, 0 skipped" in printed
    assert "leaderboard: results/tiny/README.md" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_a_log_has_a_plain_line_for_every_trial(folder):
    lines = (folder / "stderr").read_text("utf-8").splitlines()
    assert sum("tiny/imp/0.5/0" in line for line in lines) == 1
    assert sum("/9] tiny/" in line for line in lines) == 9
    assert not any("\x1b" in line for line in lines)


def test_a_run_leaves_nothing_but_what_it_says(folder):
    assert {path.name for path in folder.iterdir()} - {"stdout", "stderr"} <= {
        "tiny.yaml",
        ".prunebench",
        "results",
        "mlflow.db",
        "mlflow.db-shm",
        "mlflow.db-wal",
        "mlflow.db.lock",
        "mlruns",
    }


def test_a_forked_command_makes_the_states_and_says_the_words_of_a_started_one(folder, tmp_path):
    runs.write_suite(tmp_path)
    done = runs.prunebench("run", "tiny.yaml", "--set", "seeds=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert runs.states(tmp_path / ".prunebench") == runs.states(folder / ".prunebench")
    started = [(folder / name).read_text("utf-8") for name in ("stdout", "stderr")]
    assert [sorted(map(worded, text.splitlines())) for text in (done.stdout, done.stderr)] == [
        sorted(map(worded, text.splitlines())) for text in started
    ]
    for mistake in (["runn"], ["run", "nowhere.yaml"]):
        forked, started = (call(*mistake, cwd=tmp_path) for call in (runs.prunebench, runs.started))
        assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


def worded(line):
    """A line without its times and without how many trials had ended."""
    return re.sub(r"^\d\d:\d\d:\d\d |\[\d/9\] |; \d+ s$|[\d.]+ ?(ms|s)\b", "", line)


def test_the_plan_counts_trials_stages_and_what_is_there_already(folder):
    plan = json.loads(runs.prunebench("plan", "tiny.yaml", "--json", cwd=folder).stdout)
    assert (plan["trials"], plan["cached"]) == (18, 9)
    assert plan["stages"] < plan["stages_alone"]
    assert plan["flops_shared"] < plan["flops_alone"]
    assert plan["steps"] > 0
    text = runs.prunebench("plan", "tiny.yaml", "--set", "seeds=1", cwd=folder).stdout
    assert "9, of which 9 are in the store" in text
    assert "0 jobs" in text


def test_a_plan_touches_nothing(tmp_path):
    runs.write_suite(tmp_path)
    plan = json.loads(runs.prunebench("plan", "tiny.yaml", "--json", cwd=tmp_path).stdout)
    assert plan["cached"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_the_leaderboard_is_read_from_mlflow_alone(folder, tmp_path):
    (folder / ".prunebench").rename(tmp_path / "away")
    try:
        rows = json.loads(runs.prunebench("leaderboard", "tiny", "--format", "json", cwd=folder).stdout)
    finally:
        (tmp_path / "away").rename(folder / ".prunebench")
    keys = {"task", "method", "target_sparsity", "sparsity", "n", "metric_mean", "metric_std", "training_cost"}
    assert len(rows) == 9
    assert all(keys | {"wall_seconds", "status"} <= set(row) for row in rows)
    random = next(row for row in rows if row["method"] == "random" and row["target_sparsity"] == 0.5)
    assert random["sparsity"] == 0.5
    assert random["training_cost"] == pytest.approx(0.5, abs=0.05)


def test_a_leaderboard_of_a_suite_shows_what_is_missing(folder):
    rows = json.loads(runs.prunebench("leaderboard", "tiny.yaml", "--format", "json", cwd=folder).stdout)
    assert {row["status"] for row in rows} == {"incomplete (1 of 2)"}


def test_a_mistake_in_a_suite_is_reported_with_its_place_and_no_traceback(tmp_path):
    runs.write_suite(tmp_path, runs.SUITE.replace("- random", "- randon").replace("seeds: 2", "sedes: 2"))
    refused = runs.prunebench("run", "tiny.yaml", cwd=tmp_path)
    assert refused.returncode == 2
    assert "tiny.yaml:9:5" in refused.stderr
    assert "'random'" in refused.stderr
    assert "'seeds'" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


DEAF = """
import contextlib, os, signal
import prunebench
from prunebench_plugins.local import Local, Processes


class Swallowing(Processes):
    def wait(self, timeout):
        with contextlib.suppress(KeyboardInterrupt):  # as some libraries do
            os.kill(os.getpid(), signal.SIGINT)
        return super().wait(timeout)


class Deaf(Local):
    name = "deaf"

    def open(self, context):
        return Swallowing(context, 1)


@prunebench.hookimpl
def register_executors():
    return [Deaf]
"""


def test_ctrl_c_stops_a_run_also_where_a_library_swallows_the_exception(tmp_path):
    runs.write_suite(tmp_path)
    (tmp_path / "deaf.py").write_text(DEAF, "utf-8")
    done = runs.prunebench("run", "tiny.yaml", "--plugin", "deaf.py", "--executor", "deaf", cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "stopped; the same command continues")
    plan = json.loads(runs.prunebench("plan", "tiny.yaml", "--json", cwd=tmp_path).stdout)
    assert plan["cached"] < plan["trials"]


def test_a_failed_trial_is_a_row_and_the_exit_code_says_so(tmp_path):
    path = runs.with_trouble(tmp_path, "raise ValueError('no luck')")
    text = runs.SUITE.replace("- random", f"- {{name: mine, marks: '{tmp_path}'}}")
    runs.write_suite(tmp_path, text)
    done = runs.prunebench(
        "run", "tiny.yaml", "--plugin", path, "--only", "method=mine,sparsity=0.5", "--set", "seeds=1", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "1 done, 0 cached, 1 failed" in done.stdout
    assert "no luck" in done.stdout
    assert "FAILED: ValueError: no luck" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on(ending, tmp_path):
    runs.write_suite(tmp_path, runs.SUITE.replace("epochs: 2", "epochs: 1000000"))
    running = runs.begin("run", "tiny.yaml", cwd=tmp_path)
    while not list(tmp_path.glob(".prunebench/logs/*")):
        time.sleep(0.1)
        assert running.poll() is None
    running.send_signal(ending)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "the same command continues" in said
    assert "Traceback" not in said
    assert not _workers_of(tmp_path)


def test_a_run_whose_budget_is_used_up_says_so_and_goes_on_later(tmp_path):
    runs.write_suite(tmp_path)
    how = ["run", "tiny.yaml", "--only", "method=random,sparsity=0.5", "--set", "seeds=1"]
    ended = runs.prunebench(*how, "--budget", "0.01s", cwd=tmp_path)
    assert ended.returncode == 3
    assert "the budget is used up: 2 trials are open, and the same command continues" in ended.stderr
    assert "the shortest job that is left takes about " in ended.stderr
    assert "0 trials: 0 done" in ended.stdout
    assert runs.prunebench(*how, "--budget", "1h", cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_a_stage_that_hangs_is_a_failed_row_and_the_rest_goes_on(tmp_path):
    path = runs.with_trouble(tmp_path, "import time\ntime.sleep(600)")
    runs.write_suite(tmp_path, runs.SUITE.replace("- random", f"- {{name: mine, marks: '{tmp_path}'}}"))
    how = ["--plugin", path, "--only", "method=mine,sparsity=0.5", "--set", "seeds=1", "--timeout", "30s"]
    done = runs.prunebench("run", "tiny.yaml", *how, cwd=tmp_path)
    assert done.returncode == 1
    assert "FAILED: took longer than --timeout 30s" in done.stderr
    assert "1 done, 0 cached, 1 failed" in done.stdout
    assert not _workers_of(tmp_path)


def _workers_of(folder):
    """Processes that still have a file of this folder open as their output."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if str(folder) in str((process / "fd/1").readlink()):
                found.append(process.name)
    return found


def _begin(folder):
    return runs.begin("run", "tiny.yaml", "--checkpoint-every", "0.02s", cwd=folder)


def _seconds_to_work(folder, running):
    begun = time.monotonic()
    while not claims.running(Store(folder / ".prunebench")) and running.poll() is None:
        time.sleep(0.05)
    return time.monotonic() - begun


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_with_the_states_of_one_that_was_not(tmp_path):
    whole, broken, chance = tmp_path / "whole", tmp_path / "broken", random.Random(0)
    for folder in (whole, broken):
        folder.mkdir()
        runs.write_suite(folder, runs.SUITE.replace("epochs: 2", "epochs: 100"))
    assert runs.prunebench("run", "tiny.yaml", cwd=whole).returncode == 0
    killed = 0
    for moment in range(20):
        running = _begin(broken)
        _seconds_to_work(broken, running)
        time.sleep(chance.uniform(0, 0.5))
        workers = claims.running(Store(broken / ".prunebench"))
        if moment % 2 and workers:  # a worker, and the run a moment later
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers).pid, signal.SIGKILL)
            time.sleep(chance.uniform(0, 0.2))
        killed += running.poll() is None
        running.kill()
        running.wait()
    assert killed >= 15
    assert runs.prunebench("run", "tiny.yaml", cwd=broken).returncode == 0
    assert runs.states(broken / ".prunebench") == runs.states(whole / ".prunebench")
    boards = [
        runs.prunebench("leaderboard", "tiny", "--format", "json", cwd=folder).stdout for folder in (whole, broken)
    ]
    unbroken, mended = (
        [{**row, "wall_seconds": 0, "processor_seconds": 0} for row in json.loads(board)] for board in boards
    )
    assert unbroken == mended
    left = broken / ".prunebench"
    assert [path for part in ("checkpoints", "running") for path in (left / part).iterdir()] == []
    assert list(left.glob("states/*/.*")) == []


KILLED = """
import os, signal
from prunebench.cli import main
from prunebench.tracking.tracker import Tracker

happens, calls = Tracker.{method}, iter(range({times}))

def killed(self, *arguments):
    if next(calls, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return happens(self, *arguments)

Tracker.{method} = killed
main()
"""
"""The command line, killed when a method of the tracker is called once more than so many times."""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["publish", "_log", "_attach"])
def test_a_run_killed_between_a_state_and_its_mlflow_run_sends_each_result_once(tmp_path, method):
    runs.write_suite(tmp_path)
    script = KILLED.format(method=method, times=3)
    running = runs.begin("run", "tiny.yaml", "--only", "method=random", cwd=tmp_path, script=script)
    assert running.wait(300) == -signal.SIGKILL
    assert list(tmp_path.glob(".prunebench/states/*/*/record.json"))
    again = runs.prunebench("run", "tiny.yaml", "--only", "method=random", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    trials = [result.trial for result in read_results(f"sqlite:///{tmp_path / 'mlflow.db'}")]
    assert len(trials) == len(set(trials)) == 6  # two sparsities and the control, two seeds
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        query = "SELECT status FROM runs WHERE lifecycle_stage = 'active'"
        assert database.execute(query).fetchall() == [("FINISHED",)] * 7  # of the trials, and of the suite


@pytest.mark.slow
def test_two_runs_at_once_share_a_store(tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        folder.mkdir()
        runs.write_suite(folder)
    assert runs.prunebench("run", "tiny.yaml", cwd=alone).returncode == 0
    pair = [runs.begin("run", "tiny.yaml", cwd=shared) for _ in range(2)]
    said = [process.communicate(timeout=600)[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    assert runs.states(shared / ".prunebench") == runs.states(alone / ".prunebench")
    boards = [
        runs.prunebench("leaderboard", "tiny", "--format", "json", cwd=folder).stdout for folder in (alone, shared)
    ]
    one, two = ([{**row, "wall_seconds": 0, "processor_seconds": 0} for row in json.loads(board)] for board in boards)
    assert one == two
