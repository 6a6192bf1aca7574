"""Receipts of finished runs: the same command is answered at once where nothing has changed since.

To find out anew that a suite is finished takes seconds: its plugins import torch, the rows pandas, and every state is
read and verified. So a run that leaves nothing to do writes a receipt into the store. It names all that its answer
depends on, and stands only while all of that is as it was:

    the command       arguments, the content of files among them, folder, environment, Python, what can be imported
    code              every file of this package, of the plugins, and of each module that the run had imported
    data              the prepared data sets
    states            every file of the last state of each trial
    results           every row of MLflow's database, and the artifacts beside it
    the board         every file of it

In any doubt there is no receipt, and the run does all its work. A receipt holds neither results nor secrets: it has
hashes, names of files, and the text of the leaderboard. This module imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from prunebench.api.errors import PrunebenchError
from prunebench.api.plugins import TRACE_VARIABLE, loose_files
from prunebench.records.files import hash_of, hashes_of, read_json, remove, stamp, unwritable, write_store_file
from prunebench.store.entries import Store
from prunebench.suite.shipped import ambiguity, shipped
from prunebench.tracking import contents

RECEIPTS = "receipts"
"""The folder of a store with a receipt for each command."""
KEPT = 20
"""Receipts in a store: those of the last commands."""
MARGIN = 2 * 10**9
"""Nanoseconds by which code must be older than the command: what is changed meanwhile may be half of the old."""
_PASSING = {"_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES", "WINDOWID", "TERM_SESSION_ID", "XDG_SESSION_ID"}
"""Variables that differ from one shell to the next, and say nothing to a run. The folder counts by itself."""
_PASSING_PREFIXES = ("SSH_", "TMUX", "STY")
_IMPORTABLE = {"", ".py", ".pyc", ".so", ".pyd", ".pth", ".zip", ".egg", ".egg-link", ".dist-info", ".egg-info"}
"""Suffixes of what Python finds in a folder of its path."""
_CORE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Request:
    """A command and its circumstances, taken down before anything is read."""

    name: str
    """Of its receipt: hash of the arguments and of the folder in which it was called."""
    circumstances: str
    """Hash of files that the arguments name, the environment, Python, and what can be imported."""
    files: frozenset[str]
    """The files among the arguments, whose content is in `circumstances`."""
    begun: int
    """When, in nanoseconds."""
    clear: bool = True
    """Whether no argument may be a file or a shipped suite: where one may, the run has to say which, so it has no
    receipt."""

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Request:
        begun, folder = time.time_ns(), str(Path.cwd())
        files = {str(Path(one).resolve()): hash_of(one) for one in _files_among(arguments)}
        python = [sys.version, sys.executable, repr(sys.flags), sys.path]
        circumstances = [sorted(files.items()), _variables(), python, [_importable(place) for place in sys.path]]
        clear = not any(map(ambiguity, arguments))
        return cls(_hash([*arguments, folder]), _hash(circumstances), frozenset(files), begun, clear)


def _files_among(arguments: Sequence[str]) -> Iterator[str]:
    """The files that arguments name, as `FILE`, `--option=FILE` or `key=FILE`, shipped suites, and loose plugins."""
    words = [part for word in arguments for part in (word, *word.split("="))]
    yield from (one for one in [*words, *loose_files()] if one and Path(one).is_file())
    yield from (str(path) for name, path in shipped().items() if name in words)


def _variables() -> list[tuple[str, str]]:
    return sorted(
        (name, value)
        for name, value in os.environ.items()
        if name not in _PASSING and not name.startswith(_PASSING_PREFIXES)
    )


def _importable(place: str) -> list[object]:
    """What Python could import from a folder of its path, and the versions and plugins that are installed there."""
    try:
        inside = sorted(Path(place).iterdir())
    except OSError:
        return []
    # Caches come and go, and a folder or module whose name begins with a dot cannot be imported.
    passing = {path for path in inside if path.name == "__pycache__" or (path.name[0] == "." and not path.suffix)}
    found: list[object] = [path.name for path in inside if path.suffix in _IMPORTABLE and path not in passing]
    for path in inside:
        if path.suffix in (".dist-info", ".egg-info"):
            found.append(stamp([path]) + stamp([path / "entry_points.txt"]))
        elif path.suffix in (".pth", ".egg-link"):
            found.append(stamp([path]))
    return found


@dataclass(frozen=True)
class Finished:
    """What a run found to be finished."""

    suite: str
    trials: int
    stages: int
    warnings: tuple[str, ...]
    """Printed by every run of the suite."""
    keys: tuple[str, ...]
    """Of the last state of each trial."""
    states: str
    """`Store.stamp` of these states before they were read, joint."""
    data: tuple[tuple[str, ...], ...]
    """The files of each prepared data set."""
    data_stamp: str
    sources: tuple[str, ...]
    """Files of components and of their parameters."""
    tracked: str
    """What MLflow has: `prunebench.tracking.contents`."""
    board: Mapping[str, str]
    """Hashes of the files of the board, by name."""
    folder: str
    """The board's, as it was named."""
    note: str
    """The name of the run's note in the outbox."""


