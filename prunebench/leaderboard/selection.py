"""Which results stand in a table, and which do not, and why.

Rows of one table share their task's protocol, and results of one label are of one variant of the method.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from prunebench.api.versions import NO_VERSION
from prunebench.leaderboard.overlaps import Overlap
from prunebench.leaderboard.reported import Reported
from prunebench.messages.plain_text import visible
from prunebench.records.results import OF_PROTOCOL, OPTION, RUNTIME, THROUGHPUT, UNKNOWN_DATA, Result

RequestedRow = tuple[str, str, float, int]
"""What a suite asks for: task label, method label, target sparsity, seed."""
Kind = Literal["protocol", "variant"]
Key = TypeVar("Key", bound=Hashable)

OF_THE_METHOD = "method."
OWN_KEY = "key"
LABELS = ("suite", "label", "sparsity", "seed")
"""Params that say which trial it is, not how it was done."""
NOT_SET = "not set"
_TEXTS = ("trial", "suite", "task", "protocol", "method", "variant", "reason")
CAUSES = ("code", "data")
"""What of the provenance a protocol is made of, beside the versions."""
OF_VERSION, OF_SOURCE = ".version", ".source"
"""End the names in a provenance of versions, which are in a protocol or variant, and of hashes of source."""
MEASURED = ("wall_seconds", "processor_seconds", "latency_", RUNTIME, *THROUGHPUT)
"""Begins the names of metrics that are measured on a machine, and so never twice the same."""
SHOWN_CHANGES = 8


@dataclass(frozen=True)
class Older:
    """Results that are in no table, because a newer protocol of their task, or variant of their method, is."""

    kind: Kind
    suite: str
    task: str
    methods: tuple[str, ...]
    identity: str
    """The hash that is not the table's."""
    count: int
    finished: float
    changes: tuple[str, ...]
    """What differs from the table: `recipe.epochs 40 → 20`."""


@dataclass(frozen=True)
class Selection:
    """The results of the tables, one a seed; what is older; and what was asked for, if that is known."""

    results: tuple[Result, ...]
    older: tuple[Older, ...] = ()
    expected: frozenset[RequestedRow] | None = None
    overlaps: tuple[Overlap, ...] = ()
    """What the masks of these results have in common, where that is known."""
    reported: tuple[Reported, ...] = ()
    """Numbers that others reported, to be shown beside these results."""


def select(results: Iterable[Result], expected: Iterable[RequestedRow] | None = None) -> Selection:
    """Leave out what was not asked for, older duplicates, protocols and variants."""
    asked = None if expected is None else frozenset(map(_cell_as_shown, expected))
    wanted = [one for one in map(as_shown, results) if asked is None or cell(one) in asked]
    one_each = [max(some, key=precedence) for some in grouped(wanted, _identity).values()]
    current, protocols = _newest(one_each, lambda result: (result.suite, result.task), "protocol")
    current, variants = _newest(current, lambda result: (result.suite, result.task, result.method), "variant")
    return Selection(tuple(sorted(current, key=_identity)), (*protocols, *variants), asked)


def as_shown(result: Result) -> Result:
    """A result as tables and plots show it: each of its texts is one line of visible characters."""
    texts = {name: getattr(result, name) for name in _TEXTS}
    changed: dict[str, Any] = {name: visible(text) for name, text in texts.items() if visible(text) != text}
    changed |= {
        name: {visible(key): visible(value) if isinstance(value, str) else value for key, value in held.items()}
        for name, held in (("params", result.params), ("provenance", result.provenance), ("metrics", result.metrics))
        if not all(_is_shown(part) for pair in held.items() for part in pair)
    }
    if any(not _is_shown(layer.get("name")) for layer in result.layers):
        changed["layers"] = [{**layer, "name": visible(str(layer["name"]))} for layer in result.layers]
    return replace(result, **changed) if changed else result


def _is_shown(value: object) -> bool:
    return not isinstance(value, str) or visible(value) == value


def _cell_as_shown(asked: RequestedRow) -> RequestedRow:
    task, method, sparsity, seed = asked
    return (visible(task), visible(method), sparsity, seed)


def cell(result: Result) -> RequestedRow:
    return (result.task, result.method, result.sparsity, result.seed)


def precedence(result: Result) -> tuple[Any, ...]:
    """Of two results of the same work: a done one, then the newest, then always the same one."""
    return (result.status == "done", result.finished, result.trial, result.reason)


def grouped(results: Iterable[Result], key: Callable[[Result], Key]) -> dict[Key, list[Result]]:
    groups: dict[Key, list[Result]] = defaultdict(list)
    for result in results:
        groups[key(result)].append(result)
    return dict(groups)


def shared(results: Sequence[Result]) -> dict[str, str]:
    """The params and provenance that all of these results have, with one value."""
    return {key: value for key, value in _agreed(results, _names(results)).items() if value != NOT_SET}


