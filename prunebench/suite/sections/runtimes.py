"""The runtimes that a suite measures its networks in: from its keys `runtimes` and `latency`, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunebench.api.registry import Registry
from prunebench.api.runtimes import Latency, Measure, Runtime, RuntimeEntry
from prunebench.suite.checking import checked, dumped
from prunebench.suite.document import composed
from prunebench.suite.input_models import RUNTIME_KEYS, RuntimeInput
from prunebench.suite.lookup import component, named
from prunebench.suite.lookup import to_plain as component_to_plain
from prunebench.suite.nodes import Location, Node, SuiteErrors


def measurement(root: Node, registry: Registry, errors: SuiteErrors) -> Measure | None:
    """The measurement that a suite asks for; None if it lists no runtimes, or with errors."""
    nodes, latency = root.items("runtimes"), root.get("latency")
    given = latency if latency is not None and latency.value is not None else None
    if given and not nodes:
        errors.add(given, "latencies are measured in runtimes: list some in `runtimes`", at_key=True)
    entries = [runtime_entry(node, registry, errors) for node in nodes]
    first: dict[str, Node] = {}
    for node, entry in zip(nodes, entries, strict=True):
        if entry and first.setdefault(entry.label, node) is not node:
            errors.add(node, f"{entry.label!r} is also the label of another runtime: give one of them another label")
    known = tuple(entry for entry in entries if entry)
    how = checked(Latency, given, errors) if given else Latency()
    return Measure(known, how) if known and how else None


def runtime_entry(node: Node, registry: Registry, errors: SuiteErrors) -> RuntimeEntry | None:
    """A runtime with its label; or None, with errors."""
    mapping = named("runtime", node, errors)
    if mapping is None:
        return None
    values = checked(RuntimeInput, mapping.only(RUNTIME_KEYS), errors)
    runtime = component(Runtime, "runtime", mapping, RUNTIME_KEYS, registry, errors)
    if values is None or runtime is None:
        return None
    return RuntimeEntry(label=values.label or runtime.title, runtime=runtime)


def named_runtime(text: str, measure: Measure | None, registry: Registry) -> RuntimeEntry:
    """The runtime that a text means: a label of a suite's measurement, the name of one, or a mapping in YAML.

    Raises SuiteError for a text that means none.
    """
    if known := [entry for entry in measure.runtimes if entry.label == text] if measure else []:
        return known[0]
    errors = SuiteErrors()
    node = composed(text, Location(1, 0, 0, f"--runtime {text}"), errors)
    entry = None if node is None or errors else runtime_entry(node, registry, errors)
    errors.report()
    assert entry is not None
    return entry


def to_plain(measure: Measure | None) -> dict[str, Any]:
    """The keys of a suite that say the same; none without runtimes."""
    if measure is None:
        return {}
    runtimes = [{**component_to_plain(entry.runtime), "label": entry.label} for entry in measure.runtimes]
    return {"runtimes": runtimes, "latency": dumped(measure.latency)}


def from_plain(plain: Mapping[str, Any], registry: Registry, errors: SuiteErrors) -> Measure | None:
    """What `to_plain` wrote."""
    keys = {key: plain[key] for key in ("runtimes", "latency") if key in plain}
    return measurement(Node.of(keys, Location(0, 0, 0, "trial")), registry, errors)
