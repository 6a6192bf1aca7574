"""What the Ray executor does with what Ray tells it; Ray itself is played here, and real in test_ray."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from prunebench_plugins import ray as plugin
from prunebench_plugins import ray_nodes as nodes

import prunebench
from prunebench import session
from prunebench.api.errors import PrunebenchError
from prunebench.api.executors import ExitCode, Resources, RunContext
from prunebench.data.prepared import prepare
from prunebench.execution.open_trials import TaskData
from prunebench.execution.scheduler import Scheduler, SchedulerOptions
from prunebench.store.entries import Store
from tests import runs

TEXT = runs.SUITE.split("methods:")[0].replace("epochs: 2", "epochs: 1")
TEXT += "methods: [{name: magnitude, finetune: 1ep}]\nsparsities: [0.5]\nseeds: 1\n"


class Lost(Exception):
    """As Ray's errors are."""


class WorkerCrashedError(Lost):
    pass


class TaskError(Lost):
    pass


class Played:
    """Ray, whose tasks run in this process when they are asked for their answers."""

    exceptions = SimpleNamespace(RayError=Lost, RayTaskError=TaskError)

    def __init__(self, *nodes):
        self.resources = nodes or ({"CPU": 2.0},)
        self.losses = []
        """Raised in place of the next results."""
        self.cancelled, self.options_seen = [], {}
        self.util = SimpleNamespace(
            scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        )

    def is_initialized(self):
        return True

    def nodes(self):
        return [{"Alive": True, "NodeID": str(n), "Resources": one} for n, one in enumerate(self.resources)]

    def put(self, value):
        return (value,)

    def get(self, reference):
        if isinstance(reference[0], dict) and "exitcode" in reference[0] and self.losses:
            raise self.losses.pop()
        return reference[0]

    def remote(self, **options):
        self.options_seen |= options

        def decorated(function):
            call = lambda *arguments: self._answers(function, arguments)  # noqa: E731
            return SimpleNamespace(remote=call, options=lambda **_: SimpleNamespace(remote=call))

        return decorated

    def _answers(self, function, arguments):
        result = function(*arguments)
        return map(self.put, result) if result is not None else None

    def wait(self, answers, num_returns, timeout, fetch_local=True):
        return answers[:1], answers[1:]

    def cancel(self, answers, force):
        self.cancelled.append(answers)


@pytest.fixture
def played(monkeypatch, tmp_path):
    ray = Played()
    monkeypatch.setattr(plugin, "_imported", lambda: ray)
    monkeypatch.setitem(sys.modules, "ray", ray)
    run_job = lambda order: ExitCode.DONE if ray.losses else prunebench.run_job(order)  # noqa: E731  lost in mid-work
    monkeypatch.setattr(nodes, "_run", lambda order: prunebench.JobResult(order.key, run_job(order)))
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(nodes.tempfile, "gettempdir", lambda: str(tmp_path / "node"))
    return ray


@pytest.fixture
def scheduler_of(tmp_path):
    loaded = session.load_suite(runs.write_suite(tmp_path, TEXT))

    def make(executor, store="store", **options):
        opened = Store.open(tmp_path / store)
        prepared = {trial.task.label: prepare(trial.task.dataset, None, opened.data) for trial in loaded.trials}
        chosen = SchedulerOptions(executor=executor, **options)
        return Scheduler(session.plan_suite(loaded, prepared), opened, loaded.registry, TaskData(prepared), chosen)

    return make


class Abroad(plugin.Ray):
    """As if no node saw the store."""

    name = "abroad"

    def open(self, site):
        pool = super().open(site)
        pool._token.unlink()
        return pool


def statuses(scheduler):
    return [event.result.status for event in scheduler.events()]


def test_the_same_states_are_made_where_the_store_is_seen_and_where_they_travel(played, scheduler_of, tmp_path):
    assert statuses(scheduler_of(plugin.Ray())) == ["done", "done"]
    assert statuses(scheduler_of(Abroad(), "other")) == ["done", "done"]
    assert runs.states(tmp_path / "store") == runs.states(tmp_path / "other") != {}
    assert list((tmp_path / "node").glob("*/*")) == []  # nothing is left on the node
    assert not [path.name for path in (tmp_path / "other").iterdir() if path.name.startswith(".")]
    assert played.options_seen["max_retries"] == 0


def test_a_node_works_in_a_folder_of_its_own(played, scheduler_of, monkeypatch, tmp_path):
    orders = []
    run_job = nodes._run
    monkeypatch.setattr(nodes, "_run", lambda order: (orders.append(order), run_job(order))[1])
    statuses(scheduler_of(Abroad()))
    assert orders
    for order in orders:
        assert (tmp_path / "node") in Path(order.store).parents
        assert (tmp_path / "node") in Path(order.data).parents


