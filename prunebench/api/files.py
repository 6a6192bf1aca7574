"""A file as a parameter of a component, with its content in every key."""

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
