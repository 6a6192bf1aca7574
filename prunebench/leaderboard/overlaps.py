"""What the masks of methods and of seeds have in common, beside what chance gives: measured once, published as text.

Intersection over union of the kept weights of two networks. By chance: of random masks that keep as many weights of
each layer, the mean intersection over the union that goes with it. Of two methods the masks of the same seed are
compared, of a method those of different seeds; both figures are means over these pairs.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from prunebench.api.errors import BoardError, PrunebenchError
from prunebench.messages.plain_text import cell as text_cell
from prunebench.messages.plain_text import of_cell
from prunebench.records.results import Result
from prunebench.tracking import MaskFile, fetch_masks

FILE = "overlaps.csv"
METHODS, SEEDS = 30, 5
"""At most so many methods, the best there, and the first so many of their seeds are compared."""
_MOST_PAIRS = 2**53
_BITS = 2**22
"""Bits that are in memory at once."""

Trials = Mapping[str, Mapping[int, str]]
"""By method and seed the key of a trial."""


@dataclass(frozen=True)
class Overlap:
    """What the masks of two methods, or of one, have in common."""

    suite: str
    task: str
    sparsity: float
    method: str
    other: str
    """The method itself for the overlap between its seeds."""
    pairs: int
    iou: float
    chance: float
    trials: str
    """Hash of the keys of the trials that both have there: an overlap says nothing of others."""


def measure(results: Sequence[Result], uri: str | None = None) -> tuple[list[Overlap], list[str]]:
    """The overlaps of each task at one sparsity, from the masks in MLflow; and why tasks have none.

    Args:
        results: those of the tables.
        uri: of the MLflow that they come from.
    """
    found: list[Overlap] = []
    complaints = []
    for (suite, task), some in sorted(_tasks(results).items()):
        sparsity, trials = chosen(some)
        if sum(map(len, trials.values())) < 2:
            continue
        try:
            found += _measured(suite, task, sparsity, trials, some, uri)
        except PrunebenchError as error:
            complaints.append(f"no mask overlap of {task}: {error}")
    return found, complaints


def chosen(results: Sequence[Result]) -> tuple[float, dict[str, dict[int, str]]]:
    """The highest of the sparsities at which most methods have every seed of the task; these methods, and the trials
    whose masks are compared."""
    pruned = [result for result in results if not result.control]
    seeds = {result.seed for result in pruned}
    complete: dict[float, dict[str, dict[int, Result]]] = defaultdict(dict)
    for sparsity, method in {(result.sparsity, result.method) for result in pruned}:
        done = {one.seed: one for one in _done(pruned, sparsity, {method})}
        if done.keys() == seeds:
            complete[sparsity][method] = done
    if not complete:
        return 0.0, {}
    sparsity = max(complete, key=lambda sparsity: (len(complete[sparsity]), sparsity))
    methods = complete[sparsity]
    first = sorted(methods, key=lambda name: (-_merit(methods[name].values()), name))[:METHODS]
    return sparsity, {name: {seed: methods[name][seed].trial for seed in sorted(seeds)[:SEEDS]} for name in first}


def current(overlaps: Iterable[Overlap], results: Sequence[Result]) -> tuple[Overlap, ...]:
    """Those that are of these results, in a fixed order."""
    tasks = _tasks(results)
    ours = (one for one in overlaps if one.trials == _identity(one, tasks.get((one.suite, one.task), [])))
    return tuple(sorted(ours, key=_order))


def _order(one: Overlap) -> tuple[Any, ...]:
    return (one.suite, one.task, one.sparsity, one.method, one.other)


def _identity(one: Overlap, results: Sequence[Result]) -> str:
    return _hash(_done(results, one.sparsity, {one.method, one.other}))


def _hash(results: Iterable[Result]) -> str:
    return hashlib.sha256("\n".join(sorted(result.trial for result in results)).encode()).hexdigest()[:16]


def _tasks(results: Sequence[Result]) -> dict[tuple[str, str], list[Result]]:
    found = defaultdict(list)
    for result in results:
        found[result.suite, result.task].append(result)
    return found


def _done(results: Sequence[Result], sparsity: float, methods: set[str]) -> list[Result]:
    return [one for one in results if one.status == "done" and one.sparsity == sparsity and one.method in methods]


def _merit(results: Iterable[Result]) -> float:
    """The mean of the primary metric, higher ones better; the least for one that is not a number."""
    mean = fmean(result.primary.sign * result.metrics.get(result.primary.name, math.nan) for result in results)
    return mean if math.isfinite(mean) else -math.inf


# Measuring


def _measured(
    suite: str, task: str, sparsity: float, trials: Trials, results: Sequence[Result], uri: str | None
) -> Iterator[Overlap]:
    keys = [key for seeds in trials.values() for key in seeds.values()]
    with tempfile.TemporaryDirectory() as folder:
        files = fetch_masks(suite, keys, Path(folder), uri)
        both, chance = intersections({key: files[key] for key in keys if key in files})
    place = {key: index for index, key in enumerate(key for key in keys if key in files)}
    masked = {name: seeds for name, seeds in trials.items() if all(key in place for key in seeds.values())}
    for method, other in [*((name, name) for name in sorted(masked)), *combinations(sorted(masked), 2)]:
        pairs = [(place[one], place[another]) for one, another in _pairs(masked[method], masked[other])]
        known = [(one, another) for one, another in pairs if both[one, one] + both[another, another] > 0]
        if known:
            iou, by_chance = (fmean(_over_union(counts, both, pair) for pair in known) for counts in (both, chance))
            identity = _hash(_done(results, sparsity, {method, other}))
            yield Overlap(suite, task, sparsity, method, other, len(known), iou, by_chance, identity)


def _pairs(one: Mapping[int, str], other: Mapping[int, str]) -> list[tuple[str, str]]:
    """Of two methods the same seed, of one method different seeds."""
    if one is other:
        return list(combinations(one.values(), 2))
    return [(one[seed], other[seed]) for seed in one if seed in other]


def _over_union(counts: Any, both: Any, pair: tuple[int, int]) -> float:
    one, other = pair
    shared = float(counts[one, other])
    return shared / (float(both[one, one]) + float(both[other, other]) - shared)


def intersections(files: Mapping[str, MaskFile]) -> tuple[Any, Any]:
    """How many weights each two of these masks both keep, and how many random masks of each layer's density would.

    However large the masks, a piece of each is in memory at a time.

    Returns:
        two matrices, in the order of the files; on the diagonal of the first is how many a mask keeps.

    Raises BoardError for a file that has not one bit for each weight of its layers.
    """
    from safetensors import SafetensorError, safe_open

    sizes = next(iter(files.values())).sizes if files else {}
    both, chance = np.zeros((len(files), len(files))), np.zeros((len(files), len(files)))
    with ExitStack() as stack:
        opened = []
        for key, file in files.items():
            if file.sizes != sizes:
                raise BoardError(f"trial {key} has other layers than the trials that it is compared with")
            try:
                opened.append(stack.enter_context(safe_open(file.path, "numpy")))
            except (SafetensorError, OSError) as error:
                raise BoardError(f"the masks of trial {key} cannot be read: {error}") from None
        for (key, file), masks in zip(files.items(), opened, strict=True):
            _check(key, file, masks)
        for name, size in sizes.items():
            shared = _shared(opened, name, size)
            both += shared
            chance += np.outer(np.diag(shared), np.diag(shared)) / size
    return both, chance


def _check(key: str, file: MaskFile, masks: Any) -> None:
    for name in list(masks.keys()):
        bits = masks.get_slice(name)
        if name not in file.sizes or bits.get_dtype() != "U8" or bits.get_shape() != [(file.sizes[name] + 7) // 8]:
            raise BoardError(f"the masks of trial {key}: {name!r} is not one bit for each weight of a layer")


def _shared(opened: Sequence[Any], name: str, size: int) -> Any:
    """Of a layer, how many weights each two masks both keep; a layer without a mask is dense."""
    slices = [masks.get_slice(name) if name in set(masks.keys()) else None for masks in opened]
    if not any(slices):
        return np.full((len(opened), len(opened)), float(size))
    step = max(_BITS // max(len(opened), 1) // 8, 1)
    total = np.zeros((len(opened), len(opened)))
    for start in range(0, (size + 7) // 8, step):
        count = min(8 * step, size - 8 * start)
        dense = np.full((count + 7) // 8, 255, np.uint8)
        pieces = [dense if bits is None else bits[start : start + len(dense)] for bits in slices]
        kept = np.unpackbits(np.stack(pieces), axis=1, count=count).astype(np.float32)
        total += kept @ kept.T  # exact: no count of a piece is above 2**24
    return total


# Text


def dump(overlaps: Iterable[Overlap]) -> bytes:
    """The text of `overlaps.csv`: a line a pair, in a fixed order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [part.name for part in fields(Overlap)]
    writer.writerow(names)
    writer.writerows([text_cell(getattr(one, name)) for name in names] for one in sorted(overlaps, key=_order))
    return text.getvalue().encode()