def _agreed(results: Sequence[Result], names: Iterable[str]) -> dict[str, str]:
    """Of these names the ones on whose value, or on having none, all results agree."""
    records = [_recorded(result) for result in results]
    values = {name: {record.get(name, NOT_SET) for record in records} for name in names}
    return {name: min(found) for name, found in values.items() if len(found) == 1}


def _names(results: Sequence[Result]) -> list[str]:
    return sorted({name for result in results for name in _recorded(result)})


def _recorded(result: Result) -> dict[str, str]:
    params = {key.removeprefix("task."): _shown(value) for key, value in result.params.items()}
    made_with = {key: value for key, value in result.provenance.items() if not key.startswith(OPTION)}
    return {**made_with, **params}


def _shown(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _identity(result: Result) -> tuple[Any, ...]:
    return (result.suite, *cell(result), result.protocol, result.variant)


def _newest(
    results: Sequence[Result], scope: Callable[[Result], Hashable], kind: Kind
) -> tuple[list[Result], list[Older]]:
    """In each scope, the results that share the newest result's protocol or variant, and notes of the others."""
    current: list[Result] = []
    older: list[Older] = []
    for some in grouped(results, scope).values():
        groups = grouped(some, lambda result: str(getattr(result, kind)))
        newest, *others = sorted(groups, key=lambda identity: _age(groups[identity]), reverse=True)
        current += groups[newest]
        said = [identity for identity in others if not _is_without_data(groups[identity][0])]
        older += [_older(kind, identity, groups[identity], groups[newest]) for identity in said]
    return current, sorted(older, key=lambda old: (old.suite, old.task, old.methods, -old.finished, old.identity))


def _age(results: Sequence[Result]) -> tuple[int, bool, float, str]:
    """What is newer is larger: a later version of the protocol, then what was finished later.

    Results of data that could not be read are older than all others of their version, which are still right.
    """
    newest = max(results, key=lambda result: (result.finished, result.trial))
    return (max(map(protocol_version, results)), not _is_without_data(newest), newest.finished, newest.trial)


def _is_without_data(result: Result) -> bool:
    return result.provenance.get("data") == UNKNOWN_DATA


def protocol_version(result: Result) -> int:
    """Of the protocol that a result was computed by; 0 for one from before there were versions."""
    text = result.provenance.get(OF_PROTOCOL, "")
    return int(text) if text.isdecimal() else 0


def protocol_name(result: Result) -> str:
    """That version for people."""
    return str(protocol_version(result) or NO_VERSION)


def other_sources(results: Sequence[Result]) -> tuple[str, ...]:
    """Of which parts (`core`, `method`, ...) these results were made by more than one source.

    They are comparable, as the versions are the same: what differs should be wording, and is worth a look where not.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for result in results:
        for name, value in result.provenance.items():
            if name.endswith(OF_SOURCE):
                found[name.removesuffix(OF_SOURCE)].add(value)
    return tuple(sorted(part for part, values in found.items() if len(values) > 1))


def _older(kind: Kind, identity: str, old: list[Result], new: list[Result]) -> Older:
    return Older(
        kind=kind,
        suite=old[0].suite,
        task=old[0].task,
        methods=tuple(sorted({result.method for result in old})),
        identity=identity,
        count=len(old),
        finished=max(result.finished for result in old),
        changes=changes(old, new, kind),
    )


def changes(old: Sequence[Result], new: Sequence[Result], kind: Kind) -> tuple[str, ...]:
    """What each side agrees on and the other has otherwise: of a variant the method's part, of a protocol the rest."""
    if kind == "protocol" and (versions := _protocol_versions(old, new)):
        return (versions,)
    names = _names((*old, *new))
    before, after = _agreed(old, names), _agreed(new, names)
    differing = [
        name for name in before.keys() & after.keys() if before[name] != after[name] and name not in (OWN_KEY, *LABELS)
    ]
    ours = [name for name in differing if name.startswith(OF_THE_METHOD) == (kind == "variant")]
    params = {name.removeprefix("task.") for result in (*old, *new) for name in result.params}
    causes = [name for name in ours if name in params or name in CAUSES or name.endswith(OF_VERSION)]
    causes = causes or [name for name in ours if name.endswith(OF_SOURCE)]  # of what declares no version
    lines = [
        f"{name} {before[name]} → {after[name]}" for name in sorted(causes or ours, key=lambda n: (n not in params, n))
    ]
    more = len(lines) - SHOWN_CHANGES
    return (*lines[:SHOWN_CHANGES], *([f"and {more} more"] if more > 0 else []))


def _protocol_versions(old: Sequence[Result], new: Sequence[Result]) -> str:
    """The versions of the protocol on both sides, where they are not the same."""
    before, after = ({protocol_version(result): protocol_name(result) for result in some} for some in (old, new))
    if before.keys() == after.keys():
        return ""
    ours, theirs = (" and ".join(name for _, name in sorted(side.items())) for side in (before, after))
    return f"protocol version {ours} → {theirs}"
