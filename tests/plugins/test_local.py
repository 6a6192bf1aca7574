"""The local executor: how many processes, and which GPU each of them sees."""

import os
import subprocess
import sys
import tempfile
from collections import Counter

import pytest
from prunebench_plugins import local
from prunebench_plugins.local import Local, Processes

from prunebench.api.errors import PrunebenchError
from prunebench.api.executors import ExitCode, JobSpec, Resources, RunContext
from prunebench.records.environment import cores


@pytest.fixture
def context(tmp_path):
    return lambda **facts: RunContext(store=tmp_path, **facts)


@pytest.fixture
def gpus(monkeypatch):
    """Makes so many GPUs."""
    return lambda *names: monkeypatch.setattr(local, "visible_gpus", lambda: names)


class Server:
    """A fork server that starts nothing; keeps what it is told, and says what a test has it say."""

    def __init__(self, loaded):
        self.loaded, self.told, self.says, self.channel = loaded, [], [], self
        self.ended = False

    def send(self, **message):
        self.told.append(message)

    def settimeout(self, seconds):
        pass

    def received(self):
        return self.says.pop(0)


@pytest.fixture
def servers(monkeypatch):
    """The fork servers that were started."""
    found = []

    def start(plugins, blocked, sockets=""):
        found.append(Server([list(plugins), list(blocked)]))
        return found[-1]

    monkeypatch.setattr(local, "start_server", start)
    monkeypatch.setattr(local, "end_server", lambda server: vars(server).update(ended=True))
    return found


@pytest.fixture
def started(servers):
    """The environment of each process that was asked for."""
    return lambda: [message["variables"] for server in servers for message in server.told if "spec" in message]


def order(key):
    return JobSpec(
        trial={}, protocol="", path=(key,), parent=None, plugins=(), blocked=(), store="", data="", fingerprint=""
    )


@pytest.mark.parametrize(("facts", "slots"), [({}, cores()), ({"workers": 7}, 7), ({"threads": cores() + 1}, 1)])
def test_a_processor_has_a_place_for_each_core_unless_it_is_said(context, facts, slots):
    assert Local().open(context(**facts)).slots == slots


@pytest.mark.parametrize(
    ("executor", "facts", "slots"),
    [
        (Local(), {}, 2),
        (Local(slots_per_gpu=3), {}, 6),
        (Local(slots_per_gpu=3), {"workers": 4}, 4),
        (Local(), {"workers": 8}, 8),
        (Local(), {"resources": Resources(num_gpus=0.25)}, 8),
        (Local(), {"resources": Resources(num_gpus=0)}, 2),
    ],
)
def test_two_gpus_have_as_many_places_as_share_them(context, gpus, executor, facts, slots):
    gpus("0", "1")
    assert executor.open(context(device="cuda", **facts)).slots == slots


def test_a_machine_without_a_gpu_is_told_before_any_work(context, gpus):
    gpus()
    with pytest.raises(PrunebenchError, match="--device cuda: torch finds no GPU"):
        Local().open(context(device="cuda"))


def test_each_process_sees_the_gpu_that_the_fewest_others_see(context, gpus, started):
    gpus("GPU-a", "GPU-b", "GPU-c")
    pool = Local(slots_per_gpu=2).open(context(device="cuda"))
    for number in range(6):
        assert pool.free == 6 - number
        pool.submit(order(str(number)))
    assert pool.free == 0
    assert Counter(one["CUDA_VISIBLE_DEVICES"] for one in started()) == {"GPU-a": 2, "GPU-b": 2, "GPU-c": 2}
    pool.cancel("1")
    pool.submit(order("6"))
    assert started()[6] == started()[1]


