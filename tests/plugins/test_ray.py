"""The Ray executor on a cluster of two nodes on this machine: the same bits, and what is lost when something dies."""

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from prunebench import session
from prunebench.api.errors import PrunebenchError
from prunebench.api.executors import Resources, RunContext
from prunebench.data.prepared import prepare
from prunebench.execution.open_trials import TaskData
from prunebench.execution.scheduler import Scheduler, SchedulerOptions
from prunebench.store.entries import Store
from tests import runs

pytest.importorskip("ray")
from prunebench_plugins.ray import Ray

slow = pytest.mark.slow
LIMIT = 240
"""Seconds that a test may take: a cluster that is broken waits, it does not fail."""
TEXT = runs.SUITE.replace("seeds: 2", "seeds: 1").replace("[0.5, 0.7]", "[0.5]")
TEXT = TEXT.replace(
    "methods:\n", "methods:\n  - {name: l2-filters, finetune: 1ep}\n"
)  # its states are smaller networks


@pytest.fixture(autouse=True)
def bounded():
    """A test that takes too long fails; one that cannot even do that ends the run, and Ray's processes with it."""

    def too_long(*_):
        raise TimeoutError(f"took longer than {LIMIT} s")

    handler = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT)
    faulthandler.dump_traceback_later(LIMIT + 30, exit=True)
    yield
    signal.alarm(0)
    faulthandler.cancel_dump_traceback_later()
    signal.signal(signal.SIGALRM, handler)


