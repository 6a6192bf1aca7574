"""What the keys of a trial are made of, by names that people know; each entry of the store carries it.

A key is a hash, which says that something changed and never what. `prunebench why` compares these instead.
"""

from __future__ import annotations

from prunebench.execution.outcomes import components, flattened
from prunebench.identity import core_hashes, source_hashes
from prunebench.suite.reading import trial_to_plain
from prunebench.suite.values import Trial

Inputs = dict[str, str | int | float | bool]
NAMES = ("suite", "task.label", "method.label")
"""Of a trial's plain form what is in no key."""
DATA = "data"
CORE = "prunebench/"
SOURCE = " source "


def inputs_of(trial: Trial, fingerprint: str) -> Inputs:
    """Parameters by their dotted names, the data's fingerprint, and a hash of every source file, the core's too."""
    plain = flattened(trial_to_plain(trial))
    sources = {
        f"{kind}{SOURCE}{file}": found
        for kind, component in components(trial)
        for file, found in source_hashes(type(component)).items()
    }
    origins = {f"{kind} distribution": component.origin for kind, component in components(trial) if component.origin}
    return {
        **{name.removeprefix("task."): value for name, value in plain.items() if name not in NAMES},
        **sources,
        **origins,
        DATA: fingerprint,
        **{CORE + file: found for file, found in core_hashes().items()},
    }
