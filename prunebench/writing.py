"""Files that are replaced as a whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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