@pytest.fixture(scope="module")
def temporary():
    """A folder of these tests' own, with a name that is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, temporary):
    """Two nodes with a core each; whoever needs another one adds it."""
    folder = tmp_path_factory.mktemp("home")
    saved = dict(os.environ)
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0", HOME=str(folder))
    os.environ["TMPDIR"] = temporary
    import ray
    from ray.cluster_utils import Cluster

    handler = signal.getsignal(signal.SIGTERM)
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    nodes = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    nodes.add_node(**small)
    nodes.small = small
    yield nodes
    with contextlib.suppress(Exception):
        ray.shutdown()
    nodes.shutdown()
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return session.load_suite(runs.write_suite(tmp_path_factory.mktemp("suite"), TEXT))


@pytest.fixture(scope="module")
def scheduler_of(tmp_path_factory, loaded):
    """Makes a scheduler of the suite, by the local executor unless another is given."""

    def make(executor=None, loaded=loaded, folder=None, **options):
        store = Store.open(folder or tmp_path_factory.mktemp("store"))
        prepared = {trial.task.label: prepare(trial.task.dataset, None, store.data) for trial in loaded.trials}
        chosen = SchedulerOptions(executor=executor, plugins=loaded.files, **options)
        return Scheduler(session.plan_suite(loaded, prepared), store, loaded.registry, TaskData(prepared), chosen)

    return make


@pytest.fixture(scope="module")
def local(scheduler_of):
    """The states that the local executor makes."""
    scheduler = scheduler_of(workers=2)
    assert {event.result.status for event in scheduler.events()} == {"done"}
    return runs.states(scheduler.store.root)


class Abroad(Ray):
    """As if no node saw the store: they know it by a file that is not there."""

    name = "abroad"

    def open(self, site):
        pool = super().open(site)
        pool._token.unlink()
        return pool


def ended(scheduler):
    return {str(event.planned.trial): event.result.status for event in scheduler.events()}


@slow
def test_a_cluster_makes_the_same_states_bit_for_bit(cluster, scheduler_of, local):
    scheduler = scheduler_of(Ray(address=cluster.address))
    assert set(ended(scheduler).values()) == {"done"}
    assert runs.states(scheduler.store.root) == local
    assert not list(scheduler.store.root.glob(".seen.*"))


@slow
def test_states_travel_to_nodes_that_do_not_see_the_store(cluster, scheduler_of, local):
    scheduler = scheduler_of(Abroad(address=cluster.address))
    assert set(ended(scheduler).values()) == {"done"}
    assert runs.states(scheduler.store.root) == local
    assert [path.name for path in scheduler.store.root.iterdir() if path.name.startswith(".")] == []
    left = Path(os.environ["TMPDIR"], f"prunebench-{os.getuid()}")
    assert list(left.iterdir()) == []


@pytest.fixture
def troubled(tmp_path):
    """A suite of one method that has the trouble given; it leaves a mark each time that it is called."""

    def load(code):
        path = runs.with_trouble(tmp_path, code)
        text = (
            TEXT.split("methods:")[0] + f"methods: [{{name: mine, marks: '{tmp_path}'}}]\nsparsities: [0.5]\nseeds: 2\n"
        )
        return session.load_suite(runs.write_suite(tmp_path, text), plugin_files=[path])

    return load


@slow
@pytest.mark.parametrize("executor", [Ray, Abroad])
def test_an_exception_comes_home_with_its_reason(cluster, scheduler_of, troubled, executor):
    scheduler = scheduler_of(executor(address=cluster.address), troubled("if seed == 1: raise ValueError('no luck')"))
    events = list(scheduler.events())
    [failed] = [event for event in events if event.result.status == "failed"]
    assert failed.result.reason == "ValueError: no luck (mine.py:24)"
    assert "Traceback" in scheduler.store.failure(failed.planned.key)["traceback"]
    assert "no luck" in (scheduler.store.logs / f"{failed.planned.key}.log").read_text("utf-8")
    assert {event.result.status for event in events if event is not failed} == {"done"}


@slow
@pytest.mark.parametrize("executor", [Ray, Abroad])
def test_a_worker_that_is_killed_costs_a_retry(cluster, scheduler_of, troubled, tmp_path, executor):
    code = "if seed == 1 and len(tries) < 3: os.kill(os.getpid(), signal.SIGKILL)"
    assert set(ended(scheduler_of(executor(address=cluster.address), troubled(code))).values()) == {"done"}
    assert (tmp_path / "seed-1").read_text() == "xxx"


@slow
def test_the_death_of_a_ray_worker_costs_a_retry_and_ends_its_stage(cluster, scheduler_of, troubled, tmp_path):
    # Between its process and the stage's are those of a fork server and of its template.
    code = (
        "import time\n"
        "if seed == 1 and len(tries) < 2:\n"
        "    parent = os.getppid()\n"
        "    for _ in range(2):\n"
        "        parent = int(Path(f'/proc/{parent}/stat').read_text().rpartition(') ')[2].split()[1])\n"
        "    os.kill(parent, signal.SIGKILL)\n"
        "    time.sleep(10)\n"
        "    Path(__file__).with_name('survived').touch()"
    )
    assert set(ended(scheduler_of(Ray(address=cluster.address), troubled(code))).values()) == {"done"}
    assert (tmp_path / "seed-1").read_text() == "xx"
    time.sleep(11)
    assert not (tmp_path / "survived").exists()


@slow
@pytest.mark.parametrize("executor", [Ray, Abroad])
def test_a_lost_node_costs_its_running_stages(cluster, scheduler_of, troubled, tmp_path, executor):
    # Only these two have the room; Ray adds nodes from the main thread alone, so the one that goes on is there before.
    nodes = [cluster.add_node(**{**cluster.small, "num_cpus": 2}) for _ in range(2)]
    code = (
        "import time\n"
        "if seed == 0 and len(tries) < 2:\n"
        f"    Path('{tmp_path}', 'pid').write_text(str(os.getpid()))\n"
        "    time.sleep(600)"
    )
    lost = []

    def lose():
        wait_for(tmp_path / "seed-1")
        wait_for(tmp_path / "pid")
        lost.append(node_of(int((tmp_path / "pid").read_text()), nodes))
        cluster.remove_node(lost[0], allow_graceful=False)

    scheduler = scheduler_of(executor(address=cluster.address), troubled(code), resources=Resources(num_cpus=2))
    remover = threading.Thread(target=lose, daemon=True)
    remover.start()
    try:
        assert set(ended(scheduler).values()) == {"done"}
    finally:
        for node in nodes:
            if node not in lost:
                cluster.remove_node(node)
    assert (tmp_path / "seed-0").read_text() == "xx"
    assert (tmp_path / "seed-1").read_text() == "x"


def wait_for(path):
    while not path.exists() or not path.read_text():
        time.sleep(0.1)


def node_of(pid, nodes):
    """The node among whose workers' children a process is."""
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in nodes}
    while pid not in raylets:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return raylets[pid]


@slow
def test_a_hanging_stage_is_killed_on_its_node(cluster, scheduler_of, troubled, tmp_path):
    code = "import time\nif seed == 1:\n    time.sleep(600)"
    scheduler = scheduler_of(Ray(address=cluster.address), troubled(code), timeout=25)
    events = list(scheduler.events())
    [failed] = [event.result for event in events if event.result.status == "failed"]
    assert failed.reason == "took longer than --timeout 25s"


@slow
def test_what_no_node_has_is_refused_before_any_work(cluster, scheduler_of):
    scheduler = scheduler_of(Ray(address=cluster.address), resources=Resources(num_cpus=64))
    with pytest.raises(PrunebenchError, match=r"no node of the Ray cluster has 64 CPUs, .*--num-cpus"):
        list(scheduler.events())


def test_without_ray_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PrunebenchError, match=r"pip install 'prunebench\[ray\]'"):
        Ray().open(RunContext(store=tmp_path))


def test_no_command_imports_ray_that_does_not_use_it():
    code = "import sys, prunebench.api.plugins as r; print(r.load().names('executor'), 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['local', 'ray'] False"