def read_overlaps(folder: Path) -> tuple[Overlap, ...]:
    """Those that were published in a folder, if it has any. Raises BoardError, which names the line."""
    path = folder / FILE
    try:
        if path.exists() and not path.is_file():
            raise BoardError(f"{path} is not a file")
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return ()
    except (UnicodeDecodeError, OSError) as error:
        raise BoardError(f"{path} cannot be read: {error}") from None
    return parse(text, str(path))


def parse(text: str, origin: str = FILE) -> tuple[Overlap, ...]:
    """The overlaps of such a text. Raises BoardError, which names the line."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    names = [part.name for part in fields(Overlap)]
    found: list[Overlap] = []
    try:
        if reader.fieldnames != names:
            raise BoardError(f"{origin}:1: the columns are not {', '.join(names)}")
        found += (_parsed(line, f"{origin}:{reader.line_num}") for line in reader)
    except csv.Error as error:
        raise BoardError(f"{origin}:{reader.line_num}: not CSV: {error}") from None
    return tuple(found)


def _parsed(line: Mapping[str, Any], place: str) -> Overlap:
    if None in line or None in line.values():
        raise BoardError(f"{place}: not one value for each column")
    try:
        shares = {name: float(line[name]) for name in ("sparsity", "iou", "chance")}
        pairs = int(line["pairs"])
    except ValueError as error:
        raise BoardError(f"{place}: {error}") from None
    if wrong := [name for name, share in shares.items() if not 0 <= share <= 1]:
        raise BoardError(f"{place}: {wrong[0]}: {shares[wrong[0]]:g} is not between 0 and 1")
    if not 1 <= pairs <= _MOST_PAIRS:
        raise BoardError(f"{place}: pairs: {pairs:.4g} is no number of pairs")
    values: dict[str, Any] = {name: of_cell(text) for name, text in line.items()}
    return Overlap(**{**values, **shares, "pairs": pairs})
