"""Files as parameters of components; keys contain the hash of their content."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.api.errors import PrunebenchError

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

_PINNED = re.compile(r"(?P<path>.+)@sha256:(?P<digest>[0-9a-f]{64})", re.DOTALL)


@dataclass(frozen=True)
class File:
    """A file as a parameter, `ticket: prunebench.File`. A suite has its path; keys contain the hash of its content.

    A relative path is resolved from the current folder. `PATH@sha256:DIGEST` is accepted only if the file has this
    content; workers are passed files in this form. Two files with the same content are equal.
    """

    path: str = field(compare=False)
    sha256: str

    def __str__(self) -> str:
        return f"{self.path}@sha256:{self.sha256}"

    @classmethod
    def at(cls, text: str) -> File:
        """The file at a path, which may end with `@sha256:DIGEST`. Raises ValueError if it is missing or differs."""
        pinned = _PINNED.fullmatch(text)
        path, expected = (pinned["path"], pinned["digest"]) if pinned else (text, "")
        found = _digest(path)
        if expected and found != expected:
            raise ValueError(f"{path!r} is not the expected file: its SHA-256 is {found}, not {expected}")
        return cls(path, found)

    def read(self) -> bytes:
        """Return its content. Raises PrunebenchError if the file was removed or changed since the suite was read."""
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
            core_schema.str_schema(min_length=1, metadata={"pydantic_js_updates": {"format": "path"}}),
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )


def _digest(path: str) -> str:
    try:
        if not Path(path).is_file():
            raise ValueError(f"{path!r} {'is not a file' if Path(path).exists() else 'does not exist'}")
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read: {error.strerror}") from None
