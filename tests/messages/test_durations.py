"""Lengths of time, read and written."""

import pytest

from prunebench.messages import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30min", 1800),
        ("2h", 7200),
        ("1.5d", 129600),
        ("1h30min", 5400),
        ("1h 30min", 5400),
        ("0.5s", 0.5),
    ],
)
def test_a_length_of_time_is_read(text, seconds):
    assert durations.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "2m", "h", "-1h", "1e3s", "0s", "1h2", "nan", "2 hours", "1h" * 9 + "x"])
def test_anything_else_is_refused_with_the_forms_there_are(text):
    with pytest.raises(ValueError, match=r"write 90s, 30min, 2h|must be longer than 0"):
        durations.parse(text)


@pytest.mark.parametrize("text", ["45s", "0.3s", "30min", "90min", "2h", "3d"])
def test_what_is_written_is_what_was_read(text):
    assert durations.written(durations.parse(text)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45, "45 s"), (89, "89 s"), (90, "2 min"), (3599, "60 min"), (5400, "1.5 h"), (180000, "2.1 d")],
)
def test_people_are_told_two_digits(seconds, text):
    assert durations.rounded(seconds) == text
