"""Plugins' code in a child process: what it returns and raises comes back, and no process that it starts is left."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from prunebench.api.errors import DataError
from prunebench.isolation.calls import NoAnswer, call_in_child
from tests.leftovers import gone, marked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems call it in the same process")


def raised(error):
    raise error


def test_a_call_returns_and_raises_what_its_function_does_in_another_process():
    assert call_in_child(lambda: ("value", os.getpid()))[0] == "value"
    assert call_in_child(os.getpid) != os.getpid()
    with pytest.raises(DataError, match="it is not there"):
        call_in_child(lambda: raised(DataError("it is not there")))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: os._exit(0), "its process ended with exit code 0"),
        (lambda: os._exit(3), "its process ended with exit code 3"),
        (lambda: sys.exit(4), "its process ended with exit code 4"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "its process ended with signal 9"),
        (lambda: os.kill(os.getppid(), signal.SIGKILL) or time.sleep(60), "its process was killed"),
        (lambda: lambda: None, "its process ended with exit code 1"),  # which no pipe can send
    ],
)
def test_a_call_that_ends_its_process_says_how(function, reason):
    with pytest.raises(NoAnswer, match=f"^{reason}$"):
        call_in_child(function)


def test_a_call_that_takes_too_long_is_given_up():
    begun = time.monotonic()
    with pytest.raises(NoAnswer, match=r"^it took longer than 0\.2 s$"):
        call_in_child(lambda: time.sleep(600), patience=0.2)
    assert time.monotonic() - begun < 10


def leave(mark):
    """Start a thread, a child and a daemon in a session of its own, none of which ends by being asked."""
    threading.Thread(target=time.sleep, args=(600,)).start()
    subprocess.Popen(["sh", "-c", f"trap '' TERM HUP; sleep {mark} & sleep {mark}"])
    if not os.fork():
        os.setsid()
        if not os.fork():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.execvp("sleep", ["sleep", mark])
        os._exit(0)
    while len(marked(mark)) < 4:
        time.sleep(0.01)
    return "done"


@pytest.mark.parametrize("end", [lambda: None, lambda: raised(DataError("no")), lambda: os._exit(1)])
def test_what_a_call_leaves_behind_ends_with_it(mark, end):
    def function():
        leave(mark)
        end()

    with contextlib.suppress(DataError, NoAnswer):
        call_in_child(function)
    assert marked(mark) == []


def test_a_call_ends_with_the_process_that_made_it(mark):
    code = "import sys, time; sys.path[:0] = sys.argv[2:]; from tests.isolation.test_calls import leave\n"
    code += "from prunebench.isolation.calls import call_in_child\n"
    code += "call_in_child(lambda: (leave(sys.argv[1]), print('left', flush=True), time.sleep(600)))"
    command = [sys.executable, "-c", code, mark, Path.cwd()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout.readline() == "left\n"
        caller.kill()
    assert gone(lambda: marked(mark))


def test_a_signal_ends_a_call_also_where_its_caller_handles_it():
    """As `prunebench run` does, which prints one sentence when it is told to stop."""
    before = signal.signal(signal.SIGTERM, lambda *_: raised(KeyboardInterrupt()))
    try:
        with pytest.raises(NoAnswer, match="its process ended with signal 15"):
            call_in_child(lambda: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(60))
    finally:
        signal.signal(signal.SIGTERM, before)
