"""The local executor: how many processes, and which GPU each of them sees."""

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


def test_on_a_processor_nothing_is_hidden(site, started):
    Processes(site(), 1).submit(order("k"))
    assert started == [{}]
