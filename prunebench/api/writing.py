"""Files that are replaced as a whole, files that are read back without being trusted, and folders to write to."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

PROBE = bytes(4096)
"""What a folder must have room for, or it is full."""


def replaced(path: Path, content: bytes) -> Path:
    """Written aside and renamed: a reader sees the old file or the new one; what has these bytes is left alone."""
    if has(path, content):
        return path
    given, path = path, _target(path)
    try:
        _replace(path, content)
    except OSError as error:  # that of a full disk names no file
        raise OSError(error.errno, error.strerror or str(error), str(given)) from error
    return given


def _replace(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    _renamed(path, content, mode)


def put(path: Path, content: bytes) -> None:
    """Replace a file of a store. Whatever else has its name, such as a folder or a link, is removed first."""
    if path.is_symlink() or not path.is_file():
        removed(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _renamed(path, content, 0o644)


def has(path: Path, content: bytes) -> bool:
    """Whether a file has these bytes; one that cannot be read does not have them."""
    try:
        return path.is_file() and path.read_bytes() == content
    except OSError:
        return False


def _target(path: Path) -> Path:
    """The file that a link leads to, which is replaced so that the link stays; a link to nowhere is replaced itself."""
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
    """Why files cannot be written to a folder, which may have to be made first; empty if they can. Nothing is left."""
    try:
        place = _standing(folder)
        handle, probe = tempfile.mkstemp(dir=place, prefix=".writable.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(PROBE)
        finally:
            Path(probe).unlink(missing_ok=True)
    except OSError as error:
        return f"{error.strerror or error}: {error.filename or place}"
    return ""


def _standing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there. Raises OSError where that is no folder."""
    folder = folder.absolute()
    try:
        folder.stat()
    except FileNotFoundError:
        if folder.is_symlink():
            raise FileNotFoundError(errno.ENOENT, "A link that leads nowhere", str(folder)) from None
        return _standing(folder.parent)
    return folder


def flush_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut; a file system that cannot flush a folder does without."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def written_through(path: Path) -> Iterator[Any]:
    """A new binary file, flushed to the disk: a rename must never publish bytes that a power cut can still take."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def removed(path: Path) -> None:
    """Remove a file, a link or a whole folder: first out of the way and then for good, so that no half is ever read.

    Raises OSError for what cannot be removed.
    """
    aside = path.with_name(f".{path.name.lstrip('.')[:100]}.{uuid4().hex}.gone")
    try:
        path.rename(aside)
    except FileNotFoundError:  # it was not there, or somebody else removed it
        return
    if aside.is_symlink() or not aside.is_dir():
        aside.unlink(missing_ok=True)
    else:
        shutil.rmtree(aside, ignore_errors=True)


def cleared(path: Path) -> None:
    """Remove what has the name of a folder and is none, so that the folder can be made."""
    if not path.is_dir():
        removed(path)


def content_of(path: Path) -> bytes:
    """The bytes of a file. Raises OSError, for a pipe or a device too: nothing waits for those."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file")
    return path.read_bytes()


def said(path: Path) -> Any:
    """What a file of JSON says; None where there is no such file, or one that is damaged."""
    try:
        text = content_of(path).decode()
        value = json.loads(text, parse_constant=_refused)
        if "\\ud" in text.lower():  # half of a surrogate pair could be neither printed nor sent
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (OSError, ValueError, RecursionError, MemoryError):
        return None


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
