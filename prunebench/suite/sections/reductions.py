"""The targets of methods that remove channels: from the key `reductions` of a suite, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunebench.api.registry import Registry
from prunebench.api.runtimes import Runtime
from prunebench.api.stages import Cut, TimedPass
from prunebench.api.tasks import Entry, Reductions
from prunebench.suite import lookup
from prunebench.suite.input_models import ReductionsInput
from prunebench.suite.nodes import Location, Node, SuiteErrors
from prunebench.suite.sections.pipelines import Pipeline

TIMED = ("runtime", "batch_size", "threads")
"""The keys of `reductions` that say what is timed."""


def targets(
    node: Node | None, values: ReductionsInput | None, registry: Registry, errors: SuiteErrors
) -> Reductions | None:
    """The targets that a suite asks for; None without any, or with errors."""
    if node is None or values is None:
        return None
    timed = None
    if values.by == "latency":
        timed = _timed(node, values.batch_size, values.threads, registry, errors)
    else:
        for key in TIMED:
            if (given := node.get(key)) is not None:
                errors.add(given, f"says how a latency is measured, and these targets are by {values.by}", at_key=True)
    return Reductions(by=values.by, of=values.of, timed=timed)


def _timed(node: Node, batch_size: int, threads: int, registry: Registry, errors: SuiteErrors) -> TimedPass | None:
    named = node.get("runtime")
    if named is None or named.value is None:
        named = Node.of("torch", node.location, (*node.path, "runtime"))
    runtime = lookup.part(Runtime, "runtime", named, registry, errors)
    return None if runtime is None else TimedPass(runtime, batch_size, threads)


def check_pipeline(entry: Entry, node: Node, reductions: Reductions | None, errors: SuiteErrors) -> None:
    """Add an error for a cut by latency in a pipeline where nothing says which latency."""
    chain = entry.method.chain if isinstance(entry.method, Pipeline) else ()
    if reductions is not None and reductions.timed is not None:
        return
    for stage, at in zip(chain, node.items("stages"), strict=False):
        if isinstance(stage, Cut) and stage.unit == "latency":
            message = "a cut by latency needs `reductions: {by: latency, of: [...]}` in the suite, to say what is timed"
            errors.add(at, message)


def to_plain(reductions: Reductions | None) -> dict[str, Any]:
    """The key of a suite that says the same; none without reductions."""
    if reductions is None:
        return {}
    timed = {} if reductions.timed is None else timed_to_plain(reductions.timed)
    return {"reductions": {"by": reductions.by, "of": list(reductions.of), **timed}}


def timed_to_plain(timed: TimedPass) -> dict[str, Any]:
    """What is timed, under the keys of `reductions`."""
    return dict(zip(TIMED, (lookup.to_plain(timed.runtime), timed.batch_size, timed.threads), strict=True))


def timed_from_plain(plain: Mapping[str, Any] | None, registry: Registry, errors: SuiteErrors) -> TimedPass | None:
    """What `timed_to_plain` wrote."""
    if plain is None:
        return None
    node = Node.of(plain, Location(0, 0, 0, "trial"))
    return _timed(node, plain["batch_size"], plain["threads"], registry, errors)