def test_a_gpu_on_which_all_fails_is_not_given_every_next_order(context, gpus, servers, started):
    gpus("GPU-a", "GPU-b")
    pool = Local().open(context(device="cuda"))
    given = []
    for number in range(4):
        pool.submit(order(str(number)))
        given.append(started()[-1]["CUDA_VISIBLE_DEVICES"])
        servers[0].says.append([{"job": number, "code": 1 if given[-1] == "GPU-a" else 0}])
        pool.wait(None)
    assert given == ["GPU-a", "GPU-b", "GPU-b", "GPU-b"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_strangers_plugins_are_imported_before_a_fork_only_where_no_gpu_is_needed(
    context, gpus, servers, monkeypatch, device
):
    gpus("0")
    monkeypatch.setattr(local, "foreign_names", lambda: ["theirs"])
    Local().open(context(device=device, plugins=("/mine.py",), blocked=("snip",))).submit(order("k"))
    assert [server.loaded for server in servers] == [
        [["/mine.py"], ["snip"]] if device == "cpu" else [[], ["snip", "theirs"]]
    ]


def test_on_a_processor_nothing_is_hidden(context, started):
    Processes(context(), 1).submit(order("k"))
    assert started() == [{}]


def test_an_order_begins_when_the_server_has_loaded_the_plugins(context, servers):
    pool = Processes(context(), 1)
    pool.submit(order("k"))
    assert not pool.begun("k")
    servers[0].says = [[{"ready": True, "reason": ""}]]
    assert pool.wait(None) == []
    assert pool.begun("k")


def test_plugins_after_which_no_process_can_be_forked_are_imported_by_each_worker(context, servers):
    pool = Processes(context(plugins=("/mine.py",)), 2)
    pool.submit(order("a"))
    pool.submit(order("b"))
    servers[0].says = [[{"ready": False, "reason": "a plugin starts threads as it is imported"}]]
    assert pool.wait(None) == []
    assert servers[0].ended
    assert servers[1].loaded[0] == []
    assert [message["job"] for message in servers[1].told] == [0, 1]


def test_a_server_that_dies_ends_its_orders_without_blame_and_is_replaced(context, servers):
    pool = Processes(context(plugins=("/mine.py",)), 2)
    pool.submit(order("a"))
    pool.submit(order("b"))
    servers[0].says = [[{"ready": True, "reason": ""}], None]
    assert pool.wait(None) == []
    ended = pool.wait(None)
    assert [(one.key, one.exitcode, one.cause) for one in ended] == [
        (key, ExitCode.NOT_RUN, "the process that starts workers died") for key in "ab"
    ]
    assert pool.free == 2
    pool.submit(order("a"))
    assert servers[1].loaded[0] == ["/mine.py"]
    servers[1].says = [[{"job": 0, "code": 0}], [{"job": 2, "code": 0}]]  # the first is of an order that is over
    assert pool.wait(None) == []
    assert [one.exitcode for one in pool.wait(None)] == [0]


def test_a_server_that_dies_as_it_loads_plugins_is_not_asked_to_load_them_again(context, servers):
    pool = Processes(context(plugins=("/mine.py",)), 1)
    for number in range(2):
        pool.submit(order("a"))
        servers[number].says = [None]
        assert [one.exitcode for one in pool.wait(None)] == [ExitCode.NOT_RUN]
    assert [server.loaded[0] for server in servers] == [["/mine.py"], []]


def test_a_machine_that_starts_no_process_is_asked_again(context, monkeypatch):
    def start(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(local, "start_server", start)
    pool = Processes(context(), 1)
    pool.submit(order("a"))
    [ended] = pool.wait(None)
    assert (ended.exitcode, ended.cause) == (
        ExitCode.NOT_RUN,
        "cannot start a process: Resource temporarily unavailable",
    )


PLUGIN = """
import multiprocessing, os, prunebench
from multiprocessing.reduction import DupFd

inherited = multiprocessing.current_process()._config["tempdir"]
DupFd(os.open("/dev/null", os.O_RDONLY))  # makes a socket, as the processes do that decode data for a training
open("found", "w").write(inherited)

@prunebench.hookimpl
def register_methods():
    return []
"""


def test_processes_of_workers_have_sockets_where_temporary_files_have_a_long_path(tmp_path):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    (tmp_path / "mine.py").write_text(PLUGIN, "utf-8")
    code = "from pathlib import Path\nfrom prunebench.api.executors import RunContext\n"
    code += "from prunebench_plugins.local import Local\n"
    code += "pool = Local().open(RunContext(store=Path('.'), workers=1, plugins=(str(Path('mine.py').resolve()),)))\n"
    code += "from prunebench.execution.processes.forking import start_server\n"
    code += "print(start_server(*pool._plugins, pool._sockets).received())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(long)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "'ready': " in done.stdout, done.stderr
    assert (tmp_path / "found").read_text().startswith(local.SHORT)
    assert list(long.glob("pymp-*")) == []


@pytest.fixture
def sockets(tmp_path, monkeypatch):
    """Where the folder for sockets is made, if temporary files have a path of so many bytes; nothing is made."""

    def folder(length, made=None):
        usual = str(tmp_path).ljust(length, "x")[:length]
        monkeypatch.setattr(tempfile, "tempdir", usual)
        found = []

        def make():
            found.append(made or f"{tempfile.gettempdir()}/pymp-12345678")
            if tempfile.gettempdir() == "nowhere":
                raise PermissionError
            return found[-1]

        monkeypatch.setattr(local.util, "get_temp_dir", make)
        room = local._socket_folder()
        assert room in ("", *found)
        assert tempfile.tempdir == usual
        return found

    return folder


def test_the_usual_folder_is_left_as_long_as_a_sockets_name_fits(sockets, monkeypatch):
    monkeypatch.setattr(local, "SHORT", ("nowhere", "short"))
    assert len("x" * local.LONGEST + "/pymp-12345678/listener-12345678") in (107, 103)
    assert sockets(local.LONGEST) == []
    assert sockets(local.LONGEST + 1)[-1] == "short/pymp-12345678"


def test_where_no_folder_has_a_short_name_the_error_says_what_to_do(sockets, monkeypatch):
    monkeypatch.setattr(local, "SHORT", ("nowhere",))
    with pytest.raises(PrunebenchError, match=rf"set TMPDIR to a folder whose name has at most {local.LONGEST} bytes"):
        sockets(200)
    monkeypatch.setattr(local, "SHORT", ("short",))
    with pytest.raises(PrunebenchError, match="set TMPDIR"):  # somebody had the long one made before
        sockets(200, "x" * 200 + "/pymp-12345678")
