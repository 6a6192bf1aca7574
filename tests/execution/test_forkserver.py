"""The processes of a run: what kills them from outside costs time and nothing else, and none outlives the run."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import prunebench
from prunebench import session
from prunebench.api.executors import ExitCode
from prunebench.data.prepared import prepare
from prunebench.execution.open_trials import TaskData
from prunebench.execution.processes import forking
from prunebench.execution.scheduler import Scheduler, SchedulerOptions
from prunebench.store.entries import Store
from tests import orders, runs
from tests.leftovers import children, gone, marked, processes

TASK = runs.SUITE.split("methods:")[0].replace("epochs: 2", "epochs: 1")
pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at processes by /proc")


@pytest.fixture
def scheduler_of(tmp_path):
    """Makes a scheduler over a dense control and a method with trouble, for so many seeds."""

    def make(code="", seeds=1, store="store", plugin=None, **options):
        path = runs.with_trouble(tmp_path, code or "pass")
        if plugin:
            path.write_text(plugin + path.read_text("utf-8"), "utf-8")
        text = TASK + f"methods: [{{name: mine, marks: '{tmp_path}'}}]\nsparsities: [0.5]\nseeds: {seeds}\n"
        loaded = session.load_suite(runs.write_suite(tmp_path, text), plugin_files=[path], only=["method=mine"])
        opened = Store.open(tmp_path / store)
        prepared = {trial.task.label: prepare(trial.task.dataset, None, opened.data) for trial in loaded.trials}
        chosen = SchedulerOptions(workers=2, plugins=loaded.files, blocked=loaded.blocked, **options)
        return Scheduler(session.plan_suite(loaded, prepared), opened, loaded.registry, TaskData(prepared), chosen)

    return make


def results(scheduler):
    """By seed: done, or the reason."""
    ends = [(event.planned.trial, event.result.reason or event.result.status) for event in scheduler.events()]
    return {trial.seed: end for trial, end in ends if trial.entry.label == "mine"}


# Processes that die


def test_a_server_that_dies_costs_no_row_whenever_that_is(scheduler_of, tmp_path):
    kills = """
parents = [os.getppid(), int(open(f"/proc/{os.getppid()}/stat").read().rpartition(") ")[2].split()[1])]
if seed == 0 and len(tries) <= 4:  # more often in a row than a worker may be killed
    os.kill(parents[0], signal.SIGKILL)
    import time; time.sleep(60)
if seed == 1 and len(tries) == 1:  # the template alone: what runs goes on
    os.kill(parents[1], signal.SIGKILL)
if seed == 2 and len(tries) == 1:
    os.kill(parents[1], signal.SIGKILL)
    os.kill(parents[0], signal.SIGKILL)
    import time; time.sleep(60)
"""
    scheduler = scheduler_of(kills, seeds=3)
    assert results(scheduler) == dict.fromkeys(range(3), "done")
    assert len((tmp_path / "seed-0").read_text()) >= 5
    assert list((scheduler.store.root / "failures").iterdir()) == []


def test_a_server_that_dies_between_jobs_is_replaced(scheduler_of):
    scheduler, ends = scheduler_of(seeds=2), []
    for event in scheduler.events():
        ends.append(event.result.status)
        for server in children(forking._template._process.pid):
            with contextlib.suppress(ProcessLookupError):  # it was replaced meanwhile
                os.kill(server, signal.SIGKILL)
    assert ends == ["done"] * 4


@pytest.mark.slow
def test_kills_at_random_moments_change_no_bit(scheduler_of, tmp_path):
    assert results(scheduler_of(seeds=6, store="quiet")) == dict.fromkeys(range(6), "done")
    over, kills = threading.Event(), []
    chance = random.Random(3)

    def kill():
        while not over.wait(chance.uniform(0.02, 0.3)):
            template = forking._template
            servers = children(template._process.pid) if template else []
            if servers and len(kills) < 6:
                victims = [template._process.pid, *servers, *servers]
                kills.append(chance.choice(victims))
                with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                    os.kill(kills[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        found = results(scheduler_of(seeds=6))
    finally:
        over.set()
        killer.join()
    assert found == dict.fromkeys(range(6), "done")
    assert kills
    assert runs.states(tmp_path / "store") == runs.states(tmp_path / "quiet")


def test_what_always_kills_the_server_is_a_failure_in_the_end_and_only_of_this_run(scheduler_of, monkeypatch):
    monkeypatch.setattr("prunebench.execution.running_jobs.RESTARTS", 2)
    scheduler = scheduler_of("import time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)")
    assert results(scheduler) == {0: "the process that starts workers died, 3 times"}
    assert list((scheduler.store.root / "failures").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "SystemExit: 3 (mine.py:24)"),
        ("raise SystemExit(0)", "SystemExit: 0 (mine.py:24)"),
        ("os._exit(5)", "its worker stopped with exit code 5"),
        ("os._exit(0)", "its worker stopped with exit code 0"),
        ("os._exit(75)", "its worker stopped with exit code 75"),  # what a worker says itself where another run works
        ("os.abort()", "its worker was killed by SIGABRT 3 times (out of memory?)"),
    ],
)
def test_an_end_of_the_method_s_own_is_its_failure(scheduler_of, code, reason):
    assert results(scheduler_of(code)) == {0: reason}


# Plugins after whose import no process should be forked


THREADS = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"


@pytest.mark.parametrize("plugin", [THREADS, "import subprocess\nhelper = subprocess.Popen(['sleep', 'MARK'])\n"])
def test_a_plugin_that_starts_threads_or_processes_as_it_is_imported_works(scheduler_of, mark, plugin):
    scheduler = scheduler_of(
        "import threading\nassert threading.active_count() <= 3", plugin=plugin.replace("MARK", mark)
    )
    assert results(scheduler) == {0: "done"}
    assert len(marked(mark)) <= 1  # the driver imported it too


# What methods leave behind


LEFT = """
import subprocess, threading, time
if seed == 0:
    threading.Thread(target=time.sleep, args=(3600,)).start()
