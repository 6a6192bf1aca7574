"""An author is shown their own lines."""

from pathlib import Path

import pytest
import torch

import prunebench
from prunebench.messages import tracebacks
from prunebench.records.sources import files_of


class Failing(prunebench.Method):
    """Fails in torch, by way of a function of its own."""

    name = "failing"

    def scores(self, scoring):
        return inner()


def inner():
    return int("seven")


class Borrowed(prunebench.Method):
    """Has its scores from elsewhere."""

    name = "borrowed"


@pytest.fixture
def error():
    with pytest.raises(ValueError, match="seven") as caught:
        Failing().scores(None)
    return caught.value


def files():
    return files_of([Failing()])


def test_the_files_of_a_component_are_those_that_its_key_hashes():
    assert files() == {Path(__file__)}
    assert files_of([prunebench.Method()]) == set()


def test_only_the_authors_frames_are_left(error):
    assert [frame.name for frame in tracebacks.own_frames(error, files())][-2:] == ["scores", "inner"]
    assert tracebacks.own_frames(error, []) == []


def test_the_place_is_the_last_of_them(error):
    number = inner.__code__.co_firstlineno + 1
    assert tracebacks.place(error, files()) == f"test_tracebacks.py:{number}"
    assert tracebacks.lines(error, files())[-1] == f'test_tracebacks.py:{number}, in inner: return int("seven")'
    assert tracebacks.place(error, []) == ""


def test_an_error_that_was_raised_from_the_authors_has_its_place(error):
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("somewhere else") from error
    other = caught.value.with_traceback(None)
    assert tracebacks.place(other, files()) == tracebacks.place(error, files())


def test_an_error_with_a_message_is_described_by_it_and_its_place(error):
    number = inner.__code__.co_firstlineno + 1
    message = "ValueError: invalid literal for int() with base 10: 'seven'"
    assert tracebacks.description(error, files()) == f"{message} (test_tracebacks.py:{number})"
    assert tracebacks.description(error) == message


def silent(kind):
    raise kind


def silent_in_torch():
    torch._assert(1 == 2, "")


@pytest.mark.parametrize("kind", [AssertionError, ValueError, NotImplementedError(""), KeyError(), RuntimeError(" ")])
def test_an_error_without_a_message_is_described_by_its_line(kind):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is
        silent(kind)
    name = type(caught.value).__name__
    number = silent.__code__.co_firstlineno + 1
    expected = f"{name} at test_tracebacks.py:{number}, in silent: raise kind"
    assert tracebacks.description(caught.value, files()) == expected
    assert tracebacks.description(caught.value) == expected


def test_what_torch_raises_without_a_message_is_described_by_the_line_that_called_it():
    with pytest.raises(AssertionError) as caught:
        silent_in_torch()
    number = silent_in_torch.__code__.co_firstlineno + 1
    assert tracebacks.description(caught.value) == (
        f'AssertionError at test_tracebacks.py:{number}, in silent_in_torch: torch._assert(1 == 2, "")'
    )
