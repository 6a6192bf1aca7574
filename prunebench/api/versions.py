"""Versions of code in keys. Moving, renaming or rewording code does not change a key; raising a version does.

The core has one version, each built-in method, model and data set has its own (`version` in its class). Raise one when
the same parameters give other numbers, and only then: `tests/golden` notices that and says which. CONTRIBUTING has the
rules.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, field
from typing import Any

PROTOCOL_VERSION = 1
"""Version of what the core computes: training, scoring, masks, costs, metrics, and the stages and keys of a chain.

Results that say no version were stored when keys held the hash of the source; they are of an older protocol.
"""

NO_VERSION = "none (older)"
"""The version that is shown for results without one."""

_BEFORE = "prunebench.before"


def added_later(default: Any, *, before: Any = MISSING) -> Any:
    """The default of a parameter that is added to a class whose results are already stored.

        warm_start: bool = prunebench.added_later(False)

    A key leaves out the parameter if its value gives the behaviour from before the parameter was added, so that stored
    results keep their keys.

    Args:
        default: the parameter's default.
        before: the value that gives the behaviour from before, if that is not the default. Keep it if the default is
            changed later: a suite that relies on the default must then get other keys.
    """
    return field(default=default, metadata={_BEFORE: default if before is MISSING else before})


def as_before(one: Field[Any], value: Any) -> bool:
    """Whether a field was added later, and its value gives the behaviour from before."""
    if _BEFORE not in one.metadata:
        return False
    before = one.metadata[_BEFORE]
    return type(value) is type(before) and value == before