def test_a_damaged_state_does_not_travel_and_is_made_again(played, scheduler_of, monkeypatch, caplog):
    damaged = []
    scheduler = scheduler_of(Abroad())
    receive = plugin.Tasks._receive

    def arrived(self, key, said):
        ended = receive(self, key, said)
        parts = list(self._store.folder(key).glob("weights.safetensors"))
        if parts and not damaged and key == scheduler.plan.trials[-1].chain[1]:
            damaged.append(key)
            parts[0].write_bytes(parts[0].read_bytes()[:-1])
        return ended

    monkeypatch.setattr(plugin.Tasks, "_receive", arrived)
    assert sorted(statuses(scheduler)) == ["done", "done"]
    assert damaged
    assert "an entry that it needs was missing or damaged" in caplog.text


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_a_worker_that_ray_loses_is_tried_three_times(played, scheduler_of, losses):
    played.losses = [WorkerCrashedError() for _ in range(losses)]
    scheduler = scheduler_of(plugin.Ray(), workers=1)
    reasons = [event.result.reason for event in scheduler.events()]
    if losses < 3:
        assert reasons == ["", ""]
    else:
        assert set(reasons) == {"its worker was killed by the crash of its Ray worker 3 times (out of memory?)"}


def test_a_state_that_was_made_before_its_worker_was_lost_counts(played, scheduler_of, monkeypatch):
    monkeypatch.setattr(nodes, "_run", lambda order: prunebench.JobResult(order.key, prunebench.run_job(order)))
    played.losses = [WorkerCrashedError(), TaskError("late"), WorkerCrashedError(), WorkerCrashedError()]
    assert [event.result.reason for event in scheduler_of(plugin.Ray(), workers=1).events()] == ["", ""]


def test_what_fails_outside_of_the_work_is_told_with_its_last_line(played, scheduler_of):
    played.losses = [TaskError("Traceback\n  File x\nModuleNotFoundError: No module named 'prunebench'\n")]
    reasons = {event.result.reason for event in scheduler_of(plugin.Ray(), workers=1).events()}
    assert "its Ray task failed: ModuleNotFoundError: No module named 'prunebench'" in reasons


def test_a_node_whose_disk_is_full_is_named(played, scheduler_of, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nodes, "_data", full)
    with pytest.raises(PrunebenchError, match=r": .*No space left on device"):
        statuses(scheduler_of(Abroad()))


@pytest.mark.parametrize(
    ("nodes", "facts", "places"),
    [
        ([{"CPU": 4.0}, {"CPU": 2.0}], {}, 6),
        ([{"CPU": 4.0}, {"CPU": 2.0}], {"threads": 2}, 3),
        ([{"CPU": 4.0}, {"CPU": 1.0}], {"resources": Resources(num_cpus=2)}, 2),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0}], {"device": "cuda"}, 2),
        ([{"CPU": 8.0, "GPU": 2.0}], {"device": "cuda", "resources": Resources(num_gpus=0.25)}, 8),
        ([{"CPU": 3.0, "GPU": 2.0}], {"device": "cuda", "resources": Resources(num_gpus=0.25)}, 3),
        ([{"CPU": 4.0}], {"resources": Resources(num_gpus=0.5)}, 4),
        ([{"CPU": 4.0}], {"workers": 3}, 3),
    ],
)
def test_there_are_as_many_places_as_fit_on_each_node(played, tmp_path, nodes, facts, places):
    played.resources = nodes
    assert plugin.Ray().open(RunContext(store=tmp_path, **facts)).free == places


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"resources": Resources(num_cpus=64)}, "has 64 CPUs, there are 2 CPUs and 0 GPUs"),
        ({"device": "cuda"}, "has 1 CPUs and 1 GPUs"),
    ],
)
def test_what_no_node_has_is_refused_before_any_work(played, tmp_path, facts, words):
    with pytest.raises(PrunebenchError, match=words):
        plugin.Ray().open(RunContext(store=tmp_path, **facts))
    assert list(tmp_path.glob(".seen*")) == []


def test_a_crew_that_is_left_cancels_what_runs(played, scheduler_of, tmp_path):
    pool = plugin.Ray().open(RunContext(store=tmp_path))
    pool._tasks["k"] = plugin.Task(None, "answers")
    assert not pool.begun("k")
    pool.shutdown()
    assert played.cancelled == ["answers"]
    assert list(tmp_path.glob(".seen*")) == []


def test_a_busy_or_full_node_is_heard(played, scheduler_of, monkeypatch):
    codes = [ExitCode.LOCKED]
    run_job = nodes._run
    monkeypatch.setattr(
        nodes, "_run", lambda order: prunebench.JobResult(order.key, codes.pop()) if codes else run_job(order)
    )
    assert statuses(scheduler_of(Abroad())) == ["done", "done"]


STREAMED = '''
import numpy as np
import prunebench


class Scattered(prunebench.Dataset):
    """Pictures that lie in files of their own."""

    name = "scattered"
    mean = (100.0,)
    std = (50.0,)

    def facts(self):
        return prunebench.DataFacts(shape=(1, 4, 4), classes=2, train=40, test=10)

    def files(self, root):
        names = [f"{n}.npy" for n in range(50)]
        labels = np.arange(50) % 2
        return prunebench.Files(root, names[:40], labels[:40], names[40:], labels[40:])

    def decode(self, path, seed):
        return np.load(path)


@prunebench.hookimpl
def register_datasets():
    return [Scattered]
'''


