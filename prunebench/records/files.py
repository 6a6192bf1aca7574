"""Files that are written atomically, and read without trusting their content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

PROBE = bytes(4096)
"""Bytes that must fit into a folder for it to be writable."""


def write_file(path: Path, content: bytes) -> Path:
    """Write a file atomically: readers see the old file or the new one. A file that has this content is not written."""
    if has_content(path, content):
        return path
    given, path = path, _target(path)
    try:
        _replace(path, content)
    except OSError as error:  # a full disk's error has no file name
        raise OSError(error.errno, error.strerror or str(error), str(given)) from error
    return given


def _replace(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    _renamed(path, content, mode)


def write_store_file(path: Path, content: bytes) -> None:
    """Write a file of a store atomically. A folder or a link of the same name is removed first."""
    if path.is_symlink() or not path.is_file():
        remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _renamed(path, content, 0o644)


def stamp(paths: Iterable[str | os.PathLike[str]]) -> str:
    """A hash of the sizes, times and numbers of files: while it stays, they have not been written to.

    Empty if one of them cannot be seen.
    """
    try:
        stats = [(os.fspath(path), os.stat(path)) for path in paths]  # noqa: PTH116  of thousands: Path.stat takes twice as long
    except OSError:
        return ""
    facts = [(path, one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for path, one in stats]
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()


def hash_of(path: str | os.PathLike[str]) -> str:
    """The hash of a file's bytes; empty if there is no file."""
    path = Path(path)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """`hash_of` files in a folder, by name."""
    return {name: hash_of(folder / Path(name).name) for name in names}  # no name leads out of the folder


def has_content(path: Path, content: bytes) -> bool:
    """Whether a file can be read and has this content."""
    try:
        return path.is_file() and path.read_bytes() == content
    except OSError:
        return False


def _target(path: Path) -> Path:
    """The file that a link points to, so that the link is kept; a broken link is replaced itself."""
    with contextlib.suppress(OSError, RuntimeError):  # a link to itself
        target = path.resolve()
        if target.parent.is_dir():
            return target
    return path


def _renamed(path: Path, content: bytes, mode: int) -> None:
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(mode)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def unwritable(folder: Path) -> str:
    """Why files cannot be written to a folder, which need not exist; empty if they can. No file is left behind."""
    try:
        place = _nearest_folder(folder)
        handle, probe = tempfile.mkstemp(dir=place, prefix=".writable.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(PROBE)
        finally:
            Path(probe).unlink(missing_ok=True)
    except OSError as error:
        return f"{error.strerror or error}: {error.filename or place}"
    return ""


def _nearest_folder(folder: Path) -> Path:
    """The folder, or the nearest parent that exists. Raises OSError if that is not a folder."""
    folder = folder.absolute()
    try:
        folder.stat()
    except FileNotFoundError:
        if folder.is_symlink():
            raise FileNotFoundError(errno.ENOENT, "A link that leads nowhere", str(folder)) from None
        return _nearest_folder(folder.parent)
    return folder


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if the file system supports it, so that they survive a power failure."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def flushed_file(path: Path) -> Iterator[Any]:
    """Open a new binary file that is flushed to the disk when it is closed, so that it can be renamed safely."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Remove a file, a link or a folder. It is renamed first, so that a partly removed folder is never read.

    Raises OSError if it cannot be removed.
    """
    aside = path.with_name(f".{path.name.lstrip('.')[:100]}.{uuid4().hex}.gone")
    try:
        path.rename(aside)
    except FileNotFoundError:  # it did not exist, or another process removed it
        return
    if aside.is_symlink() or not aside.is_dir():
        aside.unlink(missing_ok=True)
    else:
        shutil.rmtree(aside, ignore_errors=True)


def remove_unless_folder(path: Path) -> None:
    """Remove a file or link, so that a folder with this name can be created; a folder is kept."""
    if not path.is_dir():
        remove(path)


def open_file(path: Path) -> BufferedReader:
    """Open a file for reading. Raises OSError also for a pipe or a device, which could block."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file")
    return path.open("rb")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises OSError also for a pipe or a device, which could block."""
    with open_file(path) as file:
        return file.read()


def read_json(path: Path) -> Any:
    """The value in a JSON file; None if the file is missing or damaged."""
    try:
        text = read_bytes(path).decode()
        value = json.loads(text, parse_constant=_refused)
        if "\\ud" in text.lower():  # half of a surrogate pair could be neither printed nor sent
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (OSError, ValueError, RecursionError, MemoryError):
        return None


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
