"""Files: as parameters with their content in the key, written atomically, and read without trusting them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

from prunebench.api.errors import PrunebenchError

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

_PINNED = re.compile(r"(?P<path>.+)@sha256:(?P<digest>[0-9a-f]{64})", re.DOTALL)


@dataclass(frozen=True)
class File:
    """A file as a parameter, `ticket: prunebench.File`: its path in a suite, the hash of its content in every key.

    A relative path begins in the folder that the command runs in. `PATH@sha256:DIGEST` says which content is meant, and
    is refused when another is there; that is how it travels to workers. Two files of the same content are equal.
    """

    path: str = field(compare=False)
    sha256: str

    def __str__(self) -> str:
        return f"{self.path}@sha256:{self.sha256}"

    @classmethod
    def at(cls, text: str) -> File:
        """The file that a text names. Raises ValueError when it is not there, or not the one that was pinned."""
        pinned = _PINNED.fullmatch(text)
        path, expected = (pinned["path"], pinned["digest"]) if pinned else (text, "")
        found = _digest(path)
        if expected and found != expected:
            raise ValueError(f"{path!r} is not the file that is meant: its SHA-256 is {found}, and not {expected}")
        return cls(path, found)

    def read(self) -> bytes:
        """Its content, which is that of the key. Raises PrunebenchError when it is gone or another meanwhile."""
        try:
            content = Path(self.path).read_bytes()
        except OSError as error:
            raise PrunebenchError(f"{self.path} cannot be read: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise PrunebenchError(f"{self.path} was changed since the suite was read: run again")
        return content

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls.at,
            core_schema.str_schema(min_length=1),
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )


def _digest(path: str) -> str:
    try:
        if not Path(path).is_file():
            raise ValueError(f"{path!r} is no file{'' if Path(path).exists() else ': there is nothing'}")
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read: {error.strerror}") from None


PROBE = bytes(4096)
"""Bytes that must fit into a folder for it to be writable."""


def replaced(path: Path, content: bytes) -> Path:
    """Written aside and renamed: a reader sees the old file or the new one; what has these bytes is left alone."""
    if has(path, content):
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
    except FileNotFoundError:  # it did not exist, or another process removed it
        return
    if aside.is_symlink() or not aside.is_dir():
        aside.unlink(missing_ok=True)
    else:
        shutil.rmtree(aside, ignore_errors=True)


def cleared(path: Path) -> None:
    """Remove a file or link with the name of a folder, so that the folder can be made."""
    if not path.is_dir():
        removed(path)


def content_of(path: Path) -> bytes:
    """The bytes of a file. Raises OSError also for a pipe or a device, which could block."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file")
    return path.read_bytes()


def said(path: Path) -> Any:
    """The value in a JSON file; None if the file is missing or damaged."""
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
