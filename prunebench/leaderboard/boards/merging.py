"""Results of several machines or people as one board: each trial once, and what they do not agree on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from prunebench.leaderboard.boards.published import Board
from prunebench.leaderboard.overlaps import Overlap
from prunebench.leaderboard.reported import Reported
from prunebench.leaderboard.selection import (
    MEASURED,
    RequestedRow,
    cell,
    grouped,
    precedence,
    protocol_name,
    protocol_version,
)
from prunebench.records.results import Result


@dataclass(frozen=True)
class Conflict:
    """Two results of the same work that differ in what must not."""

    kept: Result
    other: Result
    kept_from: str
    other_from: str
    names: tuple[str, ...]
    """The metrics that differ."""

    def __str__(self) -> str:
        trial = f"{self.kept.task}/{self.kept.method}/{self.kept.sparsity:g}/seed {self.kept.seed}"
        first = self.names[0]
        more = f" and {len(self.names) - 1} more" if len(self.names) > 1 else ""
        ours, theirs = (repr(result.metrics[first]) for result in (self.kept, self.other))
        return f"{trial}: {first} is {ours} in {self.kept_from}, which is kept, and {theirs} in {self.other_from}{more}"


@dataclass(frozen=True)
class Merged:
    """One board of several, and how it came about."""

    board: Board
    doubles: int
    """Results that were there already."""
    conflicts: tuple[Conflict, ...]


def merge(boards: Sequence[Board], name: str | None = None) -> Merged:
    """One board of all results. Of several results of the same work a done one counts, then the newest.

    Args:
        name: of the suite that all results are then of; by default each keeps its own.
    """
    everything = [(board.name, _of(result, name)) for board in boards for result in board.results]
    origins = {id(result): origin for origin, result in everything}
    groups = grouped([result for _, result in everything], lambda result: (result.suite, result.trial))
    kept: list[Result] = []
    conflicts: list[Conflict] = []
    for some in groups.values():
        best, *others = sorted(some, key=precedence, reverse=True)
        kept.append(best)
        for other in others:
            names = tuple(differences(best, other))
            conflicts += [Conflict(best, other, origins[id(best)], origins[id(other)], names)] if names else []
    title = name or ", ".join(dict.fromkeys(board.name for board in boards))
    return Merged(
        Board(title, tuple(kept), _asked(boards), _overlaps(boards, name), _reported(boards)),
        len(everything) - len(kept),
        tuple(conflicts),
    )


def differences(one: Result, other: Result) -> Iterator[str]:
    """The metrics that two done results of the same work both have and should agree on, and do not.

    What only one has says nothing: versions record more, or less.
    """
    if one.status != "done" or other.status != "done":
        return
    for name in sorted(one.metrics.keys() & other.metrics.keys()):
        ours, theirs = one.metrics[name], other.metrics[name]
        if not name.startswith(MEASURED) and ours != theirs and not (_is_nan(ours) and _is_nan(theirs)):
            yield name


def older_protocols(results: Sequence[Result]) -> str:
    """A sentence on results of several versions of the protocol; nothing where all are of one."""
    versions = {protocol_version(result): protocol_name(result) for result in results}
    if len(versions) < 2:
        return ""
    newest = max(versions)
    count = sum(protocol_version(result) < newest for result in results)
    older = " and ".join(name for version, name in sorted(versions.items()) if version < newest)
    kept = f"{count:,} trials, which are kept" if count > 1 else "1 trial, which is kept"
    return f"of an older protocol (version {older}) than the others (version {newest}): {kept} and not compared"


def _of(result: Result, name: str | None) -> Result:
    return result if name is None else replace(result, suite=name)


def _overlaps(boards: Sequence[Board], name: str | None) -> tuple[Overlap, ...]:
    """Those of all boards, the first of equals; which of them are of the merged results is seen when they are shown."""
    found: dict[tuple[str, ...], Overlap] = {}
    for one in (one for board in boards for one in board.overlaps):
        renamed = one if name is None else replace(one, suite=name)
        found.setdefault((renamed.suite, one.task, one.method, one.other, one.trials), renamed)
    return tuple(found.values())


def _reported(boards: Sequence[Board]) -> tuple[Reported, ...]:
    """The reported numbers of all boards; of the same task, method and sparsity the first."""
    found: dict[tuple[str, str, float], Reported] = {}
    for one in (one for board in boards for one in board.reported):
        found.setdefault((one.task, one.method, one.sparsity), one)
    return tuple(found.values())


def _asked(boards: Sequence[Board]) -> frozenset[RequestedRow] | None:
    """What any board was asked to show; where none says so, nothing is missing."""
    if all(board.asked is None for board in boards):
        return None
    cells = (frozenset(map(cell, board.results)) if board.asked is None else board.asked for board in boards)
    return frozenset().union(*cells)


def _is_nan(value: float) -> bool:
    return value != value