@pytest.fixture
def streamed(tmp_path):
    """Makes a scheduler of a suite whose data set is decoded while it trains."""
    plugin_file, root = tmp_path / "scattered.py", tmp_path / "pictures"
    plugin_file.write_text(STREAMED, "utf-8")
    root.mkdir()
    for number in range(50):
        np.save(root / f"{number}.npy", np.full((1, 4, 4), 5 * number, np.uint8))
    text = TEXT.replace("dataset: digits", "dataset: scattered").replace("batch_size: 100", "batch_size: 10")
    loaded = session.load_suite(runs.write_suite(tmp_path, text), plugin_files=[plugin_file])

    def make(executor, store="store"):
        opened = Store.open(tmp_path / store)
        prepared = {trial.task.label: prepare(trial.task.dataset, root, opened.data) for trial in loaded.trials}
        chosen = SchedulerOptions(executor=executor, plugins=loaded.files)
        return Scheduler(session.plan_suite(loaded, prepared), opened, loaded.registry, TaskData(prepared), chosen)

    return make


def test_data_that_is_decoded_while_it_trains_is_read_where_its_files_lie(played, streamed, tmp_path):
    assert statuses(streamed(plugin.Ray())) == ["done", "done"]
    assert statuses(streamed(Abroad(), "other")) == ["done", "done"]
    assert runs.states(tmp_path / "store") == runs.states(tmp_path / "other") != {}


@pytest.mark.parametrize("executor", [plugin.Ray, Abroad])
@pytest.mark.parametrize("there", [True, False], ids=["empty", "missing"])
def test_a_node_that_does_not_see_the_files_of_such_data_ends_the_run_before_any_work(
    played, streamed, tmp_path, executor, there
):
    scheduler = streamed(executor())
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    if there:
        (tmp_path / "pictures").mkdir()
    with pytest.raises(PrunebenchError, match=r": .*/pictures has no files here, .*: mount that folder on every node"):
        statuses(scheduler)
    assert runs.states(tmp_path / "store") == {}
    assert list((tmp_path / "store" / "failures").iterdir()) == []


@pytest.mark.parametrize("ends", [False, True])
def test_a_start_of_ray_that_takes_too_long_or_fails_leaves_no_process(monkeypatch, tmp_path, ends):
    monkeypatch.setattr(plugin.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(plugin.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(plugin, "LONGEST", 1000)
    pytest.importorskip("ray")
    monkeypatch.setattr(plugin, "START_TIMEOUT", 300.0 if ends else 1.0)
    started = []

    def init(_temp_dir, **_):
        code = "import time; time.sleep(600)"
        started.append(subprocess.Popen([sys.executable, "-c", code, f"--session-dir={_temp_dir}/session"]))
        if not ends:
            started[0].wait(60)
        raise ConnectionError("no answer")

    ray = SimpleNamespace(_private=SimpleNamespace(worker=SimpleNamespace()), init=init, shutdown=lambda: None)
    reason = "no answer" if ends else "it was not ready after 1 s"
    with pytest.raises(PrunebenchError, match=f"^cannot start Ray here: {reason}$"):
        plugin._connect(ray, "")
    assert started[0].wait(60) == -9
    assert list(tmp_path.glob("prunebench-ray-*")) == []


@pytest.mark.parametrize(("raised", "expected"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, PrunebenchError)])
def test_a_start_of_ray_that_does_not_come_about_leaves_nothing(monkeypatch, tmp_path, raised, expected):
    pytest.importorskip("ray")
    made = []

    def init(_temp_dir, **_):
        made.append(Path(_temp_dir))
        (made[0] / "session").touch()
        raise raised("no")

    monkeypatch.setattr(plugin.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(plugin.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(plugin, "LONGEST", 1000)
    stopped = []
    ray = SimpleNamespace(
        _private=SimpleNamespace(worker=SimpleNamespace()), init=init, shutdown=lambda: stopped.append(True)
    )
    with pytest.raises(expected):
        plugin._connect(ray, "")
    assert stopped
    assert made[0].parent == tmp_path
    assert not made[0].exists()


@pytest.mark.parametrize(
    ("device", "visible", "gpus"), [("cuda", "GPU-a", ("GPU-a",)), ("cuda", None, ()), ("cpu", "GPU-a", ())]
)
def test_a_task_sees_the_gpus_that_ray_gave_it_and_hides_none_where_ray_says_nothing(
    monkeypatch, device, visible, gpus
):
    order = prunebench.JobSpec(
        **dict.fromkeys(("protocol", "store", "data", "fingerprint"), ""),
        **dict.fromkeys(("path", "plugins", "blocked"), ()),
        trial={},
        parent=None,
        device=device,
    )
    seen = []

    class Seen:
        def __init__(self, site, slots, gpus):
            seen.append((site.device, slots, gpus))
            raise InterruptedError

    monkeypatch.setattr(nodes, "Processes", Seen)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(InterruptedError):
        nodes._run(order)
    assert seen == [(device, 1, gpus)]
