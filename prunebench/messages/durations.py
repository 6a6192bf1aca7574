"""Lengths of time as text: `90s`, `30min`, `2h`, `1.5d`, `1h30min`."""

from __future__ import annotations

import re
from typing import Any

UNITS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0}
LATEST = 253402300799.0
"""The end of the year 9999 in Unix seconds, the latest date that can be formatted."""
_PART = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(min|[dhs])"


def parse(text: str) -> float:
    """Return seconds. Raises ValueError for any other form, also for a number without a unit."""
    spoken = text.replace(" ", "")
    if not re.fullmatch(f"(?:{_PART})+", spoken):
        raise ValueError(f"{text!r} is not a length of time: write 90s, 30min, 2h, 1.5d or 1h30min")
    seconds = sum(float(amount) * UNITS[unit] for amount, unit in re.findall(_PART, spoken))
    if seconds <= 0:
        raise ValueError(f"{text!r} must be longer than 0")
    return seconds


def written(seconds: float) -> str:
    """The shortest text from which `parse` returns this number of seconds."""
    whole = (f"{seconds / size:g}{unit}" for unit, size in UNITS.items() if seconds >= size and not seconds % size)
    return next(whole, f"{seconds:g}s")


def rounded(seconds: float) -> str:
    """Seconds, rounded, with a unit: 45 s, 12 min, 3.5 h, 2.1 d."""
    for size, unit in ((86400, "d"), (3600, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def is_date(value: Any) -> bool:
    """Whether a value is a date in Unix seconds that can be formatted."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LATEST
