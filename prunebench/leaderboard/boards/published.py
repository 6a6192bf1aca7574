"""A published board's data as text to be reviewed line by line, `trials.jsonl`, and back.

    {"format": "prunebench trials", "version": 1, "asked": true}
    {"suite": ..., "task": ..., "protocol": ..., "params": {...}, "provenance": {...}}
    {"trial": ..., "method": ..., "sparsity": ..., "seed": ..., "metrics": {...}, ...}
    {"missing": ..., "sparsity": ..., "seed": ..., "task": ...}

The second form says what the trials below it share: their task, and where they were measured. The last form is what the
board was asked to show and has no result of. The order is fixed, so the same results give the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from prunebench.api.errors import BoardError
from prunebench.leaderboard.overlaps import Overlap, read_overlaps
from prunebench.leaderboard.reported import Reported, in_folder
from prunebench.leaderboard.selection import OF_THE_METHOD, OWN_KEY, RequestedRow, cell, grouped, precedence
from prunebench.messages.durations import LATEST
from prunebench.messages.plain_text import escaped_json
from prunebench.records.results import Result

FILE = "trials.jsonl"
HEADER = {"format": "prunebench trials", "version": 1}
OF_THE_TASK, NOTE = "task.", "note."
PLACE = ("suite", "task", "protocol")
WHOLE = ("parameters_prunable", "collapsed_layers")
"""Metrics that the tables count with."""
LARGEST_COUNT = 2**53
_DEFAULTS: dict[str, Any] = {
    part.name: part.default if part.default_factory is MISSING else part.default_factory()
    for part in fields(Result)
    if part.default is not MISSING or part.default_factory is not MISSING
}
_OWN = {part.name for part in fields(Result)} - set(_DEFAULTS) - set(PLACE)
"""What a trial always says of itself."""


@dataclass(frozen=True)
class Board:
    """Results that are shown together."""

    name: str
    results: tuple[Result, ...]
    asked: frozenset[RequestedRow] | None = None
    """What the board is to show, where that is known."""
    overlaps: tuple[Overlap, ...] = ()
    """What masks of these results have in common, where that was published."""
    reported: tuple[Reported, ...] = ()
    """Numbers that others reported, which the board shows beside its results."""
    uri: str | None = None
    """The MLflow that the results come from."""


def wanted(results: Iterable[Result], asked: Iterable[RequestedRow] | None = None) -> list[Result]:
    """The results that a board is made of, older ones included: one a trial, in a fixed order."""
    cells = None if asked is None else frozenset(asked)
    chosen = (result for result in results if cells is None or cell(result) in cells)
    trials = grouped(chosen, lambda result: (result.suite, result.trial))
    return sorted((max(some, key=precedence) for some in trials.values()), key=_order)


def dump(results: Iterable[Result], asked: Iterable[RequestedRow] | None = None) -> str:
    """The text of `trials.jsonl`."""
    cells = None if asked is None else frozenset(asked)
    found = wanted(results, cells)
    lines = [HEADER | {"asked": cells is not None}]
    for some in grouped(found, _group).values():
        common = _common(some)
        lines += [common, *(_line(result, common) for result in some)]
    missing = sorted((cells or frozenset()) - set(map(cell, found)))
    lines += [{"missing": m, "sparsity": s, "seed": seed, "task": task} for task, m, s, seed in missing]
    return "".join(escaped_json(_finite(line), allow_nan=False) + "\n" for line in lines)


def read_board(folder: Path) -> Board:
    """The board that was published in a folder. Raises BoardError."""
    path = folder / FILE
    try:
        if path.exists() and not path.is_file():
            raise BoardError(f"{path} is not a file")
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise BoardError(
            f"{folder} has no {FILE}: it is not a published board, or one of an earlier version; "
            "`prunebench leaderboard SUITE --output` publishes"
        ) from None
    except UnicodeDecodeError as error:
        raise BoardError(f"{path} is not UTF-8 text: byte {error.start}") from None
    except OSError as error:
        raise BoardError(f"{path} cannot be read: {error.strerror}") from None
    results, asked = parse(text, str(path))
    return Board(folder.resolve().name, tuple(results), asked, read_overlaps(folder), in_folder(folder))


def parse(text: str, origin: str = FILE) -> tuple[list[Result], frozenset[RequestedRow] | None]:
    """The results of such a text, and what was asked for.

    Args:
        origin: what errors call it.

    Raises BoardError, which names the line.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise BoardError(f"{origin} is empty")
    header = _object(lines[0][1], f"{origin}:1")
    if header.get("format") != HEADER["format"]:
        raise BoardError(f"{origin}:1: this is no list of trials: its first line says no format {HEADER['format']!r}")
    if header.get("version") != HEADER["version"]:
        raise BoardError(
            f"{origin}:1: version {header.get('version')!r} of the format is not known here, only {HEADER['version']}"
        )
    results, missing = _parsed(lines[1:], origin)
    return results, frozenset({*map(cell, results), *missing}) if header.get("asked") is True else None


