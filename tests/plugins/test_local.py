"""The local executor: how many processes, and which GPU each of them sees."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from types import SimpleNamespace

import pytest
from prunebench_plugins import local
from prunebench_plugins.local import Local, Processes

from prunebench.environment import cores
from prunebench.errors import PrunebenchError
from prunebench.executors import Order, Resources, Site


@pytest.fixture
def site(tmp_path):
    return lambda **facts: Site(store=tmp_path, **facts)


@pytest.fixture
def gpus(monkeypatch):
    """Makes so many GPUs."""
    return lambda *names: monkeypatch.setattr(local, "visible_gpus", lambda: names)


@pytest.fixture
def started(monkeypatch):
    """Starts no process; gives the environment that each would have had."""
    variables = []

    class Process:
        exitcode = None
        pid = 2**30  # nobody's

        def __init__(self, args, **_):
            variables.append(args[1])

        def start(self):
            pass

        def join(self, *_):
            self.exitcode = 0

    context = SimpleNamespace(Process=lambda target, **rest: Process(**rest), set_forkserver_preload=lambda _: None)
    monkeypatch.setattr("multiprocessing.get_context", lambda _: context)
    return variables


def order(key):
    return Order(
        trial={}, protocol="", path=(key,), parent=None, plugins=(), blocked=(), store="", data="", fingerprint=""
    )


@pytest.mark.parametrize(("facts", "slots"), [({}, cores()), ({"workers": 7}, 7), ({"threads": cores() + 1}, 1)])
def test_a_processor_has_a_place_for_each_core_unless_it_is_said(site, facts, slots):
    assert Local().open(site(**facts)).slots == slots


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
def test_two_gpus_have_as_many_places_as_share_them(site, gpus, executor, facts, slots):
    gpus("0", "1")
    assert executor.open(site(device="cuda", **facts)).slots == slots


def test_a_machine_without_a_gpu_is_told_before_any_work(site, gpus):
    gpus()
    with pytest.raises(PrunebenchError, match="--device cuda: torch finds no GPU"):
        Local().open(site(device="cuda"))


def test_each_process_sees_the_gpu_that_the_fewest_others_see(site, gpus, started):
    gpus("GPU-a", "GPU-b", "GPU-c")
    crew = Local(slots_per_gpu=2).open(site(device="cuda"))
    for number in range(6):
        assert crew.free == 6 - number
        crew.submit(order(str(number)))
    assert crew.free == 0
    assert Counter(one["CUDA_VISIBLE_DEVICES"] for one in started) == {"GPU-a": 2, "GPU-b": 2, "GPU-c": 2}
    crew.cancel("1")
    crew.submit(order("6"))
    assert started[6] == started[1]


def test_a_gpu_on_which_all_fails_is_not_given_every_next_order(site, gpus, started):
    gpus("GPU-a", "GPU-b")
    crew = Local().open(site(device="cuda"))
    given = []
    for number in range(4):
        crew.submit(order(str(number)))
        given.append(started[-1]["CUDA_VISIBLE_DEVICES"])
        crew._running[str(number)].process.exitcode = 1 if given[-1] == "GPU-a" else 0
        list(crew._reaped())
    assert given == ["GPU-a", "GPU-b", "GPU-b", "GPU-b"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_strangers_plugins_are_imported_before_a_fork_only_where_no_gpu_is_needed(
    site, gpus, started, monkeypatch, device
):
    gpus("0")
    monkeypatch.setattr(local, "foreign_names", lambda: ["theirs"])
    monkeypatch.setenv("PRUNEBENCH_PRELOAD", "")  # put back after the test
    Local().open(site(device=device, plugins=("/mine.py",), blocked=("snip",)))
    expected = [["/mine.py"], ["snip"]] if device == "cpu" else [[], ["snip", "theirs"]]
    assert json.loads(os.environ["PRUNEBENCH_PRELOAD"]) == expected


def test_on_a_processor_nothing_is_hidden(site, started):
    Processes(site(), 1).submit(order("k"))
    assert started == [{}]


FRESH = """
from pathlib import Path
from prunebench.executors import Site
from prunebench_plugins.local import Local

process = Local().open(Site(store=Path("."), workers=1))._context.Process(target=print, args=("at work",))
process.start()
process.join()
"""


def test_workers_start_where_temporary_files_have_a_long_path(tmp_path):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FRESH],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(long)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.stdout, done.returncode) == ("at work\n", 0), done.stderr
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
        local._make_room_for_sockets()
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