@dataclass(frozen=True)
class Receipt:
    """What the answer to a command depends on, and the answer."""

    finished: Finished
    circumstances: str
    """Of the request."""
    core: str
    """Stamp of this package."""
    files: tuple[str, ...]
    """All other files that the run had imported or read, but those in `circumstances`."""
    stamp: str
    """Of these files."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """The leaderboard by the width of the terminal."""

    def stands(self, request: Request, store: Store) -> bool:
        """Whether all is as it was when the receipt was written."""
        left = self.finished
        return (
            self.circumstances == request.circumstances
            and self.core == _core()
            and self.stamp == stamp(self.files) != ""
            and left.data_stamp == joint(map(stamp, left.data)) != ""
            and not _untidy(store, left.note)
            and left.states == joint(store.stamp(key) for key in left.keys) != ""
            and not unwritable(Path(left.folder))
            and left.board == hashes_of(Path(left.folder), left.board)
            and left.tracked == contents(left.suite)
        )


def find(request: Request, folder: Path, width: int) -> Receipt | None:
    """The receipt of a command, if it stands and has the leaderboard for a terminal of this width; otherwise None."""
    store = Store(folder.resolve())
    try:
        receipt = _read(_path(store, request))
        if (
            not request.clear
            or receipt is None
            or str(width) not in receipt.texts
            or not receipt.stands(request, Store.open(folder))
        ):
            return None
    except (OSError, PrunebenchError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return receipt


def write(request: Request, store: Store, finished: Finished, text: str, width: int) -> None:
    """Write the receipt of a run; what cannot be written, or changed while the run was on, is none."""
    path = _path(store, request)
    files = sorted({*_modules(), *finished.sources} - request.files)
    receipt = Receipt(finished, request.circumstances, _core(), tuple(files), stamp(files))
    if (
        not request.clear
        or TRACE_VARIABLE in os.environ
        or not _are_older([*_core_files(), *map(Path, files)], request.begun - MARGIN)
    ):
        return
    try:
        before = _read(path)
        others = before.texts if before is not None and replace(before, texts={}) == receipt else {}
        plain = asdict(replace(receipt, texts={**others, str(width): text}))
        write_store_file(path, json.dumps({"receipt": plain, "checksum": _hash(plain)}).encode())
        for old in sorted(path.parent.glob("*.json"), key=lambda one: one.stat().st_mtime_ns)[:-KEPT]:
            remove(old)
    except OSError:
        return


def _path(store: Store, request: Request) -> Path:
    return store.root / RECEIPTS / f"{request.name}.json"


def _read(path: Path) -> Receipt | None:
    found = read_json(path)
    if not isinstance(found, dict) or found.get("checksum") != _hash(found.get("receipt")):
        return None
    plain = _fields_of(Receipt, found["receipt"])
    left = plain and _fields_of(Finished, plain["finished"])
    if not plain or not left or not isinstance(plain["texts"], dict):
        return None
    return Receipt(**plain | {"finished": Finished(**left)})


def _fields_of(cls: type[Receipt | Finished], plain: Any) -> dict[str, Any] | None:
    """The fields of a value from JSON; None if it does not have just these."""
    if not isinstance(plain, dict) or set(plain) != {one.name for one in fields(cls)}:
        return None
    return {name: _frozen(value) for name, value in plain.items()}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _modules() -> set[str]:
    """The files of all modules that were imported, but those of this package."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {Path(file).absolute() for file in files if isinstance(file, str)}
    return {str(path) for path in paths if path.exists() and not path.is_relative_to(_CORE)}


def _core() -> str:
    return stamp(_core_files())


def _core_files() -> list[Path]:
    """Every file of this package, its templates among them."""
    return sorted(path for path in _CORE.rglob("*") if "__pycache__" not in path.parts and path.is_file())


def _are_older(paths: Iterable[Path], moment: int) -> bool:
    """Whether files were last changed before a moment, in nanoseconds; False if one cannot be seen."""
    try:
        stats = [path.stat() for path in paths]
    except OSError:
        return False
    return all(max(one.st_mtime_ns, one.st_ctime_ns) < moment for one in stats)


def _untidy(store: Store, note: str) -> bool:
    """Whether a run has something to tidy up, or others are on: locks, checkpoints, results that were not sent."""
    left = any(path for name in ("running", "checkpoints") for path in (store.root / name).iterdir())
    gone = any(store.root.glob("*/.*.gone"))
    return left or gone or any((store.root / "unsent").glob(f"{Path(note).stem}*"))


def joint(stamps: Iterable[str]) -> str:
    """One hash of many; nothing if one is missing."""
    found = list(stamps)
    return _hash(found) if all(found) else ""


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
