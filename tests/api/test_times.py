"""Points in a training: what is understood, and which step it is."""

import pytest

from prunebench.api import times

CLOCK = times.Clock(steps_per_epoch=16, total=640)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (0, (False, 0.0, "it")),
        ("0", (False, 0.0, "it")),
        ("+0", (True, 0.0, "it")),
        ("end", (False, 0.0, "end")),
        ("500it", (False, 500.0, "it")),
        ("2ep", (False, 2.0, "ep")),
        ("0.5ep", (False, 0.5, "ep")),
        ("5%", (False, 5.0, "%")),
        ("+5ep", (True, 5.0, "ep")),
    ],
)
def test_a_time_is_split_into_its_parts(text, parsed):
    assert times.parse(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        500,
        "500",
        "it",
        "5 ep",
        "-1ep",
        "1e3it",
        "5epp",
        "x5ep",
        "ep5",
        "",
        "+end",
        "++1it",
        "5it\n",
        "٥it",
        "1" * 13 + "it",
        1.5,
    ],
)
def test_what_is_no_time_is_refused_with_the_forms_that_are(text):
    with pytest.raises(ValueError, match="is not a time: write 0, end, steps like 500it") as caught:
        times.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "step"),
    [(0, 0), ("end", 640), ("500it", 500), ("2ep", 32), ("0.5ep", 8), ("5%", 32), ("100%", 640), ("200%", 1280)],
)
def test_a_time_names_a_step_wherever_the_state_stands(text, step):
    assert times.step_of(text, CLOCK) == times.step_of(text, CLOCK, now=7) == step


@pytest.mark.parametrize(("text", "step"), [("+0", 7), ("+3it", 10), ("+2ep", 39), ("+5%", 39)])
def test_a_time_after_a_plus_counts_from_where_the_state_stands(text, step):
    assert times.step_of(text, CLOCK, now=7) == step


def test_an_epoch_and_a_share_are_rounded_to_the_nearest_step():
    clock = times.Clock(steps_per_epoch=7, total=99)
    assert [times.step_of(text, clock) for text in ("0.1ep", "0.5ep", "10%", "1%")] == [1, 4, 10, 1]


def test_a_parameter_that_is_a_time_counts_from_the_start():
    assert times.is_time("2ep")
    with pytest.raises(ValueError, match=r"'\+2ep' counts from the current step"):
        times.is_time("+2ep")
