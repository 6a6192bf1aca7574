"""Files that are replaced as a whole, and folders that must take them."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

PROBE = bytes(4096)
"""What a folder must have room for, or it is full."""


def replaced(path: Path, content: bytes) -> Path:
    """Written aside and renamed: a reader sees the old file or the new one; what has these bytes is left alone."""
    if path.is_file() and path.read_bytes() == content:
        return path
    given, path = path, path.resolve()  # a link stays one
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(aside).chmod(mode)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    return given


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