if seed == 1:
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep MARK & sleep MARK"])
if seed == 2 and not os.fork():
    os.setsid()
    if not os.fork():
        os.closerange(0, 3)
        os.execvp("sleep", ["sleep", "MARK"])
    os._exit(0)
if seed == 3:
    import multiprocessing
    multiprocessing.get_context("fork").Process(target=os.execvp, args=("sleep", ["sleep", "MARK"])).start()
if seed == 4:
    subprocess.Popen(["setsid", "sleep", "MARK"])
    time.sleep(0.2)
    if len(tries) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_threads_and_processes_that_a_method_leaves_do_not_keep_it_from_being_done_and_are_gone(scheduler_of, mark):
    begun = time.monotonic()
    assert results(scheduler_of(LEFT.replace("MARK", mark), seeds=5)) == dict.fromkeys(range(5), "done")
    assert time.monotonic() - begun < 200
    assert gone(lambda: marked(mark), seconds=1.0)


def test_what_fails_and_what_takes_too_long_leaves_no_process(scheduler_of, mark):
    code = f"import subprocess, time\nsubprocess.Popen(['setsid', 'sleep', '{mark}'])\ntime.sleep(0.2)\n"
    code += "if seed == 0: raise ValueError('no luck')\ntime.sleep(3600)"
    found = results(scheduler_of(code, seeds=2, timeout=4.0))
    assert found == {0: "ValueError: no luck (mine.py:27)", 1: "took longer than --timeout 4s"}
    assert gone(lambda: marked(mark), seconds=1.0)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        pytest.param(signal.SIGINT, 130, "stopped; the same command continues", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 130, "stopped; the same command continues", marks=pytest.mark.slow),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_no_process_outlives_a_run_that_is_stopped(tmp_path, mark, number, code, words):
    text = f"import subprocess, time\nsubprocess.Popen(['setsid', 'sleep', '{mark}'])\ntime.sleep(3600)"
    plugin = runs.with_trouble(tmp_path, text)
    runs.write_suite(tmp_path, TASK + f"methods: [{{name: mine, marks: '{tmp_path}'}}]\nsparsities: [0.5]\nseeds: 1\n")
    command = runs.command("run", "tiny.yaml", "--plugin", plugin, "--only", "method=mine")
    with subprocess.Popen(command, cwd=tmp_path, env=runs.environment(), stderr=subprocess.PIPE, text=True) as driver:
        deadline = time.monotonic() + 200
        while not marked(mark) and time.monotonic() < deadline and driver.poll() is None:
            time.sleep(0.1)
        assert marked(mark), driver.stderr.read()
        driver.send_signal(number)
        _, said = driver.communicate(timeout=60)
    assert driver.returncode == code
    assert said.strip().endswith(words)
    assert "Traceback" not in said
    ours = lambda: [*marked(mark), *(pid for pid, _, place, _ in processes() if place == tmp_path)]  # noqa: E731
    assert gone(ours, seconds=0.0 if words else 10.0)


def test_workers_are_where_the_program_is_when_the_run_begins(scheduler_of, tmp_path, monkeypatch):
    for name in ("one", "two"):  # the template that the first run starts is the second one's too
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert results(scheduler_of("Path(f'here-{seed}').touch()", store=f"store-{name}")) == {0: "done"}
        assert Path("here-0").exists()


def test_a_folder_that_is_gone_is_no_other_folder(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert forking._folder() == "/"


def test_a_driver_that_ends_waits_for_its_template(tmp_path):
    code = "from prunebench.execution.processes.forking import start_server\nprint(start_server([], []).received())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.stdout == "[{'ready': True, 'reason': ''}]\n", done.stderr
    assert gone(lambda: [pid for pid, _, place, _ in processes() if place == tmp_path], seconds=2.0)


def test_a_template_ends_although_a_child_of_the_driver_has_its_socket_open(tmp_path):
    code = """
import os, time
from prunebench.execution.processes.forking import PATIENCE, close, start_server
start_server([], []).received()
if not (child := os.fork()):  # as a plugin may do
    time.sleep(60)
begun = time.monotonic()
close()
print(time.monotonic() - begun < PATIENCE / 2)
os.kill(child, 9)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.stdout == "True\n", done.stderr


def test_an_order_on_standard_input_does_not_wait_for_what_a_method_leaves(tmp_path, mark):
    path = runs.with_trouble(
        tmp_path, LEFT.replace("MARK", mark) + "threading.Thread(target=time.sleep, args=(3600,)).start()"
    )
    text = TASK + f"methods: [{{name: mine, marks: '{tmp_path}'}}]\nsparsities: [0.5]\nseeds: [2]\n"
    loaded = session.load_suite(
        runs.write_suite(tmp_path, text), plugin_files=[path], only=["method=mine,sparsity=0.5"]
    )
    begin, order, *_ = orders.orders_of(loaded, Store.open(tmp_path / "store"))  # the second one has the scores
    assert prunebench.run_job(begin) == ExitCode.DONE
    command = [sys.executable, "-m", "prunebench.execution"]
    done = subprocess.run(command, input=order.to_json(), cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "seed-2").read_text() == "x"
    assert Store.open(tmp_path / "store").has(order.key)
    assert marked(mark) == []
