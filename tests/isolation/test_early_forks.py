"""A process that is forked early: its calls see what was loaded then, and nothing of it is left."""

import os
import signal
import sys
import time

import pytest

from prunebench.api.errors import DataError
from prunebench.isolation.calls import NoAnswer
from prunebench.isolation.early_forks import EarlyFork

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no calls in children")


def test_calls_see_the_process_as_it_was_and_each_is_made_in_a_child_of_its_own():
    loaded = ["before"]

    def function(more):
        loaded.append(more)
        return list(loaded), os.getpid()

    with EarlyFork(function, 60) as early:
        loaded.append("later")
        answers = [early.call(more) for more in "ab"]
    assert [found for found, _ in answers] == [["before", "a"], ["before", "b"]]
    assert len({os.getpid(), *(process for _, process in answers)}) == 3


def test_errors_come_back_and_later_calls_are_answered():
    def function(number):
        if number == 1:
            raise DataError("it is not there")
        if number == 2:
            os._exit(3)
        if number == 3:
            time.sleep(600)
        return number

    with EarlyFork(function, 1) as early:
        with pytest.raises(DataError, match="it is not there"):
            early.call(1)
        with pytest.raises(NoAnswer, match="exit code 3"):
            early.call(2)
        with pytest.raises(NoAnswer, match="longer than 1 s"):
            early.call(3)
        assert early.call(4) == 4


def test_a_process_that_was_killed_answers_no_call():
    with EarlyFork(lambda _: os.getppid(), 60) as early:
        os.kill(early._process.pid, signal.SIGKILL)
        with pytest.raises(NoAnswer, match="has ended"):
            early.call(None)


def test_the_process_ends_with_its_context():
    with EarlyFork(lambda value: value, 60) as early:
        process = early._process
    assert not process.is_alive()
