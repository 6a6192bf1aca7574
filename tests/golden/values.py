"""The stored values: reading, writing and comparing them, and whose version is to be raised when they changed."""

import inspect
import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch

from prunebench.api.versions import PROTOCOL_VERSION
from tests.golden.cases import CORE, Case, all_cases

FILE = Path(__file__).with_name("values.json")
UPDATE = "`python -m tests.golden --update`"
SHOWN = 6
LIBRARY = "core/optimizer/"
"""Begins the cases that are found in timm: another version of it has others."""


@cache
def cases() -> Mapping[str, Case]:
    return all_cases()


@cache
def stored() -> dict[str, Any]:
    return json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {"cases": {}}


@cache
def computed(name: str) -> Any:
    """What a case gives now, as it comes back from JSON. One thread, as the last bits depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return json.loads(json.dumps(cases()[name].measure()))
    finally:
        torch.set_num_threads(before)


def owner(case: Case) -> str:
    """What has the version that speaks for a case: `snip`, or the protocol."""
    return CORE if case.component is None else case.component.name


def version(case: Case) -> int:
    return PROTOCOL_VERSION if case.component is None else int(case.component.version or 0)


def problem(name: str) -> str:
    """What is wrong with a case, and what to do; nothing where it is as stored."""
    case, known = cases()[name], stored()["cases"].get(name)
    if known is None:
        return f"{name} has no stored values: write them with {UPDATE}"
    changes = list(differences(known["values"], computed(name), case.tolerance))
    is_now = [known["version"], known["protocol"]] == [version(case), PROTOCOL_VERSION]
    if changes and is_now:
        return f"{name} is not what it was.\n{_listed(changes)}\nIf that is meant, raise {_where(case)}, then {UPDATE}."
    if not is_now:
        return f"the stored values of {name} are of another version: write those of this one with {UPDATE}"
    return ""


def _listed(changes: list[str]) -> str:
    more = f"\n  and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return "\n".join(f"  {change}" for change in changes[:SHOWN]) + more


def _where(case: Case) -> str:
    """Which version to raise: a component's own, unless the core itself computes something else."""
    if case.component is None or core_changed():
        return f"PROTOCOL_VERSION in prunebench/api/versions.py (now {PROTOCOL_VERSION})"
    place = getattr(case.component, "place", f"plugins/{Path(inspect.getfile(case.component)).name}")
    return f"`version` of {case.component.__name__} in {place} (now {version(case)}), and of whatever else fails"


@cache
def core_changed() -> bool:
    """Whether a case fails that no component has a part in."""
    known = stored()["cases"]
    return any(
        bool(list(differences(known[name]["values"], computed(name), case.tolerance)))
        for name, case in cases().items()
        if case.component is None and name in known
    )


def differences(before: Any, after: Any, tolerance: float, place: str = "") -> Iterator[str]:
    """Where two values differ by more than a tolerance, which is relative: of a pair of numbers, to the larger one."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key), after.get(key), tolerance, f"{place}.{key}" if place else key)
    elif isinstance(before, list) and isinstance(after, list) and not (_are_numbers(before) and _are_numbers(after)):
        if len(before) != len(after):
            yield f"{place}: {before} -> {after}"
        for number, pair in enumerate(zip(before, after, strict=False)):
            yield from differences(*pair, tolerance, f"{place}[{number}]")
    elif not _is_alike(before, after, tolerance):
        yield f"{place}: {before} -> {after}"


def _is_alike(before: Any, after: Any, tolerance: float) -> bool:
    """Whether two numbers, or two lists of numbers, are close; anything else must be equal."""
    if isinstance(before, float) and isinstance(after, (int, float)):
        return _is_close(before, after, tolerance, 0.0)
    if not (_are_numbers(before) and _are_numbers(after)) or len(before) != len(after):
        return bool(before == after)
    scale = max(map(abs, (*before, *after))) if len(before) == 2 else 0.0
    return all(_is_close(one, other, tolerance, scale) for one, other in zip(before, after, strict=True))


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, float) for one in value)


def _is_close(one: float, other: float, tolerance: float, scale: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or abs(one - other) <= tolerance * max(abs(one), abs(other), scale)


# --- which cases there should be


def missing() -> list[str]:
    """Cases that have no stored values: something new, but for an optimizer of another version of timm."""
    return [name for name in cases() if name not in stored()["cases"] and not _of_other_timm(name)]


def needs_more(name: str) -> bool:
    """Whether a case needs a library of an extra that is not installed."""
    return name.startswith(("model/hf/", "dataset/squad/")) and find_spec("transformers") is None


def left_over() -> list[str]:
    """Stored values of what is not there any more."""
    return [name for name in stored()["cases"] if name not in cases() and not _of_other_timm(name)]


def _of_other_timm(name: str) -> bool:
    return name.startswith(LIBRARY) and stored().get("timm") != timm.__version__


# --- writing


def unraised() -> list[str]:
    """Cases whose values changed, and whose version did not."""
    known = stored()["cases"]
    return [
        name
        for name, case in cases().items()
        if name in known
        and [known[name]["version"], known[name]["protocol"]] == [version(case), PROTOCOL_VERSION]
        and not needs_more(name)
        and any(True for _ in differences(known[name]["values"], computed(name), case.tolerance))
    ]


def where_of(names: list[str]) -> list[str]:
    """The versions to raise for some cases."""
    return sorted({_where(cases()[name]) for name in names})


def write() -> int:
    """Store what is computed now; what is within the tolerance stays as it is, so that few lines change."""
    known = stored()["cases"]
    found = {
        name: known[name] if needs_more(name) else _entry(name, case, known.get(name))
        for name, case in sorted(cases().items())
    }
    head = {"torch": torch.__version__, "timm": timm.__version__}
    lines = [f' "{name}": {json.dumps(value)}' for name, value in head.items()]
    lines.append(
        ' "cases": {\n' + ",\n".join(f"  {json.dumps(name)}: {_text(one)}" for name, one in found.items()) + "\n }"
    )
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    return sum(found[name] != known.get(name) for name in found)


def _entry(name: str, case: Case, before: Any) -> dict[str, Any]:
    values = computed(name)
    if before is not None and not list(differences(before["values"], values, case.tolerance)):
        values = before["values"]
    return {"of": owner(case), "version": version(case), "protocol": PROTOCOL_VERSION, "values": values}


def _text(entry: Mapping[str, Any]) -> str:
    """An entry with a line for each of its parts."""
    values = entry["values"]
    head = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in entry.items() if key != "values")
    if not isinstance(values, dict):
        return f'{{{head}, "values": {json.dumps(values)}}}'
    body = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    return f'{{{head}, "values": {{\n{body}\n  }}}}'
