"""Points in a training: `500it`, `2ep`, `5%`, `end`, and the same after a `+` (counted from the current step)."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Predicate

_PATTERN = re.compile(r"(?P<plus>\+)?(?P<amount>[0-9]{1,12}(?:\.[0-9]{1,12})?)(?P<unit>it|ep|%)")


@dataclass(frozen=True)
class Clock:
    """The length of an epoch and of the whole recipe in optimizer steps, to convert times to steps."""

    steps_per_epoch: int
    total: int


@functools.cache
def parse(text: str | int) -> tuple[bool, float, str]:
    """Split a time into (relative, amount, unit); the unit is `it`, `ep`, `%` or `end`.

    Raises ValueError for any other form; a number without a unit, other than 0, could mean steps or epochs.
    """
    if text in (0, "0", "+0"):
        return text == "+0", 0.0, "it"
    if text == "end":
        return False, 0.0, "end"
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a time: write 0, end, steps like 500it, epochs like 2ep, or a share like 5%")
    return bool(match["plus"]), float(match["amount"]), match["unit"]


def is_time(text: str | int) -> bool:
    """Returns True for a time that counts from the start, and raises ValueError with the reason otherwise."""
    if parse(text)[0]:
        raise ValueError(f"{text!r} counts from the current step; write it without the +")
    return True


Time = Annotated[str | int, Predicate(is_time)]
"""The type of a parameter that is a time from the start; suites are checked for it."""


def is_moment(text: str | int) -> bool:
    """Returns True for a time from the start or, after a `+`, from the current step; raises ValueError otherwise."""
    parse(text)
    return True


Moment = Annotated[str | int, Predicate(is_moment)]
"""The type of a time that may count from the current step."""


def step_of(text: str | int, clock: Clock, now: int = 0) -> int:
    """The optimizer step that a time names (an epoch and a share are rounded to the nearest step)."""
    relative, amount, unit = parse(text)
    if unit == "end":
        return clock.total
    length = {"it": 1.0, "ep": float(clock.steps_per_epoch), "%": clock.total / 100}[unit]
    return round(amount * length) + (now if relative else 0)