def _parsed(lines: Sequence[tuple[int, str]], origin: str) -> tuple[list[Result], list[RequestedRow]]:
    common: Mapping[str, Any] | None = None
    results: dict[tuple[str, str], Result] = {}
    missing: list[RequestedRow] = []
    for number, line in lines:
        place = f"{origin}:{number}"
        values = _object(line, place)
        if "missing" in values:
            missing.append(_missing(values, place))
        elif "trial" not in values:
            common = _checked_common(values, place)
        elif common is None:
            raise BoardError(f"{place}: a trial stands before the line that says its suite, task and protocol")
        else:
            result = _result(values, common, place)
            if (result.suite, result.trial) in results:
                raise BoardError(f"{place}: trial {result.trial!r} is there twice")
            results[result.suite, result.trial] = result
    return list(results.values()), missing


# Writing


def _order(result: Result) -> tuple[Any, ...]:
    return (*_group(result), result.method, result.variant, result.sparsity, result.seed, result.trial)


def _group(result: Result) -> tuple[Any, ...]:
    """Trials of one task that were measured in one place."""
    return (result.suite, result.task, result.protocol, *sorted(_environment(result).items()))


def _environment(result: Result) -> dict[str, str]:
    own = (OF_THE_METHOD, NOTE)
    return {k: v for k, v in result.provenance.items() if k != OWN_KEY and not k.startswith(own)}


def _common(results: Sequence[Result]) -> dict[str, Any]:
    first = results[0]
    params = {
        name: value
        for name, value in first.params.items()
        if name.startswith(OF_THE_TASK) and all(_has(result.params, name, value) for result in results)
    }
    place = {name: getattr(first, name) for name in PLACE}
    return {**place, "params": _sorted(params), "provenance": _sorted(_environment(first))}


def _has(params: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether a param is there with the same value of the same type: 1 and true are not the same."""
    return name in params and (type(params[name]), params[name]) == (type(value), value)


def _line(result: Result, common: Mapping[str, Any]) -> dict[str, Any]:
    """A trial without what it shares, and without what is as by default."""
    values = {part.name: getattr(result, part.name) for part in fields(result)}
    for name in ("params", "provenance"):
        values[name] = _sorted({k: v for k, v in values[name].items() if k not in common[name]})
    values["metrics"] = {name: float(value) for name, value in _sorted(values["metrics"]).items()}
    values["objective"] = [asdict(metric) for metric in result.objective]
    skipped = (*PLACE, "masks")
    return {
        name: value
        for name, value in values.items()
        if name not in skipped and not (name in _DEFAULTS and getattr(result, name) == _DEFAULTS[name])
    }


def _sorted(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items()))


def _finite(value: Any) -> Any:
    """JSON knows no number that is not finite: those are text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


# Reading


def _object(line: str, place: str) -> dict[str, Any]:
    from pydantic_core import from_json

    try:
        values = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        raise BoardError(f"{place}: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise BoardError(f"{place}: not a JSON object")
    return values


def _checked_common(values: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    known = {*PLACE, "params", "provenance"}
    if wrong := sorted(values.keys() ^ known):
        raise BoardError(f"{place}: neither a trial nor what trials share: {', '.join(wrong)} unknown or missing")
    if not isinstance(values["params"], dict) or not isinstance(values["provenance"], dict):
        raise BoardError(f"{place}: params and provenance must be objects")
    return values


def _missing(values: Mapping[str, Any], place: str) -> RequestedRow:
    task, method, sparsity, seed = (values.get(name) for name in ("task", "missing", "sparsity", "seed"))
    texts = isinstance(task, str) and isinstance(method, str)
    if texts and isinstance(sparsity, (int, float)) and type(seed) is int and 0 <= sparsity <= 1:
        return (str(task), str(method), float(sparsity), seed)
    raise BoardError(f"{place}: a missing trial has task, missing (its method), sparsity and seed")


def _result(values: Mapping[str, Any], common: Mapping[str, Any], place: str) -> Result:
    from pydantic import ValidationError

    if unknown := sorted(values.keys() - set(_DEFAULTS) - _OWN | values.keys() & {"masks"}):
        raise BoardError(f"{place}: a trial has no {', '.join(unknown)}")
    merged = {**values, **{name: common[name] for name in PLACE}}
    for name in ("params", "provenance"):
        own = values.get(name, {})
        merged[name] = {**common[name], **own} if isinstance(own, dict) else own
    for name in ("metrics", "history"):
        merged[name] = _numbers(values.get(name, _DEFAULTS[name]))
    try:
        result: Result = _adapter().validate_json(json.dumps(merged), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BoardError(f"{place}: {where}: {first['msg']}") from None
    _check(result, place)
    return result


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Result)


def _numbers(value: Any) -> Any:
    """The numbers that `_finite` wrote as text."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: float(item) if item in ("nan", "inf", "-inf") else item for key, item in value.items()}


def _check(result: Result, place: str) -> None:
    """Values that have the right type, and that no table could be made of."""
    if not 0 <= result.sparsity <= 1:
        raise BoardError(f"{place}: sparsity: {result.sparsity:g} is not between 0 and 1")
    for name in ("started", "finished"):
        if not 0 <= getattr(result, name) <= LATEST:
            raise BoardError(f"{place}: {name}: {getattr(result, name):g} is no time in Unix seconds")
    for name in WHOLE:
        count = result.metrics.get(name, 0.0)
        if not (count.is_integer() and 0 <= count < LARGEST_COUNT):
            raise BoardError(f"{place}: metrics.{name}: {count:g} is no count")
